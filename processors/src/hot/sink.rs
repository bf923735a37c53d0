//! The hot sink.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::{Batch, Content};
use agentworks_schemas::{Timestamp, Topic, TopicPartition};
use agentworks_store::{Store, StoreError};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use zstd::bulk::Compressor;

use super::block::{self, MAX_FILL};
use super::cards::CardBook;
use super::metrics::HotMetrics;
use super::names;
use super::pending::{Closed, Pending};
use crate::lane::{self, Held};
use crate::sink::{Flush, Sink, SinkError};

/// The name under which the positions are kept.
pub(super) const NAME: &str = "hot";

/// About how many bytes, before compression, one call to the store writes.
const WRITE_BYTES: usize = 1 << 20;

/// How many blocks one call to the store writes at most.
const WRITE_BLOCKS: usize = 256;

/// What a card's row that waits to be written costs in memory, about.
const CARD_ROW: usize = 256;

/// What hot keeps, and when it flushes.
#[derive(Clone, Debug)]
pub struct HotConfig {
    /// How long entries are kept after the end of the hour in which they came.
    pub ttl: Duration,
    /// A block is written when it has so many bytes, before compression. At most 4 MiB.
    pub block_bytes: usize,
    /// A block is written when its first entry is so old.
    pub block_age: Duration,
    /// How many writes to the store are under way at once.
    pub writes: usize,
    /// The level of zstd, 1 to 22.
    pub zstd_level: i32,
    /// How many cards are remembered, so that their rows aren't written again and again.
    pub known_cards: usize,
}

impl Default for HotConfig {
    fn default() -> Self {
        HotConfig {
            ttl: Duration::from_secs(24 * 3600),
            block_bytes: 64 << 10,
            block_age: Duration::from_secs(5),
            writes: 4,
            zstd_level: 3,
            known_cards: 100_000,
        }
    }
}

/// The sink. It takes all three topics: entries go into blocks; where a card's records lie is noted of events too.
pub struct HotSink {
    store: Arc<dyn Store>,
    config: HotConfig,
    metrics: HotMetrics,
    lanes: HashMap<TopicPartition, Pending>,
    cards: CardBook,
    compressors: Arc<Mutex<Vec<Compressor<'static>>>>,
    /// Written over for each record.
    name: String,
}

impl std::fmt::Debug for HotSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HotSink").field("lanes", &self.lanes.keys()).finish_non_exhaustive()
    }
}

impl HotSink {
    /// A sink that writes to `store`, and shows its metrics in `registry`.
    pub fn new(store: Arc<dyn Store>, config: HotConfig, registry: &mut Registry) -> Self {
        let config = HotConfig { block_bytes: config.block_bytes.min(MAX_FILL), ..config };
        HotSink {
            store,
            metrics: HotMetrics::register(registry),
            lanes: HashMap::new(),
            cards: CardBook::new(config.known_cards),
            compressors: Arc::default(),
            name: String::new(),
            config,
        }
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
        let (store, compressors) = (self.store.clone(), self.compressors.clone());
        let (metrics, level) = (self.metrics.clone(), self.config.zstd_level);
        async move {
            let started = Instant::now();
            let compress = move || {
                let mut compressor = match compressors.lock().pop() {
                    Some(compressor) => compressor,
                    None => block::compressor(level)?,
                };
                let write = |closed: &Arc<Closed>| {
                    let contents = closed.block.compress(&mut compressor)?;
                    Ok(closed.key.write(closed.block.stats(), contents, closed.expires))
                };
                let writes: Vec<_> = group.iter().map(write).collect::<std::io::Result<_>>()?;
                compressors.lock().push(compressor);
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

    /// Publishes the positions that have moved: at once of a partition that was asked for, of others now and then.
    async fn publish(&mut self, what: Flush, now: Instant) -> Result<Vec<Held>, SinkError> {
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
        lane::publish(&*self.store, NAME, &moved).await?;
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

#[async_trait]
impl Sink for HotSink {
    fn name(&self) -> &'static str {
        NAME
    }

    fn topics(&self) -> &'static [Topic] {
        &Topic::ALL
    }

    async fn open(&mut self, partition: TopicPartition, epoch: u32, log_start: i64) -> Result<Held, SinkError> {
        self.close(partition);
        let held = lane::begin(&*self.store, NAME, partition, epoch, log_start, Some(self.config.ttl)).await?;
        self.lanes.insert(partition, Pending::new(held.clone()));
        Ok(held)
    }

    async fn take(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let Some(lane) = self.lanes.get_mut(&batch.partition) else { return Ok(()) };
        if !lane.taken.is_new(batch)? {
            return Ok(());
        }
        let (now, from, at) = (Instant::now(), lane.taken.high, (batch.partition, batch.epoch));
        let (mut known, mut new) = (0, 0);
        for record in batch.records().iter().filter(|record| record.offset >= from) {
            let (workspace, card) = match &record.content {
                Content::Entry(entry) => (&entry.workspace_id, &entry.card_id),
                Content::Event(event) => (&event.workspace_id, &event.card_id),
            };
            names::join(workspace, card, &mut self.name);
            lane.take(&self.name, record, self.config.block_bytes, now);
            match self.cards.see(&self.name, at, record.offset, record.timestamp) {
                true => known += 1,
                false => new += 1,
            }
        }
        lane.taken.high = batch.to;
        self.metrics.cards_known.inc_by(known);
        self.metrics.cards_new.inc_by(new);
        Ok(())
    }

    fn pending(&self) -> usize {
        let blocks: usize = self.lanes.values().map(|lane| lane.memory().0 + lane.memory().1).sum();
        blocks + self.cards.pending() * CARD_ROW
    }

    async fn flush(&mut self, what: Flush) -> Result<Vec<Held>, SinkError> {
        let now = Instant::now();
        self.close_blocks(what, now);
        self.write_blocks().await?;
        self.cards.write(&*self.store).await?;
        self.publish(what, now).await
    }

    fn close(&mut self, partition: TopicPartition) {
        // What the cards' book has noted stays: it is true whoever goes on with the partition.
        self.lanes.remove(&partition);
    }
}
