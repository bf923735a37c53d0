//! What scripts may write, and what they are told.

use super::*;
use crate::entry::LogEntry;
use crate::event::RunEvent;

fn entry<'a>(json: &'a str) -> Result<LogEntry<'a>, Reject> {
    keyed(None, json)
}

fn keyed<'a>(key: Option<&[u8]>, json: &'a str) -> Result<LogEntry<'a>, Reject> {
    decode_entry(Schemas::builtin(), key, json.as_bytes(), DEFAULTS).map(|decoded| decoded.record)
}

fn event(json: &str) -> Result<RunEvent<'_>, Reject> {
    decode_event(Schemas::builtin(), None, json.as_bytes(), DEFAULTS).map(|decoded| decoded.record)
}

#[test]
fn what_may_be_left_out_gets_a_default() {
    let found =
        entry(r#" {"workspaceId":"w","cardId":"c","runId":"r","message":"m","unknown":[{}],"data":null} "#).unwrap();
    assert_eq!(
        serde_json::to_string(&found).unwrap(),
        r#"{"id":"agent-logs[3]/1@17","runId":"r","cardId":"c","workspaceId":"w","timestamp":"2025-12-02T10:15:30.123Z","sequence":0,"level":"info","source":"agent","component":"","message":"m"}"#
    );
    assert_eq!(keyed(Some(b"c"), r#"{"workspaceId":"w","runId":"r","message":"m"}"#).unwrap().card_id, "c");
    let found = event(r#"{"workspaceId":"w","cardId":"c","runId":"r","kind":"usage","cost":1,"timestamp":5}"#).unwrap();
    assert_eq!((found.cost, found.timestamp), (Some(1.0), Timestamp(5)));
}

#[test]
fn numbers_in_data_keep_all_digits() {
    let data = r#"{"n":12345678901234567890.123456789012345678901234567890e-400,"s":"\u00e9"}"#;
    let json = format!(r#"{{"workspaceId":"w","cardId":"c","runId":"r","message":"m","data":{data}}}"#);
    let found = entry(&json).unwrap();
    assert_eq!(found.data.as_ref().unwrap().as_str(), data);
    assert!(serde_json::to_string(&found).unwrap().contains(data));
}

#[test]
fn data_is_one_line() {
    let found = entry(
        "{\"workspaceId\":\"w\",\"cardId\":\"c\",\"runId\":\"r\",\"message\":\"m\",\"data\": {\r\n\"a\":\n\"\\n\"}\n}",
    );
    assert_eq!(found.unwrap().data.unwrap().as_str(), "{  \"a\": \"\\n\"}");
}

#[test]
fn half_of_a_surrogate_pair_is_a_broken_character() {
    let json = r#"{"workspaceId":"w","cardId":"c","runId":"r","message":"cut \ud83d","data":{"ok":"\ud83d\ude00","cut":"\ud83d"}}"#;
    let found = entry(json).unwrap();
    assert_eq!(found.message, "cut \u{fffd}");
    assert_eq!(found.data.as_ref().unwrap().as_str(), r#"{"ok":"\ud83d\ude00","cut":"\ufffd"}"#);
    let mut body = Vec::new();
    encode_entry_body(&found, &mut body);
    let cut = body.windows(6).position(|window| window == br"\ufffd").unwrap();
    body[cut..cut + 6].copy_from_slice(br"\udc00");
    assert_eq!(decode_entry_body(&body).unwrap(), found);
}

#[test]
fn errors_name_the_field() {
    let with = |member: &str| {
        entry(&format!(r#"{{"workspaceId":"w","cardId":"c","runId":"r","message":"m",{member}}}"#))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        with(r#""level":"loud""#),
        "field level: unknown variant `loud`, expected one of `debug`, `info`, `warn`, `error`, `fatal`"
    );
    assert_eq!(with(r#""sequence":-1"#), "field sequence: -1 is negative");
    assert_eq!(with(r#""sequence":1.5"#), "field sequence: invalid type: floating point `1.5`, expected i64");
    assert_eq!(
        with(r#""timestamp":"yesterday""#),
        r#"field timestamp: "yesterday" is not an RFC 3339 instant such as 2025-12-02T10:15:30.123Z"#
    );
    assert_eq!(
        with(r#""timestamp":9223372036854775807"#),
        "field timestamp: 9223372036854775807 ms is not within 0000-01-01T00:00:00.000Z and 9999-12-30T22:00:00.000Z"
    );
    assert_eq!(with(r#""data":[1]"#), "field data: not a JSON object, or nested more than 100 deep");
    assert_eq!(with(r#""tags":"a""#), "field tags: not an array of strings");
    assert_eq!(with(r#""tags":[1]"#), "field tags: invalid type: integer `1`, expected a string");
    assert_eq!(with(&format!(r#""tags":[{}""]"#, r#""","#.repeat(1024))), "field tags: at most 1024 tags are taken");
    assert_eq!(
        with(&format!(r#""traceId":"{}""#, "x".repeat(513))),
        "field traceId: has 513 bytes; at most 512 are taken"
    );
    assert_eq!(
        with(&format!(r#""level":"{}""#, "ü".repeat(1000))),
        format!("field level: \"{}… is too long", "ü".repeat(63))
    );
    assert_eq!(with(r#""message":"again""#), "not a record in JSON: duplicate field `message` at line 1 column 67");
    assert_eq!(
        with(r#""component":7"#),
        "not a record in JSON: invalid type: integer `7`, expected a string at line 1 column 71"
    );

    let error = |json| entry(json).unwrap_err().to_string();
    assert_eq!(error(r#"{"workspaceId":"w","cardId":"c","runId":"r"}"#), "field message: is required");
    assert_eq!(error(r#"{"cardId":"c","runId":"r","message":"m"}"#), "field workspaceId: is required");
    assert_eq!(error(r#"{"workspaceId":"w","runId":"r","message":"m"}"#), "field cardId: is required");
    assert_eq!(error(r#"{"workspaceId":"","cardId":"c","runId":"r","message":"m"}"#), "field workspaceId: is empty");
    assert_eq!(error(r#"{"workspaceId":"w","#), "not a record in JSON: EOF while parsing a value at line 1 column 19");
    assert!(error("{} {}").starts_with("not a record in JSON: trailing characters"));
    let error = |json| event(json).unwrap_err().to_string();
    assert_eq!(error(r#"{"workspaceId":"w","cardId":"c","runId":"r"}"#), "field kind: is required");
    assert_eq!(
        error(r#"{"workspaceId":"w","cardId":"c","runId":"r","kind":"usage","cost":-0.5}"#),
        "field cost: -0.5 is not a sum of money"
    );
    assert_eq!(
        error(r#"{"workspaceId":"w","cardId":"c","runId":"r","kind":"usage","inputTokens":-5}"#),
        "field inputTokens: -5 is negative"
    );
}

#[test]
fn nesting_is_limited() {
    let nested = |depth: usize| {
        let data = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        entry(&format!(r#"{{"workspaceId":"w","cardId":"c","runId":"r","message":"m","data":{data}}}"#))
            .map(LogEntry::into_owned)
    };
    assert!(nested(100).is_ok());
    assert_eq!(nested(101).unwrap_err().code(), "field");
    let brackets = format!(
        r#"{{"workspaceId":"w","cardId":"c","runId":"r","message":"m","data":{{"a":"\"{}"}}}}"#,
        "[".repeat(500)
    );
    assert!(entry(&brackets).is_ok());
}

#[test]
fn a_key_is_the_card() {
    let json = r#"{"workspaceId":"w","cardId":"c","runId":"r","message":"m"}"#;
    assert!(keyed(Some(b"c"), json).is_ok());
    assert_eq!(keyed(Some(b"d"), json).unwrap_err().to_string(), r#"field cardId: "c", but the record's key is "d""#);
    assert_eq!(keyed(Some(b""), json).unwrap_err().code(), "field");
    let long = "k".repeat(1000);
    let found = keyed(Some(long.as_bytes()), json).unwrap_err().to_string();
    assert_eq!(found, format!(r#"field cardId: "c", but the record's key is "{}""#, &long[..64]));
    let keyless = r#"{"workspaceId":"w","runId":"r","message":"m"}"#;
    let found = keyed(Some(b"\xff"), keyless).unwrap_err().to_string();
    assert_eq!(found, "field cardId: is missing, and the record's key is not UTF-8");
}

#[test]
fn receivers_know_the_workspace() {
    let line = br#"{"cardId":"c","runId":"r","message":"m"}"#;
    assert_eq!(entry_from_json(line, "acme", DEFAULTS).unwrap().workspace_id, "acme");
    let line = br#"{"workspaceId":"acme","cardId":"c","runId":"r","kind":"failed"}"#;
    assert_eq!(event_from_json(line, "acme", DEFAULTS).unwrap().workspace_id, "acme");
    let found = event_from_json(line, "other", DEFAULTS).unwrap_err().to_string();
    assert_eq!(found, r#"field workspaceId: "acme" is not the token's workspace"#);
    let found = entry_from_json(&vec![b' '; MAX_JSON + 1], "acme", DEFAULTS).unwrap_err();
    assert_eq!(found, Reject::TooLarge { length: MAX_JSON + 1, limit: MAX_JSON });
    assert_eq!(entry_from_json(b"[]", "acme", DEFAULTS).unwrap_err().code(), "json");
}

#[test]
fn what_is_refused_is_not_repeated_whatever_it_is() {
    let long = "\u{7f}".repeat(200 * 1024);
    let refused = |line: &str| {
        let entry = entry_from_json(line.as_bytes(), "w", DEFAULTS).map(drop).map_err(|reject| reject.to_string());
        let event = event_from_json(line.as_bytes(), "w", DEFAULTS).map(drop).map_err(|reject| reject.to_string());
        for said in [&entry, &event].into_iter().filter_map(|result| result.as_ref().err()) {
            assert!(said.len() < 1024, "{} bytes of {} are said", said.len(), line.len());
        }
        entry.err()
    };
    // An array isn't taken for the fields in their order.
    for line in ["7", "nonsense", r#""text""#, r#"["id","r","c","w",null,null,null,null,null,"m"]"#] {
        assert_eq!(refused(line).unwrap(), "not a record in JSON: not an object", "{line}");
    }
    assert!(refused(&format!("\"{long}\"")).is_some());
    assert!(refused(&format!("{{\"{long}\":1,\"{long}\"}}")).is_some());
    for name in ["id", "workspaceId", "timestamp", "sequence", "level", "data", "tags", "cost", "reason", "traceId"] {
        for value in [format!("\"{long}\""), format!("[\"{long}\"]"), format!("{{\"{long}\":\"{long}\"}}")] {
            refused(&format!(r#"{{"runId":"r","cardId":"c","message":"m","kind":"usage","{name}":{value}}}"#));
        }
    }
}
