//! Moving a replay: by the run's marks, in every way, and with filters that pass over much.

use std::time::Duration;

use agentworks_gateway::GatewayConfig;
use agentworks_schemas::access::Role;
use agentworks_schemas::{Level, Source, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{BEGAN, Line, agent, ended_run, play, pour, terminal};
use crate::support::stack::{Stack, StackConfig};
use crate::support::terminal::Terminal;
use crate::support::{eventually, kafka, unique_prefix};

/// Entries of a long run: enough for marks.
const LONG: usize = 5_500;
/// Milliseconds between two of its entries.
const STEP: i64 = 20_000;

/// Pours a run of `lines` and its end, and waits until its marks are in the store.
async fn marked_run(stack: &Stack, name: &str, lines: impl IntoIterator<Item = Line>) {
    let run = stack.producer.run("acme", "card", name);
    run.started().timestamp(Timestamp(BEGAN)).send().await.unwrap().await.unwrap();
    pour(&run, lines).await;
    run.completed().timestamp(Timestamp(BEGAN + LONG as i64 * STEP)).send().await.unwrap().await.unwrap();
    let is_marked = async || {
        let run = stack.reader.run("acme", name, Some("card")).await.unwrap()?;
        let last = run.entries(false) - 1;
        (stack.reader.before_ordinal(&run, last, false).await.unwrap().ordinal > last - 1_000).then_some(())
    };
    eventually(Duration::from_secs(30), is_marked).await;
}

/// Starts a replay at its own pace, of which the first entry comes at once and the next one much later.
async fn started(terminal: &mut Terminal, run: &str, options: Value) -> Value {
    terminal.send(json!({"type": "replay_run", "runId": run, "options": options})).await;
    let started = terminal.message_of("replay_started").await;
    started["data"]["sessionId"].clone()
}

/// Moves a replay; its answer, and the number of the line that comes next, which must be of the same ordinal.
async fn seek(terminal: &mut Terminal, session: &Value, field: &str, to: Value) -> (Value, u64) {
    terminal.send(json!({"type": "replay_seek", "sessionId": session, field: to})).await;
    let seeked = terminal.message_of("replay_seeked").await["data"].clone();
    let next = terminal.message_of("replay_log").await["data"].clone();
    assert_eq!(next["replayPosition"], seeked["position"], "{next}");
    (seeked, next["message"].as_str().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_ordinal_cursor_time_and_fraction() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    // Every hundredth line was written by somebody whose clock is an hour behind.
    let late = |number: i64| if number % 100 == 0 { 3_600_000 } else { 0 };
    marked_run(&stack, "run", (0..LONG as i64).map(|number| agent(number * STEP - late(number)))).await;
    let mut terminal = terminal(&stack).await;
    let all = play(&mut terminal, "run", json!({"speed": 0})).await;
    assert_eq!(all.lines, (0..LONG).collect::<Vec<_>>());

    let session = started(&mut terminal, "run", json!({})).await;
    for ordinal in [0, 1, 999, 1_000, 1_001, 3_456, LONG as u64 - 1] {
        let (seeked, line) = seek(&mut terminal, &session, "position", json!(ordinal)).await;
        assert_eq!((&seeked["position"], line), (&json!(ordinal), ordinal));
        let progress = ordinal as f64 / LONG as f64 * 100.0;
        assert!((seeked["progress"].as_f64().unwrap() - progress).abs() < 1e-9, "{seeked}");
    }
    for after in [0, 998, 999, 2_345, 4_321] {
        let (_, line) = seek(&mut terminal, &session, "position", json!(all.positions[after])).await;
        assert_eq!(line, after as u64 + 1);
    }
    for (fraction, line) in [(0.0, 0), (0.5, 2_750), (0.999, 5_494)] {
        assert_eq!(seek(&mut terminal, &session, "fraction", json!(fraction)).await.1, line);
    }
    // Between two entries it is the later one, and one whose clock is behind is none that is looked for.
    for (time, line) in [(-1, 1), (STEP, 1), (STEP + 1, 2), (2_000 * STEP, 2_001), (5_000 * STEP - 1, 5_001)] {
        let found = seek(&mut terminal, &session, "time", json!(Timestamp(BEGAN + time))).await.1;
        assert_eq!(found, if time < 0 { 1 } else { line }, "{time}");
    }
    // What lies beyond the end is the end.
    terminal.send(json!({"type": "replay_seek", "sessionId": session, "fraction": 1})).await;
    assert_eq!(terminal.message_of("replay_seeked").await["data"]["position"], LONG);
    let completed = terminal.message_of("replay_completed").await;
    assert_eq!(completed["data"].get("stopped"), None);
    terminal.send(json!({"type": "replay_seek", "sessionId": session, "fraction": 2})).await;
    assert_eq!(terminal.message_of("error").await["data"]["code"], "invalid_value");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_filters_ordinals_and_the_total_stay_the_runs() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    let rare = [10, 11, 2_900, LONG as i64 - 2];
    let level = |number| if rare.contains(&number) { Level::Error } else { Level::Info };
    let lines = (0..LONG as i64).map(|number| (Source::Agent, level(number), number * STEP));
    marked_run(&stack, "run", lines).await;
    let mut terminal = terminal(&stack).await;
    let errors = play(&mut terminal, "run", json!({"speed": 0, "filters": {"levels": ["error"]}})).await;
    assert_eq!(errors.lines, rare.map(|number| number as usize));
    assert_eq!(errors.ordinals, rare.map(|number| number as u64));
    assert_eq!(errors.totals, [LONG as u64; 4]);
    assert_eq!(errors.started["data"]["totalLogs"], LONG);

    // It begins with the entry at a time, and is moved among all entries, of which only some are shown.
    let late = json!({"speed": 0, "startTime": Timestamp(BEGAN + 2_000 * STEP), "filters": {"levels": ["error"]}});
    assert_eq!(play(&mut terminal, "run", late).await.ordinals, [2_900, LONG as u64 - 2]);
    let session = started(&mut terminal, "run", json!({"filters": {"levels": ["error"]}})).await;
    terminal.send(json!({"type": "replay_seek", "sessionId": session, "position": 2_500})).await;
    assert_eq!(terminal.message_of("replay_seeked").await["data"]["position"], 2_500);
    assert_eq!(terminal.message_of("replay_log").await["data"]["replayPosition"], 2_900);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn among_the_systems_lines_too() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let source = |number| if number % 3 == 0 { Source::System } else { Source::Agent };
    ended_run(&stack, "run", (0..200).map(|number| (source(number), Level::Info, number * STEP))).await;
    let mut terminal = terminal(&stack).await;
    let session = started(&mut terminal, "run", json!({"includeSystemLogs": true})).await;
    for line in [150, 33, 199] {
        assert_eq!(seek(&mut terminal, &session, "position", json!(line)).await.1, line);
        assert_eq!(seek(&mut terminal, &session, "time", json!(Timestamp(BEGAN + line as i64 * STEP))).await.1, line);
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pace_changes_in_flight() {
    let config = GatewayConfig { replay_idle_cap: Duration::from_secs(60), ..GatewayConfig::default() };
    let config = StackConfig { gateway: config, ..StackConfig::default() };
    let stack = Stack::start_with(&kafka().await.bootstrap(), &unique_prefix(), 1, config).await;
    ended_run(&stack, "run", (0..5).map(|number| agent(number * 30_000))).await;
    let mut terminal = terminal(&stack).await;
    let session = started(&mut terminal, "run", json!({})).await;
    terminal.message_of("replay_log").await;
    let began = Instant::now();
    terminal.send(json!({"type": "replay_speed", "sessionId": session, "speed": 100})).await;
    assert_eq!(terminal.message_of("replay_speed_changed").await["data"]["speed"], 100.0);
    for _ in 0..2 {
        terminal.message_of("replay_log").await;
    }
    let took = began.elapsed();
    assert!((Duration::from_millis(550)..Duration::from_secs(3)).contains(&took), "{took:?}");
    terminal.send(json!({"type": "replay_speed", "sessionId": session, "speed": 0})).await;
    let completed = terminal.message_of("replay_completed").await;
    assert_eq!(completed["data"]["totalLogsPlayed"], 5);
    terminal.send(json!({"type": "replay_speed", "sessionId": session, "speed": -1})).await;
    assert_eq!(terminal.message_of("error").await["data"]["code"], "invalid_value");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_ahead_is_given_back_and_read_again() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    ended_run(&stack, "run", (0..300).map(|number| agent(number * 1_000))).await;
    let mut terminal = terminal(&stack).await;
    let session = started(&mut terminal, "run", json!({"speed": 20})).await;
    for line in 0..3 {
        assert_eq!(terminal.message_of("replay_log").await["data"]["replayPosition"], line);
    }
    terminal.send(json!({"type": "replay_control", "sessionId": session, "action": "pause"})).await;
    let position = terminal.message_of("replay_paused").await["data"]["position"].as_u64().unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    terminal.send(json!({"type": "replay_control", "sessionId": session, "action": "resume"})).await;
    assert_eq!(terminal.message_of("replay_resumed").await["data"]["position"], position);
    for line in position..position + 100 {
        assert_eq!(terminal.message_of("replay_log").await["data"]["replayPosition"], line);
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_erased_is_shown_no_more() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    ended_run(&stack, "run", (0..100).map(|number| agent(number * STEP))).await;
    let mut terminal = terminal(&stack).await;
    let session = started(&mut terminal, "run", json!({})).await;
    terminal.message_of("replay_log").await;
    let operator = stack.token("acme", Role::Operator);
    let url = format!("{}/v1/erasures?run=run", stack.url);
    let erase = reqwest::Client::new().post(url).bearer_auth(operator);
    // The store may not know the run yet.
    let erased = async || erase.try_clone()?.send().await.ok()?.error_for_status().ok().map(drop);
    eventually(Duration::from_secs(30), erased).await;
    // What has been read ahead is in the gateway's memory, and due now.
    terminal.send(json!({"type": "replay_speed", "sessionId": session, "speed": 0})).await;
    loop {
        let message = terminal.message().await;
        match message["type"].as_str().unwrap() {
            "replay_log" => {
                // A few were due, one every 5 s, before the erasure took effect.
                let position = message["data"]["replayPosition"].as_u64().unwrap();
                assert!(position < 10, "{message}");
            }
            "replay_completed" => return stack.stop().await,
            _ => {}
        }
    }
}
