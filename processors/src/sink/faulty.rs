//! A store that fails when it is told to, having done some of what it was asked.

use std::sync::Arc;

use agentworks_store::{Key, Row, Scan, Store, StoreError, Table, Write};
use async_trait::async_trait;
use parking_lot::Mutex;

/// The store behind, and what is to happen to the next writes: each row's bit of the mask says whether it is written.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    behind: Arc<dyn Store>,
    masks: Mutex<Vec<u64>>,
}

impl FaultyStore {
    pub(crate) fn new(behind: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(FaultyStore { behind, masks: Mutex::default() })
    }

    /// Fails as many writes as there are masks, the last of them first.
    pub(crate) fn fail(&self, masks: Vec<u64>) {
        *self.masks.lock() = masks;
    }

    pub(crate) fn is_failing(&self) -> bool {
        !self.masks.lock().is_empty()
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let Some(mask) = self.masks.lock().pop() else { return self.behind.write(writes).await };
        let some = writes.into_iter().enumerate().filter(|(row, _)| mask >> (row % 64) & 1 == 1);
        self.behind.write(some.map(|(_, write)| write).collect()).await?;
        Err(StoreError::Unavailable("as told".into()))
    }

    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError> {
        self.behind.get(table, key).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        self.behind.scan(scan).await
    }

    async fn delete(&self, table: &'static Table, key: &Key, version: i64) -> Result<(), StoreError> {
        self.behind.delete(table, key, version).await
    }
}
