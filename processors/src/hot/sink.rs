//! The hot sink.

use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::{Batch, Content};
use agentworks_schemas::{Position, Topic, TopicPartition};
use agentworks_store::Store;
use async_trait::async_trait;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tracing::warn;

use super::HOT;
use super::book::{CardBook, Seen};
use super::metrics::CardMetrics;
use crate::blocks::{BlockConfig, BlockWriter, PARTITION_BYTES, RetentionError, Sharing, names};
use crate::erasure::{Erasures, View};
use crate::lane::{Held, Retention};
use crate::sink::{Flush, Sink, SinkError};

/// What a card's row that waits to be written costs in memory, about.
const CARD_ROW: usize = 256;

/// What hot keeps, and when it flushes.
#[derive(Clone, Debug)]
pub struct HotConfig {
    /// How long entries are kept after the end of the hour in which they came. At most 7 days.
    pub retention: Retention,
    /// A block is written when it has so many bytes, before compression. At most 4 MiB.
    pub block_bytes: usize,
    /// A block is written when its first entry is so old.
    pub block_age: Duration,
    /// A new bucket begins within the hour when one has so many bytes of entries of a partition of the log.
    pub partition_bytes: u64,
    /// How many writes to the store are under way at once.
    pub writes: usize,
    /// The level of zstd, 1 to 22.
    pub zstd_level: i32,
    /// How many cards are remembered (fewer if their names are long), so that their rows aren't written again and again.
    pub known_cards: usize,
}

impl Default for HotConfig {
    fn default() -> Self {
        HotConfig {
            retention: Retention::new(Duration::from_secs(24 * 3600)),
            block_bytes: 128 << 10,
            block_age: Duration::from_secs(5),
            partition_bytes: PARTITION_BYTES,
            writes: 4,
            zstd_level: 1,
            known_cards: 100_000,
        }
    }
}

/// The sink. It takes all three topics: entries go into blocks; where a card's records lie is noted of events too.
#[derive(Debug)]
pub struct HotSink {
    store: Arc<dyn Store>,
    blocks: BlockWriter,
    cards: CardBook,
    erasures: Option<Erasures>,
    /// What was last known of them.
    view: Arc<View>,
    metrics: CardMetrics,
    /// Written over for each record.
    name: String,
}

impl HotSink {
    /// A sink that writes to `store`, and shows its metrics in `registry`, each as `agentworks_hot_…`.
    ///
    /// # Errors
    /// If entries are to be kept for longer than hot can.
    pub fn new(store: Arc<dyn Store>, config: HotConfig, registry: &mut Registry) -> Result<Self, RetentionError> {
        let HotConfig { retention, block_bytes, block_age, partition_bytes, writes, zstd_level, known_cards } = config;
        let config = BlockConfig { retention, block_bytes, block_age, partition_bytes, writes, zstd_level };
        let registry = registry.sub_registry_with_prefix("agentworks_hot");
        Ok(HotSink {
            blocks: BlockWriter::new(&HOT, store.clone(), config, registry)?,
            store,
            cards: CardBook::new(known_cards),
            erasures: None,
            view: Arc::default(),
            metrics: CardMetrics::register(registry),
            name: String::new(),
        })
    }

    /// Shares the work of compressing entries with the sinks of the same runtime that are given the same. All must be of
    /// the same level of zstd.
    pub fn sharing(mut self, sharing: &Sharing) -> Self {
        self.blocks.share(sharing);
        self
    }

    /// The same, listing a card anew with its first record beyond an erasure of its workspace.
    pub fn erasures(self, erasures: Erasures) -> Self {
        HotSink { erasures: Some(erasures), ..self }
    }
}

#[async_trait]
impl Sink for HotSink {
    fn name(&self) -> &'static str {
        HOT.name
    }

    fn topics(&self) -> &'static [Topic] {
        &Topic::ALL
    }

    async fn open(&mut self, partition: TopicPartition, epoch: u32, log_start: i64) -> Result<Held, SinkError> {
        self.blocks.open(partition, epoch, log_start).await
    }

    async fn take(&mut self, batch: &Batch) -> Result<(), SinkError> {
        if let Some(erasures) = &self.erasures {
            match erasures.view().await {
                Ok(view) => self.view = view,
                Err(error) if error.is_transient() => return Err(error.into()),
                // A newer version's, maybe. Only the list of cards is at stake, and whoever clears hot mends that.
                Err(error) => warn!(%error, "cards are listed by what was known of erasures before"),
            }
        }
        let Some((lane, mut shared)) = self.blocks.lane_of(batch)? else { return Ok(()) };
        let &Batch { partition, epoch, .. } = batch;
        let (now, from) = (Instant::now(), lane.taken.high);
        let (mut known, mut new) = (0, 0);
        for record in batch.records().iter().filter(|record| record.offset >= from) {
            let (workspace, card, run) = match &record.content {
                Content::Entry(entry) => (&entry.workspace_id, &entry.card_id, &entry.run_id),
                Content::Event(event) => (&event.workspace_id, &event.card_id, &event.run_id),
            };
            names::join(workspace, card, &mut self.name);
            let put = lane.take(&self.name, run, record, now, &mut shared);
            let at = Position { partition, epoch, offset: record.offset };
            let erasures = self.view.whole_of(workspace);
            if erasures.is_empty() && put.is_some_and(|put| !put.is_first) {
                // The card was seen when the block was begun.
                known += 1;
                continue;
            }
            match self.cards.see(&self.name, Seen { at, timestamp: record.timestamp }, erasures) {
                true => known += 1,
                false => new += 1,
            }
        }
        lane.taken.high = batch.to;
        self.metrics.known.inc_by(known);
        self.metrics.new.inc_by(new);
        Ok(())
    }

    fn pending(&self) -> usize {
        self.blocks.pending() + self.cards.pending() * CARD_ROW
    }

    async fn flush(&mut self, what: Flush) -> Result<Vec<Held>, SinkError> {
        let now = Instant::now();
        self.blocks.write(what, now).await?;
        self.cards.write(&*self.store, &self.view).await?;
        self.blocks.publish(what, now).await
    }

    fn close(&mut self, partition: TopicPartition) {
        // What the cards' book has noted stays: it is true whoever goes on with the partition.
        self.blocks.close(partition);
    }
}
