//! The sink.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::Batch;
use agentworks_processors::epochs::forgotten;
use agentworks_processors::lane::{self, Held};
use agentworks_processors::sink::{Flush, Sink, SinkError};
use agentworks_schemas::{Timestamp, Topic, TopicPartition};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use super::live::Live;
use super::making::{Contents, Making};
use super::metrics::IndexerMetrics;
use super::page::{Chunk, Page};
use super::sealed::{Published, Publisher, Sealed};
use super::{IndexerConfig, NAME, TOPICS};
use crate::error::{Fence, SearchError};
use crate::manifest::{Change, LaneStart, Manifest};
use crate::split::LaneRange;

/// A sink that catches up with the log publishes as often by the log's own clock as one that takes entries as they come, but
/// not more often than this: splits that are small cost their merging.
const CATCHING_UP: Duration = Duration::from_secs(10);

/// So many entries are indexed so quickly that taking more waits for it; more are indexed beside it.
const AT_ONCE: usize = 2048;

type Publishing = JoinHandle<Result<Published, (Box<Sealed>, SearchError)>>;

/// The sink `search`.
pub(super) struct SearchSink {
    config: IndexerConfig,
    publisher: Publisher,
    live: Live,
    making: Arc<Mutex<Making>>,
    /// The bytes of the split in the making, on disk and in memory, and whether it is full; as of the last segment.
    size: Arc<Mutex<Size>>,
    lanes: HashMap<TopicPartition, Lane>,
    /// Lanes that were closed while the split in the making had something of them.
    dropped: BTreeSet<TopicPartition>,
    /// When the split in the making was begun with.
    since: Option<Instant>,
    /// What waited when the split in the making was due is being indexed, while more is taken.
    is_preparing: bool,
    /// What indexes the pages that wait.
    indexing: Option<JoinHandle<Result<(), SearchError>>>,
    publishing: Option<Publishing>,
    /// What could not be published yet.
    sealed: Option<Box<Sealed>>,
    /// What was published and isn't told yet.
    held: Vec<Held>,
    fences: Vec<Fence>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    disk: u64,
    memory: usize,
    is_full: bool,
}

/// A lane that is open.
#[derive(Debug)]
struct Lane {
    taken: Held,
    /// Up to where it is in splits that are sealed.
    sealed: i64,
    /// The lane's clock at the first record beyond.
    began: Option<Timestamp>,
}

impl SearchSink {
    pub(super) fn new(config: IndexerConfig, manifest: Manifest, live: Live, metrics: IndexerMetrics) -> Self {
        let (making, scratch) = (Arc::new(Mutex::new(Making::new(&config))), config.scratch.clone());
        SearchSink {
            publisher: Publisher { manifest, live: live.clone(), scratch, metrics },
            config,
            live,
            making,
            size: Arc::default(),
            lanes: HashMap::new(),
            dropped: BTreeSet::new(),
            since: None,
            is_preparing: false,
            indexing: None,
            publishing: None,
            sealed: None,
            held: Vec::new(),
            fences: Vec::new(),
        }
    }

    fn is_indexing(&self) -> bool {
        self.indexing.as_ref().is_some_and(|indexing| !indexing.is_finished())
    }

    /// Has pages indexed, if enough wait and nobody does it; with `rest` all that wait.
    async fn index(&mut self, rest: bool) -> Result<(), SearchError> {
        if self.is_indexing() {
            return Ok(());
        }
        self.indexed().await?;
        let chunk = self.config.chunk();
        if !self.live.next(chunk, rest).is_empty() {
            let (live, making, size) = (self.live.clone(), self.making.clone(), self.size.clone());
            self.indexing = Some(spawn_blocking(move || index_all(&live, &mut making.lock(), &size, chunk, rest)));
        }
        Ok(())
    }

    /// Waits until whoever indexes has ended.
    async fn indexed(&mut self) -> Result<(), SearchError> {
        match self.indexing.take() {
            Some(indexing) => indexing.await?,
            None => Ok(()),
        }
    }

    /// Waits until all that was taken is indexed.
    async fn index_rest(&mut self) -> Result<(), SearchError> {
        loop {
            self.index(true).await?;
            if self.indexing.is_none() {
                return Ok(());
            }
            self.indexed().await?;
        }
    }

    /// Writes the segment in the making, which frees its memory.
    async fn end_segment(&mut self) -> Result<(), SearchError> {
        self.index_rest().await?;
        let (live, making, size) = (self.live.clone(), self.making.clone(), self.size.clone());
        spawn_blocking(move || end_segment(&live, &mut making.lock(), &size)).await?
    }

    /// Ends the split in the making, and has it published. There must be none on its way.
    async fn seal(&mut self) -> Result<(), SearchError> {
        self.index_rest().await?;
        let (making, size) = (self.making.clone(), self.size.clone());
        let contents = spawn_blocking(move || {
            let contents = making.lock().seal()?;
            *size.lock() = Size::default();
            Ok::<_, SearchError>(contents)
        });
        let (contents, searcher) =
            contents.await??.map_or((None, None), |(contents, searcher)| (Some(contents), Some(searcher)));
        let mut lanes = HashMap::new();
        for (partition, lane) in &mut self.lanes {
            let (from, to) = (lane.sealed, lane.taken.high);
            if from < to {
                let range = LaneRange { partition: *partition, epoch: lane.taken.epoch, from, to };
                lanes.insert(*partition, (range, lane.taken.clone()));
                (lane.sealed, lane.began) = (to, None);
            }
        }
        let split = contents.map(|Contents { packed, docs, workspaces }| {
            let ranges = LaneRange::union(lanes.values().map(|(range, _)| *range));
            let meta = packed.meta(docs, 0, ranges, workspaces, Default::default());
            (packed, meta)
        });
        (self.since, self.is_preparing) = (None, false);
        let has_others = !std::mem::take(&mut self.dropped).is_empty();
        let unit = self.live.sealed(searcher);
        self.start(Box::new(Sealed::new(unit, split, lanes, has_others)));
        Ok(())
    }

    fn start(&mut self, sealed: Box<Sealed>) {
        self.publishing = Some(tokio::spawn(self.publisher.clone().publish(*sealed)));
    }

    /// Takes note of what was published, if it has been by now, or waits for it.
    async fn settle(&mut self, wait: bool) -> Result<(), SearchError> {
        if self.publishing.is_none()
            && let Some(sealed) = self.sealed.take()
        {
            self.start(sealed);
        }
        if !wait && self.publishing.as_ref().is_some_and(|publishing| !publishing.is_finished()) {
            return Ok(());
        }
        let Some(publishing) = self.publishing.take() else { return Ok(()) };
        match publishing.await? {
            Ok(Published { held, fences }) => {
                self.held.extend(held.into_iter().filter(|held| self.lanes.contains_key(&held.partition)));
                self.fences.extend(fences.into_iter().filter(|fence| self.lanes.contains_key(&fence.partition)));
                Ok(())
            }
            Err((sealed, error)) => {
                self.sealed = Some(sealed);
                Err(error)
            }
        }
    }

    /// Publishes all that was taken.
    async fn publish_all(&mut self) -> Result<(), SearchError> {
        self.settle(true).await?;
        if self.has_unsealed() {
            self.seal().await?;
            self.settle(true).await?;
        }
        Ok(())
    }

    fn has_unsealed(&self) -> bool {
        !self.dropped.is_empty() || self.lanes.values().any(|lane| lane.sealed < lane.taken.high)
    }

    fn is_due(&self) -> bool {
        let size = *self.size.lock();
        let passed = self.lanes.values().filter_map(|lane| Some(lane.taken.clock.time.since(lane.began?))).max();
        let passed = passed.unwrap_or_default();
        let is_old =
            self.since.is_some_and(|since| lane::is_due(self.config.age, CATCHING_UP, since.elapsed(), passed));
        // What has entries of a lane that was lost can't be searched.
        is_old || size.is_full || size.disk >= self.config.split_bytes || !self.dropped.is_empty()
    }

    async fn flush_due(&mut self) -> Result<(), SearchError> {
        self.index(false).await?;
        self.settle(false).await?;
        if self.publishing.is_some() || !self.is_due() || !self.has_unsealed() {
            return Ok(());
        }
        if !self.is_preparing && self.live.waiting() > AT_ONCE {
            if !self.is_indexing() {
                self.index(true).await?;
                self.is_preparing = true;
            }
            return Ok(());
        }
        match self.is_preparing && self.is_indexing() {
            true => Ok(()),
            false => self.seal().await,
        }
    }

    /// Makes room for what comes, by waiting for what is behind.
    async fn make_room(&mut self) -> Result<(), SearchError> {
        // What has failed is told before more is taken.
        if !self.is_indexing() {
            self.indexed().await?;
        }
        if self.size.lock().is_full {
            self.settle(true).await?;
            self.seal().await?;
        }
        if self.live.memory().0 >= self.config.queue_bytes {
            self.index(false).await?;
            self.indexed().await?;
        }
        Ok(())
    }

    /// Where the index is in a lane, in the manifest, which is made to begin with it if it hasn't.
    async fn begin(&self, partition: TopicPartition, epoch: u32, log_start: i64) -> Result<Held, SinkError> {
        let manifest = &self.publisher.manifest;
        let mut fenced = None;
        // Two may begin at once; then the second finds what the first has made.
        for _ in 0..3 {
            let state = manifest.refresh().await?;
            let before = match state.lanes.get(&partition) {
                Some(lane) if lane.epoch == epoch => {
                    return Ok(lane.held(partition));
                }
                Some(lane) if lane.epoch > epoch => {
                    let reason = forgotten(NAME, lane.epoch, partition.topic, epoch);
                    return Err(SinkError::Position { partition, reason });
                }
                Some(lane) => Some((lane.epoch, lane.high)),
                None => None,
            };
            let start = vec![LaneStart { partition, epoch, start: log_start, before }];
            match manifest.publish(&Change { start, ..Change::new("begin") }).await {
                Ok(_) => return Ok(Held::new(partition, epoch, log_start, None)),
                Err(error @ SearchError::Fenced(_)) => fenced = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        Err(fenced.unwrap_or_else(|| SearchError::Abandoned("others keep beginning with the lane".into())).into())
    }
}

/// Indexes all chunks of pages that wait, with `rest` also one that isn't full, and writes segments as they fill.
fn index_all(
    live: &Live,
    making: &mut Making,
    size: &Mutex<Size>,
    chunk: Chunk,
    mut rest: bool,
) -> Result<(), SearchError> {
    loop {
        let mut pages = live.next(chunk, false);
        if pages.is_empty() && std::mem::take(&mut rest) {
            pages = live.next(chunk, true);
        }
        if pages.is_empty() {
            return Ok(());
        }
        making.index(&pages)?;
        live.indexed(pages.len());
        if making.is_segment_full() {
            end_segment(live, making, size)?;
        }
        note(making, size);
    }
}

fn end_segment(live: &Live, making: &mut Making, size: &Mutex<Size>) -> Result<(), SearchError> {
    let searcher = making.end_segment()?;
    live.written(searcher);
    note(making, size);
    Ok(())
}

fn note(making: &Making, size: &Mutex<Size>) {
    *size.lock() = Size { disk: making.bytes(), memory: making.memory(), is_full: making.is_full() };
}

#[async_trait]
impl Sink for SearchSink {
    fn name(&self) -> &'static str {
        NAME
    }

    fn topics(&self) -> &'static [Topic] {
        TOPICS
    }

    async fn open(&mut self, partition: TopicPartition, epoch: u32, log_start: i64) -> Result<Held, SinkError> {
        self.close(partition);
        // What was taken of it earlier must be published or left out before it is taken again.
        self.settle(true).await?;
        if self.dropped.contains(&partition) {
            self.seal().await?;
            self.settle(true).await?;
        }
        let held = self.begin(partition, epoch, log_start).await?;
        self.fences.retain(|fence| fence.partition != partition);
        self.lanes.insert(partition, Lane { taken: held.clone(), sealed: held.high, began: None });
        Ok(held)
    }

    async fn take(&mut self, batch: &Batch) -> Result<(), SinkError> {
        match self.lanes.get(&batch.partition) {
            Some(lane) if lane.taken.is_new(batch)? => {}
            _ => return Ok(()),
        }
        self.make_room().await?;
        let Some(lane) = self.lanes.get_mut(&batch.partition) else { return Ok(()) };
        let from = lane.taken.high;
        if let Some(first) = batch.records().iter().find(|record| record.offset >= from) {
            lane.began.get_or_insert(first.timestamp.max(lane.taken.clock.time));
        }
        for record in batch.records().iter().filter(|record| record.offset >= from) {
            lane.taken.observe(record.offset, record.timestamp);
        }
        lane.taken.high = batch.to;
        let range = LaneRange { partition: batch.partition, epoch: batch.epoch, from, to: batch.to };
        self.live.push(range, Arc::new(Page::copy(batch, from)));
        self.since.get_or_insert_with(Instant::now);
        // If indexing has failed, the next call says so: this batch is taken.
        if self.indexing.is_none() {
            self.index(false).await?;
        }
        Ok(())
    }

    fn pending(&self) -> usize {
        self.live.memory().1 + self.size.lock().memory
    }

    async fn flush(&mut self, what: Flush) -> Result<Vec<Held>, SinkError> {
        match what {
            Flush::Due | Flush::Begin => self.flush_due().await?,
            // A segment on the disk takes no memory; the split needn't be ended for that.
            Flush::Free(_) => self.end_segment().await?,
            Flush::Partition(_) => self.publish_all().await?,
        }
        self.publisher.metrics.making.set(i64::try_from(self.size.lock().disk).unwrap_or(i64::MAX));
        if let Some(fence) = self.fences.pop() {
            return Err(SinkError::Position { partition: fence.partition, reason: fence.reason() });
        }
        Ok(std::mem::take(&mut self.held))
    }

    fn close(&mut self, partition: TopicPartition) {
        self.lanes.remove(&partition);
        self.fences.retain(|fence| fence.partition != partition);
        self.held.retain(|held| held.partition != partition);
        if self.live.has(partition) {
            self.dropped.insert(partition);
        }
        self.live.lose(partition);
    }
}
