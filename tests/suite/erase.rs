//! What is erased is unreadable on every way, at once, and then gone.

/// Topics that were made again with fewer partitions.
mod remade;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::dead_letter::read::{Found, read_letters};
use agentworks_processors::erasure::Erasure;
use agentworks_processors::runs::RunReader;
use agentworks_schemas::access::Role;
use serde_json::{Value, json};

use super::rest::{ask, get, write};
use crate::support::cassandra::cassandra;
use crate::support::stack::{Stack, StackConfig};
use crate::support::terminal::Terminal;
use crate::support::{eventually, kafka, unique_prefix};

const PATIENCE: Duration = Duration::from_secs(30);

/// Has a route do something: its status and its JSON.
async fn post(stack: &Stack, token: &str, route: &str) -> (u16, Value) {
    let answer = reqwest::Client::new().post(format!("{}{route}", stack.url)).bearer_auth(token).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

/// Runs the command as somebody would who has no terminal: its exit code, and what it prints.
async fn erase(stack: &Stack, token: &str, arguments: &[&str]) -> (i32, String, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_agentworks"))
        .arg("erase")
        .args(arguments)
        .envs([("AGENTWORKS_URL", stack.url.as_str()), ("AGENTWORKS_TOKEN", token)])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The messages of a card's entries.
async fn messages(stack: &Stack, token: &str, card: &str) -> Vec<String> {
    let (status, page) = get(stack, token, &format!("/v1/cards/{card}/entries?limit=1000&after=start")).await;
    assert_eq!((status, &page["gaps"]), (200, &json!([])), "{page}");
    let entries = page["entries"].as_array().unwrap();
    let mut messages: Vec<_> = entries.iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect();
    messages.sort();
    messages
}

fn tier<'a>(receipt: &'a Value, name: &str) -> &'a Value {
    let tiers = receipt["tiers"].as_array().unwrap();
    tiers.iter().find(|state| state["tier"] == name).unwrap_or_else(|| panic!("no {name} in {receipt}"))
}

/// The ids of the erasures that are noted among the dead letters.
async fn noted(stack: &Stack) -> BTreeSet<String> {
    let settings = stack.settings.clone();
    let read = move || {
        let mut ids = BTreeSet::new();
        let visit = |found| {
            if let Found::Erasure(json) = found {
                ids.insert(serde_json::from_slice::<Erasure>(&json).unwrap().id);
            }
            ControlFlow::Continue(())
        };
        read_letters(&settings, visit).unwrap();
        ids
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

fn lines(of: &str) -> Vec<String> {
    (0..20).map(|number| format!("{of} {number:02}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_and_then_a_workspace() {
    erase_both(Stack::start(&unique_prefix(), 3).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_and_then_a_workspace_on_cassandra() {
    let (_, store) = cassandra().await.store().await;
    let config = StackConfig { store: Some(Arc::new(store)), ..StackConfig::default() };
    erase_both(Stack::start_with(&kafka().await.bootstrap(), &unique_prefix(), 3, config).await).await;
}

async fn erase_both(stack: Stack) {
    for workspace in ["acme", "other"] {
        for run in ["kept", "gone"] {
            write(&stack.producer.run(workspace, "card", run), lines(run)).await;
        }
    }
    let (viewer, operator) = (stack.token("acme", Role::Viewer), stack.token("acme", Role::Operator));
    let other = stack.token("other", Role::Viewer);
    ask(&stack, &viewer, "/v1/runs", |page| page["runs"].as_array().is_some_and(|runs| runs.len() == 2)).await;
    let mut watching = Terminal::connect(&stack, &viewer, "card", "?history=100").await;
    watching.lines(40).await;

    // Who may, and what.
    for (token, query, status) in [
        (&viewer, "?run=gone", 403),
        (&operator, "", 400),
        (&operator, "?run=gone&workspace=acme", 400),
        (&operator, "?workspace=other", 403),
        (&operator, "?run=unknown", 404),
        (&operator, "?runs=gone", 400),
    ] {
        let (got, body) = post(&stack, token, &format!("/v1/erasures{query}")).await;
        assert_eq!(got, status, "{query}: {body}");
    }
    let limited = stack.token_with("acme", Role::Operator, Some(&["card"]), Duration::from_secs(60));
    assert_eq!(post(&stack, &limited, "/v1/erasures?run=gone").await.0, 403);

    let (status, receipt) = post(&stack, &operator, "/v1/erasures?run=gone").await;
    assert_eq!(
        (status, &receipt["target"], &receipt["by"]),
        (200, &json!({"run": "gone"}), &json!("test")),
        "{receipt}"
    );
    assert!(tier(&receipt, "log")["unreadableSince"].is_string());
    assert!(tier(&receipt, "hot")["goneBy"].is_string(), "hot goes by its expiry: {receipt}");
    assert!(tier(&receipt, "deadLetters")["unreadableSince"].is_string(), "{receipt}");
    assert_eq!(noted(&stack).await, BTreeSet::from([receipt["id"].as_str().unwrap().to_owned()]));

    // From here on nobody sees it, and who hasn't heard that erases it again.
    let (status, again) = post(&stack, &operator, "/v1/erasures?run=gone").await;
    assert_eq!((status, &again["target"]), (200, &json!({"run": "gone"})), "{again}");
    assert_eq!(messages(&stack, &viewer, "card").await, lines("kept"));
    assert_eq!(get(&stack, &viewer, "/v1/runs/gone").await.0, 404);
    let (_, of_run) = get(&stack, &viewer, "/v1/runs/gone/entries?card=card&after=start").await;
    assert_eq!(of_run["entries"], json!([]));
    let mut joining = Terminal::connect(&stack, &viewer, "card", "?history=100").await;
    let mut shown = joining.lines(20).await;
    shown.sort();
    assert_eq!(shown, lines("kept"));
    let mut both = [lines("gone"), lines("kept")].concat();
    assert_eq!(messages(&stack, &other, "card").await, both, "another workspace's run of the same name");

    // What comes later under the same name is something else.
    write(&stack.producer.run("acme", "card", "gone"), ["anew"]).await;
    assert_eq!(watching.lines(1).await, ["anew"]);
    assert_eq!(joining.lines(1).await, ["anew"]);
    let summary = ask(&stack, &viewer, "/v1/runs/gone?card=card", |run| run["logCount"] == 1).await;
    assert_eq!(summary["runId"], "gone");

    // And then it is deleted, where it lies apart.
    let id = receipt["id"].as_str().unwrap();
    let settled = eventually(PATIENCE, async || {
        let (_, receipt) = get(&stack, &operator, &format!("/v1/erasures/{id}")).await;
        ["warm", "runs"].iter().all(|name| tier(&receipt, name)["cleared"].is_string()).then_some(receipt)
    })
    .await;
    assert!(tier(&settled, "warm")["rows"].as_u64().unwrap() > 0, "{settled}");
    assert!(tier(&settled, "runs")["rows"].as_u64().unwrap() > 0, "{settled}");
    eventually(PATIENCE, async || {
        // Without the erasures: as it lies in the store.
        let parts = RunReader::new(stack.store.clone()).parts("acme", "gone").await.unwrap();
        (parts.iter().map(|part| part.entries()).sum::<u64>() == 1).then_some(())
    })
    .await;
    let listed = ask(&stack, &viewer, "/v1/cards/card/runs", |page| page["next"].is_null()).await;
    assert_eq!(listed["runs"].as_array().unwrap().len(), 2, "kept, and gone anew: {listed}");

    // All of the workspace.
    let refused = erase(&stack, &operator, &["--workspace", "acme"]).await;
    assert_eq!((refused.0, refused.2.trim()), (3, "error: erasing can't be undone: say --yes"));
    let (code, receipt, told) = erase(&stack, &operator, &["--workspace", "acme", "--yes", "--json"]).await;
    assert_eq!(code, 0, "{told}");
    let receipt: Value = serde_json::from_str(&receipt).unwrap();
    assert_eq!(receipt["target"], "workspace", "{receipt}");
    assert_eq!(messages(&stack, &viewer, "card").await, [""; 0]);
    assert_eq!(get(&stack, &viewer, "/v1/cards").await.1["cards"], json!([]));
    assert_eq!(get(&stack, &viewer, "/v1/runs").await.1["runs"], json!([]));
    assert_eq!(get(&stack, &viewer, "/v1/runs/kept").await.0, 404);
    let id = receipt["id"].as_str().unwrap();
    eventually(PATIENCE, async || {
        let (_, receipt) = get(&stack, &operator, &format!("/v1/erasures/{id}")).await;
        ["hot", "warm", "runs"].iter().all(|name| tier(&receipt, name)["cleared"].is_string()).then_some(())
    })
    .await;
    assert_eq!(RunReader::new(stack.store.clone()).parts("acme", "kept").await.unwrap(), []);
    both.sort();
    assert_eq!(messages(&stack, &other, "card").await, both);
    let (_, listed) = get(&stack, &operator, "/v1/erasures").await;
    assert_eq!(listed["erasures"].as_array().unwrap().len(), 3);
    // Within the minute for which a card's row is not written again.
    write(&stack.producer.run("acme", "card", "later"), ["later"]).await;
    ask(&stack, &viewer, "/v1/cards", |page| page["cards"][0]["cardId"] == "card").await;
    let (code, listed, _) = erase(&stack, &operator, &["--list"]).await;
    assert_eq!((code, listed.matches("erased run gone at").count()), (0, 2), "{listed}");
    assert_eq!(listed.matches("  warm         unreadable since ").count(), 3, "{listed}");
    assert_eq!(erase(&stack, &viewer, &["--list"]).await.0, 3);
    stack.stop().await;
}
