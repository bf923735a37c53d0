//! What a single terminal is told.

use std::time::Duration;

use agentworks_gateway::GatewayConfig;
use agentworks_schemas::access::Role;
use agentworks_schemas::{Level, Source};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{assert_complete, numbered, write};
use crate::support::stack::{Stack, StackConfig};
use crate::support::terminal::Terminal;
use crate::support::{kafka, records, unique_prefix};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_then_the_active_run_then_live() {
    let stack = Stack::start(&unique_prefix(), 3).await;
    let run = stack.producer.run("acme", "card", "run-1");
    run.started().send().await.unwrap().await.unwrap();
    write(&run, numbered(0..10)).await;
    let token = stack.token("acme", Role::Viewer);
    let mut terminal = Terminal::connect(&stack, &token, "card", "?history=4").await;
    let established = terminal.message().await;
    assert_eq!(established["type"], "connection_established");
    assert_eq!(established["data"]["cardId"], "card");
    assert_eq!(established["data"]["capabilities"], json!(["live_logs", "replay", "filters", "multi_card"]));
    let history = terminal.message().await;
    assert_eq!(history["type"], "logs_batch");
    assert_eq!(history["data"].as_array().unwrap().len(), 4);
    let summary = terminal.message().await;
    assert_eq!((&summary["type"], &summary["data"]["status"]), (&json!("run_summary"), &json!("running")));
    assert_eq!(summary["data"]["logCount"], 10);
    write(&run, numbered(10..15)).await;
    assert_complete(terminal.lines(5).await, 10..15);

    // What happens to a run is told without being asked.
    run.usage().cost(0.5).send().await.unwrap().await.unwrap();
    run.completed().send().await.unwrap().await.unwrap();
    let mut summary = terminal.message_of("run_summary").await;
    while summary["data"]["status"] != "completed" {
        summary = terminal.message_of("run_summary").await;
    }
    assert_eq!((&summary["data"]["logCount"], &summary["data"]["cost"]), (&json!(15), &json!(0.5)));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_that_nobody_wrote_to_is_an_empty_stream_that_waits() {
    let stack = Stack::start(&unique_prefix(), 3).await;
    let token = stack.token("acme", Role::Viewer);
    let mut terminal = Terminal::connect(&stack, &token, "nobody%27s%20card", "").await;
    assert_eq!(terminal.message().await["data"]["cardId"], "nobody's card");
    // It is told where it stands, so that it can come back there.
    let begun = terminal.message().await;
    assert_eq!(
        (&begun["type"], &begun["cardId"], &begun["data"]),
        (&json!("logs_batch"), &json!("nobody's card"), &json!([]))
    );
    assert!(begun["position"].is_string());
    assert_eq!(terminal.settle().await, Vec::<serde_json::Value>::new());
    write(&stack.producer.run("acme", "nobody's card", "r"), numbered(0..1)).await;
    assert_eq!(terminal.lines(1).await, ["line 0"]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_connect_is_told_so() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    let hour = Duration::from_secs(3600);
    let other_card = stack.token_with("acme", Role::Viewer, Some(&["another"]), hour);
    let expired = stack.token_with("acme", Role::Viewer, None, Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(6)).await;
    for (token, reason) in [
        ("garbage", "the token is not valid"),
        (expired.as_str(), "the token has expired"),
        (other_card.as_str(), "access denied: the token is not for this card"),
    ] {
        let mut terminal = Terminal::connect(&stack, token, "card", "").await;
        assert_eq!(terminal.closed().await, (1008, reason.to_owned()));
    }
    let url = format!("ws://{}/v1/cards/card/stream", stack.address);
    let (mut socket, _) = connect_async(&url).await.unwrap();
    let close = futures_util::StreamExt::next(&mut socket).await.unwrap().unwrap();
    assert!(matches!(close, Message::Close(Some(frame)) if u16::from(frame.code) == 1008));

    // Who asks for no WebSocket is answered in HTTP, and so is a page of another origin.
    let http = |token: Option<String>| {
        let request = reqwest::Client::new().get(format!("{}/v1/cards/card/stream", stack.url));
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    };
    assert_eq!(http(None).send().await.unwrap().status(), 401);
    assert_eq!(http(Some(other_card)).send().await.unwrap().status(), 403);
    let good = stack.token("acme", Role::Viewer);
    assert_eq!(http(Some(good.clone())).send().await.unwrap().status(), 426);
    let mut foreign = url.as_str().into_client_request().unwrap();
    foreign.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    let refused = connect_async(foreign).await.unwrap_err();
    assert!(matches!(refused, Error::Http(response) if response.status() == 403));

    // A browser's way: the token among the subprotocols, and never echoed.
    let mut request = url.as_str().into_client_request().unwrap();
    let offers = format!("agentworks.v1, agentworks.bearer.{good}");
    request.headers_mut().insert("sec-websocket-protocol", offers.parse().unwrap());
    let (_, response) = connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "agentworks.v1");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_ends_the_connection() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    let token = stack.token_with("acme", Role::Viewer, None, Duration::from_secs(2));
    let mut terminal = Terminal::connect(&stack, &token, "card", "").await;
    assert_eq!(terminal.message().await["type"], "connection_established");
    assert_eq!(terminal.closed().await, (1008, "the token has expired".to_owned()));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_has_its_answer() {
    let config = GatewayConfig { max_subscriptions: 2, max_message: 2000, ..GatewayConfig::default() };
    let config = StackConfig { gateway: config, ..StackConfig::default() };
    let stack = Stack::start_with(&kafka().await.bootstrap(), &unique_prefix(), 1, config).await;
    let run = stack.producer.run("acme", "card", "run-1");
    write(&run, numbered(0..3)).await;
    write(&stack.producer.run("acme", "secret", "run-x"), numbered(0..1)).await;
    let hour = Duration::from_secs(3600);
    let token = stack.token_with("acme", Role::Viewer, Some(&["card"]), hour);
    let mut terminal = Terminal::connect(&stack, &token, "card", "?history=0").await;
    terminal.settle().await;

    let mut answer = async |message: serde_json::Value, code: &str| {
        terminal.send(message.clone()).await;
        let error = terminal.message_of("error").await;
        assert_eq!(error["data"]["code"], code, "{message} {error}");
    };
    answer(json!({"type": "dance"}), "unknown_type").await;
    answer(json!([1]), "invalid_message").await;
    answer(json!({"type": "ping", "timestamp": "noon"}), "invalid_value").await;
    answer(json!({"type": "search_logs", "query": {"text": "x"}}), "search_unavailable").await;
    answer(json!({"type": "subscribe_card", "cardId": "secret"}), "access_denied").await;
    answer(json!({"type": "unsubscribe_card", "cardId": "secret"}), "not_found").await;
    answer(json!({"type": "set_filters", "cardId": "secret"}), "not_found").await;
    answer(json!({"type": "set_filters", "filters": {"text": "x".repeat(1500)}}), "invalid_value").await;
    answer(json!({"type": "unsubscribe_run", "runId": "r"}), "not_found").await;
    answer(json!({"type": "get_run_summary", "runId": "nobody's"}), "not_found").await;
    answer(json!({"type": "get_run_summary", "runId": "run-x"}), "not_found").await;
    answer(json!({"type": "replay_run", "runId": "nobody's"}), "not_found").await;
    answer(json!({"type": "replay_control", "action": "stop", "sessionId": "x"}), "not_found").await;
    for run in ["a", "b"] {
        terminal.send(json!({"type": "subscribe_run", "runId": run})).await;
    }
    terminal.send(json!({"type": "subscribe_run", "runId": "c"})).await;
    assert_eq!(terminal.message_of("error").await["data"]["code"], "limit_exceeded");

    terminal.send(json!({"type": "get_run_summary", "runId": "run-1"})).await;
    assert_eq!(terminal.message_of("run_summary").await["data"]["logCount"], 3);
    terminal.send(json!({"type": "ping", "timestamp": 1_764_670_530_123i64})).await;
    assert_eq!(terminal.message_of("pong").await["timestamp"], 1_764_670_530_123i64);

    let large = json!({"type": "subscribe_run", "runId": "x".repeat(2000)});
    terminal.send(large).await;
    assert_eq!(terminal.closed().await.0, 1009);
    let mut binary = Terminal::connect(&stack, &token, "card", "").await;
    binary.send_raw(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(binary.closed().await.0, 1003);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_too_much_is_told_and_then_cut_off() {
    let config = GatewayConfig { max_messages_per_second: 2, ..GatewayConfig::default() };
    let config = StackConfig { gateway: config, ..StackConfig::default() };
    let stack = Stack::start_with(&kafka().await.bootstrap(), &unique_prefix(), 1, config).await;
    let token = stack.token("acme", Role::Viewer);
    let mut terminal = Terminal::connect(&stack, &token, "card", "").await;
    for timestamp in 0..60 {
        terminal.send(json!({"type": "ping", "timestamp": timestamp})).await;
    }
    assert_eq!(terminal.message_of("error").await["data"]["code"], "limit_exceeded");
    assert_eq!(terminal.closed().await, (1008, "too many messages".to_owned()));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_foreign_records_are_passed_over() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    let token = stack.token("acme", Role::Viewer);
    let mut terminal = Terminal::connect(&stack, &token, "card", "").await;
    terminal.settle().await;
    let topic = stack.settings.topics.name(agentworks_schemas::Topic::AgentLogs);
    let raw: FutureProducer = records::producer(&stack.settings.brokers, &[]);
    let run = stack.producer.run("acme", "card", "r");
    let json = |workspace: &str, message: &str| {
        let entry = json!({"runId": "r", "cardId": "card", "workspaceId": workspace, "level": "info",
            "source": "agent", "component": "c", "message": message});
        entry.to_string().into_bytes()
    };
    let keyless = json("acme", "keyless");
    let records: [(Option<&str>, Vec<u8>); 5] = [
        (Some("card"), b"\x00\x01\x02binary garbage".to_vec()),
        (Some("card"), br#"{"message": 1}"#.to_vec()),
        (Some("card"), json("other", "another workspace's")),
        (None, keyless),
        (Some("card"), json("acme", "a script's")),
    ];
    for (key, payload) in &records {
        let record = FutureRecord::<str, [u8]>::to(&topic).payload(payload);
        let record = match key {
            Some(key) => record.key(*key),
            None => record,
        };
        raw.send_result(record).map_err(|(error, _)| error).unwrap().await.unwrap().unwrap();
    }
    run.log(Level::Info, Source::Agent, "c", "ours").send().await.unwrap().await.unwrap();
    let three = async |terminal: &mut Terminal| {
        let mut shown = Vec::new();
        while shown.len() < 3 {
            shown.extend(terminal.entries().await.into_iter().map(|shown| shown.entry));
        }
        shown
    };
    let live = three(&mut terminal).await;
    let messages: Vec<_> = live.iter().map(|entry| &entry["message"]).collect();
    assert_eq!(messages, ["keyless", "a script's", "ours"]);

    // And history agrees with live, in what records leave to defaults too; a batch has the position beside the fields.
    let mut second = Terminal::connect(&stack, &token, "card", "").await;
    let mut history = three(&mut second).await;
    history.iter_mut().for_each(|entry| drop(entry.as_object_mut().unwrap().remove("position")));
    assert_eq!(history, live);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workspaces_with_the_same_card_see_their_own() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let mut terminals = Vec::new();
    for workspace in ["acme", "bolt"] {
        let token = stack.token(workspace, Role::Viewer);
        let mut terminal = Terminal::connect(&stack, &token, "card", "").await;
        terminal.settle().await;
        terminals.push((workspace, terminal));
    }
    for number in 0..20 {
        for workspace in ["acme", "bolt"] {
            let run = stack.producer.run(workspace, "card", "same-run");
            write(&run, [format!("{workspace} {number}")]).await;
        }
    }
    for (workspace, terminal) in &mut terminals {
        let expected: Vec<String> = (0..20).map(|number| format!("{workspace} {number}")).collect();
        assert_eq!(terminal.lines(20).await, expected);
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_can_be_picked() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let token = stack.token("acme", Role::Viewer);
    let mut terminal = Terminal::connect(&stack, &token, "card", "").await;
    terminal.send(json!({"type": "subscribe_run", "runId": "b"})).await;
    terminal.settle().await;
    let runs = ["a", "b", "c"].map(|run| stack.producer.run("acme", "card", run));
    let all = async |text: &str| {
        for run in &runs {
            write(run, [format!("{} {text}", run.id())]).await;
        }
    };
    all("first").await;
    assert_eq!(terminal.lines(1).await, ["b first"]);
    terminal.send(json!({"type": "subscribe_run", "runId": "c"})).await;
    terminal.settle().await;
    all("second").await;
    assert_eq!(terminal.lines(2).await, ["b second", "c second"]);
    for run in ["b", "c"] {
        terminal.send(json!({"type": "unsubscribe_run", "runId": run})).await;
    }
    terminal.settle().await;
    all("third").await;
    assert_eq!(terminal.lines(3).await, ["a third", "b third", "c third"]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_misses_nothing() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let token = stack.token("acme", Role::Viewer);
    let run = stack.producer.run("acme", "card", "r");
    let mut terminal = Terminal::connect(&stack, &token, "card", "").await;
    terminal.settle().await;
    write(&run, numbered(0..10)).await;
    assert_complete(terminal.lines(10).await, 0..10);
    terminal.send(json!({"type": "pause_stream"})).await;
    terminal.settle().await;
    write(&run, numbered(10..400)).await;
    assert!(terminal.settle().await.iter().all(|message| message["type"] == "run_summary"));
    terminal.send(json!({"type": "resume_stream"})).await;
    assert_complete(terminal.lines(390).await, 10..400);
    write(&run, numbered(400..410)).await;
    assert_complete(terminal.lines(10).await, 400..410);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_tells_clients_to_come_back_and_a_position_loses_nothing() {
    let mut stack = Stack::start(&unique_prefix(), 2).await;
    let token = stack.token("acme", Role::Viewer);
    let run = stack.producer.run("acme", "card", "r");
    write(&run, numbered(0..30)).await;
    let mut terminal = Terminal::connect(&stack, &token, "card", "?history=10").await;
    let first = terminal.lines(10).await;
    let position = terminal.position.clone().unwrap();
    terminal.close().await;
    write(&run, numbered(30..60)).await;
    let mut terminal = Terminal::connect(&stack, &token, "card", &format!("?position={position}")).await;
    assert_complete(terminal.lines(30).await, 30..60);
    assert_eq!(first.len(), 10);

    // Within a connection too; and what can't be is told, and the stream begins at its end.
    terminal.send(json!({"type": "subscribe_card", "cardId": "card", "position": position})).await;
    assert_complete(terminal.lines(30).await, 30..60);
    let mut lost = Terminal::connect(&stack, &token, "card", "?position=nonsense&history=5").await;
    assert_eq!(lost.message_of("error").await["data"]["code"], "invalid_value");
    assert_eq!(lost.lines(5).await.len(), 5);

    stack.stop_gateway().await;
    assert_eq!(terminal.closed().await.0, 1012);
}
