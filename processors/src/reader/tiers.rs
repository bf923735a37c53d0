//! What a reading needs of the tiers and the log; the one seam at which tests put fakes.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_kafka::{Batch, Content, KafkaError, Record, SeekRequest, Watermarks};
use agentworks_schemas::{LogEntry, Position, TopicPartition};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::metrics::ReaderMetrics;
use super::{ReadError, ReadFilter, Scope};
use crate::blocks::{BlockStats, Last, StoredEntry};
use crate::erasure::View;
use crate::lane::Held;

/// How many offsets of a partition's log are looked through for a card that may have nothing there. Beyond the tiers, where
/// entries are known to be missing, there is no such bound.
pub(super) const LOG_BUDGET: i64 = 200_000;

/// A tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// By card.
    Hot,
    /// By run.
    Warm,
    /// For ever.
    Cold,
}

/// Where entries are held.
#[async_trait]
pub(super) trait Tiers: fmt::Debug + Send + Sync + 'static {
    /// What a tier holds of a partition, as far as a workspace goes: the cold one in this making of its topic, others in the
    /// one that they have come to.
    async fn held(
        &self,
        tier: Tier,
        partition: TopicPartition,
        epoch: u32,
        workspace: &str,
    ) -> Result<Option<Held>, ReadError>;

    /// As [`BlockReader::forward`](crate::blocks::BlockReader::forward).
    async fn forward(
        &self,
        tier: Tier,
        held: &Held,
        range: &ScopeRange<'_>,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, ReadError>;

    /// As [`BlockReader::backward`](crate::blocks::BlockReader::backward).
    async fn backward(&self, tier: Tier, held: &Held, range: &ScopeRange<'_>, limit: usize) -> Result<Last, ReadError>;

    /// As [`SeekPool::read`](agentworks_kafka::SeekPool::read).
    fn log(&self, request: SeekRequest) -> LogScan;

    /// Where the log of a partition begins and ends right now.
    async fn watermarks(&self, partition: TopicPartition) -> Result<Watermarks, ReadError>;

    /// Which making of its topic the log of a partition is of, as far as is known.
    async fn present(&self, partition: TopicPartition) -> Result<u32, ReadError>;

    /// An offset below which the partition never held anything of the scope, in this making of its topic.
    async fn floor(&self, scope: &Scope, partition: TopicPartition, epoch: u32) -> Result<i64, ReadError>;
}

/// What a tier is asked for: entries of a scope that pass a filter, and others, in a range of a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScopeRange<'a> {
    pub(super) scope: &'a Scope,
    pub(super) filter: &'a ReadFilter,
    pub(super) partition: TopicPartition,
    pub(super) epoch: u32,
    pub(super) from: i64,
    pub(super) to: i64,
}

impl ScopeRange<'_> {
    /// Whether a block may hold any.
    pub(super) fn may_be_in(&self, stats: &BlockStats) -> bool {
        self.scope.may_be_in(stats) && self.filter.may_pass(stats)
    }
}

/// A range of the log, as it comes.
#[derive(Debug)]
pub(super) struct LogScan {
    batches: mpsc::Receiver<Result<Arc<Batch>, KafkaError>>,
    /// Until the first batch is there.
    waiting: Option<(Instant, ReaderMetrics)>,
}

impl LogScan {
    pub(super) fn new(batches: mpsc::Receiver<Result<Arc<Batch>, KafkaError>>, metrics: ReaderMetrics) -> Self {
        LogScan { batches, waiting: Some((Instant::now(), metrics)) }
    }

    /// The next batch; `None` after the last.
    pub(super) async fn next(&mut self) -> Option<Result<Arc<Batch>, KafkaError>> {
        let batch = self.batches.recv().await;
        if let Some((since, metrics)) = self.waiting.take() {
            metrics.sought(since.elapsed());
        }
        batch
    }
}

/// What is read, and from where: what all parts of one reading share.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) tiers: Arc<dyn Tiers>,
    pub(super) scope: Scope,
    pub(super) filter: ReadFilter,
    /// What was erased when the reading began.
    pub(super) erased: Arc<View>,
    pub(super) metrics: ReaderMetrics,
}

impl Reading {
    /// Whether an entry is of the scope, passes the filter, and isn't erased.
    pub(super) fn wants(&self, entry: &LogEntry<'_>, position: Position) -> bool {
        self.scope.holds(entry)
            && self.filter.passes(entry)
            && !self.erased.hides(&entry.workspace_id, &entry.run_id, position)
    }

    /// The entry in a record of the log, if it is wanted.
    pub(super) fn entry(&self, record: &Record<'_>, partition: TopicPartition, epoch: u32) -> Option<StoredEntry> {
        let position = Position { partition, epoch, offset: record.offset };
        match &record.content {
            Content::Entry(entry) if self.wants(entry, position) => {
                Some(StoredEntry { position, timestamp: record.timestamp, entry: entry.clone().into_owned() })
            }
            _ => None,
        }
    }

    /// What a tier is asked for.
    pub(super) fn range(&self, partition: TopicPartition, epoch: u32, from: i64, to: i64) -> ScopeRange<'_> {
        ScopeRange { scope: &self.scope, filter: &self.filter, partition, epoch, from, to }
    }

    /// The tiers, the one first that is best read from: a run lies together in warm, and a card in hot. The log has what
    /// neither holds, and the cold tier what the log hasn't either.
    pub(super) fn tiers(&self) -> [Tier; 3] {
        match self.scope {
            Scope::Run { .. } => [Tier::Warm, Tier::Hot, Tier::Cold],
            Scope::Card { .. } => [Tier::Hot, Tier::Warm, Tier::Cold],
        }
    }

    /// A range of the log, records of other cards left out.
    pub(super) fn log(&self, partition: TopicPartition, epoch: u32, from: i64, to: i64) -> LogScan {
        let key = Some(Bytes::copy_from_slice(self.scope.card().as_bytes()));
        self.tiers.log(SeekRequest { partition, epoch, from, to, key })
    }

    /// What a tier holds of a partition, if anything, in the epoch that is read.
    pub(super) async fn held(
        &self,
        tier: Tier,
        partition: TopicPartition,
        epoch: u32,
    ) -> Result<Option<Held>, ReadError> {
        match self.tiers.held(tier, partition, epoch, self.scope.workspace()).await? {
            Some(held) if held.epoch == epoch => Ok(Some(held).filter(|held| held.low < held.high)),
            // Where no such sink runs any more, its old position stays behind.
            Some(held) if tier != Tier::Hot && held.epoch < epoch => Ok(None),
            // Nothing is taken of a topic that was made again before it is adopted.
            Some(held) if held.epoch < epoch && epoch <= self.tiers.present(partition).await? => Ok(None),
            Some(_) => Err(ReadError::Epoch),
            None => Ok(None),
        }
    }

    /// What comes of reading in a making that isn't known to be over: whether it turned out that it is.
    pub(super) async fn turned_over(
        &self,
        partition: TopicPartition,
        epoch: u32,
        read: Result<(), ReadError>,
    ) -> Result<bool, ReadError> {
        match read {
            Err(ReadError::Epoch) if self.is_over(partition, epoch).await? => Ok(true),
            read => read.map(|()| false),
        }
    }

    /// Whether a making of a partition's topic is over, and the cold tier has seen it: the others or the log have gone on with a
    /// later one.
    pub(super) async fn is_over(&self, partition: TopicPartition, epoch: u32) -> Result<bool, ReadError> {
        let mut is_over = self.tiers.present(partition).await? > epoch;
        for tier in [Tier::Hot, Tier::Warm] {
            let held = self.tiers.held(tier, partition, epoch, self.scope.workspace()).await?;
            is_over |= held.is_some_and(|held| held.epoch > epoch);
        }
        // It may have seen that nothing was there.
        Ok(is_over && self.tiers.held(Tier::Cold, partition, epoch, self.scope.workspace()).await?.is_some())
    }
}

/// The log's reader ended before its range did.
pub(super) fn broke_off(partition: TopicPartition, at: i64) -> ReadError {
    KafkaError::Unavailable(format!("the reading of {partition} broke off at {at}")).into()
}

/// Tries again what may pass: with growing pauses, and not for ever, because somebody waits for the answer.
#[derive(Debug, Default)]
pub(super) struct Patience {
    failures: u32,
}

impl Patience {
    /// About 6 s in all.
    const TRIES: u32 = 7;

    /// All is well again.
    pub(super) fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next try, or gives the error back if it won't pass or has been seen too often.
    pub(super) async fn again(&mut self, error: ReadError, metrics: &ReaderMetrics) -> Result<(), ReadError> {
        self.failures += 1;
        if !error.is_transient() || self.failures > Self::TRIES {
            return Err(error);
        }
        tracing::debug!(%error, "reading a tier failed; trying again");
        metrics.retries.inc();
        sleep(Duration::from_millis(25) * 2u32.pow(self.failures)).await;
        Ok(())
    }
}
