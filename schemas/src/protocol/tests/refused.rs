//! What a terminal is told of a bad message.

use super::*;

/// What is answered to `json`.
fn answer(json: &str) -> (ErrorCode, String, Option<String>) {
    let ErrorInfo { code, message, in_reply_to, at: _ } = ClientMessage::parse(json).unwrap_err();
    (code, message, in_reply_to)
}

#[test]
fn what_is_no_message_is_told_so() {
    let message = |json: &str| {
        let (code, message, in_reply_to) = answer(json);
        assert_eq!((code, in_reply_to), (ErrorCode::InvalidMessage, None));
        message
    };
    assert_eq!(message("hello"), "not a JSON object: expected value at line 1 column 1");
    assert_eq!(message(""), "not a JSON object: EOF while parsing a value at line 1 column 0");
    assert_eq!(message("{\"type\":\n\"ping\""), "not a JSON object: EOF while parsing an object at line 2 column 6");
    assert_eq!(message("[1]"), "not a JSON object: invalid type: sequence, expected an object at line 1 column 0");
    assert_eq!(
        message(r#"{"type":"ping","timestamp":1,"timestamp":2}"#),
        r#"not a JSON object: field "timestamp" is there twice at line 1 column 43"#
    );
    let many = (0..100).map(|index| format!(r#""{index}":0"#)).collect::<Vec<_>>().join(",");
    assert!(message(&format!("{{{many}}}")).contains("more than 64 fields"));
    assert!(message(&format!(r#""{}""#, "x".repeat(100_000))).len() < 300);
}

#[test]
fn an_unknown_type_is_told_the_known_ones() {
    let known = "subscribe_card, unsubscribe_card, resume, set_filters, subscribe_run, unsubscribe_run, pause_stream, \
                 resume_stream, replay_run, replay_control, replay_seek, replay_speed, replay_jump_live, refresh_token, \
                 search_logs, get_run_summary, ping";
    assert_eq!(ClientMessage::TYPES.join(", "), known);
    for (json, found) in
        [(r#"{"type":"jump"}"#, r#""jump""#), (r#"{"type":7}"#, "7"), (r#"{"type":null}"#, "null"), ("{}", "missing")]
    {
        let expected = format!("the type is {found}; it must be one of {known}");
        assert_eq!(answer(json), (ErrorCode::UnknownType, expected, None));
    }
}

#[test]
fn a_bad_field_is_named() {
    let message = |json: &str| {
        let (code, message, in_reply_to) = answer(json);
        assert_eq!(code, ErrorCode::InvalidValue);
        assert!(json.contains(&in_reply_to.unwrap()));
        message
    };
    assert_eq!(message(r#"{"type":"subscribe_run"}"#), "field runId is required");
    assert_eq!(
        message(r#"{"type":"subscribe_run","runId":null}"#),
        "field runId: invalid type: null, expected a string"
    );
    assert_eq!(message(r#"{"type":"ping","timestamp":1,"extra":1}"#), r#"field "extra" is unknown here"#);
    assert_eq!(
        message(r#"{"type":"subscribe_card","cardId":"c","position":"zzz"}"#),
        "field position: the position is not one that this service gave out: not base64"
    );
    assert_eq!(message(r#"{"type":"resume"}"#), "field positions is required");
    assert_eq!(
        message(r#"{"type":"resume","positions":{"a":"AQ","b":"zzz"}}"#),
        "field positions.b: the position is not one that this service gave out: not base64"
    );
    assert_eq!(
        message(r#"{"type":"resume","positions":["AQ"]}"#),
        "field positions: invalid type: sequence, expected a map"
    );
    assert_eq!(
        message(r#"{"type":"subscribe_card","cardId":"c","history":-1}"#),
        "field history: invalid value: integer `-1`, expected usize"
    );
    assert_eq!(
        message(r#"{"type":"set_filters","filters":{"levels":["loud"]}}"#),
        "field filters.levels: unknown variant `loud`, expected one of `debug`, `info`, `warn`, `error`, `fatal`"
    );
    assert!(
        message(r#"{"type":"set_filters","filters":{"level":["warn"]}}"#)
            .starts_with("field filters.level: unknown field `level`, expected one of `levels`")
    );
    assert_eq!(
        message(r#"{"type":"set_filters","cardId":"c","levels":["warn"]}"#),
        r#"field "levels" is unknown here"#
    );
    assert_eq!(message(r#"{"type":"unsubscribe_card"}"#), "field cardId is required");
    assert_eq!(message(r#"{"type":"replay_jump_live"}"#), "field sessionId is required");
    assert_eq!(message(r#"{"type":"replay_speed","sessionId":"s"}"#), "field speed is required");
    assert_eq!(message(r#"{"type":"replay_speed","sessionId":"s","speed":-1}"#), "field speed: a speed is 0 or more");
    assert_eq!(message(r#"{"type":"refresh_token"}"#), "field token is required");
    assert_eq!(
        message(r#"{"type":"replay_control","sessionId":"s","action":"rewind"}"#),
        "field action: unknown variant `rewind`, expected one of `pause`, `resume`, `stop`"
    );
    let seek = |position: &str| message(&format!(r#"{{"type":"replay_seek","sessionId":"s","position":{position}}}"#));
    let expected = "expected the ordinal of an entry, from 0, or the `position` of a frame";
    assert_eq!(seek("-1"), format!("field position: invalid type: integer `-1`, {expected}"));
    assert_eq!(seek("0.5"), format!("field position: invalid type: floating point `0.5`, {expected}"));
    assert_eq!(seek("{}"), format!("field position: invalid type: map, {expected}"));
    assert!(seek(r#""?""#).ends_with("not base64"));
    assert_eq!(
        message(r#"{"type":"replay_seek","sessionId":"s","time":"noon"}"#),
        r#"field time: "noon" is not an RFC 3339 instant such as 2025-12-02T10:15:30.123Z"#
    );
    for fraction in ["-0.1", "1.001", "2", "1e300"] {
        let json = format!(r#"{{"type":"replay_seek","sessionId":"s","fraction":{fraction}}}"#);
        assert_eq!(message(&json), "field fraction: it is from 0 to 1");
    }
    for places in ["", r#","position":1,"time":0"#, r#","time":0,"fraction":0.5"#, r#","position":1,"fraction":0.5"#] {
        let json = format!(r#"{{"type":"replay_seek","sessionId":"s"{places}}}"#);
        assert_eq!(message(&json), "one of the fields position, time and fraction is required");
    }
    let options = |options: &str| message(&format!(r#"{{"type":"replay_run","runId":"r","options":{options}}}"#));
    assert_eq!(options("7"), "field options: invalid type: integer `7`, expected struct ReplayOptions");
    assert_eq!(options(r#"{"speed":-1}"#), "field options.speed: a speed is 0 or more");
    assert_eq!(
        options(r#"{"speed":1,"endTime":"noon"}"#),
        r#"field options.endTime: "noon" is not an RFC 3339 instant such as 2025-12-02T10:15:30.123Z"#
    );
    assert_eq!(
        options(r#"{"filters":{"levels":["loud"]}}"#),
        "field options.filters: unknown variant `loud`, expected one of `debug`, `info`, `warn`, `error`, `fatal`"
    );
    assert!(options(r#"{"pace":2}"#).starts_with("field options.pace: unknown field `pace`, expected one of `speed`"));
    let query = |query: &str| message(&format!(r#"{{"type":"search_logs","query":{query}}}"#));
    assert_eq!(query(r#"{"limit":-1}"#), "field query.limit: invalid value: integer `-1`, expected usize");
    assert!(query(r#"{"txet":"x"}"#).starts_with("field query.txet: unknown field `txet`, expected one of"));
    assert_eq!(query(r#"{"timeRange":{"start":5}}"#), "field query.timeRange: missing field `end`");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(query(&format!(r#"{{"tags":{deep}}}"#)).starts_with("field query.tags: "));
    assert!(seek(&format!(r#""{}""#, "x".repeat(100_000))).len() < 300);
}
