//! What the tests share: batches, and an archive in a folder.

#![allow(clippy::unwrap_used)]

use agentworks_kafka::{Batch, BatchBuilder};
use agentworks_objects::Objects;
use agentworks_processors::sink::{Flush, Sink};
use agentworks_schemas::codec::{Framing, Schemas, encode_entry, encode_event};
use agentworks_schemas::text::JsonObject;
use agentworks_schemas::{Level, LogEntry, RunEvent, RunEventKind, Source, Timestamp, Topic, TopicPartition};
use prometheus_client::registry::Registry;

use crate::{Archive, ArchiveConfig, ArchiveSink};

/// A day at noon, in milliseconds.
pub(crate) const NOON: i64 = 1_764_676_800_000;
pub(crate) const DAY: i64 = 86_400_000;

pub(crate) fn lane(partition: i32) -> TopicPartition {
    TopicPartition::new(Topic::AgentLogs, partition)
}

pub(crate) fn folder() -> (tempfile::TempDir, Objects) {
    let folder = tempfile::tempdir().unwrap();
    let objects = Objects::folder(&folder.path().join("archive")).unwrap();
    (folder, objects)
}

pub(crate) fn config() -> ArchiveConfig {
    ArchiveConfig { flush_interval: std::time::Duration::from_secs(3600), ..ArchiveConfig::default() }
}

pub(crate) fn sink(archive: &Archive) -> ArchiveSink {
    ArchiveSink::new(archive.clone(), config(), &mut Registry::default()).unwrap()
}

/// Entry `offset` of a lane: card `offset % 3`, run `offset % 7`, workspace `offset % 2`.
pub(crate) fn entry(partition: TopicPartition, offset: i64) -> LogEntry<'static> {
    LogEntry {
        id: format!("{partition}-{offset}").into(),
        run_id: format!("run-{}", offset % 7).into(),
        card_id: format!("card-{}", offset % 3).into(),
        workspace_id: format!("ws-{}", offset % 2).into(),
        timestamp: Timestamp(NOON + offset),
        sequence: offset,
        level: Level::ALL[(offset % 5) as usize],
        source: if partition.topic == Topic::SystemLogs { Source::System } else { Source::Agent },
        component: "tests".into(),
        message: format!("line {offset} of {partition}, with some text that is as long as lines are").into(),
        data: (offset % 4 == 0).then(|| JsonObject::parse(format!("{{\"n\":{offset}}}")).unwrap()),
        agent_id: (offset % 3 == 0).then(|| "agent".into()),
        provider: None,
        model: Some("model".into()),
        user_id: None,
        tags: match offset % 3 {
            0 => None,
            1 => Some(Vec::new()),
            _ => Some(vec!["a".into(), "b".into()]),
        },
        correlation_id: None,
        parent_span_id: None,
        trace_id: (offset % 10 == 0).then(|| format!("trace-{offset}").into()),
    }
}

pub(crate) fn event(offset: i64) -> RunEvent<'static> {
    let kind = [RunEventKind::Started, RunEventKind::Usage, RunEventKind::Completed][(offset % 3) as usize];
    RunEvent {
        id: format!("event-{offset}").into(),
        run_id: format!("run-{}", offset / 3).into(),
        card_id: "card-0".into(),
        workspace_id: "ws-0".into(),
        timestamp: Timestamp(NOON + offset),
        kind,
        agent_id: Some("agent".into()),
        provider: None,
        model: None,
        user_id: None,
        cost: (kind == RunEventKind::Usage).then_some(0.25),
        input_tokens: (kind == RunEventKind::Usage).then_some(100),
        output_tokens: None,
        exit_code: (kind == RunEventKind::Completed).then_some(0),
        reason: None,
        trace_id: None,
    }
}

/// A batch of `from..to`, recorded at `time` and a millisecond later each.
pub(crate) fn batch(partition: TopicPartition, from: i64, to: i64, time: i64) -> Batch {
    batch_of(partition, from, to, |offset| (offset % 11 != 10).then_some(time + offset))
}

/// A batch of those offsets that have a record timestamp.
pub(crate) fn batch_of(partition: TopicPartition, from: i64, to: i64, time: impl Fn(i64) -> Option<i64>) -> Batch {
    batch_in(0, partition, from, to, time)
}

/// The same in a making of the topic.
fn batch_in(epoch: u32, partition: TopicPartition, from: i64, to: i64, time: impl Fn(i64) -> Option<i64>) -> Batch {
    let mut builder = BatchBuilder::new(partition, epoch, from);
    for offset in from..to {
        let Some(time) = time(offset) else { continue };
        match partition.topic {
            Topic::RunEvents => {
                let mut payload = Vec::new();
                encode_event(&event(offset), Framing::Avro, &mut payload);
                let card = event(offset).card_id;
                builder.push_raw(offset, Timestamp(time), Some(card.as_bytes()), Some(&payload), Vec::new());
            }
            _ => push(&mut builder, offset, time, &entry(partition, offset)),
        }
    }
    built(builder, to)
}

/// A batch of entries that are made for it, each with its record timestamp.
pub(crate) fn batch_with(
    partition: TopicPartition,
    from: i64,
    to: i64,
    entry: impl Fn(i64) -> Option<(i64, LogEntry<'static>)>,
) -> Batch {
    let mut builder = BatchBuilder::new(partition, 0, from);
    for offset in from..to {
        if let Some((time, entry)) = entry(offset) {
            push(&mut builder, offset, time, &entry);
        }
    }
    built(builder, to)
}

fn push(builder: &mut BatchBuilder, offset: i64, time: i64, entry: &LogEntry<'_>) {
    let mut payload = Vec::new();
    encode_entry(entry, Framing::Avro, &mut payload);
    builder.push_raw(offset, Timestamp(time), Some(entry.card_id.as_bytes()), Some(&payload), Vec::new());
}

fn built(mut builder: BatchBuilder, to: i64) -> Batch {
    builder.cover(to);
    let batch = builder.build(Schemas::builtin());
    assert!(batch.rejects().is_empty(), "{:?}", batch.rejects());
    batch
}

/// Opens lanes, takes a range of each and publishes it.
pub(crate) async fn fill(archive: &Archive, lanes: &[TopicPartition], from: i64, to: i64, time: i64) {
    fill_in(0, archive, lanes, from, to, time).await;
}

/// The same in a making of their topics.
pub(crate) async fn fill_in(epoch: u32, archive: &Archive, lanes: &[TopicPartition], from: i64, to: i64, time: i64) {
    let mut sink = sink(archive);
    for lane in lanes {
        sink.open(*lane, epoch, 0).await.unwrap();
        let time = |offset| (offset % 11 != 10).then_some(time + offset);
        sink.take(&batch_in(epoch, *lane, from, to, time)).await.unwrap();
    }
    sink.flush(Flush::Free(1)).await.unwrap();
}
