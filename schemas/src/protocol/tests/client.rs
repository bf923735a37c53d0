//! What a terminal says, byte for byte.

use super::*;

fn client(message: ClientMessage, json: &str) {
    assert_eq!(serde_json::to_string(&message).unwrap(), json);
    assert_eq!(ClientMessage::parse(json).unwrap(), message);
}

#[test]
fn cards() {
    use ClientMessage::*;
    let subscribe = SubscribeCard { card_id: "c".into(), position: None, history: None, filters: None };
    client(subscribe, r#"{"type":"subscribe_card","cardId":"c"}"#);
    let filters = LiveFilters {
        levels: Some(vec![Level::Warn]),
        sources: Some(vec![Source::Agent, Source::System]),
        components: Some(vec!["planner".into()]),
        text: Some("disk".into()),
    };
    client(
        SubscribeCard {
            card_id: "c".into(),
            position: Some(cursor()),
            history: Some(20),
            filters: Some(filters.clone()),
        },
        r#"{"type":"subscribe_card","cardId":"c","position":"AQADARI","history":20,"filters":{"levels":["warn"],"sources":["agent","system"],"components":["planner"],"text":"disk"}}"#,
    );
    client(UnsubscribeCard { card_id: "c".into() }, r#"{"type":"unsubscribe_card","cardId":"c"}"#);
    client(Resume { positions: BTreeMap::new() }, r#"{"type":"resume","positions":{}}"#);
    client(
        Resume { positions: [("c".into(), cursor()), ("d/é".into(), Cursor::new())].into() },
        r#"{"type":"resume","positions":{"c":"AQADARI","d/é":"AQ"}}"#,
    );
    client(SetFilters { card_id: None, filters: None }, r#"{"type":"set_filters"}"#);
    client(
        SetFilters { card_id: Some("c".into()), filters: Some(filters) },
        r#"{"type":"set_filters","cardId":"c","filters":{"levels":["warn"],"sources":["agent","system"],"components":["planner"],"text":"disk"}}"#,
    );
    client(
        SetFilters { card_id: None, filters: Some(LiveFilters::default()) },
        r#"{"type":"set_filters","filters":{}}"#,
    );
}

#[test]
fn what_may_be_absent_may_be_null() {
    for (null, absent) in [
        (
            r#"{"type":"subscribe_card","cardId":"c","position":null,"history":null,"filters":null}"#,
            r#"{"type":"subscribe_card","cardId":"c"}"#,
        ),
        (r#"{"type":"set_filters","cardId":null,"filters":{"levels":null}}"#, r#"{"type":"set_filters","filters":{}}"#),
        (
            r#"{"type":"replay_seek","sessionId":"s","position":null,"time":null,"fraction":0}"#,
            r#"{"type":"replay_seek","sessionId":"s","fraction":0}"#,
        ),
    ] {
        assert_eq!(ClientMessage::parse(null).unwrap(), ClientMessage::parse(absent).unwrap());
    }
}

#[test]
fn replays() {
    use ClientMessage::*;
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
    for (to, json) in [
        (SeekTo::Position(SeekPosition::Ordinal(500)), r#""position":500"#),
        (SeekTo::Position(SeekPosition::Cursor(cursor())), r#""position":"AQADARI""#),
        (SeekTo::Time(NOW), r#""time":"2025-12-02T10:15:30.123Z""#),
        (SeekTo::Fraction(0.25), r#""fraction":0.25"#),
        (SeekTo::Fraction(1.0), r#""fraction":1.0"#),
    ] {
        client(
            ReplaySeek { session_id: "s".into(), to },
            &format!(r#"{{"type":"replay_seek","sessionId":"s",{json}}}"#),
        );
    }
    for speed in [0.0, 0.5, 16.0] {
        client(
            ReplaySpeed { session_id: "s".into(), speed },
            &format!(r#"{{"type":"replay_speed","sessionId":"s","speed":{speed:?}}}"#),
        );
    }
    client(ReplayJumpLive { session_id: "s".into() }, r#"{"type":"replay_jump_live","sessionId":"s"}"#);
}

#[test]
fn a_token_is_sent_but_never_shown() {
    let message = ClientMessage::RefreshToken { token: BearerToken("a.secret.token".into()) };
    client(message.clone(), r#"{"type":"refresh_token","token":"a.secret.token"}"#);
    assert_eq!(format!("{message:?}"), "RefreshToken { token: BearerToken(…) }");
}

#[test]
fn runs_search_and_ping() {
    use ClientMessage::*;
    client(SubscribeRun { run_id: "r".into() }, r#"{"type":"subscribe_run","runId":"r"}"#);
    client(UnsubscribeRun { run_id: "r".into() }, r#"{"type":"unsubscribe_run","runId":"r"}"#);
    client(PauseStream {}, r#"{"type":"pause_stream"}"#);
    client(ResumeStream {}, r#"{"type":"resume_stream"}"#);
    let query = LogSearchQuery {
        workspace_id: Some("w".into()),
        card_id: Some("c".into()),
        run_id: Some("r".into()),
        text: Some("disk full".into()),
        q: Some("since:2h".into()),
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
        cursor: Some("AA".into()),
        counts: Some(false),
    };
    client(
        SearchLogs { query: Box::new(query) },
        r#"{"type":"search_logs","query":{"workspaceId":"w","cardId":"c","runId":"r","text":"disk full","q":"since:2h","level":["error"],"source":["system"],"timeRange":{"start":"2025-12-02T10:15:30.123Z","end":"2025-12-02T10:15:30.123Z"},"agentId":"a","provider":"p","tags":["t"],"limit":100,"offset":20,"sortBy":"relevance","sortOrder":"desc","cursor":"AA","counts":false}}"#,
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
