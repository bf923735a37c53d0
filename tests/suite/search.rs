//! Searching as users do: on a stream, over HTTP, in the shell; on a real Kafka, with an index that is being filled.

mod hostile;

use std::process::Stdio;
use std::time::Duration;

use agentworks_schemas::access::Role;
use agentworks_schemas::{Level, Source};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::rest::{ask, get};
use crate::support::stack::{Stack, StackConfig};
use crate::support::terminal::Terminal;
use crate::support::{agentworks, kafka, unique_prefix};

async fn start() -> Stack {
    let config = StackConfig { search: true, ..StackConfig::default() };
    Stack::start_with(&kafka().await.bootstrap(), &unique_prefix(), 2, config).await
}

/// Writes `count` lines of a run, with an error in every fifth, and waits until they are in the log.
async fn write(stack: &Stack, workspace: &str, card: &str, run: &str, count: usize) {
    let run = stack.producer.run(workspace, card, run);
    for number in 0..count {
        let (level, line) = match number % 5 {
            4 => (Level::Error, format!("call {number} failed: rate limit")),
            _ => (Level::Info, format!("call {number} done")),
        };
        run.log(level, Source::Agent, "tool-runner", &line).send().await.unwrap().await.unwrap();
    }
}

async fn found(stack: &Stack, token: &str, route: &str, count: u64) -> Value {
    ask(stack, token, route, |body| body["totalCount"] == count).await
}

fn messages(body: &Value) -> Vec<&str> {
    body["logs"].as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_found_wherever_it_lies() {
    let stack = start().await;
    let token = stack.token("acme", Role::Viewer);
    write(&stack, "acme", "one", "run-1", 50).await;
    write(&stack, "other", "one", "run-1", 50).await;
    // As soon as it is in the log, and still when its split is published.
    for _ in 0..3 {
        let errors = found(&stack, &token, "/v1/search?q=level:error%20%22rate%20limit%22", 10).await;
        assert_eq!(errors["levelDistribution"], json!({"error": 10}));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    planned_for_operators_alone(&stack, &token).await;
    write(&stack, "acme", "two", "run-2", 10).await;
    let all = found(&stack, &token, "/v1/search?q=call&facets=card&limit=7", 60).await;
    let cards = json!([{"value": "one", "count": 50}, {"value": "two", "count": 10}]);
    assert_eq!((&all["facets"]["card"]["values"], &all["incomplete"]), (&cards, &Value::Null));
    // Pages tile what is found, each entry once.
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = match &cursor {
            None => "/v1/search?q=call&limit=7".to_owned(),
            Some(cursor) => format!("/v1/search?q=call&limit=7&cursor={cursor}"),
        };
        let (status, page) = get(&stack, &token, &page).await;
        assert_eq!(status, 200, "{page}");
        seen.extend(page["logs"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()));
        match page["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(seen.len(), 60);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 60);

    let limited = stack.token_with("acme", Role::Viewer, Some(&["two"]), Duration::from_secs(3600));
    for query in ["call", "*", "card:one%20OR%20card:two"] {
        assert_eq!(found(&stack, &limited, &format!("/v1/search?q={query}"), 10).await["totalCount"], 10);
    }
    let (_, values) = get(&stack, &limited, "/v1/fields/card/values").await;
    assert_eq!(values["values"], json!([{"value": "two", "count": 10}]));
    stack.stop().await;
}

/// How entries are found, and what that cost, is told to operators alone: it tells of others' entries, too.
async fn planned_for_operators_alone(stack: &Stack, token: &str) {
    let route = "/v1/search?q=rate%20OR%20nowhere&limit=0&explain";
    let operator = |cards: Option<&[&str]>| stack.token_with("acme", Role::Operator, cards, Duration::from_secs(3600));
    for token in [token, &operator(Some(&["one"]))] {
        let (status, body) = get(stack, token, route).await;
        assert_eq!(
            (status, body["explanation"].get("plan"), body["explanation"].get("cost")),
            (200, None, None),
            "{body}"
        );
    }
    let sum = |values: &mut dyn Iterator<Item = &Value>| -> u64 { values.map(|value| value.as_u64().unwrap()).sum() };
    // As soon as all is in splits.
    let is_told = |body: &Value| {
        let Some(splits) = body["explanation"]["plan"]["splits"].as_array() else { return false };
        let segments = splits.iter().flat_map(|split| split["segments"].as_array().unwrap());
        let estimate = sum(&mut segments.map(|segment| &segment["estimate"]));
        let is_told = body["explanation"]["cost"].is_object();
        is_told && sum(&mut splits.iter().map(|split| &split["documents"])) == 50 && estimate >= 10
    };
    ask(stack, &operator(None), route, is_told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hit_has_its_context_in_its_run() {
    let stack = start().await;
    let token = stack.token("acme", Role::Viewer);
    write(&stack, "acme", "card", "run", 40).await;
    write(&stack, "acme", "card", "other run", 40).await;
    let hit = found(&stack, &token, "/v1/search?q=run:run%20%22call%2019%20failed%22", 1).await;
    let position = hit["logs"][0]["position"].as_str().unwrap();
    let route = format!("/v1/entries/{position}/context?card=card&before=3&after=2");
    let (status, context) = get(&stack, &token, &route).await;
    assert_eq!(status, 200, "{context}");
    let lines = |part: &str| -> Vec<Value> {
        context[part].as_array().unwrap().iter().map(|entry| entry["message"].clone()).collect()
    };
    assert_eq!(lines("before"), ["call 16 done", "call 17 done", "call 18 done"]);
    assert_eq!(context["entry"]["message"], "call 19 failed: rate limit");
    assert_eq!(lines("after"), ["call 20 done", "call 21 done"]);
    let strange = stack.token("other", Role::Viewer);
    let (status, _) = get(&stack, &strange, &route).await;
    assert_eq!(status, 404);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_beside_its_search() {
    let stack = start().await;
    let token = stack.token("acme", Role::Viewer);
    write(&stack, "acme", "card", "run", 20).await;
    found(&stack, &token, "/v1/search?q=call", 20).await;
    let mut terminal = Terminal::connect(&stack, &token, "card", "?history=0").await;
    assert!(terminal.message_of("connection_established").await["data"]["capabilities"].to_string().contains("search"));
    terminal.send(json!({"type": "search_logs", "query": {"q": "level:error", "limit": 2}})).await;
    let result = terminal.message_of("search_result").await;
    assert_eq!((&result["data"]["totalCount"], messages(&result["data"]).len()), (&json!(4), 2));
    terminal.send(json!({"type": "search_logs", "query": {"q": "leve:error"}})).await;
    let refused = terminal.message_of("error").await;
    assert_eq!((&refused["data"]["code"], &refused["data"]["at"]), (&json!("invalid_value"), &json!(0)));
    assert!(refused["data"]["message"].as_str().unwrap().contains("level"), "{refused}");
    write(&stack, "acme", "card", "run", 1).await;
    // As an entry or in a batch: the stream may still be coming up to the end of the log.
    assert_eq!(terminal.lines(1).await, ["call 0 done"]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_prints_what_is_found_and_points_at_a_fault() {
    let stack = start().await;
    write(&stack, "acme", "card", "run", 20).await;
    let token = stack.token("acme", Role::Viewer);
    found(&stack, &token, "/v1/search?q=call", 20).await;
    let run = async |args: &[&str]| {
        let mut command = Command::new(agentworks());
        command.arg("search").args(args).env("TZ", "UTC").env("AGENTWORKS_URL", &stack.url);
        command.env("AGENTWORKS_TOKEN", &token).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, printed, said) = run(&["level:error", "--limit", "2"]).await;
    assert_eq!((code, printed.lines().count()), (Some(0), 2), "{said}");
    assert!(printed.lines().last().unwrap().ends_with("call 19 failed: rate limit"), "{printed}");
    assert!(said.contains("4 found"), "{said}");
    let (_, printed, _) = run(&["call", "--output", "json", "--limit", "3", "--facet", "level"]).await;
    let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[3]["facets"]["level"]["values"][0]["count"]), (4, &json!(16)));
    assert!(lines[0]["position"].is_string());
    let (_, printed, _) = run(&["call", "--limit", "0", "--histogram", "--explain"]).await;
    assert!(printed.contains('#') && printed.contains("\"query\"") && !printed.contains("\"cost\""), "{printed}");
    let (code, _, said) = run(&["level:error AND (disk"]).await;
    assert_eq!(code, Some(1));
    let lines: Vec<&str> = said.lines().collect();
    let line = lines.iter().position(|line| line.ends_with("level:error AND (disk")).expect("the query");
    assert!(lines[line + 1].trim_end().ends_with('^'), "{said}");
    stack.stop().await;
}
