//! Clients that don't read, tokens that end, and many replays at once.

use std::time::Duration;

use agentworks_schemas::Level;
use agentworks_schemas::Source;
use agentworks_schemas::access::Role;
use futures_util::future::join_all;
use serde_json::json;

use super::{agent, ended_run, play, pour, terminal};
use crate::support::stack::Stack;
use crate::support::terminal::Terminal;
use crate::support::{eventually, unique_prefix};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_count_at_once_though_nothing_is_read() {
    const LINES: u64 = 400;
    let stack = Stack::start(&unique_prefix(), 1).await;
    let run = stack.producer.run("acme", "card", "run");
    // More than all buffers between gateway and client take.
    let line = "x".repeat(100_000);
    for _ in 0..LINES {
        drop(run.log(Level::Info, Source::Agent, "test", &line).send().await.unwrap());
    }
    run.completed().send().await.unwrap().await.unwrap();
    stack.producer.flush(Duration::from_secs(30)).await.unwrap();
    let mut terminal = terminal(&stack).await;
    terminal.send(json!({"type": "replay_run", "runId": "run", "options": {"speed": 0}})).await;
    let session = terminal.message_of("replay_started").await["data"]["sessionId"].clone();
    // Nothing more is sent: the outbox is full.
    let mut last = 0;
    let is_full = async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = std::mem::replace(&mut last, stack.metrics.bytes_sent.get());
        (before == last).then_some(())
    };
    eventually_mut(is_full).await;
    for action in ["pause", "stop"] {
        terminal.send(json!({"type": "replay_control", "sessionId": session, "action": action})).await;
    }
    let mut shown = 0;
    loop {
        let message = terminal.message().await;
        match message["type"].as_str().unwrap() {
            "replay_log" => shown += 1,
            "replay_paused" => assert_eq!(message["data"]["position"], shown),
            "replay_completed" => {
                assert_eq!(
                    (&message["data"]["stopped"], &message["data"]["totalLogsPlayed"]),
                    (&json!(true), &json!(shown))
                );
                break;
            }
            _ => {}
        }
    }
    assert!((1..LINES).contains(&shown), "{shown}");
    stack.stop().await;
}

/// As [`eventually`], for what remembers.
async fn eventually_mut(mut check: impl AsyncFnMut() -> Option<()>) {
    tokio::time::timeout(Duration::from_secs(30), async { while check().await.is_none() {} }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_ends_the_replay() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    ended_run(&stack, "run", (0..100).map(|number| agent(number * 500))).await;
    let token = stack.token_with("acme", Role::Viewer, None, Duration::from_secs(3));
    let mut terminal = Terminal::connect(&stack, &token, "card", "?history=0").await;
    terminal.send(json!({"type": "replay_run", "runId": "run"})).await;
    terminal.message_of("replay_log").await;
    assert_eq!(terminal.closed().await.0, 1008);
    let none = async || (stack.metrics.replays_active.get() == 0).then_some(());
    eventually(Duration::from_secs(5), none).await;
    stack.stop().await;
}

/// More replays than the pool has consumers, each of which shows all of its run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once() {
    const TERMINALS: usize = 25;
    let stack = Stack::start(&unique_prefix(), 2).await;
    for name in ["a", "b"] {
        let run = stack.producer.run("acme", "card", name);
        run.started().send().await.unwrap().await.unwrap();
        pour(&run, (0..1_000).map(|number| agent(number * 3))).await;
        run.completed().send().await.unwrap().await.unwrap();
    }
    let plays = (0..TERMINALS).map(async |index| {
        let mut terminal = terminal(&stack).await;
        let (run, speed) = (if index % 2 == 0 { "a" } else { "b" }, if index % 3 == 0 { 0 } else { 1 });
        let played = play(&mut terminal, run, json!({"speed": speed})).await;
        assert_eq!(played.lines, (0..1_000).collect::<Vec<_>>(), "{index}");
        assert_eq!(played.ordinals, (0..1_000).collect::<Vec<_>>(), "{index}");
    });
    join_all(plays).await;
    stack.stop().await;
}
