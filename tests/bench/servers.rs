//! The servers that are measured beside each other: the gateway, Centrifugo's engine, and a bare tokio-tungstenite.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use agentworks_gateway::auth::{Secret, mint};
use agentworks_ingest::producer::Producer;
use agentworks_schemas::access::{Claims, Role as Access};
use agentworks_schemas::{Level, Source, Timestamp, Topics};
use futures_util::StreamExt;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, Command};

use crate::crowd::Opening;
use crate::support::records::create_topics;
use crate::support::role::Role;
use crate::support::{Scratch, eventually, kafka, unique_prefix};

pub const SECRET: &str = "a secret of the benchmarks, long enough";
pub const WORKSPACE: &str = "bench";
/// As many as an installation has unless it is told otherwise.
const PARTITIONS: i32 = 12;
/// In the environment of a process that is a bare server.
const BARE: &str = "AGENTWORKS_BENCH_BARE_SERVER";
const PATIENCE: Duration = Duration::from_secs(60);
/// The run in the store, its card, and its entries, which came a second apart.
pub const RUN: (&str, &str) = ("run-of-the-past", "card-of-the-past");
const ENTRIES: i64 = 2_000;

/// `agentworks serve`, on topics and an embedded store of its own, which knows some cards and one long run.
pub struct Gateway {
    role: Role,
    token: String,
    brokers: String,
    topics: Topics,
    _folder: Scratch,
}

impl Gateway {
    pub async fn start(cards: &[String]) -> Gateway {
        let (prefix, brokers, folder) = (unique_prefix(), kafka().await.bootstrap(), Scratch::new("bench-gateway"));
        let topics = create_topics(&brokers, &prefix, PARTITIONS).await;
        let store = format!("embedded:{}", folder.path().join("store").display());
        let group = format!("{prefix}store");
        let variables = [
            ("AGENTWORKS__KAFKA__BROKERS", &*brokers),
            ("AGENTWORKS__KAFKA__TOPIC_PREFIX", &prefix),
            ("AGENTWORKS__STORE__URL", &store),
            ("AGENTWORKS__AUTH__SECRET", SECRET),
            ("AGENTWORKS__RUNTIME__GROUP", &group),
        ];
        // The store is one process's alone, so that what fills it has ended when the gateway begins.
        let process = Role::start(&["process"], &variables).await;
        process.is_ready().await;
        write(&producer(&brokers, &topics), cards).await;
        let written = (ENTRIES as usize + cards.len()) as f64;
        let taken = async || process.metric("agentworks_logs_processed_total", "").await >= written;
        eventually(PATIENCE, async || taken().await.then_some(())).await;
        let (status, log) = process.terminate().await;
        assert!(status.success(), "{log}");

        let serve = ["serve", "--set", "gateway.max_connections=100000"];
        let role = Role::start(&serve, &variables).await;
        role.is_ready().await;
        Gateway { role, token: token(), brokers, topics, _folder: folder }
    }

    pub fn pid(&self) -> u32 {
        self.role.pid()
    }

    /// A client that watches a card, and is there when entries that are written from now on are shown to it.
    pub fn viewer(&self, card: &str) -> Opening {
        let (address, path) = (self.role.address().parse().unwrap(), format!("/v1/cards/{card}/stream?history=0"));
        Opening { token: Some(self.token.clone()), ..Opening::until(address, path, r#""connection_established""#) }
    }

    /// A client with a replay of [`RUN`] that has begun and is paused.
    pub fn paused_replay(&self) -> Opening {
        let (run, card) = RUN;
        let mut opening = self.viewer(card);
        let start = format!(r#"{{"type":"replay_run","runId":"{run}","options":{{"speed":1}}}}"#);
        let pause = |started: &str| {
            let started: serde_json::Value = serde_json::from_str(started).unwrap();
            let session = started["data"]["sessionId"].as_str().unwrap();
            Some(format!(r#"{{"type":"replay_control","sessionId":"{session}","action":"pause"}}"#))
        };
        opening.steps = vec![
            (r#""connection_established""#, Box::new(move |_| Some(start.clone()))),
            (r#""replay_started""#, Box::new(pause)),
            (r#""replay_paused""#, Box::new(|_| None)),
        ];
        opening
    }

    /// What writes to its topics, as agents do.
    pub fn producer(&self) -> Producer {
        producer(&self.brokers, &self.topics)
    }
}

fn producer(brokers: &str, topics: &Topics) -> Producer {
    Producer::builder(brokers).topics(topics.clone()).linger(Duration::from_millis(1)).build().unwrap()
}

/// Writes [`RUN`], and a line for each card.
async fn write(producer: &Producer, cards: &[String]) {
    for card in cards {
        let run = producer.run(WORKSPACE, card, &format!("{card}-run"));
        drop(run.log(Level::Info, Source::Agent, "bench", "the first line").send().await.unwrap());
    }
    let (run, card) = RUN;
    let run = producer.run(WORKSPACE, card, run);
    let began = Timestamp::now().millis() - ENTRIES * 1000;
    let at = |second: i64| Timestamp(began + second * 1000);
    run.started().timestamp(at(0)).send().await.unwrap().await.unwrap();
    for second in 0..ENTRIES {
        let line = format!("line {second} {}", "x".repeat(200));
        drop(run.log(Level::Info, Source::Agent, "bench", &line).timestamp(at(second)).send().await.unwrap());
    }
    run.completed().timestamp(at(ENTRIES)).send().await.unwrap().await.unwrap();
    producer.flush(PATIENCE).await.unwrap();
}

/// A viewer's token for [`WORKSPACE`].
pub fn token() -> String {
    let (workspace, subject) = (WORKSPACE.to_owned(), "bench".to_owned());
    let claims = Claims { workspace, subject, role: Access::Viewer, ..Claims::default() };
    mint(&Secret::new(SECRET, "the benchmarks").unwrap(), &claims, Duration::from_secs(24 * 3600)).unwrap()
}

/// A server that says on its first line where it listens, and ends with its standard input.
pub struct Beside {
    child: Child,
    /// What a Centrifugo is to publish is written here, a line each: a channel, a space, the data.
    pub stdin: ChildStdin,
    address: SocketAddr,
}

impl Beside {
    /// Centrifugo's engine; `None`, and a line that says so, where there is no Go.
    pub async fn centrifuge(arguments: &[&str]) -> Option<Beside> {
        let program = build_centrifuge().await?;
        Some(Beside::start(Command::new(program).args(arguments)).await)
    }

    /// tokio-tungstenite as it comes, which accepts everybody and says nothing.
    pub async fn bare() -> Beside {
        Beside::start(Command::new(std::env::current_exe().unwrap()).env(BARE, "1")).await
    }

    async fn start(command: &mut Command) -> Beside {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.next_line().await.unwrap().expect("an address").parse().unwrap();
        Beside { stdin: child.stdin.take().unwrap(), child, address }
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// A client of Centrifugo that is subscribed to a channel.
    pub fn subscriber(&self, channel: &str) -> Opening {
        let hello = format!("{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\"}}}}");
        let path = "/connection/websocket".to_owned();
        Opening { hello: Some(hello), ..Opening::until(self.address, path, r#""subscribe":"#) }
    }

    /// A client that is connected.
    pub fn client(&self) -> Opening {
        Opening { steps: Vec::new(), ..Opening::until(self.address, "/".to_owned(), "") }
    }
}

/// Builds the server in `centrifuge/`.
async fn build_centrifuge() -> Option<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/centrifuge");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("centrifuge");
    let mut build = Command::new(go("Centrifugo's engine").await?);
    build.args(["build", "-o"]).arg(&program).arg(".").current_dir(&sources);
    assert!(build.status().await.unwrap().success(), "{} does not build", sources.display());
    Some(program)
}

/// Go; `None`, and a line that says what is left out, where there is none.
pub async fn go(what: &str) -> Option<&'static str> {
    // Where Go's own archive is to be unpacked, which not everybody has in the path.
    for go in ["go", "/usr/local/go/bin/go"] {
        match Command::new(go).arg("version").stdout(Stdio::null()).status().await {
            Ok(_) => return Some(go),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => panic!("{go}: {error}"),
        }
    }
    println!("missing: go, which {what} is built with: https://go.dev/dl; it is left out\n");
    None
}

/// Whether this process is a bare server; then it has done its work when this returns.
pub fn is_child() -> bool {
    if std::env::var_os(BARE).is_none() {
        return false;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.spawn(serve_bare());
    // Until the parent is gone.
    std::io::stdin().lines().for_each(drop);
    true
}

async fn serve_bare() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            while let Some(Ok(_)) = socket.next().await {}
        });
    }
}
