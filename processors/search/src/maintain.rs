//! Looking after the splits: merging small ones, dropping what has expired, rewriting what was erased, making damaged ones
//! again, and deleting what nothing names any more.
//!
//! Every one of these replaces splits by others in one version of the manifest, which is made only if those that are
//! replaced are still there. So several processes may do it at once; all that can happen is that one has worked in vain.
//!
//! - `plan`: which splits to merge.
//! - `rewrite`: making splits of others, and putting them in their place.
//! - `retention`: what has expired.
//! - `erase`: what was erased.
//! - `reindex`: making splits again from the log.

mod erase;
mod plan;
mod reindex;
mod retention;
mod rewrite;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentworks_processors::erasure::Erasures;
use agentworks_processors::lane::Retention;
use agentworks_schemas::Timestamp;

pub use erase::Erased;
pub use plan::MergePolicy;
pub use reindex::{LogSource, Reindexed};
use tokio::time::sleep;
use tracing::{debug, error, warn};

use crate::cache::SplitCache;
use crate::error::SearchError;
use crate::manifest::{Deleted, Grace, Manifest};
use crate::split::SplitId;

/// How splits are looked after.
#[derive(Clone)]
pub struct MaintainConfig {
    /// A local folder for splits in the making; that of an indexer will do.
    pub scratch: PathBuf,
    /// Which splits are merged.
    pub merge: MergePolicy,
    /// How long entries are kept, by their record timestamps; `None` for ever.
    pub retention: Option<Retention>,
    /// How long things stay that nobody should need any more.
    pub grace: Grace,
    /// Whether this process does the work that begins with a split: so that several share it.
    pub is_mine: Arc<dyn Fn(&SplitId) -> bool + Send + Sync>,
}

impl MaintainConfig {
    /// The defaults: nothing expires, and this process does everything.
    pub fn new(scratch: impl Into<PathBuf>) -> Self {
        MaintainConfig {
            scratch: scratch.into(),
            merge: MergePolicy::default(),
            retention: None,
            grace: Grace::default(),
            is_mine: Arc::new(|_| true),
        }
    }
}

impl std::fmt::Debug for MaintainConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MaintainConfig")
            .field("scratch", &self.scratch)
            .field("merge", &self.merge)
            .finish_non_exhaustive()
    }
}

/// Looks after the splits. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Maintainer {
    manifest: Manifest,
    cache: SplitCache,
    config: MaintainConfig,
    /// What is erased, if that is known here: it is left out of whatever is written.
    erasures: Option<Erasures>,
}

/// What a round has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Merges made.
    pub merged: usize,
    /// Splits that were dropped or rewritten because of their age.
    pub expired: usize,
    /// What was deleted.
    pub deleted: Deleted,
}

/// Splits that turned out to be missing or damaged, which keep nobody from working on the others.
#[derive(Default)]
pub(super) struct Damage(BTreeMap<SplitId, String>);

impl Damage {
    /// A result, unless it is that a split is damaged, which is told and kept.
    pub(super) fn of<T>(&mut self, result: Result<T, SearchError>) -> Result<Option<T>, SearchError> {
        match result {
            Err(error @ SearchError::Split { .. }) => {
                error!(%error, "a split is left as it is: `agentworks reindex --split` makes it again");
                if let SearchError::Split { id, reason } = error {
                    self.0.insert(id, reason);
                }
                Ok(None)
            }
            result => result.map(Some),
        }
    }

    /// Whether a split is one of them.
    pub(super) fn has(&self, id: &SplitId) -> bool {
        self.0.contains_key(id)
    }

    /// # Errors
    /// The first of them, if there is any.
    pub(super) fn told(self) -> Result<(), SearchError> {
        match self.0.into_iter().next() {
            Some((id, reason)) => Err(SearchError::Split { id, reason }),
            None => Ok(()),
        }
    }
}

impl Maintainer {
    /// Looks after the splits in `manifest`, which are opened through `cache`.
    pub fn new(manifest: Manifest, cache: SplitCache, config: MaintainConfig, erasures: Option<Erasures>) -> Self {
        Maintainer { manifest, cache, config, erasures }
    }

    /// Does what is due, erasing apart, which is asked for: see [`Maintainer::erase`]. What fails keeps nothing else from
    /// being done.
    ///
    /// # Errors
    /// The first one, once all else is done; the next round tries again.
    pub async fn round(&self) -> Result<Round, SearchError> {
        let (expired, merged) = (self.expire().await, self.merge().await);
        let deleted = self.manifest.clean(self.config.grace).await;
        Ok(Round { expired: expired?, merged: merged?, deleted: deleted? })
    }

    /// Does what is due, again and again, about every so often. What fails is tried again in the next round.
    pub async fn work(self, every: Duration) {
        loop {
            // Spread, so that many that were started together don't plan the same merges.
            sleep(every.mul_f64(rand::random_range(0.5..1.5))).await;
            match self.round().await {
                Ok(round) if round != Round::default() => debug!(?round, "search splits looked after"),
                Ok(_) => {}
                Err(error) => warn!(%error, "looking after the search splits will be tried again"),
            }
        }
    }

    /// Makes the merges that are due. Returns how many. Splits that are damaged are left as they are, and the others merged.
    ///
    /// # Errors
    /// The store's or the local disk's; or that a split is damaged, once all else is merged.
    pub async fn merge(&self) -> Result<usize, SearchError> {
        let (mut merged, mut damage) = (0, Damage::default());
        loop {
            let state = self.manifest.refresh().await?;
            let planned = self.config.merge.plan(&state, Timestamp::now(), |split| !damage.has(&split.id));
            let Some(splits) = planned.into_iter().find(|splits| (self.config.is_mine)(&splits[0].id)) else {
                damage.told()?;
                return Ok(merged);
            };
            merged += usize::from(damage.of(self.merge_splits(splits).await)?.unwrap_or_default());
        }
    }
}
