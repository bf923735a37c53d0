//! The parent's side.

use std::net::SocketAddr;
use std::sync::Arc;

use agentworks_store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::wire::{Answer, Request, Tables};

/// A served store, until this is dropped.
#[derive(Debug)]
pub struct StoreServer {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl StoreServer {
    /// Serves `store` on a free port of the loopback interface.
    pub async fn start(store: Arc<dyn Store>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let tables = Arc::new(Tables::default());
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, store.clone(), tables.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        StoreServer { address, _tasks: tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Answers calls until the other side goes away.
async fn serve(mut stream: TcpStream, store: Arc<dyn Store>, tables: Arc<Tables>) {
    let _ = stream.set_nodelay(true);
    while let Ok(length) = stream.read_u32().await {
        let mut frame = vec![0; length as usize];
        if stream.read_exact(&mut frame).await.is_err() {
            return;
        }
        let answer = answer(&*store, Request::decode(frame.into(), &tables)).await.encode();
        let sent = async {
            stream.write_u32(answer.len() as u32).await?;
            stream.write_all(&answer).await
        };
        if sent.await.is_err() {
            return;
        }
    }
}

async fn answer(store: &dyn Store, request: Request) -> Answer {
    let answer = match request {
        Request::Write(writes) => store.write(writes).await.map(|()| Answer::Done),
        Request::Get(table, key) => store.get(table, &key).await.map(Answer::Row),
        Request::Scan(scan) => store.scan(scan).await.map(Answer::Rows),
        Request::Delete(table, key, version) => store.delete(table, &key, version).await.map(|()| Answer::Done),
    };
    answer.unwrap_or_else(Answer::Fault)
}
