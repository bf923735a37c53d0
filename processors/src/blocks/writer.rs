//! Writing blocks: what the sinks of all tiers have in common.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::Batch;
use agentworks_schemas::{Timestamp, TopicPartition};
use agentworks_store::{Store, StoreError};
use futures_util::StreamExt;
use futures_util::stream;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::block::{MAX_FILL, Packer};
use super::metrics::BlockMetrics;
use super::pending::{Closed, Limits, Pending};
use super::tier::{RetentionError, Tier};
use crate::lane::{self, Held, Keep, Retention};
use crate::sink::{Flush, SinkError};

/// About how many bytes, before compression, one call to the store writes.
const WRITE_BYTES: usize = 1 << 20;

/// How many blocks one call to the store writes at most.
const WRITE_BLOCKS: usize = 256;

/// What is kept, and when it is written; see [`crate::hot::HotConfig`].
#[derive(Clone, Debug)]
pub(crate) struct BlockConfig {
    pub(crate) retention: Retention,
    pub(crate) block_bytes: usize,
    pub(crate) block_age: Duration,
    pub(crate) partition_bytes: u64,
    pub(crate) writes: usize,
    pub(crate) zstd_level: i32,
}

/// Takes entries, and writes them as blocks of a tier. The sinks are made of it.
pub(crate) struct BlockWriter {
    tier: &'static Tier,
    store: Arc<dyn Store>,
    config: BlockConfig,
    metrics: BlockMetrics,
    lanes: HashMap<TopicPartition, Pending>,
    packers: Arc<Mutex<Vec<Packer>>>,
}

impl std::fmt::Debug for BlockWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockWriter")
            .field("tier", &self.tier.name)
            .field("lanes", &self.lanes.keys())
            .finish_non_exhaustive()
    }
}

impl BlockWriter {
    /// A writer into `store` that shows its metrics in `registry`.
    pub(crate) fn new(
        tier: &'static Tier,
        store: Arc<dyn Store>,
        config: BlockConfig,
        registry: &mut Registry,
    ) -> Result<Self, RetentionError> {
        tier.check(&config.retention)?;
        let config = BlockConfig { block_bytes: config.block_bytes.min(MAX_FILL), ..config };
        let metrics = BlockMetrics::register(registry);
        Ok(BlockWriter { tier, store, config, metrics, lanes: HashMap::new(), packers: Arc::default() })
    }

    /// As [`Sink::open`](crate::sink::Sink::open).
    pub(crate) async fn open(
        &mut self,
        partition: TopicPartition,
        epoch: u32,
        log_start: i64,
    ) -> Result<Held, SinkError> {
        self.close(partition);
        let keep = Keep { grain: self.tier.grain, retention: self.config.retention.clone() };
        let held = lane::begin(&*self.store, self.tier.name, partition, epoch, log_start, Some(&keep)).await?;
        let BlockConfig { block_bytes, partition_bytes, .. } = self.config;
        let limits = Limits { block_bytes, partition_bytes };
        self.lanes.insert(partition, Pending::new(self.tier, limits, held.clone()));
        Ok(held)
    }

    /// The partition of a batch, if it is open and the batch has anything new for it. Whoever takes the batch's records
    /// from its `taken.high` on sets that to the batch's end then.
    pub(crate) fn lane_of(&mut self, batch: &Batch) -> Result<Option<&mut Pending>, SinkError> {
        let Some(lane) = self.lanes.get_mut(&batch.partition) else { return Ok(None) };
        Ok(if lane.taken.is_new(batch)? { Some(lane) } else { None })
    }

    /// Closes an owner's open blocks in all partitions, so that they are written at the next flush.
    pub(crate) fn close_owner(&mut self, name: &str) {
        self.lanes.values_mut().for_each(|lane| lane.close(name));
    }

    /// How much memory the pending blocks take, in bytes.
    pub(crate) fn pending(&self) -> usize {
        self.lanes.values().map(|lane| lane.memory().0 + lane.memory().1).sum()
    }

    /// Ends with a partition; what is pending for it is dropped.
    pub(crate) fn close(&mut self, partition: TopicPartition) {
        self.lanes.remove(&partition);
    }

    /// Writes blocks. What could not be written stays.
    pub(crate) async fn write(&mut self, what: Flush, now: Instant) -> Result<(), SinkError> {
        self.close_blocks(what, now);
        self.write_blocks().await
    }

    /// Closes the blocks that are to be written.
    fn close_blocks(&mut self, what: Flush, now: Instant) {
        match what {
            Flush::Due => {
                if let Some(since) = now.checked_sub(self.config.block_age) {
                    self.lanes.values_mut().for_each(|lane| lane.close_older(since));
                }
            }
            Flush::Partition(partition) => {
                if let Some(lane) = self.lanes.get_mut(&partition) {
                    lane.close_larger(0);
                }
            }
            Flush::Free(bytes) => {
                let closed: usize = self.lanes.values().map(|lane| lane.memory().1).sum();
                let mut wanted = bytes.saturating_sub(closed);
                let mut sizes: Vec<_> = self.lanes.values().flat_map(Pending::sizes).collect();
                sizes.sort_unstable_by(|a, b| b.cmp(a));
                let enough = sizes.into_iter().take_while(|size| {
                    let more = wanted > 0;
                    wanted = wanted.saturating_sub(*size);
                    more
                });
                if let Some(least) = enough.last() {
                    self.lanes.values_mut().for_each(|lane| lane.close_larger(least));
                }
            }
        }
    }

    /// Writes all closed blocks. What could not be written stays.
    async fn write_blocks(&mut self) -> Result<(), SinkError> {
        let closed = self.lanes.values().flat_map(|lane| lane.closed().iter().cloned());
        let writes = in_groups(closed).into_iter().map(|group| self.write_group(group));
        let results: Vec<_> = stream::iter(writes).buffer_unordered(self.config.writes.max(1)).collect().await;
        let (mut written, mut fault) = (HashSet::new(), None::<SinkError>);
        for result in results {
            match result {
                Ok(group) => written.extend(group.iter().map(Arc::as_ptr)),
                // What won't pass is worth more to say than what may.
                Err(error) if fault.as_ref().is_none_or(SinkError::is_transient) => fault = Some(error),
                Err(_) => {}
            }
        }
        self.lanes.values_mut().for_each(|lane| lane.forget(|closed| written.contains(&Arc::as_ptr(closed))));
        fault.map_or(Ok(()), Err)
    }

    /// Compresses and writes some blocks, and returns them. It borrows nothing, for several run at once.
    fn write_group(
        &self,
        group: Vec<Arc<Closed>>,
    ) -> impl Future<Output = Result<Vec<Arc<Closed>>, SinkError>> + use<> {
        let (store, packers) = (self.store.clone(), self.packers.clone());
        let (metrics, level) = (self.metrics.clone(), self.config.zstd_level);
        async move {
            let started = Instant::now();
            let compress = move || {
                let pooled = packers.lock().pop();
                let mut packer = pooled.map_or_else(|| Packer::new(level), Ok)?;
                let write = |closed: &Arc<Closed>| {
                    let contents = closed.block.compress(&mut packer)?;
                    Ok(closed.key.write(closed.block.stats(), contents, closed.expires))
                };
                let writes: Vec<_> = group.iter().map(write).collect::<std::io::Result<_>>()?;
                packers.lock().push(packer);
                Ok::<_, std::io::Error>((group, writes))
            };
            let compressed = tokio::task::spawn_blocking(compress).await.map_err(std::io::Error::from).flatten();
            let (group, writes) = compressed.map_err(|error| StoreError::Failed(format!("compression: {error}")))?;
            let stored: usize = writes.iter().map(|write| write.payload.len()).sum();
            store.write(writes).await?;
            metrics.write.observe(started.elapsed().as_secs_f64());
            metrics.blocks.inc_by(group.len() as u64);
            metrics.stored_bytes.inc_by(stored as u64);
            for closed in &group {
                metrics.entries.inc_by(closed.block.stats().count.into());
                metrics.raw_bytes.inc_by(closed.block.len() as u64);
            }
            Ok(group)
        }
    }

    /// Publishes the positions that have moved: at once of a partition that was asked for, of others now and then. All that
    /// goes with the entries must be durable.
    pub(crate) async fn publish(&mut self, what: Flush, now: Instant) -> Result<Vec<Held>, SinkError> {
        let is_due = |lane: &&mut Pending| {
            what == Flush::Partition(lane.taken.partition) || lane.published_at + self.config.block_age <= now
        };
        let clock = Timestamp::now();
        let mut moved = Vec::new();
        let mut lanes: Vec<_> = self.lanes.values_mut().filter(is_due).collect();
        for lane in &mut lanes {
            lane.published_at = now;
            let mut held = lane.held();
            held.expire(clock);
            lane.taken.expire(clock);
            if held != lane.published {
                moved.push(held);
            }
        }
        if moved.is_empty() {
            return Ok(moved);
        }
        lane::publish(&*self.store, self.tier.name, &moved).await?;
        for held in &moved {
            if let Some(lane) = self.lanes.get_mut(&held.partition) {
                lane.published = held.clone();
            }
        }
        Ok(moved)
    }
}

/// Blocks in groups of about the size that one call to the store is to have.
fn in_groups(blocks: impl Iterator<Item = Arc<Closed>>) -> Vec<Vec<Arc<Closed>>> {
    let mut groups = Vec::<Vec<_>>::new();
    let mut bytes = 0;
    for block in blocks {
        match groups.last_mut() {
            Some(group) if bytes < WRITE_BYTES && group.len() < WRITE_BLOCKS => group.push(block.clone()),
            _ => {
                bytes = 0;
                groups.push(vec![block.clone()]);
            }
        }
        bytes += block.block.len();
    }
    groups
}
