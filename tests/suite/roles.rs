//! The roles as processes of their own.

mod index;
mod login;
mod metrics;
mod old;
mod parts;
#[cfg(feature = "kafka-tls")]
mod tls;

use std::time::Duration;

use agentworks_gateway::auth::{Secret, mint};
use agentworks_schemas::Topics;
use agentworks_schemas::access::{Claims, Role as Access};
use serde_json::json;

use crate::support::records::create_topics;
use crate::support::role::Role;
use crate::support::terminal::Terminal;
use crate::support::{Scratch, eventually, kafka, unique_prefix};

const SECRET: &str = "a secret of the tests, long enough";
const PATIENCE: Duration = Duration::from_secs(60);

/// What the roles of one installation are told.
struct Installation {
    variables: Vec<(&'static str, String)>,
    folder: Scratch,
}

impl Installation {
    /// On the Kafka of all tests, with topics of its own and an embedded store.
    async fn new() -> Self {
        let prefix = unique_prefix();
        let brokers = kafka().await.bootstrap();
        create_topics(&brokers, &prefix, 4).await;
        Installation::with(&brokers, &prefix)
    }

    fn with(brokers: &str, prefix: &str) -> Self {
        let folder = Scratch::new("roles");
        let store = format!("embedded:{}", folder.path().join("store").display());
        let variables = vec![
            ("AGENTWORKS__KAFKA__BROKERS", brokers.to_owned()),
            ("AGENTWORKS__KAFKA__TOPIC_PREFIX", prefix.to_owned()),
            ("AGENTWORKS__STORE__URL", store),
            ("AGENTWORKS__AUTH__SECRET", SECRET.to_owned()),
            ("AGENTWORKS__RUNTIME__GROUP", format!("{prefix}store")),
        ];
        Installation { variables, folder }
    }

    /// The same with another value.
    fn set(&mut self, name: &'static str, value: String) {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value));
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    fn get(&self, name: &str) -> &str {
        self.variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str()).unwrap()
    }

    fn topics(&self) -> Topics {
        Topics::with_prefix(self.get("AGENTWORKS__KAFKA__TOPIC_PREFIX"))
    }

    async fn start(&self, args: &[&str]) -> Role {
        Role::start(args, &self.variables()).await
    }

    async fn ends(&self, args: &[&str]) -> String {
        let (status, log) = Role::ends(args, &self.variables()).await;
        assert!(!status.success(), "{log}");
        log
    }
}

fn token() -> String {
    let secret = Secret::new(SECRET, "the tests").unwrap();
    let (workspace, subject) = ("space".to_owned(), "test".to_owned());
    let claims = Claims { workspace, subject, role: Access::Operator, ..Claims::default() };
    mint(&secret, &claims, Duration::from_secs(3600)).unwrap()
}

/// Entries of a card, numbered.
fn lines(card: &str, numbers: std::ops::Range<usize>) -> String {
    lines_of("agent", card, numbers)
}

fn lines_of(source: &str, card: &str, numbers: std::ops::Range<usize>) -> String {
    let line = |n: usize| {
        let line = json!({"cardId": card, "runId": "run", "source": source, "message": format!("line {n}")});
        line.to_string() + "\n"
    };
    numbers.map(line).collect()
}

fn messages(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|n| format!("line {n}")).collect()
}

/// All of a card over REST, from its first entry.
async fn read(serve: &Role, card: &str) -> Vec<String> {
    let url = format!("{}/v1/cards/{card}/entries?limit=1000&after=start", serve.url());
    let answer = reqwest::Client::new().get(url).bearer_auth(token()).send().await.unwrap();
    let page: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let message = |entry: &serde_json::Value| entry["message"].as_str().unwrap().to_owned();
    page["entries"].as_array().unwrap_or_else(|| panic!("{page}")).iter().map(message).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ingest_takes_serve_shows() {
    let installation = Installation::new().await;
    let (ingest, serve) = (installation.start(&["ingest"]).await, installation.start(&["serve"]).await);
    ingest.is_ready().await;
    serve.is_ready().await;
    let mut terminal = Terminal::connect_to(serve.address(), &token(), "card", "").await;
    let answer = ingest.post("/v1/logs", &token(), lines("card", 0..20)).await;
    assert_eq!(answer["accepted"], 20, "{answer}");
    assert_eq!(terminal.lines(20).await, messages(0..20));
    assert_eq!(read(&serve, "card").await, messages(0..20));
    assert!(ingest.metric("process_resident_memory_bytes", "").await > 0.0);
    terminal.close().await;
    for role in [ingest, serve] {
        let (status, log) = role.terminate().await;
        assert!(status.success(), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_fills_the_store_and_writes_what_is_pending_when_it_is_told_to_stop() {
    let installation = Installation::new().await;
    let ingest = installation.start(&["ingest"]).await;
    ingest.is_ready().await;
    ingest.post("/v1/logs", &token(), lines("card", 0..200)).await;
    // Nothing is due before the process ends.
    let process = installation.start(&["process", "--set", "hot.block_age=10m"]).await;
    process.is_ready().await;
    let taken = async || (process.metric("agentworks_logs_processed_total", "").await == 200.0).then_some(());
    eventually(PATIENCE, taken).await;
    let (status, log) = process.terminate().await;
    assert!(status.success(), "{log}");
    // What was written is not taken again.
    let process = installation.start(&["process"]).await;
    process.is_ready().await;
    let held = async || (process.metric("agentworks_sink_position", "sink=\"hot\"").await == 200.0).then_some(());
    eventually(PATIENCE, held).await;
    assert_eq!(process.metric("agentworks_logs_processed_total", "").await, 0.0);

    // And the store is this one's alone.
    let log = installation.ends(&["process"]).await;
    assert!(log.contains("is in use by another process") && log.contains("cql://"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_waits_for_kafka_and_its_topics_and_says_so() {
    // A port that nobody listens at.
    let nowhere = format!("127.0.0.1:{}", crate::support::dev::free_port());
    let installation = Installation::with(&nowhere, "");
    for args in [&["ingest"][..], &["process"], &["serve"]] {
        let role = installation.start(args).await;
        role.waits_for("Kafka is not available").await;
        assert_eq!(role.get("/healthz").await.0, 200);
        let (status, answer) = role.get("/v1/cards").await;
        assert!(status == 503 && answer.contains("unavailable"), "{answer}");
        let (status, log) = role.terminate().await;
        assert!(status.success(), "{log}");
    }

    let (brokers, prefix) = (kafka().await.bootstrap(), unique_prefix());
    let installation = Installation::with(&brokers, &prefix);
    let ingest = installation.start(&["ingest"]).await;
    ingest.waits_for("does not exist: create it with `agentworks topics create`").await;
    create_topics(&brokers, &prefix, 1).await;
    ingest.is_ready().await;
}
