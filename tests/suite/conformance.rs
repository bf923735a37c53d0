//! Every message and every route, as the served documents have them, against a running gateway: on the embedded store and
//! on Cassandra.
//!
//! All frames and answers go through one [`Checker`] of the documents that this gateway serves itself. At the end it says
//! what of them was never seen.

#[path = "../../gateway/src/documents/checker.rs"]
mod checker;
mod client;
mod ends;
mod http;
mod live;
mod operating;
mod replays;
mod routes;
mod searches;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentworks_gateway::GatewayConfig;
use agentworks_gateway::drain::DrainConfig;
use agentworks_schemas::access::Role;
use agentworks_store::Store;
use futures_util::FutureExt;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{Instant, sleep_until};

use self::checker::Checker;
use self::client::Client;
use self::http::Http;
use crate::support::cassandra::cassandra;
use crate::support::stack::{Stack, StackConfig};
use crate::support::{kafka, unique_prefix};

/// A gateway and all that is behind it, and what is known of its documents.
struct World {
    stack: Stack,
    http: Http,
    checker: Arc<Mutex<Checker>>,
    /// A token that ends at once, and when that will be so for everybody, whatever their clocks.
    expired: (String, Instant),
}

impl World {
    async fn start(store: Option<Arc<dyn Store>>) -> World {
        let gateway = GatewayConfig {
            max_subscriptions: 2,
            max_replays: 2,
            max_message: 4000,
            max_pending: 32 * 1024,
            max_messages_per_second: 1000,
            drain: DrainConfig {
                delay: Duration::from_millis(100),
                jitter: Duration::from_millis(300),
                deadline: Duration::from_secs(1),
            },
            ..GatewayConfig::default()
        };
        let (bootstrap, prefix) = (kafka().await.bootstrap(), unique_prefix());
        ends::lose_the_beginning(&bootstrap, &prefix).await;
        let config = StackConfig { gateway, store, search: true, ..StackConfig::default() };
        let stack = Stack::start_with(&bootstrap, &prefix, ends::PARTITIONS, config).await;
        let document = async |name: &str| -> Value {
            let answer = reqwest::get(format!("{}/{name}", stack.url)).await.unwrap();
            assert_eq!(answer.headers()["content-type"], "application/json");
            serde_json::from_str(&answer.text().await.unwrap()).unwrap()
        };
        let checker = Checker::new(document("asyncapi.json").await, document("openapi.json").await);
        let checker = Arc::new(Mutex::new(checker));
        let http = Http::new(&stack.url, &checker);
        let short = stack.token_with("acme", Role::Viewer, None, Duration::ZERO);
        let expired = (short, Instant::now() + Duration::from_secs(7));
        World { stack, http, checker, expired }
    }

    /// A token of the workspace that all of this is in.
    fn token(&self, role: Role) -> String {
        self.stack.token("acme", role)
    }

    /// The token of one who sees these cards only.
    fn limited(&self, cards: &[&str]) -> String {
        self.stack.token_with("acme", Role::Viewer, Some(cards), Duration::from_secs(3600))
    }

    /// A token that has expired.
    async fn expired(&self) -> &str {
        sleep_until(self.expired.1).await;
        &self.expired.0
    }

    async fn connect(&self, token: &str, card: &str, query: &str) -> Client {
        Client::connect(&self.stack.address, &self.checker, token, card, query).await
    }

    /// A connection was closed with this code.
    fn saw(&self, code: u16) {
        self.checker.lock().unwrap().closes.insert(code);
    }

    /// That the walk has seen all of the documents.
    fn assert_all_was_seen(&self) {
        let checker = self.checker.lock().unwrap();
        let (asked, told) = checker.known_messages();
        let unseen: Vec<_> = asked.union(&told).filter(|name| !checker.messages.contains(*name)).collect();
        assert!(unseen.is_empty(), "never seen: {unseen:?}");

        // A gateway's own failure can't be ordered, nor damage; and this one has an index.
        let codes = checker.codes.iter().map(String::as_str);
        let unsaid = ["internal", "search_unavailable", "history_damaged"];
        let known = checker.error_codes().into_iter().filter(|code| !unsaid.contains(&code.as_str()));
        let known = known.collect::<BTreeSet<_>>();
        assert_eq!(codes.collect::<BTreeSet<_>>(), known.iter().map(String::as_str).collect());

        let closes = checker.close_codes().into_iter().filter(|code| *code != 1011).collect::<BTreeSet<_>>();
        assert_eq!(checker.closes, closes);

        let operations: BTreeSet<_> = checker.operations();
        let good = checker.answers.iter().filter(|(_, _, status)| *status < 400 || *status == 426);
        let good: BTreeSet<_> = good.map(|(method, path, _)| (method.clone(), path.clone())).collect();
        let unseen: Vec<_> = operations.difference(&good).collect();
        assert!(unseen.is_empty(), "never answered well: {unseen:?}");
    }
}

/// A part of the walk. The others are walked too if it fails, so that all is told at once.
async fn part(failed: &mut Vec<&'static str>, name: &'static str, part: impl Future<Output = ()>) {
    if AssertUnwindSafe(part).catch_unwind().await.is_err() {
        failed.push(name);
    }
}

async fn walk(store: Option<Arc<dyn Store>>) {
    let mut world = World::start(store).await;
    let mut failed = Vec::new();
    part(&mut failed, "writing", routes::writing(&world)).await;
    part(&mut failed, "cards", live::cards(&world)).await;
    part(&mut failed, "filters and pauses", live::filters_and_pauses(&world)).await;
    part(&mut failed, "resuming", live::resuming(&world)).await;
    part(&mut failed, "refusals on the stream", live::refusals(&world)).await;
    part(&mut failed, "a replay of an ended run", replays::an_ended_run(&world)).await;
    part(&mut failed, "a replay of a running run", replays::a_running_run(&world)).await;
    part(&mut failed, "refusals of replays", replays::refusals(&world)).await;
    part(&mut failed, "reading", routes::reading(&world)).await;
    part(&mut failed, "refusals over HTTP", routes::refusals(&world)).await;
    part(&mut failed, "searching", searches::searching(&world)).await;
    part(&mut failed, "topics and connections", operating::topics_and_connections(&world)).await;
    part(&mut failed, "a gap", ends::a_gap(&world)).await;
    part(&mut failed, "a lag", ends::a_lag(&world)).await;
    part(&mut failed, "closes", ends::closes(&world)).await;
    part(&mut failed, "closes of the impatient", ends::impatience(&world)).await;
    part(&mut failed, "erasing", operating::erasing(&world)).await;
    part(&mut failed, "adopting", operating::adopting(&world)).await;
    part(&mut failed, "a drain", ends::a_drain(&mut world)).await;
    assert!(failed.is_empty(), "these parts failed: {failed:?}");
    world.assert_all_was_seen();
    world.stack.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_the_documents_on_the_embedded_store() {
    walk(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_the_documents_on_cassandra() {
    let (_, store) = cassandra().await.store().await;
    walk(Some(Arc::new(store))).await;
}

/// By a validator that somebody else wrote.
#[tokio::test]
async fn the_openapi_document_is_one() {
    let python = std::env::var("AGENTWORKS_PYTHON").unwrap_or_else(|_| ".tools/venv/bin/python".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/documents.py");
    let child = Command::new(python).arg(script).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("`make test` sets Python up");
    let document = agentworks_gateway::documents::openapi().to_string();
    child.stdin.take().unwrap().write_all(document.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
