//! Public keys that somebody else publishes (RFC 7517): a document that is fetched, kept, and fetched again.
//!
//! A token names its key (`kid`). That is only ever looked up among the keys that the document had; it is no path, no
//! address, and no part of a request. A key that isn't there may be a new one, so the document is fetched once more; but
//! not more often than every [`JwksConfig::cooldown`], once for all who wait, and not again for the same name within [`UNKNOWN_FOR`].
//! So a flood of names that nobody has ever heard of costs a look-up each.
//!
//! A key that has gone from the document is revoked: nothing is verified by it any more, and whoever was let in by it is
//! told ([`Jwks::revoked`]). While the document can't be had, the keys stay, up to [`JwksConfig::max_age`].
//!
//! - [`document`]: from the document to keys, and which of them are usable.
//! - [`fetch`]: getting the document, bounded in time and size.
//! - [`keys`]: the keys in force.
//! - [`refresh`]: the task that fetches.

mod document;
mod fetch;
mod keys;
mod refresh;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentworks_schemas::access::AccessError;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::keys::{Found, Key};
use self::refresh::Shared;
use super::metrics::AuthMetrics;

pub use self::fetch::{JwksError, check_url};

/// For how long a key that wasn't in the document is not looked for again.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);
/// How long the bearer of a token waits for its key.
const PATIENCE: Duration = Duration::from_secs(8);
/// The longest name of a key, in bytes.
const MAX_KEY_ID: usize = 256;

/// Where keys are published, and how they are kept.
#[derive(Clone, Debug)]
pub struct JwksConfig {
    /// The document's address: `https`, or `http` on this machine, or anywhere if `insecure`.
    pub url: String,
    /// Whether the document may come from another machine without TLS.
    pub insecure: bool,
    /// PEM: whom to trust, for `https`; the system's authorities if not given.
    pub ca_file: Option<PathBuf>,
    /// How often the document is fetched.
    pub refresh: Duration,
    /// How long after a fetch an unknown key may cause another one.
    pub cooldown: Duration,
    /// How long keys are kept while the document can't be had.
    pub max_age: Duration,
}

/// The keys of a document. Dropping it ends the fetching.
pub struct Jwks {
    shared: Arc<Shared>,
    metrics: AuthMetrics,
    _work: AbortOnDropHandle<()>,
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwks").finish_non_exhaustive()
    }
}

impl Jwks {
    /// Begins to fetch the document, in a task.
    ///
    /// # Errors
    /// If the address is none that may be used, or the authorities can't be read.
    pub fn start(config: &JwksConfig) -> Result<Self, JwksError> {
        let metrics = AuthMetrics::default();
        let shared = Arc::new(Shared::new(config.cooldown));
        let fetcher = fetch::Fetcher::new(config)?;
        let times = refresh::Times { refresh: config.refresh, cooldown: config.cooldown, max_age: config.max_age };
        let work = refresh::work(Arc::clone(&shared), fetcher, times, metrics.clone());
        Ok(Jwks { shared, metrics, _work: AbortOnDropHandle::new(tokio::spawn(work)) })
    }

    pub(super) fn metrics(&self) -> &AuthMetrics {
        &self.metrics
    }

    /// Whether there are keys; if not, why.
    pub fn ready(&self) -> Result<(), String> {
        self.shared.keys.lock().ready()
    }

    /// The key of this name. If there is none, waits for the document to be fetched again, where that may help.
    ///
    /// # Errors
    /// [`AccessError::Invalid`] if there is no such key; [`AccessError::Unavailable`] if that can't be said now.
    pub(super) async fn key(&self, kid: &str) -> Result<Arc<Key>, AccessError> {
        let mut attempts = self.shared.attempts.subscribe();
        let found = match self.shared.find(kid) {
            Found::Ask => {
                let attempted = timeout(PATIENCE, attempts.changed()).await;
                attempted.map_err(|_| AccessError::Unavailable)?.map_err(|_| AccessError::Unavailable)?;
                self.shared.keys.lock().look_up_again(kid, Instant::now())
            }
            found => found,
        };
        match found {
            Found::Key(key) => Ok(key),
            Found::Nothing => Err(AccessError::Invalid),
            Found::Ask | Found::Unavailable => Err(AccessError::Unavailable),
        }
    }

    /// Comes when a key is revoked, or has been.
    pub(super) fn revoked(&self, kid: &str) -> impl Future<Output = ()> + Send + use<> {
        let revoked = self.shared.keys.lock().revocation(kid).unwrap_or_else(|| {
            let gone = CancellationToken::new();
            gone.cancel();
            gone
        });
        async move { revoked.cancelled().await }
    }
}

/// Whether this may name a key at all: visible ASCII, not too long.
pub(super) fn is_key_id(kid: &str) -> bool {
    (1..=MAX_KEY_ID).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_graphic())
}
