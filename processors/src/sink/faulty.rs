//! A store that fails when it is told to, having done some of what it was asked.

use std::sync::Arc;

use agentworks_store::{Intercept, Key, Row, Store, StoreError, Table, Write};
use async_trait::async_trait;
use parking_lot::Mutex;

/// The store behind, and what is to happen to the next writes: each row's bit of the mask says whether it is written.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    behind: Arc<dyn Store>,
    masks: Mutex<Vec<u64>>,
    /// How many more rows are found before one isn't.
    found: Mutex<Option<usize>>,
}

impl FaultyStore {
    pub(crate) fn new(behind: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(FaultyStore { behind, masks: Mutex::default(), found: Mutex::default() })
    }

    /// Fails as many writes as there are masks, the last of them first.
    pub(crate) fn fail(&self, masks: Vec<u64>) {
        *self.masks.lock() = masks;
    }

    /// Fails one look for a row, after so many that don't.
    pub(crate) fn fail_get(&self, found: usize) {
        *self.found.lock() = Some(found);
    }

    /// Fails nothing any more.
    pub(crate) fn mend(&self) {
        self.masks.lock().clear();
        *self.found.lock() = None;
    }

    pub(crate) fn is_failing(&self) -> bool {
        !self.masks.lock().is_empty()
    }
}

#[async_trait]
impl Intercept for FaultyStore {
    fn behind(&self) -> &Arc<dyn Store> {
        &self.behind
    }

    async fn intercept(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let Some(mask) = self.masks.lock().pop() else { return self.behind.write(writes).await };
        let some = writes.into_iter().enumerate().filter(|(row, _)| mask >> (row % 64) & 1 == 1);
        self.behind.write(some.map(|(_, write)| write).collect()).await?;
        Err(StoreError::Unavailable("as told".into()))
    }

    async fn intercept_get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError> {
        let is_lost = {
            let mut found = self.found.lock();
            let is_lost = *found == Some(0);
            *found = found.and_then(|more| more.checked_sub(1));
            is_lost
        };
        if is_lost { Err(StoreError::Unavailable("as told".into())) } else { self.behind.get(table, key).await }
    }
}
