//! `replay`.

use std::time::{Duration, Instant};

use agentworks_schemas::{Level, Source, Timestamp};
use serde_json::Value;

use super::proxy::Proxy;
use super::{Running, command, command_at, messages, printed};
use crate::support::stack::Stack;
use crate::support::{eventually, unique_prefix};

/// Writes a run whose lines are `step` milliseconds apart by their own timestamps.
async fn record(stack: &Stack, card: &str, run: &str, count: usize, step: i64) {
    let run = stack.producer.run("acme", card, run);
    run.started().send().await.unwrap().await.unwrap();
    let begin = Timestamp::now().millis() - 3_600_000;
    for number in 0..count {
        // Every tenth line is the system's.
        let source = if number % 10 == 9 { Source::System } else { Source::Agent };
        let line = format!("line {number}");
        let timestamp = Timestamp(begin + i64::try_from(number).unwrap() * step);
        run.log(Level::Info, source, "test", &line).timestamp(timestamp).send().await.unwrap().await.unwrap();
    }
    run.completed().send().await.unwrap().await.unwrap();
}

/// Waits until the store knows a run, so that it is found without its card.
async fn known(stack: &Stack, run: &str) {
    let token = stack.token("acme", agentworks_schemas::access::Role::Viewer);
    crate::rest::ask(stack, &token, &format!("/v1/runs/{run}"), |_| true).await;
}

fn lines(range: std::ops::Range<usize>, with_system: bool) -> Vec<String> {
    range.filter(|number| with_system || number % 10 != 9).map(|number| format!("line {number}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_from_its_first_line_or_another() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    record(&stack, "card", "run", 100, 10).await;
    let card = ["replay", "run", "--card", "card", "--speed", "max", "--output", "json"];
    assert_eq!(messages(&printed(&stack, &card).await), lines(0..100, false));
    let all = printed(&stack, &[&card[..], &["--include-system"]].concat()).await;
    assert_eq!(messages(&all), lines(0..100, true));
    let entry: Value = serde_json::from_str(all.lines().next().unwrap()).unwrap();
    assert_eq!((&entry["replayPosition"], &entry["runId"]), (&Value::from(0), &Value::from("run")));

    let later = printed(&stack, &[&card[..], &["--include-system", "--from", "60"]].concat()).await;
    assert_eq!(messages(&later), lines(60..100, true));
    assert_eq!(printed(&stack, &[&card[..], &["--from", "1000"]].concat()).await, "");

    known(&stack, "run").await;
    let text = printed(&stack, &["replay", "run", "--speed", "max"]).await;
    assert_eq!(text.lines().count(), 90);
    assert!(text.lines().next().unwrap().ends_with("INFO  agent/test run  line 0"), "{text}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_its_pace_and_an_interrupt_ends_it() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    record(&stack, "card", "run", 9, 500).await;
    let begun = Instant::now();
    let paced = printed(&stack, &["replay", "run", "--card", "card", "--speed", "4", "--output", "json"]).await;
    assert_eq!(messages(&paced), lines(0..9, false));
    // Eight steps of half a second, four times as fast.
    assert!(begun.elapsed() >= Duration::from_millis(950), "{:?}", begun.elapsed());

    let args = ["replay", "run", "--card", "card", "--speed", "0.1", "--output", "json"];
    let mut slow = Running::start(command(&stack, &args));
    assert_eq!(slow.messages(1).await, ["line 0"]);
    assert_eq!(slow.interrupt().await, Some(130));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_costs_no_line_and_doubles_none() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    record(&stack, "card", "run", 60, 100).await;
    let proxy = Proxy::start(&stack.address).await;
    let args = ["replay", "run", "--card", "card", "--speed", "2", "--output", "json", "--include-system"];
    let mut replay = Running::start(command_at(&stack, &proxy.address, &args));
    let mut shown = replay.messages(10).await;
    for _ in 0..2 {
        let before = proxy.count();
        proxy.cut();
        eventually(Duration::from_secs(30), async || (proxy.count() > before).then_some(())).await;
        shown.extend(replay.messages(10).await);
    }
    shown.extend(replay.messages(30).await);
    assert_eq!(shown, lines(0..60, true));
    assert_eq!(replay.child.wait().await.unwrap().code(), Some(0));
    stack.stop().await;
}
