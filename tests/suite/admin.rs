//! What operators see of connections, and do to them: their own workspace's, and nothing else.

use std::time::Duration;

use agentworks_schemas::access::Role;
use agentworks_schemas::{Level, Source};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::stack::Stack;
use crate::support::terminal::{PATIENCE, Terminal};
use crate::support::{eventually, unique_prefix};

async fn ask(stack: &Stack, method: Method, path: &str, token: &str) -> (StatusCode, Value) {
    let request = reqwest::Client::new().request(method, format!("{}{path}", stack.url)).bearer_auth(token);
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
}

async fn connections(stack: &Stack, query: &str, token: &str) -> Vec<Value> {
    let (status, answer) = ask(stack, Method::GET, &format!("/v1/admin/connections{query}"), token).await;
    assert_eq!(status, 200, "{answer}");
    answer["connections"].as_array().unwrap().clone()
}

/// A terminal that has begun, and its id.
async fn terminal(stack: &Stack, token: &str, card: &str) -> (Terminal, String) {
    let mut terminal = Terminal::connect(stack, token, card, "").await;
    let established = terminal.message_of("connection_established").await;
    (terminal, established["data"]["connectionId"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_and_close_connections_of_their_own_workspace_alone() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let own = stack.token("own", Role::Operator);
    let other = stack.token("other", Role::Operator);
    let (mut first, id) = terminal(&stack, &own, "one").await;
    let (second, _) = terminal(&stack, &own, "one").await;
    let (mut third, third_id) = terminal(&stack, &own, "two").await;
    let (foreign, foreign_id) = terminal(&stack, &other, "one").await;

    let listed = connections(&stack, "", &own).await;
    assert_eq!(listed.len(), 3);
    let shown = &listed[0];
    assert_eq!(shown["id"], id);
    assert_eq!((&shown["workspace"], &shown["subject"]), (&json!("own"), &json!("test")));
    let lag = json!({"entries": 0, "seconds": 0});
    assert_eq!(shown["cards"], json!([{"cardId": "one", "lag": lag}]));
    assert!(shown["remoteAddress"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(shown["sentBytes"].as_u64().unwrap() > 0 && shown["pendingBytes"] == 0, "{shown}");
    assert_eq!((&shown["lag"], &shown["replays"]), (&lag, &json!(0)));
    assert!(shown["connectedAt"].is_string() && shown["lastActivity"] == shown["connectedAt"], "{shown}");

    // What it watches, and when it last said something, changes with what it says.
    first.send(json!({"type": "subscribe_card", "cardId": "three"})).await;
    first.message_of("card_subscribed").await;
    let shown = &connections(&stack, "?card=three", &own).await[..];
    assert_eq!((shown.len(), &shown[0]["id"]), (1, &json!(id)));
    assert!(shown[0]["lastActivity"].as_str() > shown[0]["connectedAt"].as_str(), "{shown:?}");
    first.send(json!({"type": "unsubscribe_card", "cardId": "three"})).await;
    first.message_of("card_unsubscribed").await;
    assert!(connections(&stack, "?card=three", &own).await.is_empty());

    // In pages.
    let (_, page) = ask(&stack, Method::GET, "/v1/admin/connections?limit=2", &own).await;
    assert_eq!(page["connections"].as_array().unwrap().len(), 2);
    let next = format!("?limit=2&page={}", page["next"].as_str().unwrap());
    let rest = connections(&stack, &next, &own).await;
    assert_eq!((rest.len(), &rest[0]["id"]), (1, &json!(third_id)));

    // Who may not.
    let viewer = stack.token("own", Role::Viewer);
    let limited = stack.token_with("own", Role::Operator, Some(&["one"]), Duration::from_secs(60));
    for path in ["/v1/admin/connections", "/v1/admin/metrics"] {
        for token in [&viewer, &limited] {
            assert_eq!(ask(&stack, Method::GET, path, token).await.0, 403, "{path}");
        }
    }
    assert_eq!(ask(&stack, Method::GET, "/v1/admin/connections?workspace=other", &own).await.0, 403);
    assert_eq!(connections(&stack, "?workspace=own", &own).await.len(), 3);
    assert_eq!(ask(&stack, Method::GET, "/v1/admin/connections?page=x", &own).await.0, 400);

    // Another workspace's is as unknown as one that isn't there.
    for unknown in [foreign_id.as_str(), "conn_x", "..%2F..%2Fetc"] {
        let (status, answer) = ask(&stack, Method::DELETE, &format!("/v1/admin/connections/{unknown}"), &own).await;
        assert_eq!((status.as_u16(), &answer["error"]["code"]), (404, &json!("not_found")));
    }
    let path = format!("/v1/admin/connections/{third_id}");
    assert_eq!(ask(&stack, Method::DELETE, &path, &viewer).await.0, 403);
    assert_eq!(ask(&stack, Method::DELETE, &path, &own).await, (StatusCode::NO_CONTENT, Value::Null));
    assert_eq!(third.closed().await.0, 4004);
    drop(third);
    let gone = async || (connections(&stack, "", &own).await.len() == 2).then_some(());
    eventually(PATIENCE, gone).await;
    assert_eq!(connections(&stack, "", &other).await.len(), 1);
    for terminal in [first, second, foreign] {
        terminal.close().await;
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_are_of_the_workspace_and_true() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let own = stack.token("own", Role::Operator);
    let other = stack.token("other", Role::Operator);
    let (mut one, _) = terminal(&stack, &own, "card").await;
    let (two, _) = terminal(&stack, &own, "quiet").await;
    // Once it is live: what comes before is history, and nobody's delivery.
    let run = stack.producer.run("own", "card", "run");
    for n in 0..3 {
        let level = if n == 2 { Level::Error } else { Level::Info };
        run.log(level, Source::Agent, "test", &format!("line {n}")).send().await.unwrap().await.unwrap();
        one.lines(1).await;
    }
    let (status, answer) = ask(&stack, Method::GET, "/v1/admin/metrics", &own).await;
    assert_eq!(status, 200, "{answer}");
    let streaming = &answer["streaming"];
    assert_eq!((&streaming["activeConnections"], &streaming["totalConnections"]), (&json!(2), &json!(2)));
    assert_eq!(streaming["connectionsByCard"], json!({"card": 1, "quiet": 1}));
    assert_eq!(streaming["connectionErrors"], 0);
    // The first may have come before the terminal was live.
    let levels = &streaming["logLevels"];
    let infos = levels["info"].as_u64().unwrap();
    assert!((1..=2).contains(&infos) && levels["error"] == 1 && levels["fatal"] == 0, "{levels}");
    assert!(streaming["logsPerSecond"].as_f64().unwrap() > 0.0);
    assert!((50.0..2000.0).contains(&streaming["avgLogSize"].as_f64().unwrap()), "{streaming}");
    let latency = streaming["avgDeliveryLatency"].as_f64().unwrap();
    assert!((0.0..10_000.0).contains(&latency), "{latency}");
    assert!(streaming["storageLatency"].as_f64().unwrap() > 0.0);
    assert_eq!((&streaming["bufferUtilization"], &streaming["activeReplays"]), (&json!(0.0), &json!(0)));
    let health = &answer["health"];
    let lag = json!({"entries": 0, "seconds": 0});
    let expected = json!({"total": 2, "healthy": 2, "lagging": 0, "backlogged": 0, "maxLag": lag, "draining": false});
    assert_eq!(*health, expected);

    // A replay, to its end.
    one.send(json!({"type": "replay_run", "runId": "run", "options": {"speed": 0}})).await;
    let started = one.message_of("replay_started").await;
    let session = started["data"]["sessionId"].as_str().unwrap();
    one.send(json!({"type": "replay_control", "sessionId": session, "action": "stop"})).await;
    let streaming =
        async |token: &str| ask(&stack, Method::GET, "/v1/admin/metrics", token).await.1["streaming"].clone();
    let ended = async || (streaming(&own).await["activeReplays"] == 0).then_some(());
    eventually(PATIENCE, ended).await;

    // Nothing of it is the other's.
    let foreign = streaming(&other).await;
    assert_eq!((&foreign["activeConnections"], &foreign["totalConnections"]), (&json!(0), &json!(0)));
    assert_eq!((&foreign["connectionsByCard"], &foreign["logsPerSecond"]), (&json!({}), &json!(0.0)));
    let none = json!({"debug": 0, "info": 0, "warn": 0, "error": 0, "fatal": 0});
    assert_eq!((&foreign["logLevels"], &foreign["avgDeliveryLatency"]), (&none, &json!(0.0)));
    for terminal in [one, two] {
        terminal.close().await;
    }
    stack.stop().await;
}
