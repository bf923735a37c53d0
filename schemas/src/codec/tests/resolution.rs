//! Records in schemas that aren't ours.

use apache_avro::types::Value;
use apache_avro::{Schema, to_avro_datum};

use super::*;
use crate::entry::{Level, Source};

const ID: u32 = 77;

fn schema(fields: &str) -> String {
    format!(r#"{{"type": "record", "name": "Theirs", "fields": [{fields}]}}"#)
}

/// An older, a newer and a stranger's idea of an entry: other order, other types that can be read, enums with more
/// symbols, fields missing and fields that we don't have.
const THEIRS: &str = r#"
    {"name": "extra", "type": {"type": "array", "items": {"type": "map", "values": "long"}}},
    {"name": "message", "type": "bytes"},
    {"name": "workspaceId", "type": ["string", "null"]},
    {"name": "runId", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "cardId", "type": "string"},
    {"name": "id", "type": "string"},
    {"name": "timestamp", "type": "long"},
    {"name": "sequence", "type": "int"},
    {"name": "level", "type": {"type": "enum", "name": "L", "symbols": ["notice", "warn", "trace"]}},
    {"name": "source", "type": ["null", {"type": "enum", "name": "S", "symbols": ["system", "robot"]}]},
    {"name": "component", "type": "string"},
    {"name": "provider", "type": "string"},
    {"name": "tags", "type": {"type": "array", "items": "string"}},
    {"name": "later", "type": "double"}
"#;

fn theirs(level: (u32, &str), source: (u32, &str)) -> Vec<u8> {
    let text = |text: &str| Value::String(text.into());
    let map = Value::Map([("a".into(), Value::Long(1)), ("b".into(), Value::Long(-1))].into());
    let value = Value::Record(vec![
        ("extra".into(), Value::Array(vec![map.clone(), map])),
        ("message".into(), Value::Bytes("grüß".into())),
        ("workspaceId".into(), Value::Union(0, text("acme").into())),
        ("runId".into(), text("3d0d0f0a-8d3a-4cc1-b6f0-6a1f0c4d2e11")),
        ("cardId".into(), text("card-1")),
        ("id".into(), text("i")),
        ("timestamp".into(), Value::Long(1_764_670_530_123)),
        ("sequence".into(), Value::Int(12)),
        ("level".into(), Value::Enum(level.0, level.1.into())),
        ("source".into(), Value::Union(1, Value::Enum(source.0, source.1.into()).into())),
        ("component".into(), text("x")),
        ("provider".into(), text("p")),
        ("tags".into(), Value::Array(vec![text("t")])),
        ("later".into(), Value::Double(0.5)),
    ]);
    // The uuid is a mere annotation to us; apache-avro would want another value for it.
    let schema = schema(THEIRS).replace(r#", "logicalType": "uuid""#, "");
    let datum = to_avro_datum(&Schema::parse_str(&schema).unwrap(), value).unwrap();
    [&[0][..], &ID.to_be_bytes(), &datum].concat()
}

#[test]
fn other_schemas_are_read_by_field_names() {
    let schemas = Schemas::builtin().clone().with_registered(ID, RecordType::LogEntry, &schema(THEIRS)).unwrap();
    let payload = theirs((1, "warn"), (0, "system"));
    let decoded = decode_entry(&schemas, Some(b"card-1"), &payload, DEFAULTS).unwrap();
    let json = serde_json::to_string(&decoded.record).unwrap();
    assert_eq!(
        json,
        r#"{"id":"i","runId":"3d0d0f0a-8d3a-4cc1-b6f0-6a1f0c4d2e11","cardId":"card-1","workspaceId":"acme","timestamp":"2025-12-02T10:15:30.123Z","sequence":12,"level":"warn","source":"system","component":"x","message":"grüß","provider":"p","tags":["t"]}"#
    );
    assert_eq!(decode_entry_body(&decoded.body).unwrap(), decoded.record);

    let strange =
        decode_entry(&schemas, None, &theirs((2, "trace"), (1, "robot")), DEFAULTS).unwrap().record.into_owned();
    assert_eq!((strange.level, strange.source), (Level::Info, Source::Agent));

    for length in 5..payload.len() {
        assert!(decode_entry(&schemas, None, &payload[..length], DEFAULTS).is_err());
    }
    let long = [&payload[..], &[0]].concat();
    assert_eq!(decode_entry(&schemas, None, &long, DEFAULTS).unwrap_err().code(), "avro");
}

#[test]
fn schemas_that_cannot_be_read_are_refused() {
    let refusal = |fields: String| {
        let register = Schemas::builtin().clone().with_registered(ID, RecordType::LogEntry, &schema(&fields));
        register.map(|_| ()).unwrap_err().to_string()
    };
    let changed = |from: &str, to: &str| {
        let fields = THEIRS.replace(from, to);
        assert_ne!(fields, THEIRS);
        refusal(fields)
    };
    assert_eq!(changed(r#""cardId""#, r#""card_id""#), "registry id 77: the schema has no field cardId");
    let component = r#""component", "type": "string""#;
    for another in
        [r#""long""#, r#"["null", "string", "long"]"#, r#"["null", "long"]"#, r#"{"type": "array", "items": "string"}"#]
    {
        let found = changed(component, &format!(r#""component", "type": {another}"#));
        assert_eq!(found, "registry id 77: the schema's field component is of another type");
    }
    let timestamp = r#""timestamp", "type": "long""#;
    let micros = r#""timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}"#;
    assert_eq!(changed(timestamp, micros), "registry id 77: the schema's field timestamp is of another type");

    let register = |json| Schemas::builtin().clone().with_registered(ID, RecordType::LogEntry, json).unwrap_err();
    assert_eq!(register(r#""string""#).to_string(), "registry id 77: the schema is not a record's");
    assert_eq!(register("nonsense").to_string(), "registry id 77: not an Avro schema");
}
