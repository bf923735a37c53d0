//! A store that remembers what was ever written to, so that a test can kill at each.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentworks_store::{Intercept, Store, StoreError, Write};
use async_trait::async_trait;
use parking_lot::Mutex;

/// The store behind, and what it was asked to write.
#[derive(Debug)]
pub struct Recorder {
    behind: Arc<dyn Store>,
    names: Mutex<BTreeSet<String>>,
}

impl Recorder {
    pub fn new(behind: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Recorder { behind, names: Mutex::default() })
    }

    /// What was written to, as plans to die name it.
    pub fn names(&self) -> BTreeSet<String> {
        self.names.lock().clone()
    }
}

#[async_trait]
impl Intercept for Recorder {
    fn behind(&self) -> &Arc<dyn Store> {
        &self.behind
    }

    async fn intercept(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.names.lock().append(&mut crate::failpoint::written(&writes));
        self.behind.write(writes).await
    }
}
