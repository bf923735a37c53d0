//! The archive's sink: takes all topics, keeps records pending for minutes, and publishes them as files of two Delta
//! tables, each with the positions of all lanes in the same commit.

mod lane;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::Batch;
use agentworks_processors::erasure::{Erasures, View};
use agentworks_processors::lane::Held;
use agentworks_processors::sink::{Flush, Sink, SinkError};
use agentworks_schemas::{Topic, TopicPartition};
use async_trait::async_trait;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use self::lane::Lane;
use crate::archive::Archive;
use crate::encode::{Share, encode};
use crate::error::ArchiveError;
use crate::files::FileFormat;
use crate::lanes;
use crate::metrics::SinkMetrics;
use crate::table::{Change, CommitError, Move, NewFile, Operation, Table};

/// When and how the archive is written.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveConfig {
    /// Records are published when the first of them has waited for so long.
    pub flush_interval: Duration,
    /// Or when all that wait fill so much memory, in bytes.
    pub flush_bytes: usize,
    /// The level of zstd, 1 to 22. Small files are merged when their day is over, at a level of their own.
    pub zstd_level: i32,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        ArchiveConfig { flush_interval: Duration::from_secs(600), flush_bytes: 128 << 20, zstd_level: 1 }
    }
}

/// Files that wait to be published for longer are written anew: a vacuum spares them for an hour at least.
const STALE: Duration = Duration::from_secs(30 * 60);

/// A lane's range in a set of files.
type Range = (TopicPartition, u32, i64, i64);

/// Files that have been written and not been published, as far as is known.
#[derive(Debug)]
struct Prepared {
    at: Instant,
    ranges: Vec<Range>,
    files: Vec<NewFile>,
}

/// The sink. It belongs in a consumer group of its own, for it holds its positions back for minutes.
#[derive(Debug)]
pub struct ArchiveSink {
    archive: Archive,
    config: ArchiveConfig,
    lanes: BTreeMap<TopicPartition, Lane>,
    /// By table, as [`Archive::logs`] has them.
    prepared: [Option<Prepared>; 2],
    erasures: Option<Erasures>,
    /// What was published by a flush that failed afterwards.
    unreported: Vec<Held>,
    metrics: SinkMetrics,
}

impl ArchiveSink {
    /// A sink that writes to `archive`, and shows its metrics in `registry`, each as `agentworks_archive_…`.
    ///
    /// # Errors
    /// If the configuration can't be worked with.
    pub fn new(archive: Archive, config: ArchiveConfig, registry: &mut Registry) -> Result<Self, ArchiveError> {
        if !(1..=22).contains(&config.zstd_level) {
            let reason = format!("the archive's zstd_level is {} and must be from 1 to 22", config.zstd_level);
            return Err(ArchiveError::Refused(reason));
        }
        let metrics = SinkMetrics::register(registry.sub_registry_with_prefix("agentworks_archive"));
        let (lanes, prepared, unreported) = (BTreeMap::new(), [None, None], Vec::new());
        Ok(ArchiveSink { archive, config, lanes, prepared, erasures: None, unreported, metrics })
    }

    /// The same, which leaves out what is erased: a group that begins anew passes over records that were.
    pub fn erasures(self, erasures: Erasures) -> Self {
        ArchiveSink { erasures: Some(erasures), ..self }
    }

    fn is_due(&self) -> bool {
        // What lanes keep free for what comes next is no reason to publish: with many lanes that is much.
        self.lanes.values().map(|lane| lane.pending.taken()).sum::<usize>() >= self.config.flush_bytes
            || self.lanes.values().any(|lane| lane.since.is_some_and(|at| at.elapsed() >= self.config.flush_interval))
    }

    /// Publishes all that has been taken for a table.
    async fn publish(&mut self, index: usize) -> Result<(), ArchiveError> {
        let table = self.archive.logs()[index].clone();
        loop {
            let moved = self.lanes.values().filter(|lane| {
                self.archive.table(lane.held.partition.topic).spec().name == table.spec().name && lane.has_moved()
            });
            let shares: Vec<Share> = moved.map(Lane::share).collect();
            if shares.is_empty() {
                self.prepared[index] = None;
                return Ok(());
            }
            let ranges: Vec<Range> =
                shares.iter().map(|share| (share.partition, share.epoch, share.from, share.to)).collect();
            if self.prepared[index].as_ref().is_none_or(|it| it.ranges != ranges || it.at.elapsed() > STALE) {
                // Files of before are not deleted here, for they may have been published after all.
                self.prepared[index] = None;
                let at = Instant::now();
                let files = self.write(&table, shares.clone()).await?;
                self.prepared[index] = Some(Prepared { at, ranges, files });
            }
            let files = self.prepared[index].as_ref().map(|prepared| prepared.files.clone()).unwrap_or_default();
            let rows = shares.iter().map(|share| share.pending.records() as u64).sum();
            let bytes = files.iter().map(|file| file.size).sum();
            let count = files.len() as u64;
            let begun = Instant::now();
            match table.commit(change(&shares, files)).await {
                Ok(version) => {
                    self.metrics.publish.observe(begun.elapsed().as_secs_f64());
                    self.metrics.commits.inc();
                    self.metrics.files.inc_by(count);
                    self.metrics.rows.inc_by(rows);
                    self.metrics.bytes.inc_by(bytes);
                    tracing::debug!(table = table.spec().name, version, rows, bytes, lanes = shares.len(), "published");
                    self.prepared[index] = None;
                    for share in shares {
                        let (partition, to, time) = (share.partition, share.to, share.days.time());
                        drop(share);
                        if let Some(lane) = self.lanes.get_mut(&partition) {
                            self.unreported.push(lane.publish(to, time));
                        }
                    }
                    return Ok(());
                }
                Err(CommitError::Moved(found)) => self.overtaken(&table, &shares, &found).await?,
                Err(CommitError::Gone(paths)) => {
                    return Err(ArchiveError::Corrupt(format!("an append was to remove {paths:?}")));
                }
                Err(CommitError::Fault(error)) => return Err(error),
            }
        }
    }

    /// Encodes and uploads.
    async fn write(&self, table: &Table, shares: Vec<Share>) -> Result<Vec<NewFile>, ArchiveError> {
        let format = FileFormat { zstd_level: self.config.zstd_level };
        let erased = match &self.erasures {
            Some(erasures) => erasures.view().await.map_err(|error| ArchiveError::Unavailable(error.to_string()))?,
            None => Arc::new(View::default()),
        };
        let begun = Instant::now();
        let encoded = {
            let table = table.clone();
            tokio::task::spawn_blocking(move || encode(&table, format, &shares, &erased)).await
        };
        let encoded = encoded.map_err(|error| ArchiveError::Corrupt(format!("encoding failed: {error}")))??;
        self.metrics.encode.observe(begun.elapsed().as_secs_f64());
        let mut files = Vec::new();
        for file in encoded {
            files.push(file.upload(table).await?);
        }
        Ok(files)
    }

    /// Another process has moved positions under this one: one that lost its lanes and was late to notice, or, if it is
    /// this one that was late, the one that has them now. Records are a function of the log, so what it published is
    /// what this one would have; this one goes on behind it. Only a position that went back is a fault.
    async fn overtaken(
        &mut self,
        table: &Table,
        shares: &[Share],
        found: &[(String, Option<i64>)],
    ) -> Result<(), ArchiveError> {
        for share in shares {
            let name = lanes::high(share.partition, share.epoch);
            let Some((_, high)) = found.iter().find(|(moved, _)| *moved == name) else { continue };
            let version = table.version().await?;
            let held = lanes::held(table, &version, share.partition, share.epoch, None).await?;
            let held = match held {
                Some(held) if held.high > share.from => held,
                _ => {
                    let reason = format!(
                        "the archive was at {} and is at {high:?} now: its table was taken back. Stop all writers, and \
                         restore the table or remove it",
                        share.from
                    );
                    return Err(ArchiveError::Position { partition: share.partition, reason });
                }
            };
            self.metrics.overtaken.inc();
            tracing::warn!(partition = %share.partition, from = share.from, to = held.high, "another process was faster");
            if let Some(lane) = self.lanes.get_mut(&share.partition) {
                lane.follow(held.clone());
                self.unreported.push(held);
            }
        }
        Ok(())
    }
}

/// What publishes files and moves the positions.
fn change(shares: &[Share], add: Vec<NewFile>) -> Change {
    let step =
        |share: &Share| Move { name: lanes::high(share.partition, share.epoch), from: Some(share.from), to: share.to };
    let clock = |share: &Share| (lanes::clock(share.partition, share.epoch), share.days.time().millis());
    Change {
        operation: Operation::Append,
        add,
        remove: Vec::new(),
        moves: shares.iter().map(step).collect(),
        record: shares.iter().map(clock).collect(),
    }
}

#[async_trait]
impl Sink for ArchiveSink {
    fn name(&self) -> &'static str {
        lanes::NAME
    }

    fn topics(&self) -> &'static [Topic] {
        &Topic::ALL
    }

    async fn open(&mut self, partition: TopicPartition, epoch: u32, log_start: i64) -> Result<Held, SinkError> {
        self.lanes.remove(&partition);
        let held = lane::begin(self.archive.table(partition.topic), partition, epoch, log_start).await?;
        self.lanes.insert(partition, Lane::new(held.clone()));
        Ok(held)
    }

    async fn take(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let Some(lane) = self.lanes.get_mut(&batch.partition) else { return Ok(()) };
        lane.take(batch)
    }

    fn pending(&self) -> usize {
        self.lanes.values().map(|lane| lane.pending.bytes()).sum()
    }

    async fn flush(&mut self, what: Flush) -> Result<Vec<Held>, SinkError> {
        let all = match what {
            Flush::Due | Flush::Begin => self.is_due() || self.prepared.iter().any(Option::is_some),
            Flush::Free(_) => true,
            // With it goes all that waits: one commit for all lanes costs what one for one does, and when a process
            // ends, it ends with each of its lanes.
            Flush::Partition(partition) => self.lanes.get(&partition).is_some_and(Lane::has_moved),
        };
        if all {
            self.publish(0).await?;
            self.publish(1).await?;
        }
        Ok(std::mem::take(&mut self.unreported))
    }

    fn close(&mut self, partition: TopicPartition) {
        self.lanes.remove(&partition);
        self.unreported.retain(|held| held.partition != partition);
    }
}
