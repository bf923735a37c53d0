//! A split on its way to the store and into the manifest.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentworks_objects::object_store::{Error, ObjectStoreExt};
use agentworks_processors::lane::Held;
use agentworks_schemas::TopicPartition;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::warn;

use super::live::Live;
use super::metrics::IndexerMetrics;
use crate::error::{Fence, SearchError};
use crate::manifest::{Change, Manifest};
use crate::split::{LaneRange, Packed, Split, SplitMeta, object_name, rebuild};

/// An object that was uploaded so long ago, and isn't published yet, might be taken for one that nobody needs.
const STALE: Duration = Duration::from_secs(900);

/// A split that takes no more, if there is anything in it, and the positions that it moves.
#[derive(Debug)]
pub(super) struct Sealed {
    /// Its number in [`Live`].
    pub(super) unit: u64,
    pub(super) split: Option<(Packed, SplitMeta)>,
    /// The lanes that it moves, and what will be held of each then.
    pub(super) lanes: BTreeMap<TopicPartition, (LaneRange, Held)>,
    /// Lanes of which it has entries that are not to be published.
    pub(super) dropped: BTreeSet<TopicPartition>,
    /// Lanes that turned out to be others'.
    fences: Vec<Fence>,
    /// The change, as it was tried.
    change: Option<Change>,
    uploaded: Option<Instant>,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) held: Vec<Held>,
    pub(super) fences: Vec<Fence>,
}

/// What publishing needs.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    pub(super) manifest: Manifest,
    pub(super) live: Live,
    pub(super) scratch: PathBuf,
    pub(super) metrics: IndexerMetrics,
}

impl Sealed {
    pub(super) fn new(
        unit: u64,
        split: Option<(Packed, SplitMeta)>,
        lanes: HashMap<TopicPartition, (LaneRange, Held)>,
        dropped: BTreeSet<TopicPartition>,
    ) -> Self {
        Sealed {
            unit,
            split,
            lanes: lanes.into_iter().collect(),
            dropped,
            fences: Vec::new(),
            change: None,
            uploaded: None,
        }
    }

    /// Leaves a lane out.
    fn drop_lane(&mut self, partition: TopicPartition) {
        self.lanes.remove(&partition);
        self.dropped.insert(partition);
        self.change = None;
    }

    fn change(&mut self) -> Change {
        let lanes = self.lanes.values().map(|(range, _)| *range);
        let add = self.split.iter().map(|(_, meta)| meta.clone());
        let make = || Change { lanes: lanes.collect(), add: add.collect(), ..Change::new("publish") };
        self.change.get_or_insert_with(make).clone()
    }
}

impl Publisher {
    /// Uploads and publishes. After an error it comes back, to be tried again; it is published once.
    pub(super) async fn publish(self, mut sealed: Sealed) -> Result<Published, (Box<Sealed>, SearchError)> {
        let begun = Instant::now();
        if let Err(error) = self.try_publish(&mut sealed).await {
            return Err((Box::new(sealed), error));
        }
        let metrics = &self.metrics;
        if let Some((_, meta)) = &sealed.split {
            metrics.docs.inc_by(meta.docs);
            metrics.splits.inc();
            metrics.bytes.inc_by(meta.bytes);
        }
        metrics.publish.observe(begun.elapsed().as_secs_f64());
        metrics.conflicts.set(i64::try_from(self.manifest.conflicts()).unwrap_or(i64::MAX));
        metrics.fenced.inc_by(sealed.fences.len() as u64);
        self.live.published(sealed.unit);
        let held = sealed.lanes.into_values().map(|(_, held)| held).collect();
        Ok(Published { held, fences: sealed.fences })
    }

    async fn try_publish(&self, sealed: &mut Sealed) -> Result<(), SearchError> {
        loop {
            if !sealed.dropped.is_empty() {
                self.leave_out(sealed).await?;
            }
            if sealed.split.is_none() && sealed.lanes.is_empty() {
                return Ok(());
            }
            if sealed.uploaded.is_none_or(|at| at.elapsed() > STALE) {
                self.upload(sealed).await?;
            }
            match self.manifest.publish(&sealed.change()).await {
                Ok(_) => return self.check_object(sealed).await,
                Err(SearchError::Fenced(found)) => {
                    for fence in found {
                        warn!(partition = %fence.partition, reason = fence.reason(), "a lane is another's");
                        sealed.drop_lane(fence.partition);
                        self.live.lose(fence.partition);
                        sealed.fences.push(fence);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn upload(&self, sealed: &mut Sealed) -> Result<(), SearchError> {
        if let Some((packed, meta)) = &sealed.split {
            self.manifest.objects().put_large(&object_name(&meta.id), packed.contents()?).await?;
        }
        sealed.uploaded = Some(Instant::now());
        Ok(())
    }

    /// Makes sure that what was published is there: if this process stood still between uploading and publishing, the
    /// object may have been taken for one that nobody needs.
    async fn check_object(&self, sealed: &mut Sealed) -> Result<(), SearchError> {
        let Some((_, meta)) = &sealed.split else { return Ok(()) };
        let objects = self.manifest.objects();
        match objects.store().head(&objects.path(&object_name(&meta.id))).await {
            Ok(_) => Ok(()),
            Err(Error::NotFound { .. }) => self.upload(sealed).await,
            Err(error) => Err(objects.error()(error).into()),
        }
    }

    /// Makes the split anew without the lanes that are not to be published.
    async fn leave_out(&self, sealed: &mut Sealed) -> Result<(), SearchError> {
        let lanes: Vec<_> = sealed.lanes.values().map(|(range, _)| *range).collect();
        if let Some((packed, meta)) = &sealed.split {
            let (path, meta, scratch) = (packed.path().to_owned(), Arc::new(meta.clone()), self.scratch.clone());
            let (dropped, ranges) = (sealed.dropped.clone(), lanes.clone());
            let rewrite = move || {
                let split = Split::open(meta, &path)?;
                let rebuilt =
                    rebuild(&[split], ranges, 0, &scratch, &mut |found| !dropped.contains(&found.position.partition))?;
                let Some((packed, meta)) = rebuilt else { return Ok(None) };
                let split = Split::open(Arc::new(meta.clone()), packed.path())?;
                Ok::<_, SearchError>(Some((packed, meta, split.searcher().clone())))
            };
            let rewritten = spawn_blocking(rewrite).await??;
            let searcher = rewritten.as_ref().map(|(_, _, searcher)| searcher.clone());
            self.live.replaced(sealed.unit, searcher, &lanes);
            sealed.split = rewritten.map(|(packed, meta, _)| (packed, meta));
            sealed.uploaded = None;
        } else {
            self.live.replaced(sealed.unit, None, &lanes);
        }
        sealed.change = None;
        sealed.dropped.clear();
        Ok(())
    }
}
