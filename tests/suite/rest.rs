//! Cards, runs and entries over HTTP, on real Kafka.

use std::time::Duration;

use agentworks_ingest::producer::RunHandle;
use agentworks_schemas::access::Role;
use agentworks_schemas::{Level, Source};
use serde_json::{Value, json};

use crate::support::stack::Stack;
use crate::support::terminal::Terminal;
use crate::support::{eventually, unique_prefix};

const PATIENCE: Duration = Duration::from_secs(30);

/// Asks a route, which is percent-encoded already: its status and its JSON.
pub(super) async fn get(stack: &Stack, token: &str, route: &str) -> (u16, Value) {
    let url = format!("http://{}{route}", stack.address);
    let answer = reqwest::Client::new().get(url).bearer_auth(token).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

/// Asks a route until its answer is as it should be: the store is a little behind the log.
pub(super) async fn ask(stack: &Stack, token: &str, route: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(PATIENCE, async || {
        let (status, body) = get(stack, token, route).await;
        (status == 200 && is_wanted(&body)).then_some(body)
    })
    .await
}

/// Writes lines, in turn as an agent's and the system's and with all levels, and waits until they are in the log.
pub(super) async fn write<S: AsRef<str>>(run: &RunHandle, lines: impl IntoIterator<Item = S>) {
    for (index, line) in lines.into_iter().enumerate() {
        let source = if index % 2 == 0 { Source::Agent } else { Source::System };
        let level = Level::ALL[index % 5];
        run.log(level, source, "test", line.as_ref()).send().await.unwrap().await.unwrap();
    }
}

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("line {number}")).collect()
}

fn messages(page: &Value) -> Vec<String> {
    let entries = page["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
}

/// All pages of a route in one direction, from `from` on, in the order of the log.
async fn pages(stack: &Stack, token: &str, route: &str, direction: &str, from: &str) -> Vec<String> {
    let mut all: Vec<Vec<String>> = Vec::new();
    let mut place = from.to_owned();
    loop {
        let (status, page) = get(stack, token, &format!("{route}&{direction}={place}")).await;
        assert_eq!(status, 200, "{page}");
        assert_eq!(page["gaps"], json!([]));
        all.push(messages(&page));
        match page["next"].as_str() {
            Some(next) => place = next.to_owned(),
            None => break,
        }
        assert!(all.len() < 1000, "the pages have no end");
    }
    if direction == "before" {
        all.reverse();
    }
    all.concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_tile_the_log_in_both_directions() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let (run, other) = (stack.producer.run("acme", "card", "run-1"), stack.producer.run("acme", "card", "run-2"));
    let mut expected = Vec::new();
    // With pauses longer than a block's age, so that some of it is in hot and some in the log alone.
    for part in 0..3 {
        let part: Vec<String> = (0..25).map(|number| format!("{part}/{number}")).collect();
        write(&run, &part).await;
        write(&other, ["of another run"]).await;
        expected.extend(part);
        tokio::time::sleep(Duration::from_millis(800)).await;
    }
    let token = stack.token("acme", Role::Viewer);
    for limit in [1, 7, 26, 1000] {
        let of_card = format!("/v1/cards/card/entries?limit={limit}");
        let of_run = format!("/v1/runs/run-1/entries?limit={limit}&card=card");
        for (direction, from) in [("after", "start"), ("before", "end")] {
            let mut card = pages(&stack, &token, &of_card, direction, from).await;
            assert_eq!(card.len(), 78, "{of_card} {direction}");
            card.retain(|message| message != "of another run");
            assert_eq!(card, expected, "{of_card} {direction}");
            assert_eq!(pages(&stack, &token, &of_run, direction, from).await, expected, "{of_run} {direction}");
        }
    }
    // Without a place: a card's newest, a run's first.
    let (_, newest) = get(&stack, &token, "/v1/cards/card/entries?limit=2").await;
    assert_eq!(messages(&newest), ["2/24", "of another run"]);
    let (_, first) = get(&stack, &token, "/v1/runs/run-1/entries?limit=2&card=card").await;
    assert_eq!(messages(&first), ["0/0", "0/1"]);
    // From the middle, both ways.
    let middle = first["entries"][1]["position"].as_str().unwrap();
    let route = "/v1/runs/run-1/entries?limit=10&card=card";
    assert_eq!(pages(&stack, &token, route, "before", middle).await, ["0/0", "0/1"]);
    assert_eq!(pages(&stack, &token, route, "after", middle).await, expected[2..]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_ends_where_a_stream_goes_on() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let run = stack.producer.run("acme", "card", "run");
    write(&run, lines(9)).await;
    let token = stack.token("acme", Role::Viewer);
    for route in ["before=end&limit=3", "after=start&limit=1000", "before=end&limit=1&level=fatal"] {
        let (_, page) = get(&stack, &token, &format!("/v1/cards/card/entries?{route}")).await;
        let query = format!("?position={}", page["end"].as_str().unwrap());
        let mut terminal = Terminal::connect(&stack, &token, "card", &query).await;
        assert_eq!(terminal.message().await["type"], "connection_established");
        write(&run, [route]).await;
        assert_eq!(terminal.lines(1).await, [route]);
        terminal.close().await;
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_and_faults_of_parameters() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    write(&stack.producer.run("acme", "card", "run"), lines(20)).await;
    let token = stack.token("acme", Role::Viewer);
    let count = async |filter: &str| {
        let (status, page) = get(&stack, &token, &format!("/v1/cards/card/entries?{filter}")).await;
        assert_eq!(status, 200, "{page}");
        messages(&page).len()
    };
    assert_eq!(count("level=warn").await, 4);
    assert_eq!(count("level=error,fatal").await, 8);
    assert_eq!(count("source=system").await, 10);
    assert_eq!(count("source=system&level=debug").await, 2);
    assert_eq!(count("component=test").await, 20);
    assert_eq!(count("component=other").await, 0);
    assert_eq!(count("since=2100-01-01T00:00:00Z").await, 0);
    assert_eq!(count("until=2100-01-01T00:00:00Z").await, 20);

    for (route, named) in [
        ("/v1/cards/card/entries?limit=0", "limit: \"0\" is not a number from 1 to 1000"),
        ("/v1/cards/card/entries?limit=many", "limit: \"many\""),
        ("/v1/cards/card/entries?level=loud", "level: \"loud\" is none of"),
        ("/v1/cards/card/entries?after=xyz", "after: the position is not one"),
        ("/v1/cards/card/entries?lvl=warn", "there is no parameter \"lvl\" here; known: after, before, limit"),
        ("/v1/cards/card/entries?limit=1&limit=2", "\"limit\" is given twice"),
        ("/v1/cards?limit=1001", "1 to 1000"),
        ("/v1/cards/card/runs?limit=201", "1 to 200"),
        ("/v1/runs?status=done", "status: \"done\" is none of running"),
        ("/v1/me?verbose=1", "there is no parameter \"verbose\" here; known: none"),
    ] {
        let (status, body) = get(&stack, &token, route).await;
        assert_eq!((status, &body["error"]["code"]), (400, &json!("invalid_value")), "{route}");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(named), "{route}: {message}");
    }
    for (route, status) in [("/v1/nothing", 404), ("/v1/cards//entries", 404), ("/v1/runs/no-such-run", 404)] {
        let (got, body) = get(&stack, &token, route).await;
        assert_eq!((got, &body["error"]["code"]), (status, &json!("not_found")), "{route}");
    }
    let url = format!("http://{}/v1/cards", stack.address);
    let posted = reqwest::Client::new().post(url).bearer_auth(&token).send().await.unwrap();
    assert_eq!((posted.status().as_u16(), &posted.headers()["allow"]), (405, &"GET".parse().unwrap()));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cards_and_runs_are_listed_newest_first_whatever_their_names() {
    let stack = Stack::start(&unique_prefix(), 2).await;
    let card = "a/b c?é&%2F#.\u{1f642}";
    let encoded = "a%2Fb%20c%3F%C3%A9%26%252F%23.%F0%9F%99%82";
    let token = stack.token("acme", Role::Viewer);

    // A card is there before anybody has written to it.
    let (status, empty) = get(&stack, &token, &format!("/v1/cards/{encoded}")).await;
    assert_eq!((status, &empty), (200, &json!({"cardId": card, "lastSeen": null, "activeRun": null})));

    for number in 0..5 {
        let run = stack.producer.run("acme", card, &format!("run/{number}"));
        run.started().send().await.unwrap().await.unwrap();
        write(&run, lines(10)).await;
        run.usage().cost(0.25).tokens(100, 20).send().await.unwrap().await.unwrap();
        match number {
            0 => drop(run.completed().exit_code(0).send().await.unwrap().await.unwrap()),
            1 => drop(run.failed("it broke").send().await.unwrap().await.unwrap()),
            2 => drop(run.cancelled("enough").send().await.unwrap().await.unwrap()),
            _ => {}
        }
    }
    // What the log knows is there at once.
    let (_, summary) = get(&stack, &token, &format!("/v1/runs/run%2F1?card={encoded}")).await;
    assert_eq!((&summary["status"], &summary["reason"]), (&json!("failed"), &json!("it broke")), "{summary}");
    assert_eq!(
        (&summary["logCount"], &summary["errorCount"], &summary["warningCount"]),
        (&json!(10), &json!(4), &json!(2))
    );
    assert_eq!((&summary["cost"], &summary["tokensUsed"]), (&json!(0.25), &json!(120)));
    let (_, shown) = get(&stack, &token, &format!("/v1/cards/{encoded}")).await;
    assert_eq!(shown["activeRun"]["runId"], "run/4", "{shown}");

    // And what the store lists, a little later.
    let cards =
        ask(&stack, &token, "/v1/cards", |body| body["cards"].as_array().is_some_and(|cards| !cards.is_empty())).await;
    assert_eq!(cards["cards"][0]["cardId"], card);
    ask(&stack, &token, "/v1/runs?limit=200", |body| body["runs"].as_array().is_some_and(|runs| runs.len() == 5)).await;
    ask(&stack, &token, "/v1/runs/run%2F1", |body| body["cardId"] == card).await;

    for route in [format!("/v1/cards/{encoded}/runs?limit=2"), "/v1/runs?limit=2".to_owned()] {
        let mut runs = Vec::new();
        let mut next = String::new();
        loop {
            let (status, page) = get(&stack, &token, &format!("{route}{next}")).await;
            assert_eq!(status, 200, "{page}");
            runs.extend(page["runs"].as_array().unwrap().iter().map(|run| run["runId"].as_str().unwrap().to_owned()));
            let Some(token) = page["next"].as_str() else { break };
            next = format!("&page={token}");
        }
        assert_eq!(runs, ["run/4", "run/3", "run/2", "run/1", "run/0"], "{route}");
    }
    for (status, expected) in [("running", ["run/4", "run/3"]), ("failed,cancelled", ["run/2", "run/1"])] {
        let is_wanted = |body: &Value| {
            let runs = body["runs"].as_array().unwrap();
            runs.iter().map(|run| run["runId"].as_str().unwrap()).eq(expected)
        };
        ask(&stack, &token, &format!("/v1/runs?status={status}"), is_wanted).await;
    }
    stack.stop().await;
}
