//! The task that fetches the document: by age, and when somebody asks for a key that isn't there.

use std::sync::Arc;
use std::time::Duration;

use agentworks_schemas::Timestamp;
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::document::{self, Parsed};
use super::fetch::Fetcher;
use super::keys::{Found, Keys};
use crate::auth::metrics::AuthMetrics;

/// After a fetch that failed the next one comes so soon, then later and later.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// What those who verify and the task share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) keys: Mutex<Keys>,
    /// How many fetches have ended. All who wait for one wait for the same.
    pub(super) attempts: watch::Sender<u64>,
    wanted: Notify,
}

impl Shared {
    pub(super) fn new(cooldown: Duration) -> Self {
        Shared { keys: Mutex::new(Keys::new(cooldown)), attempts: watch::Sender::new(0), wanted: Notify::new() }
    }

    /// Looks for a key; has the document fetched if that may help.
    pub(super) fn find(&self, kid: &str) -> Found {
        let found = self.keys.lock().look_up(kid, Instant::now());
        if let Found::Ask = found {
            self.wanted.notify_one();
        }
        found
    }
}

/// When to fetch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) refresh: Duration,
    pub(super) cooldown: Duration,
    pub(super) max_age: Duration,
}

/// Fetches, for ever.
pub(super) async fn work(shared: Arc<Shared>, fetcher: Fetcher, times: Times, metrics: AuthMetrics) {
    let mut retry = FIRST_RETRY;
    loop {
        let fetched = attempt(&shared, &fetcher, times, &metrics).await;
        shared.attempts.send_modify(|attempts| *attempts += 1);
        // Whoever has asked meanwhile has waited for this very attempt.
        let _ = shared.wanted.notified().now_or_never();
        let pause = if fetched { times.refresh } else { retry };
        retry = if fetched { FIRST_RETRY } else { (retry * 2).min(LAST_RETRY) };
        let cooled = Instant::now() + times.cooldown;
        let asked = async {
            sleep_until(cooled).await;
            shared.wanted.notified().await;
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = asked => {}
        }
    }
}

/// Fetches once; whether there is a document.
async fn attempt(shared: &Shared, fetcher: &Fetcher, times: Times, metrics: &AuthMetrics) -> bool {
    let fetched = fetcher.fetch().await.map_err(|error| error.to_string());
    let parsed = fetched.and_then(|bytes| document::parse(&bytes).map_err(|error| error.to_string()));
    let mut keys = shared.keys.lock();
    match parsed {
        Ok(Parsed { keys: new, skipped }) => {
            let changes = keys.replace(new, Instant::now());
            metrics.fetched(keys.len(), Timestamp::now().millis() / 1000);
            if !changes.added.is_empty() || !changes.revoked.is_empty() {
                info!(added = ?changes.added, revoked = ?changes.revoked, skipped, "the keys of auth.jwks_url have changed");
            }
            true
        }
        Err(error) => {
            let gone = keys.failed(error.clone(), times.max_age, Instant::now());
            metrics.failed();
            metrics.in_force(keys.len());
            warn!(
                error,
                keys = keys.len(),
                "the keys of auth.jwks_url can't be fetched; those that are known stay in force"
            );
            if gone {
                warn!("the keys of auth.jwks_url are older than auth.jwks_max_age: none is in force any more");
            }
            false
        }
    }
}
