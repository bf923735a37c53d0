//! Replays on real Kafka.

/// Clients that don't read, tokens that end, and many replays at once.
mod crowd;
/// Runs that go on.
mod live;
/// Moving a replay, changing its pace, and what becomes of what was read ahead.
mod seeks;

use std::time::Duration;

use agentworks_gateway::GatewayConfig;
use agentworks_ingest::producer::RunHandle;
use agentworks_schemas::access::Role;
use agentworks_schemas::{Level, Source, Timestamp};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::support::stack::{Stack, StackConfig};
use crate::support::terminal::{Terminal, shown};
use crate::support::{kafka, unique_prefix};

const BEGAN: i64 = 1_764_670_530_000;

/// A line of a run: its source, its level and when it was written, in milliseconds since the run began.
type Line = (Source, Level, i64);

/// Writes a run of these lines; the message is the number of the line.
async fn write(run: &RunHandle, lines: impl IntoIterator<Item = Line>) {
    for (number, (source, level, at)) in lines.into_iter().enumerate() {
        let number = number.to_string();
        let line = run.log(level, source, "test", &number).timestamp(Timestamp(BEGAN + at));
        // One after the other: the log's own clock orders them over the topics.
        line.send().await.unwrap().await.unwrap();
    }
}

/// Writes lines as [`write`] does, but all of one topic, in as few batches as may be.
async fn pour(run: &RunHandle, lines: impl IntoIterator<Item = Line>) {
    let mut deliveries = Vec::new();
    for (number, (source, level, at)) in lines.into_iter().enumerate() {
        let number = number.to_string();
        let line = run.log(level, source, "test", &number).timestamp(Timestamp(BEGAN + at));
        deliveries.push(line.send().await.unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
}

async fn ended_run(stack: &Stack, name: &str, lines: impl IntoIterator<Item = Line>) {
    let run = stack.producer.run("acme", "card", name);
    run.started().timestamp(Timestamp(BEGAN)).send().await.unwrap().await.unwrap();
    write(&run, lines).await;
    run.completed().timestamp(Timestamp(BEGAN + 10_000)).send().await.unwrap().await.unwrap();
}

pub(super) async fn terminal(stack: &Stack) -> Terminal {
    let token = stack.token("acme", Role::Viewer);
    let mut terminal = Terminal::connect(stack, &token, "card", "?history=0").await;
    terminal.settle().await;
    terminal
}

/// What a replay shows until it has completed: the numbers of the lines, their ordinals, and the last message.
pub(super) struct Played {
    started: Value,
    pub(super) lines: Vec<usize>,
    pub(super) ordinals: Vec<u64>,
    totals: Vec<u64>,
    pub(super) positions: Vec<String>,
    completed: Value,
}

pub(super) async fn play(terminal: &mut Terminal, run: &str, options: Value) -> Played {
    terminal.send(json!({"type": "replay_run", "runId": run, "options": options})).await;
    let started = terminal.message_of("replay_started").await;
    rest(terminal, started).await
}

async fn rest(terminal: &mut Terminal, started: Value) -> Played {
    let (lines, ordinals, totals, positions) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut played = Played { started, lines, ordinals, totals, positions, completed: Value::Null };
    loop {
        let message = terminal.message().await;
        match message["type"].as_str().unwrap() {
            "replay_log" => {
                let data = &message["data"];
                played.lines.push(data["message"].as_str().unwrap().parse().unwrap());
                played.ordinals.push(data["replayPosition"].as_u64().unwrap());
                played.totals.push(data["replayTotal"].as_u64().unwrap());
                played.positions.push(message["position"].as_str().unwrap().to_owned());
            }
            "replay_completed" => {
                played.completed = message;
                return played;
            }
            _ => {}
        }
    }
}

fn agent(at: i64) -> Line {
    (Source::Agent, Level::Info, at)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_a_run_in_order_as_fast_as_it_is_read() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let lines =
        (0..300).map(|number| (if number % 3 == 0 { Source::System } else { Source::Agent }, Level::Info, number));
    ended_run(&stack, "run", lines).await;
    let mut terminal = terminal(&stack).await;
    let all = play(&mut terminal, "run", json!({"speed": 0, "includeSystemLogs": true})).await;
    assert_eq!(all.lines, (0..300).collect::<Vec<_>>());
    assert_eq!(all.ordinals, (0..300).collect::<Vec<_>>());
    assert_eq!(
        (&all.started["data"]["totalLogs"], &all.started["data"]["estimatedDuration"]),
        (&json!(300), &json!(0))
    );
    assert_eq!(all.completed["data"]["totalLogsPlayed"], 300);
    assert_eq!(all.completed["data"].get("stopped"), None);

    // Without the system's lines the others are counted by themselves.
    let own = play(&mut terminal, "run", json!({"speed": 0})).await;
    assert_eq!(own.lines, (0..300).filter(|number| number % 3 != 0).collect::<Vec<_>>());
    assert_eq!(own.ordinals, (0..200).collect::<Vec<_>>());
    assert_eq!(own.started["data"]["totalLogs"], 200);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_and_times_pick_lines_and_keep_their_ordinals() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    let level = |number| Level::ALL[number as usize % 5];
    ended_run(&stack, "run", (0..50).map(|number| (Source::Agent, level(number), number * 10))).await;
    let mut terminal = terminal(&stack).await;
    let errors = play(&mut terminal, "run", json!({"speed": 0, "filters": {"levels": ["error", "fatal"]}})).await;
    let expected: Vec<usize> = (0..50).filter(|number| number % 5 >= 3).collect();
    assert_eq!(errors.lines, expected);
    assert_eq!(errors.ordinals, expected.iter().map(|number| *number as u64).collect::<Vec<_>>());
    assert_eq!(errors.started["data"]["filters"], json!({"levels": ["error", "fatal"]}));
    let times = json!({"speed": 0, "startTime": Timestamp(BEGAN + 100), "endTime": Timestamp(BEGAN + 200)});
    assert_eq!(play(&mut terminal, "run", times).await.lines, (10..=20).collect::<Vec<_>>());
    let nothing = play(&mut terminal, "run", json!({"speed": 0, "filters": {"components": ["none"]}})).await;
    assert_eq!(nothing.completed["data"]["totalLogsPlayed"], 0);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pace_is_the_runs_own_and_only_idle_time_is_capped() {
    let config = GatewayConfig { replay_idle_cap: Duration::from_millis(600), ..GatewayConfig::default() };
    let config = StackConfig { gateway: config, ..StackConfig::default() };
    let stack = Stack::start_with(&kafka().await.bootstrap(), &unique_prefix(), 1, config).await;
    // A burst, two seconds, a timestamp that goes back, an hour.
    let times = [0, 1, 2, 3, 4, 2000, 1000, 2400, 3_600_000];
    ended_run(&stack, "run", times.map(agent)).await;
    let mut terminal = terminal(&stack).await;
    terminal.send(json!({"type": "replay_run", "runId": "run", "options": {"speed": 4}})).await;
    let started = terminal.message_of("replay_started").await;
    let estimated = started["data"]["estimatedDuration"].as_u64().unwrap();
    assert!((1100..=8 * 600).contains(&estimated), "{estimated}");
    let began = Instant::now();
    let mut at = Vec::new();
    for _ in times {
        terminal.message_of("replay_log").await;
        at.push(began.elapsed().as_millis());
    }
    let expected = [0, 0, 0, 0, 1, 500, 500, 600, 1200];
    for (at, expected) in at.iter().zip(expected) {
        assert!((expected.max(20) - 20..expected + 200).contains(at), "{at} instead of {expected}");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_paused_moved_and_stopped() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    ended_run(&stack, "run", (0..200).map(|number| agent(number * 50))).await;
    let mut terminal = terminal(&stack).await;
    let all = play(&mut terminal, "run", json!({"speed": 0})).await;

    terminal.send(json!({"type": "replay_run", "runId": "run"})).await;
    let started = terminal.message_of("replay_started").await;
    let session = started["data"]["sessionId"].clone();
    for _ in 0..3 {
        terminal.message_of("replay_log").await;
    }
    let control = |action: &str| json!({"type": "replay_control", "action": action, "sessionId": session});
    let seek = |position: Value| json!({"type": "replay_seek", "position": position, "sessionId": session});
    terminal.send(control("pause")).await;
    let paused = terminal.message_of("replay_paused").await;
    let position = paused["data"]["position"].as_u64().unwrap();
    assert!((3..20).contains(&position), "{position}");
    let quiet = timeout(Duration::from_millis(300), terminal.message_of("replay_log")).await;
    assert!(quiet.is_err(), "nothing comes while it is paused");

    // To an ordinal, while it is paused; it goes on from there.
    terminal.send(seek(json!(150))).await;
    let moved = terminal.message_of("replay_seeked").await;
    assert_eq!((&moved["data"]["position"], &moved["data"]["progress"]), (&json!(150), &json!(75.0)));
    terminal.send(control("resume")).await;
    assert_eq!(terminal.message_of("replay_resumed").await["data"]["position"], 150);
    assert_eq!(terminal.message_of("replay_log").await["data"]["message"], "150");

    // To just after a frame that was shown before.
    terminal.send(seek(json!(all.positions[41]))).await;
    assert_eq!(terminal.message_of("replay_seeked").await["data"]["position"], 42);
    let next = terminal.message_of("replay_log").await;
    assert_eq!((&next["data"]["message"], &next["data"]["replayPosition"]), (&json!("42"), &json!(42)));

    terminal.send(control("stop")).await;
    let completed = terminal.message_of("replay_completed").await;
    assert_eq!(completed["data"]["stopped"], true);
    assert!(completed["data"]["totalLogsPlayed"].as_u64().unwrap() >= 5);
    terminal.send(control("pause")).await;
    assert_eq!(terminal.message_of("error").await["data"]["code"], "not_found");

    // Beyond the end is the end.
    terminal.send(json!({"type": "replay_run", "runId": "run"})).await;
    let started = terminal.message_of("replay_started").await;
    let session = started["data"]["sessionId"].clone();
    terminal.send(json!({"type": "replay_seek", "position": 10_000, "sessionId": session})).await;
    assert_eq!(terminal.message_of("replay_seeked").await["data"]["position"], 200);
    assert_eq!(rest(&mut terminal, started).await.lines, Vec::<usize>::new());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_goes_on_is_followed_to_its_end() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let run = stack.producer.run("acme", "card", "run");
    run.started().send().await.unwrap().await.unwrap();
    write(&run, (0..10).map(agent)).await;
    let mut terminal = terminal(&stack).await;
    terminal.send(json!({"type": "replay_run", "runId": "run", "options": {"speed": 0}})).await;
    let started = terminal.message_of("replay_started").await;
    assert_eq!(started["data"]["totalLogs"], 10);
    let playing = tokio::spawn(async move { rest(&mut terminal, started).await });
    for number in 10..20 {
        run.log(Level::Info, Source::Agent, "test", &number.to_string()).send().await.unwrap().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    run.completed().send().await.unwrap().await.unwrap();
    let played = timeout(Duration::from_secs(20), playing).await.expect("it ends with the run").unwrap();
    assert_eq!(played.lines, (0..20).collect::<Vec<_>>());
    assert_eq!(played.ordinals, (0..20).collect::<Vec<_>>());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_flows_beside_replays_and_there_are_only_so_many() {
    let config = GatewayConfig { max_replays: 2, ..GatewayConfig::default() };
    let config = StackConfig { gateway: config, ..StackConfig::default() };
    let stack = Stack::start_with(&kafka().await.bootstrap(), &unique_prefix(), 2, config).await;
    ended_run(&stack, "old", (0..20).map(|number| agent(number * 400))).await;
    let mut terminal = terminal(&stack).await;
    for _ in 0..3 {
        terminal.send(json!({"type": "replay_run", "runId": "old"})).await;
    }
    assert_eq!(terminal.message_of("error").await["data"]["code"], "limit_exceeded");
    assert_eq!(stack.metrics.replays_active.get(), 2);
    let run = stack.producer.run("acme", "card", "new");
    let began = Instant::now();
    write(&run, (0..5).map(agent)).await;
    let mut live = 0;
    while live < 5 {
        live += shown(&terminal.message().await).len();
    }
    assert!(began.elapsed() < Duration::from_secs(3), "replays are no delay");
    terminal.close().await;
    crate::support::eventually(Duration::from_secs(5), async || {
        (stack.metrics.replays_active.get() == 0).then_some(())
    })
    .await;
    stack.stop().await;
}
