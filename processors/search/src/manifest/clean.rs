//! Deleting what nobody reads any more.

use std::collections::HashSet;
use std::time::Duration;

use agentworks_schemas::Timestamp;
use futures_util::TryStreamExt;

use super::change::Change;
use super::{Manifest, SNAPSHOT_EVERY, files};
use crate::error::SearchError;
use crate::split::{SplitId, object_name};

/// How long things stay that nobody should need any more.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    /// Versions before the last snapshot but one. Longer than the time after which whoever follows lists anew.
    pub versions: Duration,
    /// Removed splits: as long as a search by an older version may run, and longer than it takes to notice a newer one.
    pub removed: Duration,
    /// Splits that no version ever named. Whoever uploads one and then takes longer to publish it uploads it again.
    pub orphans: Duration,
}

impl Default for Grace {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Grace { versions: hour, removed: hour / 6, orphans: hour }
    }
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Deleted {
    pub versions: usize,
    pub splits: usize,
    pub orphans: usize,
}

fn is_older(at: Timestamp, grace: Duration) -> bool {
    Timestamp::now().since(at) > grace
}

impl Manifest {
    /// Deletes old versions, the objects of splits that were removed, and those of splits that were never published.
    /// Several processes may do this at once.
    ///
    /// # Errors
    /// The store's.
    pub async fn clean(&self, grace: Grace) -> Result<Deleted, SearchError> {
        let versions = self.clean_versions(grace.versions).await?;
        let splits = self.clean_removed(grace.removed).await?;
        let orphans = self.clean_orphans(grace.orphans).await?;
        Ok(Deleted { versions, splits, orphans })
    }

    async fn clean_versions(&self, grace: Duration) -> Result<usize, SearchError> {
        let newest = self.refresh().await?.version;
        let last = newest - newest % SNAPSHOT_EVERY;
        let Some(bound) = last.checked_sub(SNAPSHOT_EVERY).filter(|bound| *bound > 0) else { return Ok(0) };
        let objects = self.objects();
        let listed: Vec<_> =
            objects.store().list(Some(&objects.path(files::FOLDER))).try_collect().await.map_err(objects.error())?;
        let mut old: Vec<_> = listed
            .iter()
            .filter(|object| is_older(Timestamp(object.last_modified.timestamp_millis()), grace))
            .filter_map(|object| object.location.filename().and_then(files::version_of))
            .filter(|version| *version < bound)
            .collect();
        // In their order, and one after the other: whoever finds one knows that those after it were never deleted.
        old.sort_unstable();
        for version in &old {
            objects.delete(&files::name(*version)).await?;
        }
        Ok(old.len())
    }

    async fn clean_removed(&self, grace: Duration) -> Result<usize, SearchError> {
        let state = self.refresh().await?;
        let is_due = |(id, at): (&SplitId, &Timestamp)| is_older(*at, grace).then(|| id.clone());
        let gone: Vec<_> = state.removed.iter().filter_map(is_due).collect();
        if gone.is_empty() {
            return Ok(0);
        }
        for id in &gone {
            self.objects().delete(&object_name(id)).await?;
        }
        let deleted = gone.len();
        self.publish(&Change { gone, ..Change::new("deleted") }).await?;
        Ok(deleted)
    }

    async fn clean_orphans(&self, grace: Duration) -> Result<usize, SearchError> {
        let objects = self.objects();
        // What is listed was uploaded before the state is read: what of it was published by then is in there.
        let listed: Vec<_> =
            objects.store().list(Some(&objects.path("splits"))).try_collect().await.map_err(objects.error())?;
        let state = self.refresh().await?;
        let known: HashSet<&SplitId> = state.splits.keys().chain(state.removed.keys()).collect();
        let mut deleted = 0;
        for object in listed {
            let name = object.location.filename().and_then(|name| name.strip_suffix(".split"));
            let Some(id) = name.and_then(|name| name.parse::<SplitId>().ok()) else { continue };
            if !known.contains(&id) && is_older(Timestamp(object.last_modified.timestamp_millis()), grace) {
                objects.delete(&object_name(&id)).await?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}
