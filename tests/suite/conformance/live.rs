//! Cards, live.

use agentworks_schemas::access::Role;
use agentworks_schemas::{Level, Source};
use serde_json::{Value, json};
use tokio::time::Duration;

use super::World;
use crate::support::terminal::shown;

impl World {
    /// Writes an entry, and waits until it is in the log.
    pub(super) async fn write(&self, card: &str, run: &str, level: Level, line: &str) {
        let run = self.stack.producer.run("acme", card, run);
        run.log(level, Source::Agent, "walk", line).send().await.unwrap().await.unwrap();
    }

    async fn info(&self, card: &str, line: &str) {
        self.write(card, &format!("run of {card}"), Level::Info, line).await;
    }
}

fn lines_of(messages: &[Value]) -> Vec<String> {
    messages.iter().flat_map(shown).map(|shown| shown.message().to_owned()).collect()
}

/// From the greeting on: history, the run, entries, other cards.
pub(super) async fn cards(world: &World) {
    let run = world.stack.producer.run("acme", "alpha", "run of alpha");
    run.started().agent("agent-1").send().await.unwrap().await.unwrap();
    for number in 0..5 {
        world.info("alpha", &format!("alpha {number}")).await;
        world.info("beta", &format!("beta {number}")).await;
    }
    let token = world.token(Role::Viewer);
    let mut client = world.connect(&token, "alpha", "?history=2").await;
    let history = client.told_of("logs_batch").await;
    assert_eq!(
        (&history["cardId"], lines_of(std::slice::from_ref(&history))),
        (&json!("alpha"), vec!["alpha 3".into(), "alpha 4".into()])
    );
    assert_eq!(client.told_of("run_summary").await["data"]["agentId"], "agent-1");
    world.info("alpha", "live").await;
    assert_eq!(client.told_of("log_entry").await["data"]["message"], "live");

    let asked = json!({"type": "subscribe_card", "cardId": "beta", "history": 3});
    assert_eq!(client.ask(asked, "card_subscribed").await["data"]["cardId"], "beta");
    assert_eq!(client.lines(3).await, ["beta 2", "beta 3", "beta 4"]);
    world.info("beta", "beta live").await;
    world.info("alpha", "alpha live").await;
    let mut both = client.lines(2).await;
    both.sort();
    assert_eq!(both, ["alpha live", "beta live"]);
    let summary = client.ask(json!({"type": "get_run_summary", "runId": "run of alpha"}), "run_summary").await;
    assert_eq!(summary["data"]["runId"], "run of alpha");

    // What is unsubscribed from is silent, also the card that the connection was opened for.
    let gone = client.ask(json!({"type": "unsubscribe_card", "cardId": "alpha"}), "card_unsubscribed").await;
    assert_eq!(gone["data"]["cardId"], "alpha");
    world.info("alpha", "unseen").await;
    world.info("beta", "seen").await;
    assert_eq!(client.lines(1).await, ["seen"]);
    client.terminal.close().await;
}

/// What of a card is shown, and when.
pub(super) async fn filters_and_pauses(world: &World) {
    let token = world.token(Role::Viewer);
    let mut client = world.connect(&token, "alpha", "?history=0&levels=warn,error&text=needle").await;
    client.settle().await;
    world.info("alpha", "an info with a needle").await;
    world.write("alpha", "run of alpha", Level::Warn, "a warning without").await;
    world.write("alpha", "run of alpha", Level::Warn, "a warning with a NEEDLE").await;
    assert_eq!(client.lines(1).await, ["a warning with a NEEDLE"]);

    let filters = json!({"levels": ["fatal"], "sources": ["agent"], "components": ["walk"], "text": "x"});
    let set = json!({"type": "set_filters", "cardId": "alpha", "filters": filters});
    assert_eq!(client.ask(set, "filters_set").await["data"], json!({"cardId": "alpha", "filters": filters}));
    world.write("alpha", "run of alpha", Level::Error, "x").await;
    world.write("alpha", "run of alpha", Level::Fatal, "an x").await;
    assert_eq!(client.lines(1).await, ["an x"]);
    assert_eq!(client.ask(json!({"type": "set_filters"}), "filters_set").await["data"], json!({"cardId": "alpha"}));
    let asked = json!({"type": "subscribe_card", "cardId": "beta", "history": 0, "filters": {"levels": ["error"]}});
    client.ask(asked, "card_subscribed").await;
    client.settle().await;
    world.info("beta", "not this").await;
    world.write("beta", "run of beta", Level::Error, "but this").await;
    assert_eq!(client.lines(1).await, ["but this"]);
    client.ask(json!({"type": "unsubscribe_card", "cardId": "beta"}), "card_unsubscribed").await;

    client.say(json!({"type": "subscribe_run", "runId": "other"})).await;
    client.settle().await;
    world.info("alpha", "of run").await;
    world.write("alpha", "other", Level::Info, "of other").await;
    assert_eq!(client.lines(1).await, ["of other"]);
    client.say(json!({"type": "unsubscribe_run", "runId": "other"})).await;

    client.say(json!({"type": "pause_stream"})).await;
    client.settle().await;
    world.info("alpha", "during the pause").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(lines_of(&client.settle().await), Vec::<String>::new());
    client.say(json!({"type": "resume_stream"})).await;
    assert_eq!(client.lines(1).await, ["during the pause"]);
    client.terminal.close().await;
}

/// After a lost connection, in all three ways.
pub(super) async fn resuming(world: &World) {
    let token = world.token(Role::Viewer);
    let mut positions = Vec::new();
    for card in ["alpha", "beta"] {
        let mut client = world.connect(&token, card, "?history=1").await;
        client.lines(1).await;
        positions.push(client.terminal.position.clone().unwrap());
        client.terminal.close().await;
    }
    for card in ["alpha", "beta"] {
        world.info(card, &format!("{card} missed")).await;
    }
    let [alpha, beta] = &positions[..] else { unreachable!() };
    let mut client = world.connect(&token, "alpha", &format!("?position={alpha}")).await;
    assert_eq!(client.lines(1).await, ["alpha missed"]);
    client.say(json!({"type": "subscribe_card", "cardId": "beta", "position": beta})).await;
    assert_eq!(client.lines(1).await, ["beta missed"]);
    client.terminal.close().await;

    let mut client = world.connect(&token, "beta", "?history=0").await;
    client.settle().await;
    client.say(json!({"type": "resume", "positions": {"alpha": alpha, "beta": beta}})).await;
    let mut lines = client.lines(2).await;
    lines.sort();
    assert_eq!(lines, ["alpha missed", "beta missed"]);
    client.terminal.close().await;
}

/// What can't be, and what may not.
pub(super) async fn refusals(world: &World) {
    let token = world.limited(&["alpha", "beta"]);
    let mut client = world.connect(&token, "alpha", "?history=0").await;
    client.is_wrong(json!({"type": "dance"}), "unknown_type").await;
    client.is_wrong(json!([1]), "invalid_message").await;
    for wrong in [
        json!({"type": "ping", "timestamp": "noon"}),
        json!({"type": "ping"}),
        json!({"type": "ping", "timestamp": 1, "extra": 1}),
        json!({"type": "subscribe_card"}),
        json!({"type": "subscribe_card", "cardId": "beta", "history": -1}),
        json!({"type": "subscribe_card", "cardId": "beta", "position": "!"}),
        json!({"type": "subscribe_card", "cardId": "beta", "filters": {"levels": ["loud"]}}),
        json!({"type": "unsubscribe_card", "cardId": 7}),
        json!({"type": "resume", "positions": ["AQ"]}),
        json!({"type": "set_filters", "filters": {"level": ["warn"]}}),
        json!({"type": "subscribe_run", "runId": null}),
        json!({"type": "unsubscribe_run"}),
        json!({"type": "refresh_token", "token": 1}),
        json!({"type": "search_logs", "query": {"txet": "x"}}),
        json!({"type": "get_run_summary"}),
    ] {
        client.is_wrong(wrong, "invalid_value").await;
    }
    client.is_refused(json!({"type": "search_logs", "query": {"q": "level:error AND ("}}), "invalid_value").await;
    client.is_wrong(json!({"type": "search_logs", "query": {"limit": 1001}}), "invalid_value").await;
    client.is_refused(json!({"type": "subscribe_card", "cardId": "gamma"}), "access_denied").await;
    client.is_refused(json!({"type": "resume", "positions": {"gamma": "AQ"}}), "access_denied").await;
    client.is_refused(json!({"type": "unsubscribe_card", "cardId": "beta"}), "not_found").await;
    client.is_refused(json!({"type": "set_filters", "cardId": "beta"}), "not_found").await;
    client.is_refused(json!({"type": "unsubscribe_run", "runId": "nobody's"}), "not_found").await;
    client.is_refused(json!({"type": "get_run_summary", "runId": "nobody's"}), "not_found").await;
    for run in ["one", "two"] {
        client.say(json!({"type": "subscribe_run", "runId": run})).await;
    }
    client.is_refused(json!({"type": "subscribe_run", "runId": "three"}), "limit_exceeded").await;

    // A token of the same bearer takes the old one's place, another doesn't.
    let hour = Duration::from_secs(3600);
    let theirs = world.stack.token_with("others", Role::Viewer, None, hour);
    client.is_refused(json!({"type": "refresh_token", "token": theirs}), "access_denied").await;
    client.is_refused(json!({"type": "refresh_token", "token": "garbage"}), "access_denied").await;
    client.ask(json!({"type": "refresh_token", "token": world.limited(&["alpha"])}), "token_refreshed").await;
    client.terminal.close().await;
}
