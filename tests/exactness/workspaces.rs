//! Two workspaces whose cards and runs bear the same ids never meet, wherever one looks.

use std::time::Duration;

use agentworks_processors::reader::{ReadFilter, ReadItem, Scope};
use agentworks_schemas::access::Role;
use agentworks_schemas::{Level, Source};
use serde_json::Value;

use crate::log::WORKSPACES;
use crate::support::stack::Stack;
use crate::support::terminal::Terminal;
use crate::support::{eventually, unique_prefix};
use crate::world::PATIENCE;

const CARD: &str = "card";
const RUN: &str = "run";

/// How many lines a workspace writes: not the same, so that a sum of both is neither's.
fn lines(workspace: &str) -> Vec<String> {
    let count = if workspace == WORKSPACES[0] { 40 } else { 25 };
    (0..count).map(|number| format!("{workspace} {number}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workspaces_with_equal_ids_never_meet() {
    let stack = Stack::start(&unique_prefix(), 1).await;
    let mut watching = Vec::new();
    for workspace in WORKSPACES {
        let token = stack.token(workspace, Role::Viewer);
        let terminal = Terminal::connect(&stack, &token, CARD, "").await;
        watching.push((workspace, token, terminal));
    }

    // In turn, so that blocks and batches hold lines of both.
    let runs = WORKSPACES.map(|workspace| stack.producer.run(workspace, CARD, RUN));
    let texts = WORKSPACES.map(lines);
    for number in 0..texts[0].len() {
        for (run, texts) in runs.iter().zip(&texts) {
            let Some(text) = texts.get(number) else { continue };
            let source = if number % 3 == 0 { Source::System } else { Source::Agent };
            run.log(Level::Info, source, "test", text).send().await.unwrap().await.unwrap();
        }
    }
    runs[0].completed().send().await.unwrap().await.unwrap();
    runs[1].failed("for a reason").send().await.unwrap().await.unwrap();

    for (workspace, token, terminal) in &mut watching {
        let expected = sorted(lines(workspace));
        assert_eq!(sorted(terminal.lines(expected.len()).await), expected, "live");
        let scopes = [
            Scope::Card { workspace: (*workspace).into(), card: CARD.into() },
            Scope::Run { workspace: (*workspace).into(), run: RUN.into(), card: CARD.into() },
        ];
        // By its id alone a run is known once it is stored.
        let of_run = format!("/v1/runs/{RUN}/entries?limit=500");
        // Twice: from the log, and after more than a block's age from what the sinks have made of it.
        for stored in [false, true] {
            if stored {
                tokio::time::sleep(Duration::from_secs(2)).await;
                let status = async || ask(&stack, token, &of_run).await.status();
                eventually(PATIENCE, async || status().await.is_success().then_some(())).await;
            }
            for scope in &scopes {
                assert_eq!(sorted(read(&stack, scope).await), expected, "{scope:?}, stored: {stored}");
            }
            let of_run = stored.then(|| of_run.clone());
            for route in [format!("/v1/cards/{CARD}/entries?after=start&limit=500")].into_iter().chain(of_run) {
                let page = get(&stack, token, &route).await;
                let messages = page["entries"].as_array().unwrap().iter();
                let messages = messages.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect();
                assert_eq!(sorted(messages), expected, "{route}, stored: {stored}");
            }
        }
        let ended = if *workspace == WORKSPACES[0] { "completed" } else { "failed" };
        for route in [format!("/v1/cards/{CARD}/runs"), "/v1/runs".to_owned()] {
            let page = get(&stack, token, &route).await;
            let runs = page["runs"].as_array().unwrap();
            assert_eq!(runs.len(), 1, "{page}");
            assert_eq!((&runs[0]["status"], &runs[0]["logCount"]), (&ended.into(), &expected.len().into()), "{page}");
        }
        let cards = get(&stack, token, "/v1/cards").await;
        assert_eq!(cards["cards"].as_array().unwrap().len(), 1, "{cards}");
        assert_eq!(terminal.settle().await.iter().filter(|told| told["type"] == "log_entry").count(), 0);
    }
    for (.., terminal) in watching {
        terminal.close().await;
    }
    stack.stop().await;
}

async fn read(stack: &Stack, scope: &Scope) -> Vec<String> {
    let (start, end) = (stack.reader.start(scope).await.unwrap(), stack.reader.end(scope).await.unwrap());
    let mut stream = stack.reader.read(scope.clone(), ReadFilter::default(), start, end);
    let mut lines = Vec::new();
    while let Some(item) = stream.recv().await {
        match item.unwrap() {
            ReadItem::Entry { entry, .. } => lines.push(entry.entry.message.to_string()),
            gap => panic!("{gap:?}"),
        }
    }
    lines
}

async fn ask(stack: &Stack, token: &str, route: &str) -> reqwest::Response {
    reqwest::Client::new().get(format!("{}{route}", stack.url)).bearer_auth(token).send().await.unwrap()
}

async fn get(stack: &Stack, token: &str, route: &str) -> Value {
    let answer = ask(stack, token, route).await;
    serde_json::from_str(&answer.error_for_status().unwrap().text().await.unwrap()).unwrap()
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}
