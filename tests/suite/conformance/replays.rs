//! Replays.

use agentworks_ingest::producer::RunHandle;
use agentworks_schemas::access::Role;
use agentworks_schemas::{Level, Source, Timestamp};
use serde_json::{Value, json};

use super::World;
use super::client::Client;

const BEGAN: i64 = 1_764_670_530_000;
/// Between two entries, in milliseconds: at the original pace a replay lasts longer than anything here.
const PACE: i64 = 2000;

async fn write(run: &RunHandle, numbers: std::ops::Range<i64>) {
    for number in numbers {
        let source = if number % 4 == 3 { Source::System } else { Source::Agent };
        let level = Level::ALL[usize::try_from(number % 5).unwrap()];
        let message = number.to_string();
        let line = run.log(level, source, "walk", &message).timestamp(Timestamp(BEGAN + number * PACE));
        line.send().await.unwrap().await.unwrap();
    }
}

async fn connect(world: &World) -> Client {
    let token = world.token(Role::Viewer);
    let mut client = world.connect(&token, "replayed", "?history=0").await;
    client.settle().await;
    client
}

/// Starts a replay: its id, and its first message.
async fn start(client: &mut Client, run: &str, options: Value) -> (String, Value) {
    let started = client.ask(json!({"type": "replay_run", "runId": run, "options": options}), "replay_started").await;
    assert_eq!(started["data"]["runId"], run);
    (started["data"]["sessionId"].as_str().unwrap().to_owned(), started)
}

/// The lines that a replay shows until it has completed, and how it completed.
async fn rest(client: &mut Client) -> (Vec<Value>, Value) {
    let mut lines = Vec::new();
    loop {
        let message = client.told().await;
        match message["type"].as_str().unwrap() {
            "replay_log" => lines.push(message["data"]["message"].clone()),
            "replay_completed" => return (lines, message),
            "run_summary" | "log_entry" | "logs_batch" => {}
            _ => panic!("{message}"),
        }
    }
}

/// Every option and every control.
pub(super) async fn an_ended_run(world: &World) {
    let run = world.stack.producer.run("acme", "replayed", "ended");
    run.started().timestamp(Timestamp(BEGAN)).send().await.unwrap().await.unwrap();
    write(&run, 0..40).await;
    run.completed().timestamp(Timestamp(BEGAN + 40 * PACE)).send().await.unwrap().await.unwrap();
    let mut client = connect(world).await;

    let all = json!({"speed": 0, "includeSystemLogs": true});
    start(&mut client, "ended", all).await;
    let mut positions = Vec::new();
    for number in 0..40 {
        let log = client.told_of("replay_log").await;
        assert_eq!(log["data"]["message"], number.to_string());
        positions.push(log["position"].clone());
    }
    let completed = client.told_of("replay_completed").await;
    assert_eq!((&completed["data"]["totalLogsPlayed"], completed["data"].get("stopped")), (&json!(40), None));

    let filters = json!({"levels": ["warn", "error"], "sources": ["agent"], "components": ["walk"]});
    let options = json!({"speed": 0, "startTime": Timestamp(BEGAN + 10 * PACE), "endTime": BEGAN + 20 * PACE,
        "filters": filters});
    let (_, started) = start(&mut client, "ended", options).await;
    assert_eq!(started["data"]["filters"], filters);
    assert_eq!(rest(&mut client).await.0, ["12", "13", "17", "18"]);

    let (session, _) = start(&mut client, "ended", json!({"includeSystemLogs": true})).await;
    client.told_of("replay_log").await;
    let control = |action: &str| json!({"type": "replay_control", "action": action, "sessionId": session});
    let seek = |what: &str, to: Value| json!({"type": "replay_seek", "sessionId": session, what: to});
    client.ask(control("pause"), "replay_paused").await;
    for (place, position) in [
        (seek("position", json!(30)), 30),
        (seek("position", positions[11].clone()), 12),
        (seek("time", json!(Timestamp(BEGAN + 25 * PACE))), 25),
        (seek("time", json!(BEGAN + 26 * PACE)), 26),
        (seek("fraction", json!(0.5)), 20),
        (seek("fraction", json!(0)), 0),
    ] {
        let moved = client.ask(place.clone(), "replay_seeked").await;
        assert_eq!(moved["data"]["position"], position, "{place}");
    }
    let speed = json!({"type": "replay_speed", "sessionId": session, "speed": 10});
    assert_eq!(client.ask(speed, "replay_speed_changed").await["data"]["speed"], 10.0);
    assert_eq!(client.ask(control("resume"), "replay_resumed").await["data"]["position"], 0);
    for number in 0..5 {
        assert_eq!(client.told_of("replay_log").await["data"]["message"], number.to_string());
    }
    // Its run has ended: the end is the end.
    let jumped = client.ask(json!({"type": "replay_jump_live", "sessionId": session}), "replay_seeked").await;
    assert_eq!((&jumped["data"]["position"], &jumped["data"]["progress"]), (&json!(40), &json!(100.0)));
    client.told_of("replay_completed").await;

    let (session, _) = start(&mut client, "ended", json!({})).await;
    let stop = json!({"type": "replay_control", "action": "stop", "sessionId": session});
    assert_eq!(client.ask(stop, "replay_completed").await["data"]["stopped"], true);
    client.terminal.close().await;
}

/// One that is followed to its end, and one that is jumped in.
pub(super) async fn a_running_run(world: &World) {
    let run = world.stack.producer.run("acme", "replayed", "running");
    run.started().timestamp(Timestamp(BEGAN)).send().await.unwrap().await.unwrap();
    write(&run, 0..10).await;
    let (mut follower, mut jumper) = (connect(world).await, connect(world).await);
    start(&mut follower, "running", json!({"speed": 0, "includeSystemLogs": true})).await;
    for number in 0..10 {
        assert_eq!(follower.told_of("replay_log").await["data"]["message"], number.to_string());
    }
    assert_eq!(follower.told_of("replay_live").await["data"]["position"], 10);
    let (session, _) = start(&mut jumper, "running", json!({"includeSystemLogs": true})).await;
    jumper.ask(json!({"type": "replay_jump_live", "sessionId": session}), "replay_seeked").await;
    jumper.told_of("replay_live").await;
    write(&run, 10..15).await;
    run.completed().timestamp(Timestamp(BEGAN + 20 * PACE)).send().await.unwrap().await.unwrap();
    for client in [&mut follower, &mut jumper] {
        assert_eq!(rest(client).await.0, ["10", "11", "12", "13", "14"]);
    }
    follower.terminal.close().await;
    jumper.terminal.close().await;
}

pub(super) async fn refusals(world: &World) {
    let mut client = connect(world).await;
    for wrong in [
        json!({"type": "replay_run"}),
        json!({"type": "replay_run", "runId": "ended", "options": {"speed": -1}}),
        json!({"type": "replay_run", "runId": "ended", "options": {"pace": 1}}),
        json!({"type": "replay_run", "runId": "ended", "options": {"filters": {"levels": "warn"}}}),
        json!({"type": "replay_run", "runId": "ended", "options": {"startTime": "noon"}}),
        json!({"type": "replay_control", "action": "rewind", "sessionId": "x"}),
        json!({"type": "replay_control", "action": "stop"}),
        json!({"type": "replay_seek", "sessionId": "x"}),
        json!({"type": "replay_seek", "sessionId": "x", "position": -1}),
        json!({"type": "replay_seek", "sessionId": "x", "position": 1, "fraction": 0.5}),
        json!({"type": "replay_seek", "sessionId": "x", "fraction": 1.5}),
        json!({"type": "replay_seek", "sessionId": "x", "time": "noon"}),
        json!({"type": "replay_speed", "sessionId": "x", "speed": -1}),
        json!({"type": "replay_speed", "sessionId": "x"}),
        json!({"type": "replay_jump_live"}),
    ] {
        client.is_wrong(wrong, "invalid_value").await;
    }
    for lost in [
        json!({"type": "replay_run", "runId": "nobody's"}),
        json!({"type": "replay_control", "action": "pause", "sessionId": "x"}),
        json!({"type": "replay_control", "action": "resume", "sessionId": "x"}),
        json!({"type": "replay_control", "action": "stop", "sessionId": "x"}),
        json!({"type": "replay_seek", "sessionId": "x", "position": 1}),
        json!({"type": "replay_speed", "sessionId": "x", "speed": 1}),
        json!({"type": "replay_jump_live", "sessionId": "x"}),
    ] {
        client.is_refused(lost, "not_found").await;
    }
    for _ in 0..2 {
        start(&mut client, "ended", json!({})).await;
    }
    client.is_refused(json!({"type": "replay_run", "runId": "ended"}), "limit_exceeded").await;
    client.terminal.close().await;
}
