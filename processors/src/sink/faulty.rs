//! A store that fails when it is told to, having done some of what it was asked.

use std::sync::Arc;

use agentworks_store::{Intercept, Store, StoreError, Write};
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
}
