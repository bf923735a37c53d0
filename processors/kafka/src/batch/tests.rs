#![allow(clippy::unwrap_used)]

use agentworks_schemas::codec::{Framing, Reject, Schemas, decode_entry_body, encode_entry, encode_event};
use agentworks_schemas::{Level, LogEntry, RunEvent, RunEventKind, Source, Timestamp, Topic, TopicPartition};

use super::*;

fn entry(card: &str, sequence: i64) -> LogEntry<'_> {
    LogEntry {
        id: "id".into(),
        run_id: "run".into(),
        card_id: card.into(),
        workspace_id: "space".into(),
        timestamp: Timestamp(1),
        sequence,
        level: Level::Info,
        source: Source::Agent,
        component: "test".into(),
        message: "a line".into(),
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

fn avro(entry: &LogEntry<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_entry(entry, Framing::Avro, &mut bytes);
    bytes
}

fn builder(from: i64) -> BatchBuilder {
    BatchBuilder::new(TopicPartition::new(Topic::AgentLogs, 3), 7, from)
}

fn push(builder: &mut BatchBuilder, offset: i64, key: Option<&[u8]>, payload: Option<&[u8]>) {
    builder.push_raw(offset, Timestamp(1000 + offset), key, payload, Vec::new());
}

#[test]
fn batches_cross_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Batch>();
}

#[test]
fn records_borrow_from_the_buffer() {
    let mut builder = builder(10);
    for offset in [10, 11, 15] {
        push(&mut builder, offset, Some(b"card"), Some(&avro(&entry("card", offset))));
    }
    let batch = builder.build(Schemas::builtin());
    assert_eq!((batch.from, batch.to, batch.epoch), (10, 16, 7));
    assert!(batch.rejects().is_empty());
    let sequences: Vec<_> = batch
        .records()
        .iter()
        .map(|record| match &record.content {
            Content::Entry(entry) => (record.offset, record.timestamp.millis(), entry.sequence),
            Content::Event(_) => unreachable!(),
        })
        .collect();
    assert_eq!(sequences, [(10, 1010, 10), (11, 1011, 11), (15, 1015, 15)]);
    for record in batch.records() {
        assert!(matches!(record.body, Cow::Borrowed(_)));
        assert_eq!(Content::Entry(decode_entry_body(&record.body).unwrap()), record.content);
    }
    assert!(batch.bytes() > 3 * size_of::<Record<'_>>());
}

#[test]
fn run_events_are_decoded_by_topic() {
    let event = RunEvent {
        id: "id".into(),
        run_id: "run".into(),
        card_id: "card".into(),
        workspace_id: "space".into(),
        timestamp: Timestamp(1),
        kind: RunEventKind::Completed,
        agent_id: None,
        provider: None,
        model: None,
        user_id: None,
        cost: Some(0.25),
        input_tokens: None,
        output_tokens: None,
        exit_code: Some(0),
        reason: None,
        trace_id: None,
    };
    let mut bytes = Vec::new();
    encode_event(&event, Framing::Avro, &mut bytes);
    let mut builder = BatchBuilder::new(TopicPartition::new(Topic::RunEvents, 0), 0, 0);
    push(&mut builder, 0, Some(b"card"), Some(&bytes));
    let batch = builder.build(Schemas::builtin());
    assert_eq!(batch.records()[0].content, Content::Event(event));
}

#[test]
fn what_cannot_be_decoded_is_kept_whole() {
    let mut builder = builder(0);
    let good = avro(&entry("card", 0));
    let headers = vec![("trace".to_owned(), Some(b"1".to_vec()))];
    push(&mut builder, 0, Some(b"card"), Some(&good));
    builder.push_raw(1, Timestamp(5), Some(b"\xff"), Some(b"garbage"), headers.clone());
    push(&mut builder, 2, None, None);
    push(&mut builder, 3, Some(b"another"), Some(&good));
    push(&mut builder, 4, None, Some(&good));
    push(&mut builder, 5, Some(b""), Some(b""));
    let batch = builder.build(Schemas::builtin());

    let offsets: Vec<_> = batch.records().iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [0, 4], "a record without a key is taken, one with another's is not");
    let rejects = batch.rejects();
    let codes: Vec<_> = rejects.iter().map(|rejected| (rejected.position.offset, rejected.reject.code())).collect();
    assert_eq!(codes[0], (1, "unknown_framing"));
    assert_eq!(codes[1], (2, "empty"));
    assert_eq!(codes.len(), 4);
    assert_eq!(rejects[0].payload.as_deref(), Some(&b"garbage"[..]));
    assert_eq!(rejects[0].key.as_deref(), Some(&b"\xff"[..]));
    assert_eq!(rejects[0].headers, headers);
    assert_eq!(rejects[0].timestamp, Timestamp(5));
    assert_eq!(rejects[0].position.to_string(), "agent-logs[3]/7@1");
    assert_eq!((rejects[1].payload.as_ref(), &rejects[1].reject), (None, &Reject::Empty));
    assert_eq!(rejects[3].payload.as_deref(), Some(&b""[..]), "an empty payload is no tombstone");
}

#[test]
fn headers_and_keys_of_rejects_count_as_memory() {
    let headers = vec![("trace".to_owned(), Some(vec![0; 40_000]))];
    let mut builder = builder(0);
    let good = avro(&entry("card", 0));
    builder.push_raw(0, Timestamp(5), Some(b"card"), Some(&good), headers.clone());
    assert!(builder.bytes() > 40_000 && !builder.is_full());
    builder.push_raw(1, Timestamp(5), Some(&[0; 30_000]), None, headers);
    assert!(builder.bytes() > 110_000);
    assert!(builder.is_full(), "one of the smallest records may have the longest headers");
    let rest = builder.split();
    assert_eq!((builder.bytes(), builder.is_full()), (0, false));
    let batch = rest.build(Schemas::builtin());
    assert_eq!((batch.records().len(), batch.rejects().len()), (1, 1));
    // Those of the good one are dropped; the key is in the buffer and copied.
    assert!((100_000..110_000).contains(&batch.bytes()), "{}", batch.bytes());
}

#[test]
fn json_without_an_id_is_named_by_its_position() {
    let json = br#"{"runId":"run","cardId":"card","workspaceId":"space","message":"from a script"}"#;
    let mut builder = builder(99);
    push(&mut builder, 99, Some(b"card"), Some(json));
    push(&mut builder, 100, None, Some(json));
    let batch = builder.build(Schemas::builtin());
    let ids: Vec<_> = batch
        .records()
        .iter()
        .map(|record| match &record.content {
            Content::Entry(entry) => entry.id.to_string(),
            Content::Event(_) => unreachable!(),
        })
        .collect();
    assert_eq!(ids, ["agent-logs-3-99", "agent-logs-3-100"]);
    assert!(matches!(batch.records()[0].body, Cow::Owned(_)));
}

#[test]
fn covered_offsets_belong_to_the_batch() {
    let mut builder = builder(5);
    builder.cover(9);
    push(&mut builder, 12, None, Some(&avro(&entry("card", 0))));
    builder.cover(20);
    assert_eq!((builder.from(), builder.next(), builder.len()), (5, 20, 1));
    let batch = builder.build(Schemas::builtin());
    assert_eq!((batch.from, batch.to, batch.records().len()), (5, 20, 1));
}

#[test]
fn the_last_record_is_known_again_by_all_that_it_is() {
    let last = |offset, timestamp, key: &[u8], payload: Option<&[u8]>| {
        let mut builder = builder(0);
        push(&mut builder, 0, None, Some(b"before"));
        builder.push_raw(offset, Timestamp(timestamp), Some(key), payload, Vec::new());
        builder.cover(9);
        builder.build(Schemas::builtin()).last().unwrap()
    };
    let it = last(1, 5, b"card", Some(b"garbage"));
    assert_eq!(it, last(1, 5, b"card", Some(b"garbage")));
    assert_eq!(it.offset, 1);
    for other in [
        last(2, 5, b"card", Some(b"garbage")),
        last(1, 6, b"card", Some(b"garbage")),
        last(1, 5, b"car", Some(b"dgarbage")),
        last(1, 5, b"card", Some(b"other")),
        last(1, 5, b"card", Some(b"")),
        last(1, 5, b"card", None),
    ] {
        assert_ne!(it, other);
    }
    assert_ne!(last(1, 5, b"card", Some(b"")), last(1, 5, b"card", None));
    assert_eq!(builder(0).build(Schemas::builtin()).last(), None);
}

#[test]
fn only_other_cards_keys_are_skipped() {
    assert!(may_be_of(b"card", Some(b"card")));
    assert!(may_be_of(b"card", None));
    assert!(!may_be_of(b"card", Some(b"other")));
    assert!(!may_be_of(b"card", Some(b"")));
}
