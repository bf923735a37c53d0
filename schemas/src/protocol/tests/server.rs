//! What the gateway says, byte for byte.

use super::*;
use crate::entry::LogEntry;
use crate::protocol;
use crate::text::JsonObject;

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
        LogsBatch {
            card_id: "c".into(),
            position: cursor(),
            data: vec![PositionedEntry { position: cursor(), entry: entry("m") }],
        },
        &format!(
            r#"{{"type":"logs_batch","cardId":"c","position":"AQADARI","data":[{{"position":"AQADARI",{ENTRY}}}]}}"#
        ),
    );
    let gap = protocol::Gap { topic: "agent-logs".into(), partition: 3, from: 10, to: 20 };
    server(
        Gap { card_id: Some("c".into()), session_id: None, data: gap.clone() },
        r#"{"type":"gap","cardId":"c","data":{"topic":"agent-logs","partition":3,"from":10,"to":20}}"#,
    );
    server(
        Gap { card_id: None, session_id: Some("s".into()), data: gap },
        r#"{"type":"gap","sessionId":"s","data":{"topic":"agent-logs","partition":3,"from":10,"to":20}}"#,
    );
    server(
        Lag { card_id: "c".into(), data: protocol::Lag { entries: 5, seconds: 2 } },
        r#"{"type":"lag","cardId":"c","data":{"entries":5,"seconds":2}}"#,
    );
    server(
        CardSubscribed { data: CardInfo { card_id: "c".into() } },
        r#"{"type":"card_subscribed","data":{"cardId":"c"}}"#,
    );
    server(
        CardUnsubscribed { data: CardInfo { card_id: "c".into() } },
        r#"{"type":"card_unsubscribed","data":{"cardId":"c"}}"#,
    );
    server(
        FiltersSet { data: FiltersInfo { card_id: "c".into(), filters: None } },
        r#"{"type":"filters_set","data":{"cardId":"c"}}"#,
    );
    let filters = LiveFilters { text: Some("disk".into()), ..LiveFilters::default() };
    server(
        FiltersSet { data: FiltersInfo { card_id: "c".into(), filters: Some(filters) } },
        r#"{"type":"filters_set","data":{"cardId":"c","filters":{"text":"disk"}}}"#,
    );
    server(
        TokenRefreshed { data: TokenInfo { expires_at: NOW } },
        r#"{"type":"token_refreshed","data":{"expiresAt":"2025-12-02T10:15:30.123Z"}}"#,
    );
    server(
        Reconnect { data: ReconnectInfo { after: 1500, reason: "the gateway restarts".into() } },
        r#"{"type":"reconnect","data":{"after":1500,"reason":"the gateway restarts"}}"#,
    );
    let error = ErrorInfo { code: ErrorCode::NotFound, message: "no run r".into(), in_reply_to: None, at: None };
    server(Error { data: error.clone() }, r#"{"type":"error","data":{"code":"not_found","message":"no run r"}}"#);
    server(
        Error { data: ErrorInfo { in_reply_to: Some("replay_run".into()), ..error } },
        r#"{"type":"error","data":{"code":"not_found","message":"no run r","inReplyTo":"replay_run"}}"#,
    );
    server(Pong { timestamp: 5 }, r#"{"type":"pong","timestamp":5}"#);
}

#[test]
fn server_messages_about_searches() {
    let found = LogSearchResult {
        logs: vec![PositionedEntry { position: cursor(), entry: entry("m") }],
        counts: Some(SearchCounts {
            total_count: 12,
            level_distribution: [("info".to_owned(), 12)].into(),
            source_distribution: [("agent".to_owned(), 12)].into(),
            timeline_data: vec![TimelinePoint { timestamp: NOW, count: 12 }],
        }),
        query: LogSearchQuery { limit: Some(1), ..LogSearchQuery::default() },
        execution_time: 7,
        cursor: Some("AA".into()),
        incomplete: vec!["the newest minute".into()],
    };
    let counted = r#""levelDistribution":{"info":12},"sourceDistribution":{"agent":12},"timelineData":[{"timestamp":"2025-12-02T10:15:30.123Z","count":12}]"#;
    let counted = format!(r#""totalCount":12,{counted},"#);
    let json = |logs: &str, counted: &str, rest: &str| {
        format!(
            r#"{{"type":"search_result","data":{{"logs":[{logs}],{counted}"query":{{"limit":1}},"executionTime":7{rest}}}}}"#
        )
    };
    let rest = r#","cursor":"AA","incomplete":["the newest minute"]"#;
    server(
        ServerMessage::SearchResult { data: found.clone() },
        &json(&format!(r#"{{"position":"AQADARI",{ENTRY}}}"#), &counted, rest),
    );
    let bare = LogSearchResult { logs: Vec::new(), cursor: None, incomplete: Vec::new(), ..found };
    server(ServerMessage::SearchResult { data: bare.clone() }, &json("", &counted, ""));
    server(ServerMessage::SearchResult { data: LogSearchResult { counts: None, ..bare } }, &json("", "", ""));
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
    server(
        ReplayResumed { data: status.clone() },
        r#"{"type":"replay_resumed","data":{"sessionId":"s","position":4}}"#,
    );
    server(ReplayLive { data: status }, r#"{"type":"replay_live","data":{"sessionId":"s","position":4}}"#);
    server(
        ReplaySpeedChanged { data: ReplaySpeedInfo { session_id: "s".into(), speed: 16.0 } },
        r#"{"type":"replay_speed_changed","data":{"sessionId":"s","speed":16.0}}"#,
    );
    server(
        ReplaySeeked { data: protocol::ReplaySeeked { session_id: "s".into(), position: 4, progress: 12.5 } },
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
        incomplete: false,
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
        incomplete: false,
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
    let json = r#"{"type":"lag","version":2,"cardId":"c","data":{"entries":5,"seconds":2,"bytes":7}}"#;
    let lag = ServerMessage::Lag { card_id: "c".into(), data: Lag { entries: 5, seconds: 2 } };
    assert_eq!(ServerMessage::parse(json).unwrap(), lag);
    let unknown = ServerMessage::parse(r#"{"type":"weather","data":{}}"#).unwrap_err();
    assert!(matches!(unknown, ProtocolError::UnknownType(name) if name == "weather"));
    let without_card = r#"{"type":"lag","data":{"entries":5,"seconds":2}}"#;
    for bad in ["", "[]", without_card, r#"{"type":"lag"}"#, r#"{"type":"log_entry","data":{}}"#, r#"{"data":{}}"#] {
        assert!(matches!(ServerMessage::parse(bad), Err(ProtocolError::Json(_))), "{bad}");
    }
}
