//! Every record survives every framing, bit by bit; and what is written by hand is what the schemas say.

use std::borrow::Cow;
use std::sync::LazyLock;

use apache_avro::Schema;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::datum;
use super::strategies::{entry, event};
use super::*;
use crate::entry::LogEntry;

const ID: u32 = 0x0102_0304;
const FRAMINGS: [Framing; 3] = [Framing::Avro, Framing::Confluent(ID), Framing::Json];

/// Our schemas, which a registry knows too.
static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| {
    let schemas = Schemas::builtin().clone();
    let schemas = schemas.with_registered(ID, RecordType::LogEntry, RecordType::LogEntry.schema_json()).unwrap();
    schemas.with_registered(ID, RecordType::RunEvent, RecordType::RunEvent.schema_json()).unwrap()
});

proptest! {
    #[test]
    fn entries_survive_every_framing(entry in entry()) {
        check_entry(&entry).unwrap();
        let mut body = Vec::new();
        encode_entry_body(&entry, &mut body);
        prop_assert_eq!(&decode_entry_body(&body).unwrap(), &entry);
        for framing in FRAMINGS {
            let mut payload = Vec::new();
            encode_entry(&entry, framing, &mut payload);
            for key in [Some(entry.card_id.as_bytes()), None] {
                let decoded = decode_entry(&SCHEMAS, key, &payload, DEFAULTS).unwrap();
                prop_assert_eq!(&decoded.record, &entry);
                prop_assert_eq!(&decoded.body, &body);
                prop_assert_eq!(matches!(decoded.body, Cow::Borrowed(_)), framing != Framing::Json);
            }
            let misplaced = decode_entry(&SCHEMAS, Some(b"\xff another card"), &payload, DEFAULTS);
            prop_assert_eq!(misplaced.unwrap_err().code(), "field");
        }
    }

    #[test]
    fn events_survive_every_framing(event in event()) {
        check_event(&event).unwrap();
        let mut body = Vec::new();
        encode_event_body(&event, &mut body);
        prop_assert_eq!(&decode_event_body(&body).unwrap(), &event);
        for framing in FRAMINGS {
            let mut payload = Vec::new();
            encode_event(&event, framing, &mut payload);
            let decoded = decode_event(&SCHEMAS, Some(event.card_id.as_bytes()), &payload, DEFAULTS).unwrap();
            prop_assert_eq!(decoded.record.cost.map(f64::to_bits), event.cost.map(f64::to_bits));
            prop_assert_eq!(&decoded.record, &event);
            prop_assert_eq!(&decoded.body, &body);
        }
    }

    #[test]
    fn entry_bodies_are_what_the_schema_says(entry in entry()) {
        let mut body = Vec::new();
        encode_entry_body(&entry, &mut body);
        // To one implementation of Avro, which is the one that reads other schemas here.
        let schema = SCHEMAS.newest(RecordType::LogEntry);
        prop_assert_eq!(&datum::read_entry(schema, &body).unwrap(), &entry);
        // And to another, both ways.
        let mut expected = serde_json::to_value(LogEntry { data: None, ..entry.clone() }).unwrap();
        expected["timestamp"] = json!(entry.timestamp.millis());
        if let Some(data) = &entry.data {
            expected["data"] = json!(data.as_str());
        }
        static SCHEMA: LazyLock<Schema> = LazyLock::new(|| parse(RecordType::LogEntry));
        check_with_apache_avro(&SCHEMA, &body, expected);
    }

    #[test]
    fn event_bodies_are_what_the_schema_says(event in event()) {
        let mut body = Vec::new();
        encode_event_body(&event, &mut body);
        prop_assert_eq!(&datum::read_event(SCHEMAS.newest(RecordType::RunEvent), &body).unwrap(), &event);
        let mut expected = serde_json::to_value(&event).unwrap();
        expected["timestamp"] = json!(event.timestamp.millis());
        static SCHEMA: LazyLock<Schema> = LazyLock::new(|| parse(RecordType::RunEvent));
        check_with_apache_avro(&SCHEMA, &body, expected);
    }
}

fn parse(record: RecordType) -> Schema {
    Schema::parse_str(record.schema_json()).unwrap()
}

/// Reads a body with apache-avro, which must see the fields of `expected` and write the same bytes.
fn check_with_apache_avro(schema: &Schema, body: &[u8], expected: Value) {
    let mut rest = body;
    let value = apache_avro::from_avro_datum(schema, &mut rest, None).unwrap();
    assert!(rest.is_empty());
    let mut found = Value::try_from(value.clone()).unwrap();
    found.as_object_mut().unwrap().retain(|_, field| !field.is_null());
    assert_eq!(found, expected);
    assert_eq!(apache_avro::to_avro_datum(schema, value).unwrap(), body);
}

#[test]
fn framings_are_told_apart_by_their_first_bytes() {
    let decode = |payload: &[u8]| decode_entry(&SCHEMAS, None, payload, DEFAULTS).map(drop);
    let code = |payload: &[u8]| decode(payload).unwrap_err().code();
    assert_eq!(code(b""), "empty");
    assert_eq!(code(&vec![b' '; MAX_RECORD + 1]), "too_large");
    assert_eq!(code(&vec![b' '; MAX_RECORD]), "unknown_framing");
    assert_eq!(code(b"[]"), "unknown_framing");
    assert_eq!(code(b"\xC3\x02"), "unknown_framing");
    assert_eq!(code(b"\xC3\x01\0\0\0\0\0\0\0"), "avro");
    assert_eq!(
        decode(b"\xC3\x01\x01\0\0\0\0\0\0\x0f"),
        Err(Reject::UnknownFingerprint { fingerprint: 0x0f00_0000_0000_0001 })
    );
    assert_eq!(code(b"\0\x01\x02\x03"), "avro");
    assert_eq!(decode(b"\0\0\0\0\x07"), Err(Reject::UnknownSchemaId { id: 7 }));
    assert_eq!(code(b" \t\r\n{"), "json");
    assert_eq!(
        decode(b"\xEF\xBB\xBF{}").unwrap_err().to_string(),
        "the first bytes are neither Avro (C3 01), Confluent (00) nor JSON ({): EF BB BF 7B"
    );
}

#[test]
fn a_record_of_the_other_type_is_told_so() {
    for framing in [Framing::Avro, Framing::Confluent(5)] {
        let event = br#"{"workspaceId":"w","cardId":"c","runId":"r","kind":"started"}"#;
        let event = decode_event(&SCHEMAS, None, event, DEFAULTS).unwrap().record;
        let mut payload = Vec::new();
        encode_event(&event, framing, &mut payload);
        let schemas = Schemas::builtin().clone();
        let schemas = schemas.with_registered(5, RecordType::RunEvent, RecordType::RunEvent.schema_json()).unwrap();
        let reject = decode_entry(&schemas, None, &payload, DEFAULTS).unwrap_err();
        assert_eq!(reject.to_string(), "not a record of its Avro schema: a RunEvent where a LogEntry belongs");
    }
}

#[test]
fn a_body_ends_with_its_last_field() {
    let entry = br#"{"workspaceId":"w","cardId":"c","runId":"r","message":"m"}"#;
    let mut body = decode_entry(&SCHEMAS, None, entry, DEFAULTS).unwrap().body.into_owned();
    for length in 0..body.len() {
        assert_eq!(decode_entry_body(&body[..length]).unwrap_err().code(), "avro");
    }
    body.push(0);
    let reject = decode_entry_body(&body).unwrap_err();
    assert_eq!(reject.to_string(), "not a record of its Avro schema: bytes are left over after the last field");
}
