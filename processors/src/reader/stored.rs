//! The tiers as they are.

use std::sync::Arc;

use agentworks_kafka::{SeekPool, SeekRequest, Watermarks};
use agentworks_schemas::TopicPartition;
use agentworks_store::Store;
use async_trait::async_trait;

use super::lanes::PartitionCount;
use super::metrics::ReaderMetrics;
use super::tiers::{LogScan, Tiers};
use super::{ReadError, Scope};
use crate::hot::{HotReader, HotScan, StoredEntry};
use crate::lane::Held;
use crate::runs::RunReader;

/// The store and the log.
#[derive(Debug)]
pub(super) struct StoredTiers {
    pub(super) store: Arc<dyn Store>,
    pub(super) seek: SeekPool,
    pub(super) runs: RunReader,
    pub(super) count: PartitionCount,
    pub(super) metrics: ReaderMetrics,
    hot: HotReader,
}

impl StoredTiers {
    pub(super) fn new(store: Arc<dyn Store>, seek: SeekPool) -> Self {
        let (hot, runs) = (HotReader::new(store.clone()), RunReader::new(store.clone()));
        StoredTiers { store, seek, runs, count: PartitionCount::default(), metrics: ReaderMetrics::default(), hot }
    }
}

#[async_trait]
impl Tiers for StoredTiers {
    async fn held(&self, partition: TopicPartition) -> Result<Option<Held>, ReadError> {
        Ok(self.hot.held(partition).await?)
    }

    async fn hot_forward(&self, held: &Held, scan: &HotScan, limit: usize) -> Result<Vec<StoredEntry>, ReadError> {
        Ok(self.hot.forward(held, scan, limit).await?)
    }

    async fn hot_backward(&self, held: &Held, scan: &HotScan, limit: usize) -> Result<Vec<StoredEntry>, ReadError> {
        Ok(self.hot.backward(held, scan, limit).await?)
    }

    fn log(&self, request: SeekRequest) -> LogScan {
        LogScan::new(self.seek.read(request), self.metrics.clone())
    }

    async fn watermarks(&self, partition: TopicPartition) -> Result<Watermarks, ReadError> {
        Ok(self.seek.watermarks(partition).await?)
    }

    async fn floor(&self, scope: &Scope, partition: TopicPartition) -> Result<i64, ReadError> {
        let lanes = self.lanes(scope).await?;
        Ok(lanes.iter().find(|lane| lane.partition == partition).map_or(0, |lane| lane.floor))
    }
}
