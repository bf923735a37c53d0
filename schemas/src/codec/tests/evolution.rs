//! The schemas themselves: every field is documented, and each version reads all that any older one wrote.

use std::collections::BTreeMap;
use std::path::Path;

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use serde_json::Value;

use super::*;
use crate::dead_letter::DeadLetter;
use crate::entry::{Level, Source};
use crate::event::RunEventKind;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/avro"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The newest schemas by record.
fn newest() -> BTreeMap<String, String> {
    let names = ["LogEntry", "RunEvent", "DeadLetter"];
    names.map(|name| (name.to_owned(), read(&folder().join(format!("{name}.avsc"))))).into()
}

/// The versions ever shipped, by record, the oldest first.
fn history() -> BTreeMap<String, Vec<String>> {
    let mut versions = BTreeMap::<String, BTreeMap<u32, String>>::new();
    for file in folder().join("history").read_dir().unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let (record, version) = name.strip_suffix(".avsc").and_then(|name| name.split_once(".v")).unwrap();
        versions.entry(record.to_owned()).or_default().insert(version.parse().unwrap(), read(&path));
    }
    versions.into_iter().map(|(record, versions)| (record, versions.into_values().collect())).collect()
}

/// Not apache-avro's fingerprint, whose canonical form keeps what logical types leave behind.
fn fingerprint(json: &str) -> u64 {
    u64::from_le_bytes(*json.parse::<serde_avro_fast::Schema>().unwrap().rabin_fingerprint())
}

#[test]
fn the_newest_version_reads_all_older_ones() {
    for (record, newest) in newest() {
        let reader = Schema::parse_str(&newest).unwrap();
        for older in &history()[&record] {
            SchemaCompatibility::can_read(&Schema::parse_str(older).unwrap(), &reader).unwrap();
        }
    }
}

#[test]
fn the_newest_version_is_kept_in_the_history() {
    for (record, newest) in newest() {
        let last = history()[&record].last().unwrap().clone();
        assert_eq!(
            newest, last,
            "a changed {record}.avsc goes to avro/history under the next version, and stays there"
        );
    }
}

#[test]
fn every_version_ever_shipped_is_known() {
    let shipped = [
        ("LogEntry", RecordType::LogEntry, vec![0xdc52_2530_8a43_c062]),
        ("RunEvent", RecordType::RunEvent, vec![0x973f_9621_7640_0c4d]),
    ];
    for (name, record, fingerprints) in shipped {
        // These numbers are on people's logs: they are never changed, only added to. They are what Java's
        // `SchemaNormalization.parsingFingerprint64` says.
        assert_eq!(history()[name].iter().map(|json| fingerprint(json)).collect::<Vec<_>>(), fingerprints, "{name}");
        for fingerprint in &fingerprints {
            Schemas::builtin().by_fingerprint(record, *fingerprint).unwrap_or_else(|reject| panic!("{reject}"));
        }
        assert_eq!(Some(&Schemas::builtin().newest_fingerprint(record)), fingerprints.last());
    }
}

#[test]
fn enums_have_our_symbols_in_our_order() {
    fn check(record: RecordType, field: &str, names: &[&str], default: &str) {
        let schema: Value = serde_json::from_str(record.schema_json()).unwrap();
        let fields = schema["fields"].as_array().unwrap();
        let r#enum = &fields.iter().find(|found| found["name"] == field).unwrap()["type"];
        assert_eq!(r#enum["symbols"], serde_json::json!(names));
        assert_eq!(r#enum["default"], default);
    }
    check(RecordType::LogEntry, "level", &Level::ALL.map(Level::as_str), "info");
    check(RecordType::LogEntry, "source", &Source::ALL.map(Source::as_str), "agent");
    check(RecordType::RunEvent, "kind", &RunEventKind::ALL.map(RunEventKind::as_str), "usage");
    assert_eq!(Level::ALL.map(|level| level as usize), [0, 1, 2, 3, 4]);
    assert_eq!(Source::ALL.map(|source| source as usize), [0, 1, 2, 3]);
    assert_eq!(RunEventKind::ALL.map(|kind| kind as usize), [0, 1, 2, 3, 4]);
}

#[test]
fn every_field_is_documented_and_optional_ones_default_to_null() {
    for json in newest().into_values() {
        let schema: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(schema["namespace"], "agentworks");
        assert!(schema["doc"].is_string());
        for field in schema["fields"].as_array().unwrap() {
            assert!(field["doc"].as_str().is_some_and(|doc| doc.ends_with('.')), "{field}");
            assert_eq!(field["type"].is_array(), field.get("default") == Some(&Value::Null), "{field}");
            assert!(field["type"].is_string() || field["type"].is_object() || field["type"][0] == "null", "{field}");
        }
    }
}

#[test]
fn dead_letters_have_the_schemas_fields_in_json() {
    let schema: Value = serde_json::from_str(&newest()["DeadLetter"]).unwrap();
    let letter = DeadLetter {
        topic: "agent-logs".into(),
        partition: 3,
        epoch: 1,
        offset: 17,
        timestamp: Timestamp(0),
        code: "json".into(),
        reason: "not a record".into(),
        key: Some("card".into()),
        length: 9,
    };
    let json = serde_json::to_string(&letter).unwrap();
    let names: Vec<_> = schema["fields"].as_array().unwrap().iter().map(|field| &field["name"]).collect();
    assert!(names.iter().all(|name| json.contains(&format!("{name}:"))), "{json}");
    assert_eq!(json.matches("\":").count(), names.len(), "{json}");
    assert_eq!(serde_json::from_str::<DeadLetter<'_>>(&json).unwrap(), letter);
}
