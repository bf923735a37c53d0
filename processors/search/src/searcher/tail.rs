//! The log beyond what anybody has indexed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_kafka::{Batch, KafkaError, SeekPool, SeekRequest};
use agentworks_processors::reader::{LogReader, ReadError};
use agentworks_schemas::{Topic, TopicPartition};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::error::SearchError;
use crate::maintain::LogSource;
use crate::split::LaneRange;

/// Partitions, the epoch of each, and an offset in it.
pub type Lanes = BTreeMap<TopicPartition, (u32, i64)>;

/// The log, as searchers read it.
#[async_trait]
pub trait LogTail: LogSource {
    /// The partitions that entries lie in, beside those that are `known` in the epoch that their topic is in now, and where
    /// the log of each begins.
    ///
    /// # Errors
    /// If the brokers or the store can't be asked.
    async fn others(&self, known: &Lanes) -> Result<Lanes, SearchError>;

    /// The offset after the last record of each of these partitions, or why the brokers can't be asked.
    async fn ends(&self, partitions: &[TopicPartition]) -> BTreeMap<TopicPartition, Result<i64, SearchError>>;
}

/// The log by way of a pool of consumers.
#[derive(Clone, Debug)]
pub struct SeekTail {
    pool: SeekPool,
    /// Knows which partitions there are.
    reader: Option<LogReader>,
    /// The epochs that topics are in, and when that was looked up.
    epochs: Arc<Mutex<Option<LookedUp>>>,
}

type TopicEpochs = BTreeMap<Topic, u32>;
/// When, and what was found.
type LookedUp = (Instant, Arc<TopicEpochs>);

/// How old the epochs may be that are known.
const EPOCH_AGE: Duration = Duration::from_secs(1);

/// How many batches wait for whoever reads.
const READY: usize = 4;

impl SeekTail {
    /// Reads through `pool`. It knows of no partitions but those that it is asked for.
    pub fn new(pool: SeekPool) -> Self {
        SeekTail { pool, reader: None, epochs: Arc::default() }
    }

    /// Reads all partitions that `reader` knows of.
    #[must_use]
    pub fn with_lanes_of(self, reader: LogReader) -> Self {
        SeekTail { reader: Some(reader), ..self }
    }

    /// The epochs that topics are in.
    async fn epochs(&self, reader: &LogReader) -> Result<Arc<TopicEpochs>, ReadError> {
        let known = self.epochs.lock().clone();
        if let Some((at, epochs)) = known
            && at.elapsed() < EPOCH_AGE
        {
            return Ok(epochs);
        }
        let at = Instant::now();
        let epochs = Arc::new(reader.epochs().await?);
        *self.epochs.lock() = Some((at, epochs.clone()));
        Ok(epochs)
    }
}

fn fault(error: KafkaError) -> SearchError {
    SearchError::Log { is_transient: error.is_transient(), reason: error.to_string() }
}

#[async_trait]
impl LogSource for SeekTail {
    async fn read(&self, range: LaneRange) -> mpsc::Receiver<Result<Arc<Batch>, SearchError>> {
        let LaneRange { partition, epoch, from, to } = range;
        let mut batches = self.pool.read(SeekRequest { partition, epoch, from, to, key: None });
        let (sender, receiver) = mpsc::channel(READY);
        tokio::spawn(async move {
            while let Some(batch) = batches.recv().await {
                if sender.send(batch.map_err(fault)).await.is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

#[async_trait]
impl LogTail for SeekTail {
    async fn others(&self, known: &Lanes) -> Result<Lanes, SearchError> {
        let Some(reader) = &self.reader else { return Ok(Lanes::new()) };
        let fault =
            |error: ReadError| SearchError::Log { is_transient: error.is_transient(), reason: error.to_string() };
        let epochs = self.epochs(reader).await.map_err(fault)?;
        let is_known =
            |partition: &TopicPartition, epoch| known.get(partition).is_some_and(|(known, _)| *known >= epoch);
        reader.other_lanes(&epochs, &is_known).await.map_err(fault)
    }

    async fn ends(&self, partitions: &[TopicPartition]) -> BTreeMap<TopicPartition, Result<i64, SearchError>> {
        let ends = self.pool.ends(partitions.iter().copied()).await;
        ends.into_iter().map(|(partition, end)| (partition, end.map_err(fault))).collect()
    }
}
