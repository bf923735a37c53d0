#![allow(clippy::unwrap_used, reason = "tests")]

mod bytes;
mod recovery;

use std::ops::Range;
use std::sync::Arc;

use agentworks_kafka::{Batch, BatchBuilder, Content};
use agentworks_schemas::codec::{Framing, Schemas, encode_entry, encode_event};
use agentworks_schemas::{Level, LogEntry, Position, RunEvent, RunEventKind, Source, Timestamp, Topic, TopicPartition};
use agentworks_store::{EmbeddedStore, Store};

use super::block::MAX_RAW;
use super::*;
use crate::hot::HOT;
use crate::lane::{HOUR, Held};
use crate::sink::SinkError;
use crate::warm::WarmReader;

pub(crate) const AT: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };

/// A record of a partition: whose, when, and how long its message is. What else an entry has follows from its offset.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) offset: i64,
    pub(crate) card: String,
    pub(crate) run: String,
    pub(crate) timestamp: Timestamp,
    pub(crate) length: usize,
}

/// The records of a partition, by offset, with holes.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) partition: TopicPartition,
    pub(crate) lines: Vec<Line>,
}

impl Line {
    pub(crate) fn entry(&self) -> LogEntry<'static> {
        LogEntry {
            id: format!("entry-{}", self.offset).into(),
            run_id: self.run.clone().into(),
            card_id: self.card.clone().into(),
            workspace_id: "acme".into(),
            timestamp: Timestamp(self.offset),
            sequence: self.offset,
            level: Level::ALL[self.offset as usize % 5],
            source: Source::ALL[self.offset as usize / 7 % 4],
            component: format!("component-{}", self.offset / 20 % 9).into(),
            message: "m".repeat(self.length).into(),
            data: None,
            agent_id: None,
            provider: None,
            model: None,
            user_id: None,
            tags: None,
            correlation_id: None,
            parent_span_id: None,
            trace_id: None,
        }
    }

    pub(crate) fn event(&self) -> RunEvent<'static> {
        RunEvent {
            id: format!("event-{}", self.offset).into(),
            run_id: self.run.clone().into(),
            card_id: self.card.clone().into(),
            workspace_id: "acme".into(),
            timestamp: Timestamp(self.offset),
            kind: if self.length == 0 { RunEventKind::Completed } else { RunEventKind::Usage },
            agent_id: None,
            provider: None,
            model: None,
            user_id: None,
            cost: None,
            input_tokens: None,
            output_tokens: None,
            exit_code: None,
            reason: None,
            trace_id: None,
        }
    }

    pub(crate) fn stored(&self) -> StoredEntry {
        let position = Position { partition: AT, epoch: 0, offset: self.offset };
        StoredEntry { position, timestamp: self.timestamp, entry: self.entry() }
    }
}

impl Log {
    /// Lines of some cards in turn, a second apart, from a bucket's start on.
    pub(crate) fn of_cards(cards: &[&str], count: i64) -> Log {
        let start = Timestamp::now().millis().div_euclid(HOUR) * HOUR;
        let line = |offset: i64| Line {
            offset,
            card: cards[offset as usize % cards.len()].to_owned(),
            run: "run".to_owned(),
            timestamp: Timestamp(start + offset * 1_000),
            length: 100,
        };
        Log { partition: AT, lines: (0..count).map(line).collect() }
    }

    pub(crate) fn end(&self) -> i64 {
        self.lines.last().map_or(0, |line| line.offset + 1)
    }

    pub(crate) fn batch(&self, offsets: Range<i64>) -> Batch {
        let mut builder = BatchBuilder::new(self.partition, 0, offsets.start);
        for line in self.lines.iter().filter(|line| offsets.contains(&line.offset)) {
            let mut payload = Vec::new();
            match self.partition.topic {
                Topic::RunEvents => encode_event(&line.event(), Framing::Avro, &mut payload),
                _ => encode_entry(&line.entry(), Framing::Avro, &mut payload),
            }
            builder.push_raw(line.offset, line.timestamp, Some(line.card.as_bytes()), Some(&payload), Vec::new());
        }
        builder.cover(offsets.end);
        let batch = builder.build(Schemas::builtin());
        assert!(batch.rejects().is_empty(), "{:?}", batch.rejects());
        batch
    }

    /// The entries of a card with offsets in a range.
    pub(crate) fn entries(&self, card: &str, offsets: Range<i64>) -> Vec<StoredEntry> {
        self.entries_where(offsets, |line| line.card == card)
    }

    /// Entries with offsets in a range.
    pub(crate) fn entries_where(&self, offsets: Range<i64>, wanted: impl Fn(&Line) -> bool) -> Vec<StoredEntry> {
        let wanted = self.lines.iter().filter(|line| wanted(line) && offsets.contains(&line.offset));
        wanted.map(Line::stored).collect()
    }
}

pub(crate) fn store() -> (tempfile::TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(folder.path()).unwrap());
    (folder, store)
}

/// What is read, and how.
#[derive(Clone, Debug)]
pub(crate) enum Reader {
    Hot(BlockReader),
    /// A run's.
    Run(WarmReader),
    /// A card's, from warm.
    Card(WarmReader),
}

impl Reader {
    pub(crate) fn hot(store: &Arc<dyn Store>) -> Self {
        Reader::Hot(BlockReader::new(store.clone(), &HOT, Default::default()))
    }

    pub(crate) fn run(store: &Arc<dyn Store>) -> Self {
        Reader::Run(WarmReader::new(store.clone(), Default::default()))
    }

    pub(crate) fn card(store: &Arc<dyn Store>) -> Self {
        Reader::Card(WarmReader::new(store.clone(), Default::default()))
    }

    pub(crate) async fn held(&self, partition: TopicPartition) -> Option<Held> {
        match self {
            Reader::Hot(reader) => reader.held(partition, "acme").await.unwrap(),
            Reader::Run(reader) | Reader::Card(reader) => reader.held(partition, "acme").await.unwrap(),
        }
    }

    pub(crate) async fn forward(
        &self,
        held: &Held,
        scan: &BlockScan,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, SinkError> {
        self.forward_of(held, scan, limit, &|_| true).await
    }

    pub(crate) async fn forward_of(
        &self,
        held: &Held,
        scan: &BlockScan,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> Result<Vec<StoredEntry>, SinkError> {
        match self {
            Reader::Hot(reader) => reader.forward(held, scan, limit, wanted).await,
            Reader::Run(reader) => reader.runs().forward(held, scan, limit, wanted).await,
            Reader::Card(reader) => reader.card_forward(held, scan, limit, wanted).await,
        }
    }

    pub(crate) async fn backward(&self, held: &Held, scan: &BlockScan, limit: usize) -> Result<Last, SinkError> {
        self.backward_of(held, scan, limit, &|_| true).await
    }

    pub(crate) async fn backward_of(
        &self,
        held: &Held,
        scan: &BlockScan,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> Result<Last, SinkError> {
        match self {
            Reader::Hot(reader) => reader.backward(held, scan, limit, wanted).await,
            Reader::Run(reader) => reader.runs().backward(held, scan, limit, wanted).await,
            Reader::Card(reader) => reader.card_backward(held, scan, limit, wanted).await,
        }
    }

    /// All entries of a scan, read forward in steps of about `limit`.
    pub(crate) async fn all_forward(&self, held: &Held, mut scan: BlockScan, limit: usize) -> Vec<StoredEntry> {
        let mut entries = Vec::<StoredEntry>::new();
        loop {
            let some = self.forward(held, &scan, limit).await.unwrap();
            let Some(last) = some.last() else { return entries };
            assert_bounded(&some);
            scan.from = last.position.offset + 1;
            entries.extend(some);
        }
    }

    /// All entries of a scan, read backward in steps of `limit`.
    pub(crate) async fn all_backward(&self, held: &Held, mut scan: BlockScan, limit: usize) -> Vec<StoredEntry> {
        let mut entries = Vec::<StoredEntry>::new();
        loop {
            let Last { entries: some, is_cut } = self.backward(held, &scan, limit).await.unwrap();
            let Some(first) = some.first() else { return entries };
            assert_bounded(&some);
            scan.to = first.position.offset;
            let is_short = some.len() < limit && some.iter().collect::<Weight>().bytes() < CHUNK_BYTES;
            assert!(some.len() <= limit && !(is_short && is_cut));
            entries.splice(0..0, some);
            if !is_cut {
                assert_eq!(self.backward(held, &scan, limit).await.unwrap(), Last::default());
            }
        }
    }
}

/// An answer is a chunk of small entries at most, and one block more.
fn assert_bounded(entries: &[StoredEntry]) {
    let weight: Weight = entries.iter().collect();
    assert!(weight.bytes() < CHUNK_BYTES + 2 * MAX_RAW, "{weight:?}");
}

pub(crate) fn scan(owner: &str, from: i64, to: i64) -> BlockScan {
    BlockScan { workspace: "acme".into(), owner: owner.into(), partition: AT, epoch: 0, from, to }
}
