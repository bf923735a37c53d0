//! The warm sink.

use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::{Batch, Content};
use agentworks_schemas::{RunEventKind, Topic, TopicPartition};
use agentworks_store::Store;
use async_trait::async_trait;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::WARM;
use super::index::{CardRun, RunBook};
use crate::blocks::{BlockConfig, BlockWriter, PARTITION_BYTES, RetentionError, Sharing, names};
use crate::lane::{Held, Retention};
use crate::sink::{Flush, Sink, SinkError};

/// What a row of the index that waits to be written costs in memory, about.
const INDEX_ROW: usize = 384;

/// What warm keeps, and when it flushes.
#[derive(Clone, Debug)]
pub struct WarmConfig {
    /// How long entries are kept after the end of the day (UTC) in which they came. At most 90 days.
    pub retention: Retention,
    /// A block is written when it has so many bytes, before compression. At most 4 MiB.
    pub block_bytes: usize,
    /// A block is written when its first entry is so old, or when its run ends.
    pub block_age: Duration,
    /// A new bucket begins within the day when one has so many bytes of entries of a partition of the log.
    pub partition_bytes: u64,
    /// How many writes to the store are under way at once.
    pub writes: usize,
    /// The level of zstd, 1 to 22.
    pub zstd_level: i32,
    /// How many runs are remembered (fewer if their names are long), so that the rows that list them under their cards
    /// aren't written again and again.
    pub known_runs: usize,
}

impl Default for WarmConfig {
    fn default() -> Self {
        WarmConfig {
            retention: Retention::new(Duration::from_secs(30 * 86_400)),
            block_bytes: 256 << 10,
            block_age: Duration::from_secs(30),
            partition_bytes: PARTITION_BYTES,
            writes: 4,
            zstd_level: 1,
            known_runs: 100_000,
        }
    }
}

/// The sink. It takes all three topics: entries go into blocks, and of the events it takes that a run has ended.
#[derive(Debug)]
pub struct WarmSink {
    store: Arc<dyn Store>,
    blocks: BlockWriter,
    index: RunBook,
    /// Written over for each record.
    name: String,
}

impl WarmSink {
    /// A sink that writes to `store`, and shows its metrics in `registry`, each as `agentworks_warm_…`.
    ///
    /// # Errors
    /// If entries are to be kept for longer than warm can.
    pub fn new(store: Arc<dyn Store>, config: WarmConfig, registry: &mut Registry) -> Result<Self, RetentionError> {
        let WarmConfig { retention, block_bytes, block_age, partition_bytes, writes, zstd_level, known_runs } = config;
        let config = BlockConfig { retention, block_bytes, block_age, partition_bytes, writes, zstd_level };
        let registry = registry.sub_registry_with_prefix("agentworks_warm");
        let blocks = BlockWriter::new(&WARM, store.clone(), config, registry)?;
        Ok(WarmSink { store, blocks, index: RunBook::new(known_runs), name: String::new() })
    }

    /// Shares the work of compressing entries with the sinks of the same runtime that are given the same. All must be of
    /// the same level of zstd.
    pub fn sharing(mut self, sharing: &Sharing) -> Self {
        self.blocks.share(sharing);
        self
    }
}

#[async_trait]
impl Sink for WarmSink {
    fn name(&self) -> &'static str {
        WARM.name
    }

    fn topics(&self) -> &'static [Topic] {
        &Topic::ALL
    }

    async fn open(&mut self, partition: TopicPartition, epoch: u32, log_start: i64) -> Result<Held, SinkError> {
        self.blocks.open(partition, epoch, log_start).await
    }

    async fn take(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let Some((lane, mut shared)) = self.blocks.lane_of(batch)? else { return Ok(()) };
        let &Batch { partition, epoch, to, .. } = batch;
        let (now, from) = (Instant::now(), lane.taken.high);
        let mut ended = Vec::new();
        for record in batch.records().iter().filter(|record| record.offset >= from) {
            let (workspace, run, card) = match &record.content {
                Content::Entry(entry) => (&entry.workspace_id, &entry.run_id, &entry.card_id),
                Content::Event(event) => (&event.workspace_id, &event.run_id, &event.card_id),
            };
            names::join(workspace, run, &mut self.name);
            let put = lane.take(&self.name, card, record, now, &mut shared);
            if let Some(put) = put.filter(|put| put.is_new) {
                let (workspace, card, run) = (workspace.to_string(), card.to_string(), run.to_string());
                // As long as anything in the bucket may be kept.
                let expires = lane.taken.expires_last(put.bucket, &workspace);
                let row = CardRun { workspace, card, bucket: put.bucket, partition, epoch, run };
                self.index.note(row, expires);
            }
            if let Content::Event(event) = &record.content
                && matches!(event.kind, RunEventKind::Completed | RunEventKind::Failed | RunEventKind::Cancelled)
            {
                ended.push(self.name.clone());
            }
        }
        lane.taken.high = to;
        drop(shared);
        // Entries of other partitions may come later still; then they make another block.
        ended.iter().for_each(|name| self.blocks.close_owner(name));
        Ok(())
    }

    fn pending(&self) -> usize {
        self.blocks.pending() + self.index.pending() * INDEX_ROW
    }

    async fn flush(&mut self, what: Flush) -> Result<Vec<Held>, SinkError> {
        let now = Instant::now();
        self.blocks.write(what, now).await?;
        self.index.write(&*self.store).await?;
        self.blocks.publish(what, now).await
    }

    fn close(&mut self, partition: TopicPartition) {
        // What the index has noted stays: it is true whoever goes on with the partition.
        self.blocks.close(partition);
    }
}
