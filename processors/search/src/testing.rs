//! Entries, batches and splits for this crate's tests.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use agentworks_kafka::{Batch, BatchBuilder};
use agentworks_processors::erasure::{ERASURES, Erasure};
use agentworks_schemas::codec::{Framing, Schemas, encode_entry, encode_entry_body};
use agentworks_schemas::{Level, LogEntry, Position, Source, Timestamp, Topic, TopicPartition};
use agentworks_store::{Key, Store, Write};

use crate::document::EntryDocument;
use crate::error::SearchError;
use crate::manifest::{Change, LaneStart, Manifest};
use crate::split::bodies::Dictionary;
use crate::split::{LaneRange, Packed, SegmentWriter, SplitMeta, SplitWriter, WorkspaceMeta, object_name};

pub(crate) fn at(partition: i32, offset: i64) -> Position {
    Position { partition: TopicPartition::new(Topic::AgentLogs, partition), epoch: 0, offset }
}

/// Some entries of a partition: their positions, record times and canonical bodies.
pub(crate) type Entries = (LaneRange, Vec<(Position, Timestamp, Vec<u8>)>);

pub(crate) fn entry(position: Position) -> LogEntry<'static> {
    let n = position.offset;
    LogEntry {
        id: format!("id-{position}").into(),
        run_id: format!("run-{}", n % 7).into(),
        card_id: format!("card-{}", n % 5).into(),
        workspace_id: format!("workspace-{}", n % 3).into(),
        timestamp: Timestamp(900_000 + n),
        sequence: n,
        level: Level::ALL[n as usize % 5],
        source: Source::Agent,
        component: "ToolRunner".to_owned().into(),
        message: format!("tool call {n} failed after {}ms: rate limit", n % 100).into(),
        data: agentworks_schemas::text::JsonObject::parse(format!(
            r#"{{"http":{{"status":{}}},"n":{n}}}"#,
            400 + n % 200
        )),
        agent_id: None,
        provider: Some("anthropic".to_owned().into()),
        model: None,
        user_id: None,
        tags: Some(vec![format!("tag-{}", n % 2).into(), "all".to_owned().into()]),
        correlation_id: None,
        parent_span_id: None,
        trace_id: None,
    }
}

pub(crate) fn record_time(offset: i64) -> Timestamp {
    Timestamp(1_000_000 + offset)
}

pub(crate) fn entries(partition: i32, offsets: Range<i64>) -> Entries {
    let range = LaneRange { partition: at(partition, 0).partition, epoch: 0, from: offsets.start, to: offsets.end };
    let all = offsets.map(|offset| {
        let position = at(partition, offset);
        let mut body = Vec::new();
        encode_entry_body(&entry(position), &mut body);
        (position, record_time(offset), body)
    });
    (range, all.collect())
}

/// A batch of a partition.
pub(crate) fn batch(partition: i32, offsets: Range<i64>) -> Batch {
    batch_of(0, partition, offsets)
}

/// A batch of a partition in a making of its topic: the entries are those of the first.
pub(crate) fn batch_of(epoch: u32, partition: i32, offsets: Range<i64>) -> Batch {
    let mut builder = BatchBuilder::new(at(partition, 0).partition, epoch, offsets.start);
    for offset in offsets {
        let entry = entry(at(partition, offset));
        let mut payload = Vec::new();
        encode_entry(&entry, Framing::Avro, &mut payload);
        builder.push_raw(offset, record_time(offset), Some(entry.card_id.as_bytes()), Some(&payload), Vec::new());
    }
    builder.build(Schemas::builtin())
}

/// A split with a segment for each of some entries.
pub(crate) fn packed(folder: &Path, parts: &[Entries]) -> (Packed, SplitMeta) {
    let mut writer = SplitWriter::new(folder).unwrap();
    let (mut docs, mut workspaces) = (0, BTreeMap::<String, WorkspaceMeta>::new());
    for (_, entries) in parts {
        let mut segment = SegmentWriter::new(50 << 20, Dictionary::default()).unwrap();
        for (position, time, body) in entries {
            let document = EntryDocument::new(body.clone().into(), *position, *time).unwrap();
            let (name, at) = (document.entry().workspace_id.to_string(), document.entry().timestamp);
            let known = workspaces.entry(name).and_modify(|known| known.add(at, *time));
            known.or_insert_with(|| WorkspaceMeta::of(at, *time));
            segment.add(document).unwrap();
            docs += 1;
        }
        writer.add(&segment.finish().unwrap()).unwrap();
    }
    let packed = writer.pack().unwrap();
    let lanes = LaneRange::union(parts.iter().map(|(range, _)| *range));
    let meta = packed.meta(docs, 0, lanes, workspaces, Default::default());
    (packed, meta)
}

/// A log whose records are those of [`batch`], up to an end for each partition.
#[derive(Debug, Default)]
pub(crate) struct FakeLog {
    pub(crate) ends: BTreeMap<i32, i64>,
    /// Set if it can't be read.
    pub(crate) is_away: bool,
    /// Which making of the topic it is.
    pub(crate) epoch: u32,
}

#[async_trait::async_trait]
impl crate::maintain::LogSource for FakeLog {
    async fn read(&self, range: LaneRange) -> tokio::sync::mpsc::Receiver<Result<Arc<Batch>, SearchError>> {
        let (sender, receiver) = tokio::sync::mpsc::channel(1000);
        let end = self.ends.get(&range.partition.partition).copied().unwrap_or(0).min(range.to);
        for from in (range.from..end).step_by(16) {
            let batch = batch_of(range.epoch, range.partition.partition, from..end.min(from + 16));
            sender.try_send(Ok(Arc::new(batch))).unwrap();
        }
        if self.is_away {
            sender.try_send(Err(SearchError::Log { is_transient: true, reason: "away".into() })).unwrap();
        }
        receiver
    }
}

#[async_trait::async_trait]
impl crate::searcher::LogTail for FakeLog {
    async fn others(&self, known: &crate::searcher::Lanes) -> Result<crate::searcher::Lanes, SearchError> {
        let all = self.ends.keys().map(|partition| (at(*partition, 0).partition, (self.epoch, 0)));
        let is_known = |partition: &_| known.get(partition).is_some_and(|(epoch, _)| *epoch >= self.epoch);
        Ok(all.filter(|(partition, _)| !is_known(partition)).collect())
    }

    async fn ends(
        &self,
        partitions: &[TopicPartition],
    ) -> std::collections::BTreeMap<TopicPartition, Result<i64, SearchError>> {
        let end = |partition: &TopicPartition| match self.is_away {
            true => Err(SearchError::Log { is_transient: true, reason: "away".into() }),
            false => Ok(self.ends.get(&partition.partition).copied().unwrap_or(0)),
        };
        partitions.iter().map(|partition| (*partition, end(partition))).collect()
    }
}

/// Publishes a split with some entries, of lanes that need not have been begun with.
pub(crate) async fn publish(manifest: &Manifest, parts: &[Entries]) -> SplitMeta {
    let scratch = tempfile::tempdir().unwrap();
    let (packed, meta) = packed(scratch.path(), parts);
    let objects = manifest.objects();
    objects.put_large(&object_name(&meta.id), packed.contents().unwrap()).await.unwrap();
    let state = manifest.refresh().await.unwrap();
    let fresh = meta.lanes.iter().filter(|range| state.position(range.partition).is_none());
    let start = fresh.map(|range| LaneStart { partition: range.partition, epoch: 0, start: range.from, before: None });
    manifest.publish(&Change { start: start.collect(), ..Change::new("begin") }).await.unwrap();
    let change = Change { lanes: meta.lanes.clone(), add: vec![meta.clone()], ..Change::new("publish") };
    manifest.publish(&change).await.unwrap();
    meta
}

/// Writes an erasure down, as the eraser does.
pub(crate) async fn erase(store: &dyn Store, erasure: &Erasure) {
    let clustering = vec![erasure.id.as_str().into()];
    let write = Write {
        table: &ERASURES,
        key: Key { partition: vec!["journal".into()], clustering },
        version: 0,
        expires: None,
        stats: bytes::Bytes::new(),
        payload: serde_json::to_vec(erasure).unwrap().into(),
    };
    store.write(vec![write]).await.unwrap();
}
