//! The one reader: a card's, a run's or a lane's entries between two positions as one ordered stream, whatever tiers
//! hold them.
//!
//! Per partition it reads a tier inside the tier's `[low, high)` and the log beyond, meeting at exact offsets: a run in warm,
//! or else in hot; a card in hot, or else in warm, merged from its runs; and in the cold tier, if there is one, what neither
//! these nor the log have any more. Of a topic that was made again, what lay in it before has the cold tier alone; it comes
//! first. Across partitions it merges by record timestamp (as a running maximum), then topic, then partition. Where no tier
//! and not the log holds a range any more, the stream says so with a [`ReadItem::Gap`], and nowhere else.
//!
//! Everything that reads history uses it: the first entries of a terminal, resume, replay, pages, the command line.
//!
//! - `scope`, `text`: what to read.
//! - `lanes`: in which partitions that may lie, and from where on.
//! - `makings`: which makings of a topic that was made again; `present`: which of them its log is of.
//! - `partition`, `backward`: one partition's share, forward, and its last entries.
//! - `merge`, `stream`: the partitions as one stream; `delivery`: handing it out.
//! - `summary`: runs as of the end of the log.
//! - `shared`: one look for all who ask for the same.
//! - `known`: a run and its share of each partition.
//! - `place`, `ordinal`: places in a run, by its marks.
//! - `tiers`, `stored`: what all of these ask, and who answers.
//! - `cold`: what keeps entries for longest, kept elsewhere.

mod backward;
mod cold;
mod delivery;
mod known;
mod lanes;
mod lately;
mod makings;
mod merge;
mod metrics;
mod ordinal;
mod partition;
mod place;
mod present;
mod scope;
mod shared;
mod stored;
mod stream;
mod summary;
#[cfg(test)]
mod tests;
mod text;
mod tiers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_kafka::{KafkaError, KafkaSettings, SeekPool};
use agentworks_schemas::protocol::RunSummary;
use agentworks_schemas::{Cursor, Timestamp, Topic, TopicPartition};
use agentworks_store::{Key, Store, StoreError};
use futures_util::future::try_join_all;

pub use crate::blocks::{CHUNK_BYTES, Last, StoredEntry};
use crate::epochs::recorded;
use crate::erasure::{Erasures, View};
use crate::hot::{CardInfo, card_of, newest_cards};
use crate::lane::POSITIONS;
use crate::runs::{PageToken, RunPage, RunReader};
use crate::sink::SinkError;
pub use cold::{ColdRange, ColdTier};
pub use delivery::ReadStream;
pub use known::KnownRun;
use lanes::ScopeLane;
use makings::start_of;
pub use metrics::ReaderMetrics;
pub use place::Place;
use place::Places;
pub use scope::{ReadFilter, Scope};
use stored::StoredTiers;
pub use text::{Needle, fold};
use tiers::{Reading, Tiers};

/// The newest entries are enough when they weigh so many bytes.
const NEWEST_BYTES: usize = 4 << 20;

/// A fault of reading.
#[derive(Clone, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each is the fault of the part it names")]
pub enum ReadError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The cold tier's.
    #[error("what is kept for longest: {0}")]
    Cold(SinkError),
    /// A cursor is of another making of the topic than the one that is there, and the cold tier has nothing of that one.
    #[error("the position lies in a topic that has been made again")]
    Epoch,
    /// What the cold tier has of a range is not what was written.
    #[error("{partition}, offsets {from} to {to}: {reason}")]
    Damaged {
        /// In which partition.
        partition: TopicPartition,
        /// The first offset that was asked for.
        from: i64,
        /// The offset after the last.
        to: i64,
        /// What is damaged, with the names of files.
        reason: String,
    },
}

impl ReadError {
    /// Whether the same call may succeed later. Within a stream that was tried several times already.
    pub fn is_transient(&self) -> bool {
        match self {
            ReadError::Kafka(error) => error.is_transient(),
            ReadError::Store(error) => error.is_transient(),
            ReadError::Sink(error) | ReadError::Cold(error) => error.is_transient(),
            ReadError::Epoch | ReadError::Damaged { .. } => false,
        }
    }

    /// Whether the cold tier can't be reached at the moment; others may have all that is wanted.
    fn is_cold_away(&self) -> bool {
        matches!(self, ReadError::Cold(error) if error.is_transient())
    }
}

/// What a stream of history yields.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadItem {
    /// An entry, and the stream's cursor just after it.
    Entry {
        /// The entry.
        entry: Box<StoredEntry>,
        /// The cursor.
        cursor: Cursor,
    },
    /// A range that is held nowhere any more, and the stream's cursor just after it.
    Gap {
        /// Where.
        partition: TopicPartition,
        /// The first offset that is gone.
        from: i64,
        /// The first offset that is there again.
        to: i64,
        /// The cursor.
        cursor: Cursor,
    },
}

/// Reads history. Cheap to clone.
///
/// # Cursors
/// The cursor beside an item is exact in every partition: in the item's own it is just after it, in any other at the next
/// entry that has yet to come, or at the end. So a reading resumed there gives the rest, in the same order, for the
/// same scope and filter: what was passed over because the filter didn't let it pass stays passed over.
#[derive(Clone, Debug)]
pub struct LogReader {
    tiers: Arc<StoredTiers>,
}

impl LogReader {
    /// A reader over a store and the log. Must be called within a Tokio runtime.
    pub fn new(store: Arc<dyn Store>, seek: SeekPool) -> Self {
        LogReader { tiers: Arc::new(StoredTiers::new(store, seek, None)) }
    }

    /// The same with a tier that has what those of the store have forgotten. Must be called within a Tokio runtime.
    pub fn with_cold(store: Arc<dyn Store>, seek: SeekPool, cold: Arc<dyn ColdTier>) -> Self {
        LogReader { tiers: Arc::new(StoredTiers::new(store, seek, Some(cold))) }
    }

    /// What the reader and its clones have counted.
    pub fn metrics(&self) -> &ReaderMetrics {
        &self.tiers.metrics
    }

    /// What is erased, and so not shown by this reader.
    pub fn erasures(&self) -> &Erasures {
        &self.tiers.erasures
    }

    /// The runs as the store knows them, without what is erased.
    pub fn runs(&self) -> &RunReader {
        &self.tiers.runs
    }

    /// The cards of a workspace that are wanted, the one last seen first, at most `limit`; without those of which all is
    /// erased. All rows of the workspace's cards are read, a page at a time.
    pub async fn cards(
        &self,
        workspace: &str,
        limit: usize,
        wanted: &(dyn Fn(&str) -> bool + Send + Sync),
    ) -> Result<Vec<CardInfo>, ReadError> {
        let view = self.tiers.erasures.view().await?;
        let erasures = view.whole_of(workspace);
        let is_there = |info: &CardInfo| !info.is_gone(erasures) && wanted(&info.card);
        Ok(newest_cards(&*self.tiers.store, workspace, limit, &is_there).await?)
    }

    /// A card; `None` if nobody has written to it, or all of it is erased.
    pub async fn card(&self, workspace: &str, card: &str) -> Result<Option<CardInfo>, ReadError> {
        let view = self.tiers.erasures.view().await?;
        let info = card_of(&*self.tiers.store, workspace, card).await?;
        Ok(info.filter(|info| !info.is_gone(view.whole_of(workspace))))
    }

    /// The store and the log that it reads.
    pub(crate) fn parts(&self) -> (Arc<dyn Store>, SeekPool) {
        (self.tiers.store.clone(), self.tiers.seek.clone())
    }

    /// How many lanes there are: partitions of each topic.
    pub async fn lanes(&self) -> Result<i32, ReadError> {
        self.tiers.partition_count().await
    }

    /// The epoch that each topic is in which entries lie in.
    pub async fn epochs(&self) -> Result<BTreeMap<Topic, u32>, ReadError> {
        let epochs = Topic::LOGS.into_iter().map(async |topic| {
            let recorded = recorded(&*self.tiers.store, topic).await?;
            Ok::<_, ReadError>((topic, recorded.map_or(0, |recorded| recorded.epoch)))
        });
        Ok(try_join_all(epochs).await?.into_iter().collect())
    }

    /// The partitions of some topics, in the epoch that each is in, beside those that are known in it: that epoch, and where
    /// the log begins now.
    pub async fn other_lanes(
        &self,
        epochs: &BTreeMap<Topic, u32>,
        is_known: &(dyn Fn(&TopicPartition, u32) -> bool + Sync),
    ) -> Result<BTreeMap<TopicPartition, (u32, i64)>, ReadError> {
        let count = self.tiers.partition_count().await?;
        let of_topic = |(topic, epoch): (&Topic, &u32)| {
            let (topic, epoch) = (*topic, *epoch);
            (0..count).map(move |n| (TopicPartition::new(topic, n), epoch))
        };
        let others = epochs.iter().flat_map(of_topic).filter(|(partition, epoch)| !is_known(partition, *epoch));
        let others = others.map(async |(partition, epoch)| {
            Ok::<_, ReadError>((partition, (epoch, self.tiers.watermarks(partition).await?.low)))
        });
        Ok(try_join_all(others).await?.into_iter().collect())
    }

    /// A card's lane: the partition, in each topic, that our producers place its records in.
    pub async fn lane(&self, card: &str) -> Result<i32, ReadError> {
        self.tiers.computed(card).await
    }

    /// How long the store takes to look up one row, just now.
    pub async fn store_latency(&self) -> Result<Duration, ReadError> {
        let began = Instant::now();
        // A row that is never there: it costs least.
        let nothing = Key { partition: vec!["latency".into()], clustering: vec!["".into(), 0.into()] };
        self.tiers.store.get(&POSITIONS, &nothing).await?;
        Ok(began.elapsed())
    }

    /// Where Kafka is.
    pub fn kafka(&self) -> &KafkaSettings {
        self.tiers.seek.settings()
    }

    /// The partitions in which a scope's entries may lie: the computed ones and those where some were seen. The cursor
    /// is at the start of each: nothing of the scope lies before it. Of a topic that was made again, that is in the first
    /// making that can be read.
    pub async fn start(&self, scope: &Scope) -> Result<Cursor, ReadError> {
        Ok(start_of(&self.tiers.lanes(scope).await?))
    }

    /// The same partitions, each with the making of its topic that is there now.
    pub async fn partitions(&self, scope: &Scope) -> Result<BTreeMap<TopicPartition, u32>, ReadError> {
        let located = self.tiers.located(scope).await?;
        Ok(located.into_iter().map(|lane| (lane.partition, lane.epoch)).collect())
    }

    /// The end of the log right now, in the partitions of `scope`. Where a log ends before what was taken of it, as one of a topic
    /// that was made again does if the brokers tell no ids, it is the end of what was taken.
    pub async fn end(&self, scope: &Scope) -> Result<Cursor, ReadError> {
        let located = self.tiers.located(scope).await?;
        let ends = located.into_iter().map(async |lane| {
            let watermarks = self.tiers.watermarks(lane.partition).await?;
            Ok::<_, ReadError>((lane.partition, lane.epoch, watermarks.high.max(lane.taken())))
        });
        Ok(try_join_all(ends).await?.into_iter().collect())
    }

    /// Reads forward from `from` up to `to`. A partition of the scope that is not in `from` is read from the scope's
    /// start; one that is not in `to` is not read. Where a topic was made again between the two, the reading goes on from the
    /// end of each making to the beginning of the next that can be read; it fails with [`ReadError::Epoch`] where one of the
    /// two lies in a making that can't be read. Must be called within a Tokio runtime.
    ///
    /// A stream reads ahead of its receiver, by at most 1 MiB of entries per partition and 32 items (a single entry may
    /// have 1 MiB more), beside the log's own read-ahead of eight batches of 1 MiB per partition.
    pub fn read(&self, scope: Scope, filter: ReadFilter, from: Cursor, to: Cursor) -> ReadStream {
        // Whatever isn't known here is looked for again when items are handed out.
        let reading = self.reading(scope, filter, self.tiers.erasures.current().unwrap_or_default());
        let tiers = self.tiers.clone();
        let items = stream::spawn(reading.clone(), async move {
            let is_open = |(partition, epoch, _): (TopicPartition, u32, i64)| {
                from.get(partition).is_none_or(|(first, _)| first != epoch)
            };
            let lanes = if to.iter().any(is_open) { tiers.lanes(&reading.scope).await? } else { Vec::new() };
            stream::Plan::new(&reading.filter, from, &to, &lanes)
        });
        ReadStream::new(items, self.tiers.erasures.clone())
    }

    /// The last `count` entries before `before`, in order; fewer if they are large (about 4 MiB are enough), or if there are no
    /// more, and then a gap where what may have been before is gone. None come only if no more are found. Where record
    /// timestamps go back within a partition, which entries are the last is only nearly right, and what is resumed from them
    /// is exact all the same.
    ///
    /// Where no tier holds anything, the log is looked through backward, up to 200,000 offsets per partition; what lies
    /// farther back in a lane in which the card has been silent for so long is left out.
    pub async fn newest(
        &self,
        scope: &Scope,
        filter: &ReadFilter,
        before: &Cursor,
        count: usize,
    ) -> Result<Vec<ReadItem>, ReadError> {
        let erased = self.tiers.erasures.view().await?;
        let lanes = self.tiers.lanes(scope).await?;
        match self.newest_of((scope, filter, erased), &lanes, before, (count, None)).await? {
            (_, Some(fault)) => Err(fault),
            (items, None) => Ok(items),
        }
    }

    /// The same, but no more than are found `until` then; and where the cold tier can't be reached, as much as can be given
    /// without it, and the fault.
    pub async fn newest_at_hand(
        &self,
        scope: &Scope,
        filter: &ReadFilter,
        before: &Cursor,
        count: usize,
        until: Instant,
    ) -> Result<(Vec<ReadItem>, Option<ReadError>), ReadError> {
        let erased = self.tiers.erasures.view().await?;
        let (lanes, away) = match self.tiers.lanes(scope).await {
            Err(fault) if fault.is_cold_away() => (self.tiers.lanes_at_hand(scope).await?, Some(fault)),
            lanes => (lanes?, None),
        };
        let (items, fault) = self.newest_of((scope, filter, erased), &lanes, before, (count, Some(until))).await?;
        Ok((items, fault.or(away)))
    }

    async fn newest_of(
        &self,
        (scope, filter, erased): (&Scope, &ReadFilter, Arc<View>),
        lanes: &[ScopeLane],
        before: &Cursor,
        (count, until): (usize, Option<Instant>),
    ) -> Result<(Vec<ReadItem>, Option<ReadError>), ReadError> {
        let reading = self.reading(scope.clone(), filter.clone(), erased);
        let plan = stream::Plan::new(filter, start_of(lanes), before, lanes)?;
        stream::newest(&reading, plan, before, (count, NEWEST_BYTES), until).await
    }

    /// A run's summary as of the end of the log: the stored parts and what lies beyond them. `card` helps where the store
    /// doesn't know the run yet. Of what lies beyond, the last 200,000 offsets of each partition are looked through: if there
    /// are more, because no sink runs or one is far behind, the summary is marked as incomplete.
    pub async fn run_summary(
        &self,
        workspace: &str,
        run: &str,
        card: Option<&str>,
    ) -> Result<Option<RunSummary>, ReadError> {
        summary::run(&self.tiers, workspace, run, card).await
    }

    /// A run and where its entries lie, as of the end of the log; `card` helps where the store doesn't know it yet. Of a run
    /// that has ended, and which the sink has long passed, the store's word is taken: entries that came after its end may
    /// be missing.
    pub async fn run(&self, workspace: &str, run: &str, card: Option<&str>) -> Result<Option<KnownRun>, ReadError> {
        summary::known(&self.tiers, workspace, run, card).await
    }

    /// A place at or before the entry of a run with this ordinal: from there it is at most what lies between two marks, in
    /// one partition about 1,000 entries or 20,000 offsets; with several partitions some more. Beyond the run's end it is
    /// the end as it was known. With system-logs or without, as [`LogReader::seek_ordinal`], which counts the rest, too.
    pub async fn before_ordinal(&self, run: &KnownRun, ordinal: u64, include_system: bool) -> Result<Place, ReadError> {
        Places { reader: self, run, include_system }.before_ordinal(ordinal).await
    }

    /// A place at or before the first entry of a run whose own timestamp is not before `time`, as near as
    /// [`LogReader::before_ordinal`]. No entry before the place has such a timestamp.
    pub async fn before_time(&self, run: &KnownRun, time: Timestamp, include_system: bool) -> Result<Place, ReadError> {
        Places { reader: self, run, include_system }.before_time(time).await
    }

    /// How many entries of a run lie before a cursor. Costs some lookups of marks, and the reading of what lies between the
    /// cursor and the mark before it in each partition. Where that is gone, it is counted back from the mark after it.
    pub async fn ordinal_of(&self, run: &KnownRun, cursor: &Cursor, include_system: bool) -> Result<u64, ReadError> {
        Places { reader: self, run, include_system }.ordinal_of(cursor).await
    }

    /// The newest run of a card that hasn't ended, as of the end of the log. Looked for among its newest 100, and as far
    /// as [`LogReader::run_summary`] looks. Callers who ask for the same card at the same time share a look.
    pub async fn active_run(&self, workspace: &str, card: &str) -> Result<Option<RunSummary>, ReadError> {
        let card_of = (workspace.to_owned(), card.to_owned());
        self.tiers.active.look(card_of, summary::active(&self.tiers, workspace, card)).await
    }

    /// A page of a card's runs, newest first, as of the end of the log: as the store lists them, with what lies beyond
    /// counted in, as far as [`LogReader::run_summary`] looks. `page` is the `next` of the page before. Runs that the
    /// store doesn't know yet are on the first page, which may be so much longer than `limit`.
    pub async fn runs_of_card(
        &self,
        workspace: &str,
        card: &str,
        page: Option<&PageToken>,
        limit: usize,
    ) -> Result<RunPage, ReadError> {
        summary::of_card(&self.tiers, workspace, card, page, limit).await
    }

    /// The cursor just before the entry of a run with this ordinal, counted from 0 in the stream's order, and the
    /// ordinal: that of the end if there is no such entry. Entries of system-logs count if `include_system` is set; a
    /// stream from the cursor should have the same [`ReadFilter::topics`].
    ///
    /// Costs a few probes of the run's marks and the reading of about 1,000 entries per partition; with several
    /// partitions some more probes, which read an entry each. Exact where record timestamps don't go back within a
    /// partition, as in topics with `LogAppendTime`. Where part of the run is gone, a place in what is gone is answered
    /// with the cursor before the gap.
    pub async fn seek_ordinal(
        &self,
        scope: &Scope,
        ordinal: u64,
        include_system: bool,
    ) -> Result<(Cursor, u64), ReadError> {
        ordinal::seek(self, scope, ordinal, include_system).await
    }

    fn reading(&self, scope: Scope, filter: ReadFilter, erased: Arc<View>) -> Arc<Reading> {
        let metrics = self.tiers.metrics.clone();
        Arc::new(Reading { tiers: self.tiers.clone(), scope, filter, erased, metrics })
    }
}
