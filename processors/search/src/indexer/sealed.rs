//! A split on its way to the store and into the manifest.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentworks_processors::lane::Held;
use agentworks_schemas::TopicPartition;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::warn;

use super::live::Live;
use super::metrics::IndexerMetrics;
use crate::error::{Fence, SearchError};
use crate::manifest::{Change, Manifest};
use crate::split::{Found, LaneRange, Packed, Split, SplitMeta, object_name, rebuild};

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
    /// It has entries that lie outside of these ranges, and are not to be published.
    pub(super) has_others: bool,
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
        has_others: bool,
    ) -> Self {
        Sealed {
            unit,
            split,
            lanes: lanes.into_iter().collect(),
            has_others,
            fences: Vec::new(),
            change: None,
            uploaded: None,
        }
    }

    /// Leaves a lane out.
    fn drop_lane(&mut self, partition: TopicPartition) {
        self.lanes.remove(&partition);
        (self.has_others, self.change) = (true, None);
    }

    /// Goes on behind what another process has published of a lane: one that lost it and was late to notice, or, if it is
    /// this one that was late, the one that has it now. Entries are a function of the log, so what is there is what this
    /// one would have published. Returns whether it can: only a position that went back is a fault.
    fn follow(&mut self, fence: &Fence) -> bool {
        let Some((epoch, high)) = fence.found else { return false };
        let Some((range, _)) = self.lanes.get_mut(&fence.partition) else { return false };
        if epoch != range.epoch || high <= range.from {
            return false;
        }
        // If that is all of it, its position need not move, and is told as ever.
        range.from = high.min(range.to);
        (self.has_others, self.change) = (true, None);
        true
    }

    /// What it moves.
    fn ranges(&self) -> Vec<LaneRange> {
        self.lanes.values().map(|(range, _)| *range).filter(|range| range.from < range.to).collect()
    }

    fn change(&mut self) -> Change {
        let lanes = self.ranges();
        let add = self.split.iter().map(|(_, meta)| meta.clone());
        let make = || Change { lanes, add: add.collect(), ..Change::new("publish") };
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
            if sealed.has_others {
                self.leave_out(sealed).await?;
            }
            if sealed.split.is_none() && sealed.ranges().is_empty() {
                return Ok(());
            }
            if sealed.uploaded.is_none_or(|at| at.elapsed() > STALE) {
                self.upload(sealed).await?;
            }
            match self.manifest.publish(&sealed.change()).await {
                Ok(_) => return self.check_object(sealed).await,
                Err(SearchError::Fenced(found)) => {
                    for fence in found {
                        if sealed.follow(&fence) {
                            self.metrics.overtaken.inc();
                            warn!(partition = %fence.partition, reason = fence.reason(), "another process was faster");
                            continue;
                        }
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
        match &sealed.split {
            Some((_, meta)) if !self.manifest.has_object(&object_name(&meta.id)).await? => self.upload(sealed).await,
            _ => Ok(()),
        }
    }

    /// Makes the split anew without the entries that are not to be published.
    async fn leave_out(&self, sealed: &mut Sealed) -> Result<(), SearchError> {
        let lanes = sealed.ranges();
        if let Some((packed, meta)) = &sealed.split {
            let (path, meta, scratch) = (packed.path().to_owned(), Arc::new(meta.clone()), self.scratch.clone());
            let ranges: HashMap<_, _> = lanes.iter().map(|range| (range.partition, *range)).collect();
            let rewrite = move || {
                let split = Split::open(meta, &path)?;
                let mut keeps = |found: &Found<'_>| {
                    ranges.get(&found.position.partition).is_some_and(|range| range.contains(found.position))
                };
                let Some((packed, meta)) = rebuild(&[split], ranges.values().copied(), 0, &scratch, &mut keeps)? else {
                    return Ok(None);
                };
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
        (sealed.has_others, sealed.change) = (false, None);
        Ok(())
    }
}
