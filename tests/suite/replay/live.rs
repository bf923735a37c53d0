//! Replays of runs that go on: into live, and to it at once.

use std::time::Duration;

use agentworks_schemas::{Level, Source};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{agent, ended_run, pour, terminal};
use crate::support::stack::Stack;
use crate::support::unique_prefix;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_goes_on_is_played_into_live() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let run = stack.producer.run("acme", "card", "run");
    run.started().send().await.unwrap().await.unwrap();
    pour(&run, (0..30).map(|number| agent(number * 60_000))).await;
    let mut terminal = terminal(&stack).await;
    terminal.send(json!({"type": "replay_run", "runId": "run", "options": {"speed": 0}})).await;
    let session = terminal.message_of("replay_started").await["data"]["sessionId"].clone();
    for line in 0..30 {
        assert_eq!(terminal.message_of("replay_log").await["data"]["replayPosition"], line);
    }
    assert_eq!(terminal.message_of("replay_live").await["data"]["position"], 30);
    // Live ones come as they come, whatever their timestamps and the pace.
    terminal.send(json!({"type": "replay_speed", "sessionId": session, "speed": 0.001})).await;
    terminal.message_of("replay_speed_changed").await;
    for number in 30..33 {
        pour(&run, [agent(number * 60_000)]).await;
        let began = Instant::now();
        let log = terminal.message_of("replay_log").await;
        assert_eq!((&log["data"]["replayPosition"], &log["data"]["replayTotal"]), (&json!(number), &json!(number + 1)));
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
    run.completed().send().await.unwrap().await.unwrap();
    loop {
        let message = timeout(Duration::from_secs(20), terminal.message()).await.expect("it ends with the run");
        assert_ne!(message["type"], "replay_live", "it is said once");
        if message["type"] == "replay_completed" {
            assert_eq!(message["data"]["totalLogsPlayed"], 33);
            break;
        }
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_live_at_once() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    ended_run(&stack, "ended", (0..100).map(|number| agent(number * 60_000))).await;
    let run = stack.producer.run("acme", "card", "running");
    run.started().send().await.unwrap().await.unwrap();
    pour(&run, (0..50).map(|number| agent(number * 60_000))).await;
    let mut terminal = terminal(&stack).await;

    terminal.send(json!({"type": "replay_run", "runId": "ended"})).await;
    let session = terminal.message_of("replay_started").await["data"]["sessionId"].clone();
    terminal.send(json!({"type": "replay_jump_live", "sessionId": session})).await;
    assert_eq!(terminal.message_of("replay_seeked").await["data"]["position"], 100);
    let completed = terminal.message_of("replay_completed").await;
    assert_eq!(completed["data"].get("stopped"), None);

    terminal.send(json!({"type": "replay_run", "runId": "running"})).await;
    let session = terminal.message_of("replay_started").await["data"]["sessionId"].clone();
    // A paused one goes on.
    terminal.send(json!({"type": "replay_control", "sessionId": session, "action": "pause"})).await;
    terminal.message_of("replay_paused").await;
    terminal.send(json!({"type": "replay_jump_live", "sessionId": session})).await;
    assert_eq!(terminal.message_of("replay_seeked").await["data"]["position"], 50);
    assert_eq!(terminal.message_of("replay_live").await["data"]["position"], 50);
    run.log(Level::Info, Source::Agent, "test", "now").send().await.unwrap().await.unwrap();
    let log = terminal.message_of("replay_log").await;
    assert_eq!((&log["data"]["replayPosition"], &log["data"]["message"]), (&json!(50), &json!("now")));

    // And back again.
    terminal.send(json!({"type": "replay_seek", "sessionId": session, "position": 49})).await;
    assert_eq!(terminal.message_of("replay_seeked").await["data"]["position"], 49);
    assert_eq!(terminal.message_of("replay_log").await["data"]["message"], "49");
    terminal.send(json!({"type": "replay_control", "sessionId": session, "action": "stop"})).await;
    assert_eq!(terminal.message_of("replay_completed").await["data"]["stopped"], true);
    stack.stop().await;
}
