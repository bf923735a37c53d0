//! Several cards on one connection.

use std::collections::BTreeMap;

use agentworks_gateway::GatewayConfig;
use agentworks_schemas::access::Role;
use agentworks_schemas::{Level, Source};
use serde_json::{Value, json};

use super::{assert_complete, numbered, write};
use crate::support::stack::{Stack, StackConfig};
use crate::support::terminal::{Terminal, shown};
use crate::support::{kafka, unique_prefix};

/// By card: the lines shown, and the last position.
type Seen = BTreeMap<String, (Vec<String>, String)>;

/// Reads until so many lines have come, of whichever cards, and no more.
async fn read(terminal: &mut Terminal, count: usize) -> Seen {
    let mut seen = Seen::new();
    while seen.values().map(|(lines, _)| lines.len()).sum::<usize>() < count {
        note(&mut seen, &terminal.message().await);
    }
    assert_eq!(seen.values().map(|(lines, _)| lines.len()).sum::<usize>(), count, "{seen:?}");
    seen
}

fn note(seen: &mut Seen, message: &Value) {
    assert_ne!(message["type"], "gap", "{message}");
    for shown in shown(message) {
        let card = shown.entry["cardId"].as_str().unwrap();
        if message["type"] == "logs_batch" {
            assert_eq!(message["cardId"], card);
        }
        let (lines, position) = seen.entry(card.to_owned()).or_default();
        lines.push(shown.message().to_owned());
        *position = shown.position;
    }
}

async fn subscribe(terminal: &mut Terminal, card: &str, more: Value) {
    let mut message = json!({"type": "subscribe_card", "cardId": card});
    message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    terminal.send(message).await;
    let answer = terminal.message_of("card_subscribed").await;
    assert_eq!(answer["data"]["cardId"], card);
}

/// More cards than the histories of which are shown at a time, each with more than is shown of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_large_lines_the_newest_are_shown_and_the_way_back_is_paged() {
    const LINES: usize = 25;
    let stack = Stack::start(&unique_prefix(), 1).await;
    let token = stack.token("acme", Role::Viewer);
    let cards = ["a", "b", "c", "d", "e", "f"];
    for card in cards {
        let run = stack.producer.run("acme", card, "run");
        let mut deliveries = Vec::new();
        for number in 0..LINES {
            let line = format!("{number} {}", "x".repeat(200_000));
            deliveries.push(run.log(Level::Info, Source::Agent, "test", &line).send().await.unwrap());
        }
        for delivery in deliveries {
            delivery.await.unwrap();
        }
    }
    let mut terminal = Terminal::connect(&stack, &token, "a", "?history=1000").await;
    for card in &cards[1..] {
        terminal.send(json!({"type": "subscribe_card", "cardId": card, "history": 1000})).await;
    }
    let number = |message: &str| message.split(' ').next().unwrap().parse::<usize>().unwrap();
    let mut seen: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    while seen.len() < cards.len() || seen.values().any(|lines| lines.last().is_none_or(|(last, _)| *last < LINES - 1))
    {
        for shown in shown(&terminal.message().await) {
            let card = shown.entry["cardId"].as_str().unwrap().to_owned();
            seen.entry(card).or_default().push((number(shown.message()), shown.position.clone()));
        }
    }
    for (card, lines) in &seen {
        // 4 MiB of them.
        let numbers: Vec<_> = lines.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (LINES - 20..LINES).collect::<Vec<_>>(), "{card}");
        let route = format!("/v1/cards/{card}/entries?limit=1000&before={}", lines[0].1);
        let (status, page) = crate::rest::get(&stack, &token, &route).await;
        let numbers: Vec<_> = page["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| number(entry["message"].as_str().unwrap()))
            .collect();
        assert_eq!((status, numbers), (200, (0..=LINES - 20).collect::<Vec<_>>()), "{card}");
        assert_eq!(page["next"], Value::Null);
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_card_has_its_own_stream() {
    let stack = Stack::start(&unique_prefix(), 3).await;
    let token = stack.token("acme", Role::Viewer);
    let (a, b) = (stack.producer.run("acme", "a", "run-a"), stack.producer.run("acme", "b", "run-b"));
    write(&b, numbered(0..10)).await;
    let mut terminal = Terminal::connect(&stack, &token, "a", "").await;
    terminal.settle().await;
    subscribe(&mut terminal, "b", json!({"history": 3})).await;
    let history = loop {
        // The other card's stream may only have begun too.
        let batch = terminal.message_of("logs_batch").await;
        if batch["cardId"] == "b" {
            break batch;
        }
    };
    assert_eq!(history["data"].as_array().unwrap().len(), 3);
    terminal.settle().await;

    write(&a, numbered(0..20)).await;
    write(&b, numbered(10..30)).await;
    let seen = read(&mut terminal, 40).await;
    assert_complete(seen["a"].0.clone(), 0..20);
    assert_complete(seen["b"].0.clone(), 10..30);
    // Without a position nothing changes, and that is said.
    subscribe(&mut terminal, "b", json!({})).await;

    terminal.send(json!({"type": "unsubscribe_card", "cardId": "a"})).await;
    terminal.message_of("card_unsubscribed").await;
    write(&a, numbered(20..30)).await;
    write(&b, numbered(30..40)).await;
    assert_complete(read(&mut terminal, 10).await["b"].0.clone(), 30..40);
    // And back to where it was, and to an earlier place of one that is watched.
    subscribe(&mut terminal, "a", json!({"position": seen["a"].1})).await;
    assert_complete(read(&mut terminal, 10).await["a"].0.clone(), 20..30);
    subscribe(&mut terminal, "b", json!({"position": seen["b"].1})).await;
    assert_complete(read(&mut terminal, 10).await["b"].0.clone(), 30..40);

    // Runs are found whichever card they are of, and narrow all.
    terminal.send(json!({"type": "get_run_summary", "runId": "run-b"})).await;
    assert_eq!(terminal.message_of("run_summary").await["data"]["cardId"], "b");
    terminal.send(json!({"type": "subscribe_run", "runId": "run-a"})).await;
    terminal.settle().await;
    write(&b, numbered(40..50)).await;
    write(&a, numbered(30..40)).await;
    assert_complete(read(&mut terminal, 10).await["a"].0.clone(), 30..40);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_resumed_card_by_card() {
    let stack = Stack::start(&unique_prefix(), 3).await;
    let token = stack.token("acme", Role::Viewer);
    let runs = ["a", "b", "c"].map(|card| stack.producer.run("acme", card, "r"));
    let mut terminal = Terminal::connect(&stack, &token, "a", "?history=0").await;
    subscribe(&mut terminal, "b", json!({"history": 0})).await;
    subscribe(&mut terminal, "c", json!({"history": 0})).await;
    terminal.settle().await;
    for run in &runs {
        write(run, numbered(0..20)).await;
    }
    let seen = read(&mut terminal, 60).await;
    terminal.close().await;
    for run in &runs {
        write(run, numbered(20..50)).await;
    }
    let mut terminal = Terminal::connect(&stack, &token, "a", "?history=0").await;
    let positions: BTreeMap<_, _> = seen.iter().map(|(card, (_, position))| (card, position)).collect();
    terminal.send(json!({"type": "resume", "positions": positions})).await;
    let mut seen = Seen::new();
    let mut answered = 0;
    while answered < 3 || seen.values().map(|(lines, _)| lines.len()).sum::<usize>() < 90 {
        let message = terminal.message().await;
        answered += usize::from(message["type"] == "card_subscribed");
        note(&mut seen, &message);
    }
    for (lines, _) in seen.into_values() {
        assert_complete(lines, 20..50);
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_holds_all_cards_and_loses_nothing() {
    let stack = Stack::start(&unique_prefix(), 3).await;
    let token = stack.token("acme", Role::Viewer);
    let (a, b) = (stack.producer.run("acme", "a", "r"), stack.producer.run("acme", "b", "r"));
    let mut terminal = Terminal::connect(&stack, &token, "a", "").await;
    subscribe(&mut terminal, "b", json!({})).await;
    terminal.settle().await;
    terminal.send(json!({"type": "pause_stream"})).await;
    terminal.settle().await;
    write(&a, numbered(0..700)).await;
    write(&b, numbered(0..700)).await;
    // Also of one that is subscribed to in a pause.
    subscribe(&mut terminal, "c", json!({"history": 0})).await;
    let c = stack.producer.run("acme", "c", "r");
    let first = terminal.settle().await;
    assert!(first.iter().all(|message| shown(message).is_empty()), "{first:?}");
    write(&c, numbered(0..10)).await;
    assert!(terminal.settle().await.iter().all(|message| shown(message).is_empty()));
    terminal.send(json!({"type": "resume_stream"})).await;
    let seen = read(&mut terminal, 1410).await;
    assert_complete(seen["a"].0.clone(), 0..700);
    assert_complete(seen["b"].0.clone(), 0..700);
    assert_complete(seen["c"].0.clone(), 0..10);
    write(&b, numbered(700..710)).await;
    assert_complete(read(&mut terminal, 10).await["b"].0.clone(), 700..710);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cards_are_limited_and_each_is_checked() {
    let gateway = GatewayConfig { max_cards: 3, ..GatewayConfig::default() };
    let config = StackConfig { gateway, ..StackConfig::default() };
    let stack = Stack::start_with(&kafka().await.bootstrap(), &unique_prefix(), 1, config).await;
    let hour = std::time::Duration::from_secs(3600);
    let token = stack.token_with("acme", Role::Viewer, Some(&["a", "b", "c", "d"]), hour);
    write(&stack.producer.run("acme", "secret", "r"), numbered(0..3)).await;
    let mut terminal = Terminal::connect(&stack, &token, "a", "").await;
    let mut refused = async |message: Value, code: &str| {
        terminal.send(message.clone()).await;
        let error = terminal.message_of("error").await;
        assert_eq!((&error["data"]["code"], &error["data"]["inReplyTo"]), (&json!(code), &message["type"]), "{error}");
    };
    let subscribe_to = |card: &str| json!({"type": "subscribe_card", "cardId": card});
    for card in ["secret", "A", "a\u{200b}", "../a", ""] {
        refused(subscribe_to(card), "access_denied").await;
    }
    let nowhere = agentworks_schemas::Cursor::new().to_string();
    refused(json!({"type": "resume", "positions": {"secret": nowhere}}), "access_denied").await;
    let too_many = json!({"b": nowhere, "c": nowhere, "d": nowhere});
    refused(json!({"type": "resume", "positions": too_many}), "limit_exceeded").await;
    subscribe(&mut terminal, "b", json!({})).await;
    subscribe(&mut terminal, "c", json!({})).await;
    terminal.send(subscribe_to("d")).await;
    assert_eq!(terminal.message_of("error").await["data"]["code"], "limit_exceeded");
    terminal.send(json!({"type": "unsubscribe_card", "cardId": "b"})).await;
    terminal.message_of("card_unsubscribed").await;
    subscribe(&mut terminal, "d", json!({})).await;
    stack.stop().await;
}
