//! Entries, batches and splits for this crate's tests.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use agentworks_kafka::{Batch, BatchBuilder};
use agentworks_schemas::codec::{Framing, Schemas, encode_entry, encode_entry_body};
use agentworks_schemas::{Level, LogEntry, Position, Source, Timestamp, Topic, TopicPartition};
use tantivy::Index;
use tantivy::directory::RamDirectory;

use crate::document::EntryDocument;
use crate::schema::{fields, settings, tokenizers};
use crate::split::{LaneRange, Packed, SplitMeta, SplitWriter, WorkspaceMeta};

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
    let mut builder = BatchBuilder::new(at(partition, 0).partition, 0, offsets.start);
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
        let ram = RamDirectory::create();
        let builder = Index::builder().schema(fields().schema.clone()).settings(settings()).tokenizers(tokenizers());
        let builder = builder.fast_field_tokenizers(tokenizers());
        let mut index = builder.single_segment_index_writer(ram.clone(), 50 << 20).unwrap();
        for (position, time, body) in entries {
            let document = EntryDocument::new(body.clone().into(), *position, *time).unwrap();
            let one = WorkspaceMeta::of(document.entry().timestamp, *time);
            let name = document.entry().workspace_id.to_string();
            workspaces.entry(name).and_modify(|known| *known = known.with(one)).or_insert(one);
            index.add_document(document).unwrap();
            docs += 1;
        }
        writer.add(&index.finalize().unwrap().load_metas().unwrap(), &ram).unwrap();
    }
    let packed = writer.pack().unwrap();
    let lanes = LaneRange::union(parts.iter().map(|(range, _)| *range));
    let (id, bytes, footer) = (packed.id.clone(), packed.bytes, packed.footer.clone());
    (packed, SplitMeta { id, bytes, footer, docs, tier: 0, lanes, workspaces })
}
