//! A proxy before Cassandra that knows the statements by which a keyspace is migrated, and stands still at one of them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// On which side of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Cassandra hasn't heard of it.
    Before,
    /// Cassandra has been told.
    During,
    /// It is done, and whoever asked for it hasn't heard of that.
    After,
}

/// Where to stand still. From then on nothing passes in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// As [`Proxy::seen`] gives it.
    pub statement: String,
    pub side: Side,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.side, self.statement.lines().next().unwrap_or_default())
    }
}

/// A running proxy, until this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    behind: SocketAddr,
    keyspace: String,
    hold: Option<Hold>,
    seen: Mutex<Vec<String>>,
    is_held: watch::Sender<bool>,
}

impl Proxy {
    /// Before the database at `behind`, on a free port, for whoever migrates `keyspace`.
    pub async fn start(behind: SocketAddr, keyspace: &str, hold: Option<Hold>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (keyspace, seen, is_held) = (keyspace.to_owned(), Mutex::default(), watch::Sender::new(false));
        let shared = Arc::new(Shared { behind, keyspace, hold, seen, is_held });
        let (mut tasks, theirs) = (JoinSet::new(), shared.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, theirs.clone()));
            }
        });
        Proxy { address, shared, _tasks: tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The statements that have come which change something, in order, whatever the keyspace is called; and which
    /// migrations were noted.
    pub fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().clone()
    }

    /// Waits until it stands still.
    pub async fn held(&self) {
        let _ = self.shared.is_held.subscribe().wait_for(|is_held| *is_held).await;
    }
}

impl Shared {
    /// Notes a statement. Where to stand still, if it is there.
    fn see(&self, statement: &str) -> Option<Side> {
        let statement = statement.replace(&self.keyspace, "the_keyspace");
        let side = self.hold.as_ref().filter(|hold| hold.statement == statement).map(|hold| hold.side);
        self.seen.lock().push(statement);
        side
    }

    async fn stand_still(&self) {
        self.is_held.send_replace(true);
        std::future::pending().await
    }

    async fn pass(&self) {
        if *self.is_held.borrow() {
            std::future::pending().await
        }
    }
}

/// A frame of version 4 of the protocol.
struct Frame(Vec<u8>);

/// The length of a frame's header.
const HEADER: usize = 9;
const QUERY: u8 = 0x07;
const PREPARE: u8 = 0x09;
const EXECUTE: u8 = 0x0a;

impl Frame {
    async fn read(from: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<Frame> {
        let mut frame = vec![0; HEADER];
        from.read_exact(&mut frame).await?;
        let length = u32::from_be_bytes(frame[5..].try_into().unwrap()) as usize;
        frame.resize(HEADER + length, 0);
        from.read_exact(&mut frame[HEADER..]).await?;
        Ok(Frame(frame))
    }

    /// What an answer has in common with what it answers.
    fn stream(&self) -> [u8; 2] {
        [self.0[2], self.0[3]]
    }

    /// The text of a query, or of one that is prepared.
    fn text(&self) -> Option<&str> {
        let (length, rest) = self.0[HEADER..].split_first_chunk()?;
        std::str::from_utf8(rest.get(..u32::from_be_bytes(*length) as usize)?).ok()
    }

    /// The first value of a prepared statement that is executed.
    fn first_value(&self) -> Option<&str> {
        let (length, rest) = self.0[HEADER..].split_first_chunk()?;
        // The consistency and the flags, by which there are values, and how many.
        let rest = rest.get(usize::from(u16::from_be_bytes(*length)) + 5..)?;
        let (length, rest) = rest.split_first_chunk()?;
        std::str::from_utf8(rest.get(..u32::from_be_bytes(*length) as usize)?).ok()
    }
}

/// Carries what one connection says, both ways.
async fn carry(client: TcpStream, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(shared.behind).await else { return };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let awaited = Mutex::new(None);
    let forth = async {
        let mut is_noting = false;
        while let Ok(frame) = Frame::read(&mut from_client).await {
            shared.pass().await;
            let text = match frame.0[4] {
                QUERY => frame.text().filter(|text| text.starts_with("CREATE")).map(str::to_owned),
                PREPARE => {
                    is_noting = frame.text().is_some_and(|text| text.starts_with("INSERT"));
                    None
                }
                EXECUTE if std::mem::take(&mut is_noting) => frame.first_value().map(|file| format!("note {file}")),
                _ => None,
            };
            let side = text.and_then(|text| shared.see(&text));
            match side {
                Some(Side::Before) => shared.stand_still().await,
                Some(Side::After) => *awaited.lock() = Some(frame.stream()),
                Some(Side::During) | None => {}
            }
            if to_server.write_all(&frame.0).await.is_err() {
                return;
            }
            if side == Some(Side::During) {
                shared.stand_still().await;
            }
        }
    };
    let back = async {
        while let Ok(frame) = Frame::read(&mut from_server).await {
            shared.pass().await;
            if *awaited.lock() == Some(frame.stream()) {
                shared.stand_still().await;
            }
            if to_client.write_all(&frame.0).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = forth => {}
        () = back => {}
    }
}
