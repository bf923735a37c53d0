//! One of everything, with all that it may have. What is added to the types and not to these doesn't compile.

use agentworks_schemas::access::AccessError;
use agentworks_schemas::protocol::{
    BearerToken, CardInfo, ClientMessage, ConnectionInfo, ErrorCode, ErrorInfo, FiltersInfo, Gap, Lag, LiveFilters,
    LogSearchQuery, LogSearchResult, PositionedEntry, ReconnectInfo, ReplayAction, ReplayComplete, ReplayEntry,
    ReplayFilters, ReplayMetadata, ReplayOptions, ReplaySeeked, ReplaySpeedInfo, ReplayStartInfo, ReplayStatus,
    RunStatus, RunSummary, SearchCounts, SeekPosition, SeekTo, ServerMessage, TimeRange, TimelinePoint, TokenInfo,
};
use agentworks_schemas::text::JsonObject;
use agentworks_schemas::{Cursor, Level, LogEntry, Source, Timestamp, Topic, TopicPartition};
use http::StatusCode;

use crate::rest::ApiError;
use crate::socket::CloseCode;

const NOW: Timestamp = Timestamp(1_764_670_530_123);

/// A list of an enum's values, and a match that lacks what the list lacks.
macro_rules! one_of_each {
    ($kind:ident: $($name:ident $({ $($field:tt)* })? $(($($value:tt)*))?,)*) => {{
        #[allow(dead_code, reason = "it is there to be compiled")]
        fn all(value: &$kind) {
            match value {
                $($kind::$name { .. } => {})*
            }
        }
        [$($kind::$name $({ $($field)* })? $(($($value)*))?),*]
    }};
}

fn cursor() -> Cursor {
    [(TopicPartition::new(Topic::AgentLogs, 3), 1, 18)].into_iter().collect()
}

fn live_filters() -> LiveFilters {
    LiveFilters {
        levels: Some(vec![Level::Warn]),
        sources: Some(vec![Source::Agent]),
        components: Some(vec!["planner".into()]),
        text: Some("disk".into()),
    }
}

fn replay_filters() -> ReplayFilters {
    ReplayFilters {
        levels: Some(vec![Level::Warn]),
        sources: Some(vec![Source::System]),
        components: Some(vec!["planner".into()]),
    }
}

fn search_query() -> LogSearchQuery {
    LogSearchQuery {
        workspace_id: Some("w".into()),
        card_id: Some("c".into()),
        run_id: Some("r".into()),
        text: Some("disk".into()),
        q: Some("since:2h".into()),
        level: Some(vec![Level::Error]),
        source: Some(vec![Source::Agent]),
        time_range: Some(TimeRange { start: NOW, end: NOW }),
        agent_id: Some("a".into()),
        provider: Some("p".into()),
        tags: Some(vec!["t".into()]),
        limit: Some(1),
        offset: Some(0),
        sort_by: Some("relevance".into()),
        sort_order: Some("desc".into()),
        cursor: Some("AA".into()),
        counts: Some(true),
    }
}

/// What a client says.
pub(super) fn client() -> Vec<ClientMessage> {
    let query = search_query();
    let options = ReplayOptions {
        speed: 0.0,
        start_time: Some(NOW),
        end_time: Some(NOW),
        filters: Some(replay_filters()),
        include_system_logs: true,
    };
    let session_id = || "s".to_owned();
    one_of_each![ClientMessage:
        SubscribeCard {
            card_id: "c".into(), position: Some(cursor()), history: Some(5), filters: Some(live_filters())
        },
        UnsubscribeCard { card_id: "c".into() },
        Resume { positions: [("c".to_owned(), cursor())].into() },
        SetFilters { card_id: Some("c".into()), filters: Some(live_filters()) },
        SubscribeRun { run_id: "r".into() },
        UnsubscribeRun { run_id: "r".into() },
        PauseStream {},
        ResumeStream {},
        ReplayRun { run_id: "r".into(), options: Some(options) },
        ReplayControl { action: ReplayAction::Stop, session_id: session_id() },
        ReplaySeek { session_id: session_id(), to: SeekTo::Position(SeekPosition::Cursor(cursor())) },
        ReplaySpeed { session_id: session_id(), speed: 16.0 },
        ReplayJumpLive { session_id: session_id() },
        RefreshToken { token: BearerToken("a.b.c".into()) },
        SearchLogs { query: Box::new(query) },
        GetRunSummary { run_id: "r".into() },
        Ping { timestamp: 1 },
    ]
    .into()
}

fn entry() -> LogEntry<'static> {
    LogEntry {
        id: "i".into(),
        run_id: "r".into(),
        card_id: "c".into(),
        workspace_id: "w".into(),
        timestamp: NOW,
        sequence: -7,
        level: Level::Fatal,
        source: Source::Orchestrator,
        component: "".into(),
        message: "\u{1b}[31mred".into(),
        data: JsonObject::parse(r#"{"n": [1, {"m": null}]}"#),
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

fn summary() -> RunSummary {
    RunSummary {
        run_id: "r".into(),
        card_id: "c".into(),
        agent_id: String::new(),
        status: RunStatus::Failed,
        inferred: true,
        incomplete: true,
        start_time: NOW,
        end_time: Some(NOW),
        duration: Some(0),
        log_count: 3,
        error_count: 2,
        warning_count: 1,
        cost: Some(0.25),
        tokens_used: Some(1200),
        exit_code: Some(-1),
        reason: Some("panicked".into()),
    }
}

/// What the gateway says.
pub(super) fn server() -> Vec<ServerMessage<'static>> {
    let session_id = || "s".to_owned();
    let status = || ReplayStatus { session_id: session_id(), position: 4 };
    let gap = Gap { topic: "agent-logs".into(), partition: 3, from: 10, to: 20 };
    let connection = ConnectionInfo {
        connection_id: "conn_1".into(),
        card_id: "c".into(),
        capabilities: vec!["replay".into()],
        server_time: NOW,
    };
    let started = ReplayStartInfo {
        session_id: session_id(),
        run_id: "r".into(),
        total_logs: 9,
        estimated_duration: 0,
        filters: Some(replay_filters()),
    };
    let replay = ReplayMetadata {
        session_id: session_id(),
        replay_position: 4,
        replay_total: 8,
        replay_progress: 50.0,
        original_timestamp: NOW,
        replay_timestamp: NOW,
    };
    let complete = ReplayComplete { session_id: session_id(), total_logs_played: 9, duration: 1, stopped: true };
    let error = ErrorInfo {
        code: ErrorCode::NotFound,
        message: "no run".into(),
        in_reply_to: Some("replay_run".into()),
        at: Some(3),
    };
    let found = LogSearchResult {
        logs: vec![PositionedEntry { position: cursor(), entry: entry() }],
        counts: Some(SearchCounts {
            total_count: 2,
            level_distribution: [("fatal".to_owned(), 2)].into(),
            source_distribution: [("orchestrator".to_owned(), 2)].into(),
            timeline_data: vec![TimelinePoint { timestamp: NOW, count: 2 }],
        }),
        query: search_query(),
        execution_time: 7,
        cursor: Some("AA".into()),
        incomplete: vec!["the newest minute".into()],
    };
    one_of_each![ServerMessage:
        ConnectionEstablished { data: connection },
        LogEntry { position: cursor(), data: entry() },
        LogsBatch {
            card_id: "c".into(),
            position: cursor(),
            data: vec![PositionedEntry { position: cursor(), entry: entry() }]
        },
        Gap { card_id: Some("c".into()), session_id: None, data: gap },
        Lag { card_id: "c".into(), data: Lag { entries: 5, seconds: 2 } },
        CardSubscribed { data: CardInfo { card_id: "c".into() } },
        CardUnsubscribed { data: CardInfo { card_id: "c".into() } },
        FiltersSet { data: FiltersInfo { card_id: "c".into(), filters: Some(live_filters()) } },
        TokenRefreshed { data: TokenInfo { expires_at: NOW } },
        Reconnect { data: ReconnectInfo { after: 0, reason: "the gateway restarts".into() } },
        ReplayStarted { data: started },
        ReplayLog { position: cursor(), data: ReplayEntry { entry: entry(), replay } },
        ReplayPaused { data: status() },
        ReplayResumed { data: status() },
        ReplaySeeked { data: ReplaySeeked { session_id: session_id(), position: 4, progress: 12.5 } },
        ReplaySpeedChanged { data: ReplaySpeedInfo { session_id: session_id(), speed: 0.5 } },
        ReplayLive { data: status() },
        ReplayCompleted { data: complete },
        RunSummary { data: summary() },
        SearchResult { data: found },
        Error { data: error },
        Pong { timestamp: -1 },
    ]
    .into()
}

/// What a request may be answered instead.
pub(super) fn faults() -> Vec<ApiError> {
    let tokens = one_of_each![AccessError: Missing, Invalid, Expired, Audience, Revoked, Unavailable,];
    let statuses = [
        StatusCode::UPGRADE_REQUIRED,
        StatusCode::LENGTH_REQUIRED,
        StatusCode::PAYLOAD_TOO_LARGE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
    ];
    let faults = one_of_each![ApiError:
        Unauthorised(AccessError::Missing),
        Denied(String::new()),
        Invalid(String::new()),
        Query { message: String::new(), at: 0 },
        TooMuch(String::new()),
        Busy(String::new()),
        NoSearch,
        NotFound(String::new()),
        Method(None),
        Conflict(String::new()),
        Gone,
        Damaged(String::new()),
        Unavailable,
        Internal,
        Http(StatusCode::UPGRADE_REQUIRED),
    ];
    let tokens = tokens.into_iter().map(ApiError::Unauthorised);
    faults.into_iter().chain(tokens).chain(statuses.map(ApiError::Http)).collect()
}

/// How a connection may end.
pub(super) fn closes() -> Vec<CloseCode> {
    one_of_each![CloseCode:
        Normal,
        Protocol,
        Unsupported,
        InvalidPayload,
        Policy,
        TooBig,
        Internal,
        Restart,
        TryLater,
        TooSlow,
        NoPong,
        Idle,
        Operator,
    ]
    .into()
}
