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
use crate::hot::{HotScan, StoredEntry};
use crate::lane::Held;

/// Where entries are held.
#[async_trait]
pub(super) trait Tiers: fmt::Debug + Send + Sync + 'static {
    /// What hot holds of a partition.
    async fn held(&self, partition: TopicPartition) -> Result<Option<Held>, ReadError>;

    /// As [`HotReader::forward`](crate::hot::HotReader::forward).
    async fn hot_forward(&self, held: &Held, scan: &HotScan, limit: usize) -> Result<Vec<StoredEntry>, ReadError>;

    /// As [`HotReader::backward`](crate::hot::HotReader::backward).
    async fn hot_backward(&self, held: &Held, scan: &HotScan, limit: usize) -> Result<Vec<StoredEntry>, ReadError>;

    /// As [`SeekPool::read`](agentworks_kafka::SeekPool::read).
    fn log(&self, request: SeekRequest) -> LogScan;

    /// Where the log of a partition begins and ends right now.
    async fn watermarks(&self, partition: TopicPartition) -> Result<Watermarks, ReadError>;

    /// An offset below which the partition never held anything of the scope.
    async fn floor(&self, scope: &Scope, partition: TopicPartition) -> Result<i64, ReadError>;
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
    pub(super) metrics: ReaderMetrics,
}

impl Reading {
    /// Whether an entry is of the scope and passes the filter.
    pub(super) fn wants(&self, entry: &LogEntry<'_>) -> bool {
        self.scope.holds(entry) && self.filter.passes(entry)
    }

    /// The entry in a record of the log, if it is wanted.
    pub(super) fn entry(&self, record: &Record<'_>, partition: TopicPartition, epoch: u32) -> Option<StoredEntry> {
        match &record.content {
            Content::Entry(entry) if self.wants(entry) => Some(StoredEntry {
                position: Position { partition, epoch, offset: record.offset },
                timestamp: record.timestamp,
                entry: entry.clone().into_owned(),
            }),
            _ => None,
        }
    }

    /// What hot is asked for.
    pub(super) fn scan(&self, partition: TopicPartition, epoch: u32, from: i64, to: i64) -> HotScan {
        let (workspace, card) = (self.scope.workspace().to_owned(), self.scope.card().to_owned());
        HotScan { workspace, card, partition, epoch, from, to }
    }

    /// A range of the log, records of other cards left out.
    pub(super) fn log(&self, partition: TopicPartition, epoch: u32, from: i64, to: i64) -> LogScan {
        let key = Some(Bytes::copy_from_slice(self.scope.card().as_bytes()));
        self.tiers.log(SeekRequest { partition, epoch, from, to, key })
    }

    /// What hot holds of a partition, if anything, in the epoch that is read.
    pub(super) async fn held(&self, partition: TopicPartition, epoch: u32) -> Result<Option<Held>, ReadError> {
        match self.tiers.held(partition).await? {
            Some(held) if held.epoch != epoch => Err(ReadError::Epoch),
            held => Ok(held.filter(|held| held.low < held.high)),
        }
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
