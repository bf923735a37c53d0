//! The children's side.

use std::io;
use std::net::SocketAddr;

use agentworks_store::{Key, Row, Scan, Store, StoreError, Table, Write};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wire::{Answer, Request};

/// A store that a [`super::StoreServer`] serves. As many calls as there are go on at once, each on a connection of its own.
#[derive(Debug)]
pub struct RemoteStore {
    address: SocketAddr,
    idle: Mutex<Vec<TcpStream>>,
}

impl RemoteStore {
    pub fn new(address: SocketAddr) -> Self {
        RemoteStore { address, idle: Mutex::default() }
    }

    async fn call(&self, request: Request) -> Result<Answer, StoreError> {
        match self.exchange(request).await {
            Ok(Answer::Fault(error)) => Err(error),
            Ok(answer) => Ok(answer),
            Err(error) => Err(StoreError::Unavailable(error.to_string())),
        }
    }

    async fn exchange(&self, request: Request) -> io::Result<Answer> {
        let idle = self.idle.lock().pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        let request = request.encode();
        stream.write_u32(request.len() as u32).await?;
        stream.write_all(&request).await?;
        let mut frame = vec![0; stream.read_u32().await? as usize];
        stream.read_exact(&mut frame).await?;
        self.idle.lock().push(stream);
        Ok(Answer::decode(frame.into()))
    }
}

#[async_trait]
impl Store for RemoteStore {
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.call(Request::Write(writes)).await.map(drop)
    }

    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError> {
        match self.call(Request::Get(table, key.clone())).await? {
            Answer::Row(row) => Ok(row),
            other => Err(StoreError::Failed(format!("to a get comes {other:?}"))),
        }
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        match self.call(Request::Scan(scan)).await? {
            Answer::Rows(rows) => Ok(rows),
            other => Err(StoreError::Failed(format!("to a scan comes {other:?}"))),
        }
    }

    async fn delete(&self, table: &'static Table, key: &Key, version: i64) -> Result<(), StoreError> {
        self.call(Request::Delete(table, key.clone(), version)).await.map(drop)
    }
}
