#![allow(clippy::unwrap_used, reason = "tests")]

mod blocks;
mod recovery;
mod sinking;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::{Batch, BatchBuilder};
use agentworks_schemas::codec::{Framing, Schemas, encode_entry, encode_event};
use agentworks_schemas::{Level, LogEntry, Position, RunEvent, RunEventKind, Source, Timestamp, Topic, TopicPartition};
use agentworks_store::{EmbeddedStore, Store};
use prometheus_client::registry::Registry;

use super::*;
use crate::lane::{self, BUCKET, Held};
use crate::sink::{Flush, Sink};

const AT: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };

/// A record of a partition: whose, when, and how long its message is.
#[derive(Clone, Debug)]
struct Line {
    offset: i64,
    card: String,
    timestamp: Timestamp,
    length: usize,
}

/// The records of a partition, by offset, with holes.
#[derive(Clone, Debug)]
struct Log {
    partition: TopicPartition,
    lines: Vec<Line>,
}

impl Line {
    fn entry(&self) -> LogEntry<'static> {
        LogEntry {
            id: format!("entry-{}", self.offset).into(),
            run_id: "run".into(),
            card_id: self.card.clone().into(),
            workspace_id: "acme".into(),
            timestamp: Timestamp(self.offset),
            sequence: self.offset,
            level: Level::ALL[self.offset as usize % 5],
            source: Source::Agent,
            component: "test".into(),
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

    fn event(&self) -> RunEvent<'static> {
        RunEvent {
            id: format!("event-{}", self.offset).into(),
            run_id: "run".into(),
            card_id: self.card.clone().into(),
            workspace_id: "acme".into(),
            timestamp: Timestamp(self.offset),
            kind: RunEventKind::Usage,
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

    fn stored(&self) -> StoredEntry {
        let position = Position { partition: AT, epoch: 0, offset: self.offset };
        StoredEntry { position, timestamp: self.timestamp, entry: self.entry() }
    }
}

impl Log {
    /// Lines of some cards in turn, a second apart, from a bucket's start on.
    fn of_cards(cards: &[&str], count: i64) -> Log {
        let start = Timestamp::now().millis().div_euclid(BUCKET) * BUCKET;
        let line = |offset: i64| Line {
            offset,
            card: cards[offset as usize % cards.len()].to_owned(),
            timestamp: Timestamp(start + offset * 1_000),
            length: 100,
        };
        Log { partition: AT, lines: (0..count).map(line).collect() }
    }

    fn end(&self) -> i64 {
        self.lines.last().map_or(0, |line| line.offset + 1)
    }

    fn batch(&self, offsets: Range<i64>) -> Batch {
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
    fn entries(&self, card: &str, offsets: Range<i64>) -> Vec<StoredEntry> {
        let wanted = self.lines.iter().filter(|line| line.card == card && offsets.contains(&line.offset));
        wanted.map(Line::stored).collect()
    }
}

/// Blocks that are never due, so that the tests say when they are written.
fn never() -> HotConfig {
    HotConfig { block_age: Duration::from_secs(3600), ..HotConfig::default() }
}

/// Blocks that are always due.
fn always() -> HotConfig {
    HotConfig { block_age: Duration::ZERO, ..HotConfig::default() }
}

fn store() -> (tempfile::TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(folder.path()).unwrap());
    (folder, store)
}

fn sink(store: &Arc<dyn Store>, config: HotConfig) -> HotSink {
    HotSink::new(store.clone(), config, &mut Registry::default())
}

fn scan(card: &str, from: i64, to: i64) -> HotScan {
    HotScan { workspace: "acme".into(), card: card.into(), partition: AT, epoch: 0, from, to }
}

/// All entries of a scan, read forward in steps of about `limit`.
async fn read_forward(reader: &HotReader, held: &Held, mut scan: HotScan, limit: usize) -> Vec<StoredEntry> {
    let mut entries = Vec::<StoredEntry>::new();
    loop {
        let some = reader.forward(held, &scan, limit).await.unwrap();
        let Some(last) = some.last() else { return entries };
        scan.from = last.position.offset + 1;
        entries.extend(some);
    }
}

/// All entries of a scan, read backward in steps of `limit`.
async fn read_backward(reader: &HotReader, held: &Held, mut scan: HotScan, limit: usize) -> Vec<StoredEntry> {
    let mut entries = Vec::<StoredEntry>::new();
    loop {
        let some = reader.backward(held, &scan, limit).await.unwrap();
        let Some(first) = some.first() else { return entries };
        scan.to = first.position.offset;
        let is_last = some.len() < limit;
        assert!(some.len() <= limit);
        entries.splice(0..0, some);
        if is_last {
            // Fewer only if there are no more.
            assert_eq!(reader.backward(held, &scan, limit).await.unwrap(), []);
        }
    }
}
