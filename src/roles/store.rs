//! Opening the store.

use std::sync::Arc;
use std::time::Duration;

use agentworks_processors::lane::POSITIONS;
use agentworks_store::{EmbeddedStore, Key, Store};
use agentworks_store_cql::{CqlConfig, CqlStore};
use anyhow::Context;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::service::Note;
use crate::config::StoreAddress;

/// How long is waited between attempts to reach a store.
const EVERY: Duration = Duration::from_secs(1);
/// How often is looked whether it answers.
const LOOK: Duration = Duration::from_secs(2);

/// Opens the store; waits for one that can't be reached, with the reason in `note`.
///
/// # Errors
/// If it refuses us, lacks migrations, or, of a folder, if another process has it.
pub(crate) async fn open(address: &StoreAddress, note: &Note) -> anyhow::Result<Arc<dyn Store>> {
    match address {
        StoreAddress::Embedded(folder) => {
            let advice = "cannot open the embedded store, which serves one process alone: for several, give store.url a cql:// address";
            Ok(Arc::new(EmbeddedStore::open(folder).context(advice)?))
        }
        StoreAddress::Cql(config) => Ok(Arc::new(connect(config, note).await?)),
    }
}

async fn connect(config: &CqlConfig, note: &Note) -> anyhow::Result<CqlStore> {
    loop {
        match CqlStore::connect(config).await {
            Ok(store) => return Ok(store),
            Err(error) if error.is_transient() => note.set(error.to_string()),
            Err(error) => return Err(error).context("cannot open the store"),
        }
        sleep(EVERY).await;
    }
}

/// Looks again and again whether the store answers, until it is dropped.
#[derive(Debug)]
pub(crate) struct StoreWatch {
    fault: Arc<Mutex<Option<String>>>,
    looking: JoinHandle<()>,
}

impl StoreWatch {
    /// Begins to look.
    pub(crate) fn start(store: Arc<dyn Store>) -> Self {
        let fault = Arc::new(Mutex::new(None));
        let shown = Arc::clone(&fault);
        let looking = tokio::spawn(async move {
            // A row that is never there: it costs least.
            let nothing = Key { partition: vec!["readyz".into()], clustering: vec!["".into(), 0.into()] };
            loop {
                let answer = store.get(&POSITIONS, &nothing).await;
                *shown.lock() = answer.err().map(|error| error.to_string());
                sleep(LOOK).await;
            }
        });
        StoreWatch { fault, looking }
    }

    /// Whether the store answers; if not, why.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.fault.lock().clone().map_or(Ok(()), Err)
    }
}

impl Drop for StoreWatch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}
