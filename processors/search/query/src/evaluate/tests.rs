#![allow(clippy::unwrap_used)]

use agentworks_schemas::Timestamp;

use super::*;
use crate::parse;

const ENTRY: &str = r#"{
    "id": "0190-aa", "runId": "run-7", "cardId": "Card 1", "workspaceId": "w", "timestamp": "2025-12-02T10:00:00Z",
    "sequence": 1, "level": "error", "source": "agent", "component": "ToolRunner",
    "message": "Rate limit exceeded after 182ms: https://api.example.com/v1 (E1042) connection to db-7 lost",
    "data": {"http_status": 503, "ratio": 0.5, "big": 9007199254740993, "ok": false, "note": "retry later",
        "tags": ["slow query", "cold start"], "nested": {"deep.er": {"x": "Zeit"}}, "empty": "--", "none": null},
    "agentId": "a1", "model": "gpt-4o", "tags": ["prod", "EU west"]
}"#;

fn finds(query: &str) -> bool {
    let entry: LogEntry<'_> = serde_json::from_str(ENTRY).unwrap();
    let query = parse(query, Timestamp(1_764_669_600_000 + 3_600_000)).unwrap_or_else(|error| panic!("{error}"));
    let mut evaluator = Evaluator::new(&query).unwrap();
    let found = evaluator.matches(&entry);
    assert_eq!(evaluator.score(&entry).is_some(), found);
    found
}

#[test]
fn what_is_found() {
    for query in [
        "*",
        "rate",
        "RATE",
        "\"rate limit\"",
        "rate-limit",
        "182",
        "ms",
        "182ms",
        "E1042",
        "https://api.example.com/v1\\",
        "tool",
        "\"tool runner\"",
        "component:tool_runner",
        "retry",
        "zeit",
        "503",
        "0.5",
        "false",
        "message:limit",
        "data:503",
        "data.http_status:503",
        "data.http_status:503.0",
        "data.http_status:\"503\"",
        "data.ratio:0.5",
        "data.http_status:>=503",
        "data.http_status:[500 TO 504}",
        "data.ratio:<1",
        "data.big:9007199254740993",
        "data.big:>9007199254740992",
        "data.ok:false",
        "data.tags:\"slow query\"",
        "data.nested.deep.er.x:Zeit",
        "data.nested:*",
        "data.nested.deep:*",
        "data.note:*",
        "level:ERROR",
        "level:>=warn",
        "level:err*",
        "card:\"Card 1\"",
        "card:Card*",
        "card:C?rd*",
        "card:Card\\ 2~1",
        "run:IN [x run-7]",
        "tags:prod",
        "tags:\"EU west\"",
        "tags:*",
        "agent:*",
        "model:gpt-4o",
        "id:0190-aa",
        "since:2h",
        "timestamp:2025-12-02",
        "timestamp:2025-12-02T10:00:00Z",
        "exce*",
        "\"rate lim\"*",
        "\"limit \"*",
        "ex?eed*",
        "*ceede?",
        "excedeed~1",
        "excxeedxed~2",
        "conection~",
        "lmit~1",
        "-warning",
        "nothing OR rate",
        "rate AND limit",
        "NOT (a OR b)",
        "rate^2",
        "db-7",
        "db*",
    ] {
        // A word with a colon is quoted.
        let query = if query.starts_with("https") { "\"https://api.example.com/v1\"" } else { query };
        assert!(finds(query), "{query}");
    }
}

#[test]
fn what_is_not_found() {
    for query in [
        "NOT *",
        "limits",
        "\"limit rate\"",
        "toolrunner",
        "message:tool",
        "component:rate",
        "data:rate",
        "data.note:503",
        "data.http_status:>503",
        "data.http_status:5*",
        "data.big:9007199254740992",
        "data.ok:true",
        "data.tags:\"query cold\"",
        "data.tags:\"slow start\"",
        "data.none:*",
        "data.empty:*",
        "data.nest:*",
        "data.nested:Zeit",
        "level:warn",
        "card:card*",
        "card:Card",
        "card:\"card 1\"",
        "user:*",
        "provider:x",
        "since:30m",
        "before:2025-12-02",
        "conection~1 lost2",
        "E1043~",
        "excxexdxed~1",
        "rate -limit",
        "nothing",
        "http_status",
        "data.http_statu:503",
    ] {
        assert!(!finds(query), "{query}");
    }
}

#[test]
fn what_fits_better_scores_higher() {
    let entry: LogEntry<'_> = serde_json::from_str(ENTRY).unwrap();
    let score = |query: &str| Evaluator::new(&parse(query, Timestamp(0)).unwrap()).unwrap().score(&entry);
    assert_eq!(score("rate"), Some(1.0));
    assert_eq!(score("rate OR nothing"), Some(1.0));
    assert_eq!(score("rate OR limit^3 OR x"), Some(4.0));
    assert_eq!(score("rate NOT x"), Some(1.0));
    assert_eq!(score("nothing"), None);
}
