//! Writing blocks: what the sinks of all tiers have in common.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agentworks_kafka::Batch;
use agentworks_schemas::{Timestamp, TopicPartition};
use agentworks_store::{Store, StoreError};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::block::MAX_FILL;
use super::frame::Packer;
use super::metrics::BlockMetrics;
use super::pending::{Closed, Limits, Pending};
use super::sharing::{Shared, Sharing};
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

/// Blocks, and what has become of writing them.
type Ended = (Vec<Arc<Closed>>, Result<(), SinkError>);

/// Takes entries, and writes them as blocks of a tier. The sinks are made of it.
pub(crate) struct BlockWriter {
    tier: &'static Tier,
    store: Arc<dyn Store>,
    config: BlockConfig,
    metrics: BlockMetrics,
    lanes: HashMap<TopicPartition, Pending>,
    sharing: Sharing,
    packers: Arc<Mutex<Vec<Packer>>>,
    /// The writes that are under way, and how many more may be.
    under_way: JoinSet<Ended>,
    writes: Arc<Semaphore>,
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
        let writes = Arc::new(Semaphore::new(config.writes.max(1)));
        Ok(BlockWriter {
            tier,
            store,
            config,
            metrics,
            lanes: HashMap::new(),
            sharing: Sharing::default(),
            packers: Arc::default(),
            under_way: JoinSet::new(),
            writes,
        })
    }

    /// Shares frames with the writers that are given the same.
    pub(crate) fn share(&mut self, sharing: &Sharing) {
        self.sharing = sharing.clone();
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
    /// from its `taken.high` on sets that to the batch's end then. With it comes what is shared of the batch.
    pub(crate) fn lane_of(&mut self, batch: &Batch) -> Result<Option<(&mut Pending, Shared<'_>)>, SinkError> {
        let Some(lane) = self.lanes.get_mut(&batch.partition) else { return Ok(None) };
        Ok(if lane.taken.is_new(batch)? { Some((lane, self.sharing.begin(self.tier.name, batch))) } else { None })
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

    /// Writes blocks, or with [`Flush::Begin`] begins to and says what has become of those begun before. What could not be
    /// written stays.
    pub(crate) async fn write(&mut self, what: Flush, now: Instant) -> Result<(), SinkError> {
        self.close_blocks(what, now);
        self.begin_writes();
        self.end_writes(what != Flush::Begin).await
    }

    /// Closes the blocks that are to be written.
    fn close_blocks(&mut self, what: Flush, now: Instant) {
        match what {
            Flush::Due | Flush::Begin => {
                self.lanes.values_mut().for_each(|lane| lane.close_older(self.config.block_age, now));
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

    /// Begins to write all closed blocks that aren't being written.
    fn begin_writes(&mut self) {
        let closed = self.lanes.values().flat_map(Pending::closed);
        let waiting = closed.filter(|closed| !closed.is_under_way.swap(true, Ordering::Relaxed)).cloned();
        for group in in_groups(waiting) {
            let write = self.write_group(group.clone());
            let writes = self.writes.clone();
            self.under_way.spawn(async move {
                // It is never closed.
                let _permit = writes.acquire_owned().await;
                (group, write.await)
            });
        }
    }

    /// Sees to the writes that have ended, or waits for all to end. What could not be written stays.
    async fn end_writes(&mut self, all: bool) -> Result<(), SinkError> {
        let mut fault = None::<SinkError>;
        loop {
            let ended = if all { self.under_way.join_next().await } else { self.under_way.try_join_next() };
            let error = match ended {
                None => break,
                Some(Ok((group, Ok(())))) => {
                    group.iter().for_each(|closed| closed.is_written.store(true, Ordering::Relaxed));
                    continue;
                }
                Some(Ok((group, Err(error)))) => {
                    group.iter().for_each(|closed| closed.is_under_way.store(false, Ordering::Relaxed));
                    error
                }
                Some(Err(error)) => StoreError::Failed(format!("a write of blocks: {error}")).into(),
            };
            // What won't pass is worth more to say than what may.
            if fault.as_ref().is_none_or(SinkError::is_transient) {
                fault = Some(error);
            }
        }
        self.lanes.values_mut().for_each(Pending::forget_written);
        fault.map_or(Ok(()), Err)
    }

    /// Compresses and writes some blocks. It borrows nothing, for several run at once.
    fn write_group(&self, group: Vec<Arc<Closed>>) -> impl Future<Output = Result<(), SinkError>> + use<> {
        let (store, packers) = (self.store.clone(), self.packers.clone());
        let (metrics, level) = (self.metrics.clone(), self.config.zstd_level);
        async move {
            let started = Instant::now();
            let (blocks, raw) = (group.len(), group.iter().map(|closed| closed.block.len() as u64).sum());
            let compress = move || {
                let pooled = packers.lock().pop();
                let mut packer = pooled.map_or_else(|| Packer::new(level), Ok)?;
                let mut entries = 0;
                let write = |closed: &Arc<Closed>| {
                    let (stats, contents) = closed.block.pack(&mut packer)?;
                    entries += u64::from(stats.count);
                    Ok(closed.key.write(&stats, contents, closed.expires))
                };
                let writes: Vec<_> = group.iter().map(write).collect::<std::io::Result<_>>()?;
                packers.lock().push(packer);
                Ok::<_, std::io::Error>((writes, entries))
            };
            let compressed = tokio::task::spawn_blocking(compress).await.map_err(std::io::Error::from).flatten();
            let (writes, entries) = compressed.map_err(|error| StoreError::Failed(format!("compression: {error}")))?;
            let stored: usize = writes.iter().map(|write| write.payload.len()).sum();
            store.write(writes).await?;
            metrics.write.observe(started.elapsed().as_secs_f64());
            metrics.blocks.inc_by(blocks as u64);
            metrics.stored_bytes.inc_by(stored as u64);
            metrics.entries.inc_by(entries);
            metrics.raw_bytes.inc_by(raw);
            Ok(())
        }
    }

    /// Publishes the positions that have moved: at once of a partition that was asked for, of others now and then. All that
    /// goes with the entries must be durable.
    pub(crate) async fn publish(&mut self, what: Flush, now: Instant) -> Result<Vec<Held>, SinkError> {
        let is_due = |lane: &mut Pending| {
            what == Flush::Partition(lane.taken.partition)
                || (lane.is_due(self.config.block_age, now) && lane.is_settled())
        };
        let clock = Timestamp::now();
        let mut moved = Vec::new();
        let mut lanes: Vec<_> = self.lanes.values_mut().filter_map(|lane| is_due(lane).then_some(lane)).collect();
        for lane in &mut lanes {
            lane.settled(now);
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
