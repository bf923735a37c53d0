//! A store that has whoever clears wait until it is let in.

use std::sync::Arc;

use agentworks_store::{Key, Part, Row, Scan, Store, StoreError, Table, Write};
use async_trait::async_trait;
use tokio::sync::watch;

/// The store behind. Receipts can be read once it is open: with them begins whoever clears what was erased. The journal
/// can be read at any time, so that it has been known for long enough by then.
#[derive(Debug)]
pub struct Gate {
    behind: Arc<dyn Store>,
    is_open: watch::Sender<bool>,
    is_waited_at: watch::Sender<bool>,
}

impl Gate {
    pub fn before(behind: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Gate { behind, is_open: watch::Sender::new(false), is_waited_at: watch::Sender::new(false) })
    }

    /// Waits until somebody waits to be let in.
    pub async fn waited_at(&self) {
        let _ = self.is_waited_at.subscribe().wait_for(|waits| *waits).await;
    }

    pub fn open(&self) {
        self.is_open.send_replace(true);
    }
}

#[async_trait]
impl Store for Gate {
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.behind.write(writes).await
    }

    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError> {
        self.behind.get(table, key).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        if scan.table.name == "erasures" && scan.partition == [Part::from("receipts")] {
            self.is_waited_at.send_replace(true);
            let _ = self.is_open.subscribe().wait_for(|is_open| *is_open).await;
        }
        self.behind.scan(scan).await
    }

    async fn delete(&self, table: &'static Table, key: &Key, version: i64) -> Result<(), StoreError> {
        self.behind.delete(table, key, version).await
    }
}
