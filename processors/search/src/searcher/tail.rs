//! The log beyond what anybody has indexed.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentworks_kafka::{Batch, KafkaError, SeekPool, SeekRequest};
use agentworks_schemas::TopicPartition;
use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::error::SearchError;
use crate::maintain::LogSource;
use crate::split::LaneRange;

/// The log, as searchers read it.
#[async_trait]
pub trait LogTail: LogSource {
    /// The offset after the last record of each of these partitions, or why the brokers can't be asked.
    async fn ends(&self, partitions: &[TopicPartition]) -> BTreeMap<TopicPartition, Result<i64, SearchError>>;
}

/// The log by way of a pool of consumers.
#[derive(Clone, Debug)]
pub struct SeekTail {
    pool: SeekPool,
}

/// How many batches wait for whoever reads.
const READY: usize = 4;

impl SeekTail {
    /// Reads through `pool`.
    pub fn new(pool: SeekPool) -> Self {
        SeekTail { pool }
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
    async fn ends(&self, partitions: &[TopicPartition]) -> BTreeMap<TopicPartition, Result<i64, SearchError>> {
        let ends = self.pool.ends(partitions.iter().copied()).await;
        ends.into_iter().map(|(partition, end)| (partition, end.map_err(fault))).collect()
    }
}
