//! Which indexers there are: saying it, and reading it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agentworks_processors::indexers::{self, Lease, RENEW};
use agentworks_schemas::Timestamp;
use agentworks_store::Store;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::{PeerKey, RemoteFresh};
use crate::error::SearchError;
use crate::fresh::Fresh;
use crate::indexer::Live;
use crate::searcher::Searcher;

/// How often a searcher looks who is there. Who has just come is not asked so long, and the log read instead.
const LOOK: Duration = Duration::from_secs(1);
/// How long the store may take to forget a lease at the end.
const END: Duration = Duration::from_secs(5);

/// Says in the store that an indexer is there, until it is told to end. If it is dropped, the lease runs out.
#[derive(Debug)]
pub struct LeaseKeeper {
    stop: oneshot::Sender<()>,
    keeping: JoinHandle<()>,
}

impl LeaseKeeper {
    /// Says it again and again, from now on: `instance` is a name that no other process has or had, and `address` is where
    /// searchers reach it, as `host:port`. The store needn't be reachable yet.
    pub fn start(store: Arc<dyn Store>, instance: &str, address: String, live: Live) -> Self {
        let (stop, stopped) = oneshot::channel();
        let lease = Lease { instance: instance.to_owned(), address, lanes: Vec::new(), at: Timestamp(0), count: 0 };
        LeaseKeeper { stop, keeping: tokio::spawn(keep(store, lease, live, stopped)) }
    }

    /// Says that it is no more.
    pub async fn end(self) {
        // It has ended by itself only if it has panicked.
        let _ = self.stop.send(());
        let _ = self.keeping.await;
    }
}

async fn keep(store: Arc<dyn Store>, mut lease: Lease, live: Live, mut stopped: oneshot::Receiver<()>) {
    loop {
        (lease.lanes, lease.at, lease.count) = (live.lanes(), Timestamp::now(), lease.count + 1);
        let renewed = indexers::renew(&*store, &lease);
        // A renewal under way is not cut off by the end: it would come after that.
        if let Err(error) = renewed.await {
            warn!(%error, "searchers can't be told of this indexer; it is tried again, and they read the log");
        }
        tokio::select! {
            () = sleep(RENEW) => {}
            told = &mut stopped => {
                if told.is_ok()
                    && let Ok(Err(error)) = timeout(END, indexers::end(&*store, &lease)).await
                {
                    warn!(%error, "the lease of this indexer is left to run out");
                }
                return;
            }
        }
    }
}

/// Has a searcher ask all indexers that say in the store that they are there, and `own`, for as long as this is polled.
///
/// # Errors
/// If there can't be a client.
pub async fn follow(
    store: Arc<dyn Store>,
    searcher: Searcher,
    key: PeerKey,
    own: Vec<Arc<dyn Fresh>>,
) -> Result<(), SearchError> {
    let client = RemoteFresh::client()?;
    let mut known = HashMap::<String, Arc<RemoteFresh>>::new();
    loop {
        match indexers::holding(&*store).await {
            Ok(leases) => {
                known.retain(|instance, _| leases.iter().any(|lease| lease.instance == *instance));
                for lease in &leases {
                    known.entry(lease.instance.clone()).or_insert_with(|| {
                        debug!(instance = lease.instance, address = lease.address, "an indexer is there");
                        Arc::new(RemoteFresh::new(lease, key.clone(), client.clone()))
                    });
                }
                let others = known.values().map(|fresh| Arc::clone(fresh) as Arc<dyn Fresh>);
                searcher.set_fresh(own.iter().cloned().chain(others).collect());
            }
            // Those who are known are asked on: who isn't there any more doesn't answer.
            Err(error) => debug!(%error, "which indexers there are can't be read"),
        }
        sleep(LOOK).await;
    }
}
