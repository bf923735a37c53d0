//! Making the next version.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agentworks_objects::Created;
use agentworks_objects::object_store::{Error, ObjectStoreExt};
use tokio::time::{Instant, sleep};

use super::Manifest;
use super::change::Change;
use super::files;
use super::state::State;
use crate::error::SearchError;

/// How often others may be quicker before the call is given up for now.
const ATTEMPTS: u32 = 200;

impl Manifest {
    /// Makes a change, in a version of its own, and returns what there is then. Made again after an error, it is made once.
    ///
    /// # Errors
    /// [`SearchError::Fenced`] or [`SearchError::Gone`] if what it is based on isn't so any more; the store's, after which
    /// it may have been made nevertheless.
    pub async fn publish(&self, change: &Change) -> Result<Arc<State>, SearchError> {
        let mut base = match self.read_at() {
            Some(_) => self.current(),
            None => self.refresh().await?,
        };
        for attempt in 0..ATTEMPTS {
            if change.is_in(&base) {
                return Ok(base);
            }
            if let Err(error) = change.check(&base) {
                // What is known may be old.
                let newest = self.refresh().await?;
                if newest.version == base.version {
                    return Err(error);
                }
                base = newest;
                continue;
            }
            let (state, object) = files::encode(&base, change)?;
            let begun = Instant::now();
            match self.objects().create(&files::name(state.version), object).await? {
                Created::Ours if self.still_has(base.version).await? => {
                    let state = Arc::new(state);
                    self.learn(state.clone(), begun);
                    return Ok(state);
                }
                Created::Ours => {
                    // This process stood still for so long that the version it knew was deleted, and the one that it has
                    // just made had been there and was deleted, too. Nobody reads it.
                    self.objects().delete(&files::name(state.version)).await?;
                    self.forget();
                    base = self.refresh().await?;
                }
                Created::Taken => {
                    self.shared.conflicts.fetch_add(1, Ordering::Relaxed);
                    // Several at once come one after the other sooner if they don't all try at the same time.
                    sleep(Duration::from_micros(rand::random_range(0..500 * u64::from(attempt.min(40) + 1)))).await;
                    base = self.refresh().await?;
                }
            }
        }
        let reason = format!("has been made by others {ATTEMPTS} times in a row");
        Err(SearchError::Abandoned(format!("the next version of the search manifest {reason}")))
    }

    /// Whether a version's object is there. Old ones are deleted in their order, so what follows on one that is there was
    /// never deleted.
    async fn still_has(&self, version: u64) -> Result<bool, SearchError> {
        if version == 0 {
            // There is no object of it: what was made is the first one if the second follows on it.
            return Ok(files::versions(self.objects()).await?.get(1).is_none_or(|second| *second == 2));
        }
        self.has_object(&files::name(version)).await
    }

    /// Whether an object of the index is there. A split that was uploaded and is not published for long may be taken for one
    /// that nobody needs: whoever has published it looks.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn has_object(&self, name: &str) -> Result<bool, SearchError> {
        match self.objects().store().head(&self.objects().path(name)).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.objects().error()(error).into()),
        }
    }

    /// Forgets what was read.
    pub(super) fn forget(&self) {
        let mut known = self.shared.known.write();
        known.state = Arc::default();
        known.at = None;
    }
}
