//! The runs sink.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_kafka::{Batch, Content, Record};
use agentworks_schemas::{Position, Timestamp, Topic, TopicPartition};
use agentworks_store::{Store, Write};
use async_trait::async_trait;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use lru::LruCache;
use prometheus_client::registry::Registry;

use super::metrics::RunsMetrics;
use super::part::RunPart;
use super::tables::{self, Origin, ShareKey};
use super::tracked::{PREFIX, Tracked, part_name, run_of_name};
use crate::erasure::{Erasures, View};
use crate::lane::{self, CATCHING_UP, Held};
use crate::sink::{Flush, Sink, SinkError};

/// The name under which the sink's positions are kept.
pub(super) const NAME: &str = "runs";
/// The name under which it is kept how far what lay before them is restored.
pub(super) const RESTORED_NAME: &str = "runs-restored";

/// How many rows one call to the store carries.
pub(super) const ROWS_PER_WRITE: usize = 256;
/// How many parts are loaded at a time.
pub(super) const LOADS: usize = 32;
/// What a part costs in memory as a rule, with its texts: as many as may be kept may cost so much each, on average.
const USUAL_PART: usize = 768;

impl Origin {
    /// The name under which its positions are kept.
    fn sink(self) -> &'static str {
        match self {
            Origin::Sink => NAME,
            Origin::Restored => RESTORED_NAME,
        }
    }
}

/// When runs are written, and how many are remembered.
#[derive(Clone, Debug)]
pub struct RunsConfig {
    /// How old a change of counts may get.
    pub max_age: Duration,
    /// How old a change of status, or the first sight of a run, may get.
    pub max_age_of_status: Duration,
    /// How many parts are kept in memory; fewer if they are long: as many as 768 bytes each make up. More are kept only
    /// while they wait to be written.
    pub cached_parts: usize,
}

impl Default for RunsConfig {
    fn default() -> Self {
        RunsConfig {
            max_age: Duration::from_secs(10),
            max_age_of_status: Duration::from_secs(1),
            cached_parts: 100_000,
        }
    }
}

/// How far a partition has been taken and written.
#[derive(Debug)]
struct Lane {
    /// What has been counted in memory.
    taken: Held,
    /// The position in the store.
    published: i64,
    /// When all was written last, and where the partition's clock stood then, if it had begun.
    written_at: (Instant, Option<Timestamp>),
    /// When the position is to be moved although no part may be dirty.
    due: Option<Instant>,
    /// The names of the parts with something to write.
    dirty: BTreeSet<String>,
    /// What those cost in memory, in bytes.
    dirty_bytes: usize,
}

/// The sink.
#[derive(Debug)]
pub struct RunsSink {
    store: Arc<dyn Store>,
    config: RunsConfig,
    parts: LruCache<String, Tracked>,
    /// What the parts cost in memory, in bytes.
    bytes: usize,
    lanes: HashMap<TopicPartition, Lane>,
    erasures: Option<Erasures>,
    /// The positions that have moved, of which nobody has been told, because a flush failed in another partition.
    moved: Vec<Held>,
    metrics: RunsMetrics,
    origin: Origin,
}

impl RunsSink {
    /// A sink that writes to `store`.
    pub fn new(store: Arc<dyn Store>, config: RunsConfig) -> Self {
        let metrics = RunsMetrics::default();
        let (parts, lanes, origin) = (LruCache::unbounded(), HashMap::new(), Origin::Sink);
        RunsSink { store, config, parts, bytes: 0, lanes, erasures: None, moved: Vec::new(), metrics, origin }
    }

    /// The same for what lay before the place where the sink began, when the store was lost and the log cut meanwhile. It
    /// is given each partition's records up to there, and counts them in rows of its own, with a position of its own:
    /// beside the sink, which may run. Readers add the two.
    pub fn restoring(self) -> Self {
        RunsSink { origin: Origin::Restored, ..self }
    }

    /// The same, beginning anew with a run of which something has been erased.
    pub fn erasures(self, erasures: Erasures) -> Self {
        RunsSink { erasures: Some(erasures), ..self }
    }

    /// Shows the sink's metrics in `registry`, each as `agentworks_runs_…`.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// How many parts are in memory.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.parts.len()
    }

    /// Loads those parts of the runs of a batch from an offset on that aren't in memory. Returns how many.
    async fn load(&mut self, batch: &Batch, from: i64) -> Result<usize, SinkError> {
        let (mut unknown, mut name) = (BTreeSet::new(), String::new());
        for record in batch.records().iter().filter(|record| record.offset >= from) {
            let (workspace, run) = run_of(record);
            part_name(batch.partition, workspace, run, &mut name);
            if !self.parts.contains(name.as_str()) && !unknown.contains(name.as_str()) {
                unknown.insert(name.clone());
            }
        }
        self.metrics.parts_loaded.inc_by(unknown.len() as u64);
        let share = ShareKey { origin: self.origin, partition: batch.partition, epoch: batch.epoch };
        let load = |name: String| {
            let store = self.store.clone();
            async move {
                let (workspace, run) = run_of_name(&name);
                let key = tables::part_key(workspace, run, share);
                let row = store.get(&tables::PARTS, &key).await?;
                let part = row.map(|row| tables::read_part(run, &row.payload)).transpose();
                let part = part.map_err(|error| unreadable(workspace, &error))?;
                Ok::<_, SinkError>((name, part))
            }
        };
        let loaded: Vec<_> = stream::iter(unknown.into_iter().map(load)).buffer_unordered(LOADS).try_collect().await?;
        let count = loaded.len();
        for (name, part) in loaded {
            let tracked = Tracked::loaded(part, &name);
            self.bytes += tracked.bytes;
            self.parts.put(name, tracked);
        }
        Ok(count)
    }

    /// Counts a batch, or its records up to one of a run whose part must be loaded first, and says where that is. As a rule
    /// all are in memory, and each is looked up once.
    fn count(&mut self, batch: &Batch, view: &View, now: Instant) -> Option<i64> {
        let lane = self.lanes.get_mut(&batch.partition)?;
        let (from, mut name) = (lane.taken.high, String::new());
        let first =
            batch.records().first().map_or(lane.taken.clock.time, |record| record.timestamp.max(lane.taken.clock.time));
        let written_to = *lane.written_at.1.get_or_insert(first);
        for record in batch.records().iter().filter(|record| record.offset >= from) {
            let (workspace, run) = run_of(record);
            part_name(batch.partition, workspace, run, &mut name);
            let Some(tracked) = self.parts.get_mut(name.as_str()) else { return Some(record.offset) };
            lane.taken.observe(record.offset, record.timestamp);
            if tracked.part.as_ref().is_some_and(|part| record.offset < part.applied) {
                continue;
            }
            let position = Position { partition: batch.partition, epoch: batch.epoch, offset: record.offset };
            if view.hides(workspace, run, position) {
                continue;
            }
            if tracked.part.as_ref().is_some_and(|part| view.hides(workspace, run, part.begins_at())) {
                tracked.forget();
            }
            let is_urgent = tracked.part.is_none() || !matches!(record.content, Content::Entry(_));
            let Tracked { part, marks, replaced, .. } = tracked;
            RunPart::count_record(part, marks, (batch.partition, batch.epoch), record);
            if let Some(part) = part {
                part.replaced.append(replaced);
            }
            let due = now + if is_urgent { self.config.max_age_of_status } else { self.config.max_age };
            let (bytes, before) = tracked.weigh(&name);
            self.bytes = self.bytes + bytes - before;
            if tracked.due.is_none() {
                lane.dirty.insert(name.clone());
                lane.dirty_bytes += bytes;
            } else {
                lane.dirty_bytes = lane.dirty_bytes + bytes - before;
            }
            tracked.due = Some(tracked.due.map_or(due, |sooner| sooner.min(due)));
        }
        lane.taken.high = batch.to;
        let (at, time) = (lane.written_at.0, lane.taken.clock.time);
        let is_behind = time.since(written_to) >= self.config.max_age;
        let due = if is_behind { at + CATCHING_UP } else { now + self.config.max_age };
        lane.due = Some(lane.due.map_or(due, |sooner| sooner.min(due)));
        None
    }

    /// Forgets those of some parts whose beginning was erased since they were counted, and which mustn't be written any more,
    /// for they may have been deleted. Only what the sink has never written has to be, once: its lane isn't past the erasure,
    /// and what is to be deleted is found by it.
    async fn forget_erased(&mut self, names: &[String]) -> Result<(), SinkError> {
        let Some(erasures) = &self.erasures else { return Ok(()) };
        let view = erasures.view().await?;
        for name in names {
            let (workspace, run) = run_of_name(name);
            let Some(tracked) = self.parts.peek_mut(name) else { continue };
            let is_hidden = tracked.part.as_ref().is_some_and(|part| view.hides(workspace, run, part.begins_at()));
            if is_hidden && (tracked.is_listed || self.origin == Origin::Restored) {
                tracked.forget();
            }
        }
        Ok(())
    }

    /// Writes some dirty parts of a partition: first what they refer to, then the parts.
    async fn write(&mut self, partition: TopicPartition, chosen: Vec<String>) -> Result<(), SinkError> {
        for chunk in chosen.chunks(ROWS_PER_WRITE) {
            let started = Instant::now();
            self.forget_erased(chunk).await?;
            let (mut before, mut parts, mut marked) = (Vec::new(), Vec::new(), 0);
            for name in chunk {
                let (workspace, run) = run_of_name(name);
                let Some(Tracked { part: Some(part), is_listed, marks, .. }) = self.parts.peek(name) else { continue };
                if !is_listed {
                    before.extend(tables::write_listing(workspace, run, &part.listed()));
                }
                marked += marks.len() as u64;
                let share = ShareKey::of(self.origin, part);
                before.extend(marks.iter().map(|mark| tables::write_mark(workspace, run, share, mark)));
                parts.push(tables::write_part(workspace, run, self.origin, part)?);
            }
            let written = parts.len() as u64;
            self.put(before).await?;
            self.put(parts).await?;
            self.metrics.write.observe(started.elapsed().as_secs_f64());
            self.metrics.parts.inc_by(written);
            self.metrics.marks.inc_by(marked);
            let Some(lane) = self.lanes.get_mut(&partition) else { continue };
            for name in chunk {
                if let Some(tracked) = self.parts.peek_mut(name) {
                    (tracked.is_listed, tracked.marks, tracked.due) = (tracked.part.is_some(), Vec::new(), None);
                    let (bytes, before) = tracked.weigh(name);
                    self.bytes = self.bytes + bytes - before;
                    if lane.dirty.remove(name) {
                        lane.dirty_bytes -= before;
                    }
                }
            }
        }
        Ok(())
    }

    async fn put(&self, writes: Vec<Write>) -> Result<(), SinkError> {
        if !writes.is_empty() {
            self.store.write(writes).await?;
        }
        Ok(())
    }

    /// Writes all of a partition, then its position.
    async fn write_all(&mut self, partition: TopicPartition) -> Result<Option<Held>, SinkError> {
        let Some(lane) = self.lanes.get(&partition) else { return Ok(None) };
        let chosen = lane.dirty.iter().cloned().collect();
        self.write(partition, chosen).await?;
        let Some(lane) = self.lanes.get_mut(&partition) else { return Ok(None) };
        lane.written_at = (Instant::now(), Some(lane.taken.clock.time));
        if lane.taken.high > lane.published {
            lane::publish(&*self.store, self.origin.sink(), std::slice::from_ref(&lane.taken)).await?;
            lane.published = lane.taken.high;
            lane.due = None;
            return Ok(Some(lane.taken.clone()));
        }
        lane.due = None;
        Ok(None)
    }

    /// Writes the parts whose status has changed and waited long enough.
    async fn write_urgent(&mut self, partition: TopicPartition, now: Instant) -> Result<(), SinkError> {
        let Some(lane) = self.lanes.get(&partition) else { return Ok(()) };
        let is_due =
            |name: &&String| self.parts.peek(*name).is_some_and(|tracked| tracked.due.is_some_and(|due| due <= now));
        let chosen: Vec<_> = lane.dirty.iter().filter(is_due).cloned().collect();
        self.write(partition, chosen).await
    }

    /// Forgets the parts that were used least recently, those aside that wait to be written.
    fn evict(&mut self) {
        let (parts, bytes) = (self.config.cached_parts, self.config.cached_parts * USUAL_PART);
        while self.parts.len() > parts || self.bytes > bytes {
            match self.parts.peek_lru() {
                Some((_, tracked)) if tracked.due.is_none() => self.bytes -= tracked.bytes,
                _ => break,
            }
            self.parts.pop_lru();
        }
    }
}

#[async_trait]
impl Sink for RunsSink {
    fn name(&self) -> &'static str {
        self.origin.sink()
    }

    fn topics(&self) -> &'static [Topic] {
        &Topic::ALL
    }

    async fn open(&mut self, partition: TopicPartition, epoch: u32, log_start: i64) -> Result<Held, SinkError> {
        self.close(partition);
        let held = lane::begin(&*self.store, self.name(), partition, epoch, log_start, None).await?;
        let written_at = (Instant::now(), Some(held.clock.time).filter(|time| *time != Timestamp::default()));
        let (dirty, taken) = (BTreeSet::new(), held.clone());
        let lane = Lane { published: held.high, written_at, taken, due: None, dirty, dirty_bytes: 0 };
        self.lanes.insert(partition, lane);
        Ok(held)
    }

    async fn take(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let Some(lane) = self.lanes.get(&batch.partition) else { return Ok(()) };
        if lane.taken.is_new(batch)? {
            let view = match &self.erasures {
                Some(erasures) => erasures.view().await?,
                None => Arc::default(),
            };
            let (now, mut loaded) = (Instant::now(), 0);
            while let Some(next) = self.count(batch, &view, now) {
                loaded += self.load(batch, next).await?;
            }
            self.metrics.parts_known.inc_by(batch.records().len().saturating_sub(loaded) as u64);
        }
        Ok(())
    }

    fn pending(&self) -> usize {
        self.lanes.values().map(|lane| lane.dirty_bytes).sum()
    }

    async fn flush(&mut self, what: Flush) -> Result<Vec<Held>, SinkError> {
        let now = Instant::now();
        let chosen: Vec<TopicPartition> = match what {
            Flush::Partition(partition) => vec![partition],
            Flush::Due | Flush::Begin => {
                self.lanes.iter().filter(|(_, l)| l.due.is_some_and(|due| due <= now)).map(|(p, _)| *p).collect()
            }
            Flush::Free(bytes) => {
                let mut lanes: Vec<_> = self.lanes.iter().map(|(p, lane)| (lane.dirty_bytes, *p)).collect();
                lanes.sort_unstable_by(|a, b| b.cmp(a));
                let mut freed = 0;
                let more = |(dirty, _): &(usize, TopicPartition)| {
                    let go_on = freed < bytes && *dirty > 0;
                    freed += dirty;
                    go_on
                };
                lanes.into_iter().take_while(more).map(|(_, partition)| partition).collect()
            }
        };
        for partition in chosen {
            let moved = self.write_all(partition).await.map_err(|error| error.of(partition))?;
            self.moved.extend(moved);
        }
        if matches!(what, Flush::Due | Flush::Begin) {
            let partitions: Vec<_> = self.lanes.keys().copied().collect();
            for partition in partitions {
                self.write_urgent(partition, now).await.map_err(|error| error.of(partition))?;
            }
        }
        self.evict();
        Ok(std::mem::take(&mut self.moved))
    }

    fn close(&mut self, partition: TopicPartition) {
        if self.lanes.remove(&partition).is_none() {
            return;
        }
        self.moved.retain(|held| held.partition != partition);
        // What is in memory may be ahead of the store, and somebody else may count on: all of it is loaded anew.
        let mut prefix = String::new();
        part_name(partition, "", "", &mut prefix);
        prefix.truncate(PREFIX);
        let gone: Vec<_> =
            self.parts.iter().map(|(name, _)| name).filter(|name| name.starts_with(&prefix)).cloned().collect();
        for name in gone {
            self.bytes -= self.parts.pop(&name).map_or(0, |tracked| tracked.bytes);
        }
    }
}

/// A part that can't be read, and what to do: it stops its partition.
fn unreadable(workspace: &str, error: &SinkError) -> SinkError {
    SinkError::Corrupt(format!(
        "{error}, in workspace {workspace}. If a newer version has written it, go back to that one; or else delete its row \
         of run_parts, as docs/operations.md says under \"A row of a run can't be read\""
    ))
}

pub(super) fn run_of<'a>(record: &'a Record<'_>) -> (&'a str, &'a str) {
    match &record.content {
        Content::Entry(entry) => (&entry.workspace_id, &entry.run_id),
        Content::Event(event) => (&event.workspace_id, &event.run_id),
    }
}
