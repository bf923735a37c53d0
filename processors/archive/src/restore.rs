//! Restoring the store's rows of runs.
//!
//! A store that was lost is filled again from the log, as far back as that goes. What the log no longer has, the archive
//! has: the sink's own rows say from where on each partition is counted, and of what lies before, rows are made beside
//! them, by the same sink's rules and with a position of their own. So it may run while everything does, may be ended at
//! any time, and goes on where it ended.

use std::sync::Arc;

use agentworks_processors::erasure::Erasures;
use agentworks_processors::lane::Held;
use agentworks_processors::runs::{RunReader, RunsConfig, RunsSink};
use agentworks_processors::sink::{Flush, Sink, SinkError};
use agentworks_schemas::TopicPartition;
use agentworks_store::Store;
use serde::Serialize;

use crate::error::ArchiveError;
use crate::read::ArchiveReader;

/// So much of what was counted may wait to be written, in bytes.
const PENDING: usize = 32 << 20;

/// What was restored of a partition, in one making of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The partition.
    pub partition: TopicPartition,
    /// Which making of its topic.
    pub epoch: u32,
    /// The offsets that were counted now; none if they had been before.
    pub range: (i64, i64),
    /// How many records these are.
    pub records: u64,
    /// From here on the sink has counted: where the range ends before, the archive lacks what lies between.
    pub began: i64,
}

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The archive's.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The store's, or the rows' in it.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The sink has rows of no partition, so that nothing says up to where the archive is to be counted.
    #[error(
        "the sink runs has not begun in this store: start `agentworks process` with it first, and leave it running"
    )]
    NotBegun,
}

/// Counts into the store what the archive has of each partition from before its sink `runs` began. Gives `tell` what was
/// done of each.
///
/// # Errors
/// See [`RestoreError`]. What was done until then stays, and is not done again.
pub async fn restore_runs(
    archive: &ArchiveReader,
    store: &Arc<dyn Store>,
    mut tell: impl FnMut(Restored),
) -> Result<(), RestoreError> {
    let runs = RunReader::new(store.clone());
    let all = runs.all_held().await?;
    if all.is_empty() {
        return Err(RestoreError::NotBegun);
    }
    let erasures = Erasures::follow(store.clone());
    let mut sink = RunsSink::new(store.clone(), RunsConfig::default()).erasures(erasures).restoring();
    for held in all {
        for making in archive.makings(held.partition).await? {
            // Of what was there before the topic was made anew, the sink will see nothing.
            let to = if making.epoch == held.epoch { held.began } else { making.high };
            if making.epoch <= held.epoch && making.low < to {
                tell(restore(archive, &runs, &mut sink, &making, to).await?);
            }
        }
    }
    Ok(())
}

/// Counts what an archive has of a partition below `to`, and hasn't been counted.
async fn restore(
    archive: &ArchiveReader,
    runs: &RunReader,
    sink: &mut RunsSink,
    making: &Held,
    to: i64,
) -> Result<Restored, RestoreError> {
    let &Held { partition, epoch, low, .. } = making;
    let before = runs.restored_to(partition).await?;
    if before.as_ref().is_some_and(|before| before.epoch > epoch) {
        return Ok(Restored { partition, epoch, range: (to, to), records: 0, began: to });
    }
    // What has been given up in the archive since is not missing here.
    let start = before.filter(|before| before.epoch == epoch).map_or(low, |before| before.high);
    let from = sink.open(partition, epoch, start).await?.high;
    let (mut next, mut records) = (from, 0);
    let mut lane = archive.lane(partition, epoch, from, to).await?;
    while let Some(batch) = lane.next().await? {
        sink.take(&batch).await?;
        (next, records) = (batch.to, records + batch.records().len() as u64);
        let what = if sink.pending() > PENDING { Flush::Partition(partition) } else { Flush::Due };
        sink.flush(what).await?;
    }
    sink.flush(Flush::Partition(partition)).await?;
    sink.close(partition);
    Ok(Restored { partition, epoch, range: (from, next), records, began: to })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_processors::runs::RunListing;
    use agentworks_schemas::Topic;
    use agentworks_store::EmbeddedStore;

    use super::*;
    use crate::Archive;
    use crate::testing::{NOON, batch, fill, folder, lane};

    const EVENTS: TopicPartition = TopicPartition { topic: Topic::RunEvents, partition: 0 };

    fn store(folder: &std::path::Path, name: &str) -> Arc<dyn Store> {
        Arc::new(EmbeddedStore::open(folder.join(name)).unwrap())
    }

    /// Has the sink count a range of both lanes.
    async fn count(store: &Arc<dyn Store>, from: i64, to: i64) {
        let mut sink = RunsSink::new(store.clone(), RunsConfig::default());
        for lane in [lane(0), EVENTS] {
            let held = sink.open(lane, 0, from).await.unwrap();
            sink.take(&batch(lane, held.high, to, NOON)).await.unwrap();
            sink.flush(Flush::Partition(lane)).await.unwrap();
        }
    }

    async fn restored(archive: &Archive, store: &Arc<dyn Store>) -> Result<Vec<Restored>, RestoreError> {
        let mut told = Vec::new();
        restore_runs(&ArchiveReader::new(archive), store, |restored| told.push(restored)).await?;
        told.sort_by_key(|restored| restored.partition);
        Ok(told)
    }

    async fn runs(store: &Arc<dyn Store>) -> Vec<agentworks_schemas::protocol::RunSummary> {
        let reader = RunReader::new(store.clone());
        let (mut runs, mut page) = (Vec::new(), None);
        for workspace in ["ws-0", "ws-1"] {
            loop {
                let shown = reader.list(workspace, &RunListing::Workspace, page.as_ref(), 7).await.unwrap();
                runs.extend(shown.runs);
                page = shown.next;
                if page.is_none() {
                    break;
                }
            }
        }
        runs
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lost_stores_runs_are_as_if_it_had_never_been_lost() {
        let (folder, objects) = folder();
        let archive = Archive::open(&objects).await.unwrap();
        let (kept, lost) = (store(folder.path(), "kept"), store(folder.path(), "lost"));
        count(&kept, 0, 700).await;
        assert!(matches!(restored(&archive, &lost).await, Err(RestoreError::NotBegun)));
        count(&lost, 450, 600).await;
        // The archive is behind at first: it goes on when it has more.
        fill(&archive, &[lane(0), EVENTS], 0, 300, NOON).await;
        let told = restored(&archive, &lost).await.unwrap();
        let ranges = |told: &[Restored]| told.iter().map(|it| (it.range, it.records, it.began)).collect::<Vec<_>>();
        assert_eq!(ranges(&told), [((0, 300), 273, 450), ((0, 300), 273, 450)]);
        fill(&archive, &[lane(0), EVENTS], 300, 700, NOON).await;
        let told = restored(&archive, &lost).await.unwrap();
        assert_eq!(ranges(&told), [((300, 450), 137, 450), ((300, 450), 137, 450)]);
        assert_eq!(ranges(&restored(&archive, &lost).await.unwrap()), [((450, 450), 0, 450); 2]);
        // The sink goes on.
        count(&lost, 450, 700).await;
        let (kept, lost) = (runs(&kept).await, runs(&lost).await);
        assert!(kept.len() > 200 && kept.iter().any(|run| run.cost == Some(0.25) && run.exit_code == Some(0)));
        assert_eq!(lost, kept);
    }
}
