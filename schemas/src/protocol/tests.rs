//! Every message as clients see it, byte for byte, and what they are told of a bad one.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::entry::{Level, LogEntry, Source};
use crate::position::{Cursor, TopicPartition};
use crate::text::JsonObject;
use crate::time::Timestamp;
use crate::topics::Topic;

const NOW: Timestamp = Timestamp(1_764_670_530_123);

fn cursor() -> Cursor {
    [(TopicPartition::new(Topic::AgentLogs, 3), 1, 18)].into_iter().collect()
}

fn client(message: ClientMessage, json: &str) {
    assert_eq!(serde_json::to_string(&message).unwrap(), json);
    assert_eq!(ClientMessage::parse(json).unwrap(), message);
}

#[test]
fn client_messages() {
    use ClientMessage::*;
    client(SubscribeCard { card_id: "c".into(), position: None }, r#"{"type":"subscribe_card","cardId":"c"}"#);
    client(
        SubscribeCard { card_id: "c".into(), position: Some(cursor()) },
        r#"{"type":"subscribe_card","cardId":"c","position":"AQADARI"}"#,
    );
    client(SubscribeRun { run_id: "r".into() }, r#"{"type":"subscribe_run","runId":"r"}"#);
    client(UnsubscribeRun { run_id: "r".into() }, r#"{"type":"unsubscribe_run","runId":"r"}"#);
    client(PauseStream {}, r#"{"type":"pause_stream"}"#);
    client(ResumeStream {}, r#"{"type":"resume_stream"}"#);
    client(ReplayRun { run_id: "r".into(), options: None }, r#"{"type":"replay_run","runId":"r"}"#);
    let filters = ReplayFilters {
        levels: Some(vec![Level::Error, Level::Fatal]),
        sources: Some(vec![Source::Agent]),
        components: Some(vec!["planner".into()]),
    };
    let options = ReplayOptions {
        speed: 2.5,
        start_time: Some(NOW),
        end_time: Some(Timestamp(NOW.0 + 1)),
        filters: Some(filters),
        include_system_logs: true,
    };
    client(
        ReplayRun { run_id: "r".into(), options: Some(options) },
        r#"{"type":"replay_run","runId":"r","options":{"speed":2.5,"startTime":"2025-12-02T10:15:30.123Z","endTime":"2025-12-02T10:15:30.124Z","filters":{"levels":["error","fatal"],"sources":["agent"],"components":["planner"]},"includeSystemLogs":true}}"#,
    );
    for (action, name) in
        [(ReplayAction::Pause, "pause"), (ReplayAction::Resume, "resume"), (ReplayAction::Stop, "stop")]
    {
        client(
            ReplayControl { action, session_id: "s".into() },
            &format!(r#"{{"type":"replay_control","action":"{name}","sessionId":"s"}}"#),
        );
    }
    client(
        ReplaySeek { session_id: "s".into(), position: SeekPosition::Ordinal(500) },
        r#"{"type":"replay_seek","sessionId":"s","position":500}"#,
    );
    client(
        ReplaySeek { session_id: "s".into(), position: SeekPosition::Cursor(cursor()) },
        r#"{"type":"replay_seek","sessionId":"s","position":"AQADARI"}"#,
    );
    let query = LogSearchQuery {
        workspace_id: Some("w".into()),
        card_id: Some("c".into()),
        run_id: Some("r".into()),
        text: Some("disk full".into()),
        level: Some(vec![Level::Error]),
        source: Some(vec![Source::System]),
        time_range: Some(TimeRange { start: NOW, end: NOW }),
        agent_id: Some("a".into()),
        provider: Some("p".into()),
        tags: Some(vec!["t".into()]),
        limit: Some(100),
        offset: Some(20),
        sort_by: Some("relevance".into()),
        sort_order: Some("desc".into()),
    };
    client(
        SearchLogs { query },
        r#"{"type":"search_logs","query":{"workspaceId":"w","cardId":"c","runId":"r","text":"disk full","level":["error"],"source":["system"],"timeRange":{"start":"2025-12-02T10:15:30.123Z","end":"2025-12-02T10:15:30.123Z"},"agentId":"a","provider":"p","tags":["t"],"limit":100,"offset":20,"sortBy":"relevance","sortOrder":"desc"}}"#,
    );
    client(GetRunSummary { run_id: "r".into() }, r#"{"type":"get_run_summary","runId":"r"}"#);
    client(Ping { timestamp: 1_764_670_530_123 }, r#"{"type":"ping","timestamp":1764670530123}"#);
}

#[test]
fn options_of_a_replay_have_defaults() {
    let message = ClientMessage::parse(r#"{"type":"replay_run","runId":"r","options":{"filters":{}}}"#).unwrap();
    let options = ReplayOptions { filters: Some(ReplayFilters::default()), ..ReplayOptions::default() };
    assert_eq!(message, ClientMessage::ReplayRun { run_id: "r".into(), options: Some(options) });
    assert_eq!(ReplayOptions::default().speed, 1.0);
}

/// What is answered to `json`.
fn answer(json: &str) -> (ErrorCode, String, Option<String>) {
    let ErrorInfo { code, message, in_reply_to } = ClientMessage::parse(json).unwrap_err();
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
    let known = "subscribe_card, subscribe_run, unsubscribe_run, pause_stream, resume_stream, replay_run, \
                 replay_control, replay_seek, search_logs, get_run_summary, ping";
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
    assert_eq!(query(r#"{"timeRange":{"start":5}}"#), "field query.timeRange: missing field `end`");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(query(&format!(r#"{{"tags":{deep}}}"#)).starts_with("field query.tags: "));
    assert!(seek(&format!(r#""{}""#, "x".repeat(100_000))).len() < 300);
}

fn entry(message: &str) -> LogEntry<'_> {
    LogEntry {
        id: "i".into(),
        run_id: "r".into(),
        card_id: "c".into(),
        workspace_id: "w".into(),
        timestamp: NOW,
        sequence: 7,
        level: Level::Warn,
        source: Source::Provider,
        component: "router".into(),
        message: message.into(),
        data: JsonObject::parse(r#"{"n": 12345678901234567890.10}"#),
        agent_id: Some("a".into()),
        provider: Some("p".into()),
        model: Some("m".into()),
        user_id: Some("u".into()),
        tags: Some(vec!["t".into()]),
        correlation_id: Some("x".into()),
        parent_span_id: Some("y".into()),
        trace_id: Some("z".into()),
    }
}

/// All of an entry's fields, in the reference's order.
const ENTRY: &str = r#""id":"i","runId":"r","cardId":"c","workspaceId":"w","timestamp":"2025-12-02T10:15:30.123Z","sequence":7,"level":"warn","source":"provider","component":"router","message":"m","data":{"n": 12345678901234567890.10},"agentId":"a","provider":"p","model":"m","userId":"u","tags":["t"],"correlationId":"x","parentSpanId":"y","traceId":"z""#;

fn server(message: ServerMessage<'_>, json: &str) {
    assert_eq!(serde_json::to_string(&message).unwrap(), json);
    assert_eq!(ServerMessage::parse(json).unwrap(), message);
}

#[test]
fn server_messages_about_the_stream() {
    use ServerMessage::*;
    let info = ConnectionInfo {
        connection_id: "conn_1".into(),
        card_id: "c".into(),
        capabilities: vec!["live_logs".into(), "replay".into()],
        server_time: NOW,
    };
    server(
        ConnectionEstablished { data: info },
        r#"{"type":"connection_established","data":{"connectionId":"conn_1","cardId":"c","capabilities":["live_logs","replay"],"serverTime":"2025-12-02T10:15:30.123Z"}}"#,
    );
    server(
        LogEntry { position: cursor(), data: entry("m") },
        &format!(r#"{{"type":"log_entry","position":"AQADARI","data":{{{ENTRY}}}}}"#),
    );
    server(
        LogsBatch { position: cursor(), data: vec![PositionedEntry { position: cursor(), entry: entry("m") }] },
        &format!(r#"{{"type":"logs_batch","position":"AQADARI","data":[{{"position":"AQADARI",{ENTRY}}}]}}"#),
    );
    server(
        Gap { data: super::Gap { topic: "agent-logs".into(), partition: 3, from: 10, to: 20 } },
        r#"{"type":"gap","data":{"topic":"agent-logs","partition":3,"from":10,"to":20}}"#,
    );
    server(Lag { data: super::Lag { entries: 5, seconds: 2 } }, r#"{"type":"lag","data":{"entries":5,"seconds":2}}"#);
    let error = ErrorInfo { code: ErrorCode::NotFound, message: "no run r".into(), in_reply_to: None };
    server(Error { data: error.clone() }, r#"{"type":"error","data":{"code":"not_found","message":"no run r"}}"#);
    server(
        Error { data: ErrorInfo { in_reply_to: Some("replay_run".into()), ..error } },
        r#"{"type":"error","data":{"code":"not_found","message":"no run r","inReplyTo":"replay_run"}}"#,
    );
    server(Pong { timestamp: 5 }, r#"{"type":"pong","timestamp":5}"#);
}

#[test]
fn server_messages_about_replays() {
    use ServerMessage::*;
    let started = ReplayStartInfo {
        session_id: "s".into(),
        run_id: "r".into(),
        total_logs: 9,
        estimated_duration: 1500,
        filters: None,
    };
    server(
        ReplayStarted { data: started.clone() },
        r#"{"type":"replay_started","data":{"sessionId":"s","runId":"r","totalLogs":9,"estimatedDuration":1500}}"#,
    );
    let filters = Some(ReplayFilters { levels: Some(vec![Level::Info]), ..ReplayFilters::default() });
    server(
        ReplayStarted { data: ReplayStartInfo { filters, ..started } },
        r#"{"type":"replay_started","data":{"sessionId":"s","runId":"r","totalLogs":9,"estimatedDuration":1500,"filters":{"levels":["info"]}}}"#,
    );
    let replay = ReplayMetadata {
        session_id: "s".into(),
        replay_position: 4,
        replay_total: 8,
        replay_progress: 50.0,
        original_timestamp: NOW,
        replay_timestamp: Timestamp(NOW.0 + 1000),
    };
    server(
        ReplayLog { position: cursor(), data: ReplayEntry { entry: entry("m"), replay } },
        &format!(
            r#"{{"type":"replay_log","position":"AQADARI","data":{{{ENTRY},"sessionId":"s","replayPosition":4,"replayTotal":8,"replayProgress":50.0,"originalTimestamp":"2025-12-02T10:15:30.123Z","replayTimestamp":"2025-12-02T10:15:31.123Z"}}}}"#
        ),
    );
    let status = ReplayStatus { session_id: "s".into(), position: 4 };
    server(ReplayPaused { data: status.clone() }, r#"{"type":"replay_paused","data":{"sessionId":"s","position":4}}"#);
    server(ReplayResumed { data: status }, r#"{"type":"replay_resumed","data":{"sessionId":"s","position":4}}"#);
    server(
        ReplaySeeked { data: super::ReplaySeeked { session_id: "s".into(), position: 4, progress: 12.5 } },
        r#"{"type":"replay_seeked","data":{"sessionId":"s","position":4,"progress":12.5}}"#,
    );
    let complete = ReplayComplete { session_id: "s".into(), total_logs_played: 9, duration: 1500, stopped: false };
    server(
        ReplayCompleted { data: complete.clone() },
        r#"{"type":"replay_completed","data":{"sessionId":"s","totalLogsPlayed":9,"duration":1500}}"#,
    );
    server(
        ReplayCompleted { data: ReplayComplete { stopped: true, ..complete } },
        r#"{"type":"replay_completed","data":{"sessionId":"s","totalLogsPlayed":9,"duration":1500,"stopped":true}}"#,
    );
}

#[test]
fn run_summaries() {
    let summary = RunSummary {
        run_id: "r".into(),
        card_id: "c".into(),
        agent_id: "a".into(),
        status: RunStatus::Running,
        inferred: false,
        start_time: NOW,
        end_time: None,
        duration: None,
        log_count: 3,
        error_count: 2,
        warning_count: 1,
        cost: None,
        tokens_used: None,
        exit_code: None,
        reason: None,
    };
    server(
        ServerMessage::RunSummary { data: summary.clone() },
        r#"{"type":"run_summary","data":{"runId":"r","cardId":"c","agentId":"a","status":"running","startTime":"2025-12-02T10:15:30.123Z","logCount":3,"errorCount":2,"warningCount":1}}"#,
    );
    let ended = RunSummary {
        status: RunStatus::Failed,
        inferred: true,
        end_time: Some(Timestamp(NOW.0 + 2000)),
        duration: Some(2000),
        cost: Some(0.25),
        tokens_used: Some(1200),
        exit_code: Some(101),
        reason: Some("panicked".into()),
        ..summary
    };
    server(
        ServerMessage::RunSummary { data: ended },
        r#"{"type":"run_summary","data":{"runId":"r","cardId":"c","agentId":"a","status":"failed","inferred":true,"startTime":"2025-12-02T10:15:30.123Z","endTime":"2025-12-02T10:15:32.123Z","duration":2000,"logCount":3,"errorCount":2,"warningCount":1,"cost":0.25,"tokensUsed":1200,"exitCode":101,"reason":"panicked"}}"#,
    );
}

#[test]
fn a_newer_gateway_is_understood_as_far_as_possible() {
    let json = r#"{"type":"lag","version":2,"data":{"entries":5,"seconds":2,"bytes":7}}"#;
    assert_eq!(ServerMessage::parse(json).unwrap(), ServerMessage::Lag { data: Lag { entries: 5, seconds: 2 } });
    let unknown = ServerMessage::parse(r#"{"type":"weather","data":{}}"#).unwrap_err();
    assert!(matches!(unknown, ProtocolError::UnknownType(name) if name == "weather"));
    for bad in ["", "[]", r#"{"type":"lag"}"#, r#"{"type":"log_entry","data":{}}"#, r#"{"data":{}}"#] {
        assert!(matches!(ServerMessage::parse(bad), Err(ProtocolError::Json(_))), "{bad}");
    }
}
