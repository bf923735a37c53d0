//! An installation in its parts, over one store on Cassandra.

use rand::RngExt;

use super::index::search;
use super::*;
use crate::support::cassandra::cassandra;

const PASSWORD: &str = "AGENTWORKS__STORE__PASSWORD";

impl Installation {
    /// As [`Installation::new`], with a keyspace of its own that has no tables yet.
    async fn on_cassandra() -> Self {
        let mut installation = Installation::new().await;
        let config = cassandra().await.config();
        let user = config.user.as_deref().unwrap();
        let url = format!("cql://{user}@{}/{}", config.contact_points[0], config.keyspace);
        installation.set("AGENTWORKS__STORE__URL", url);
        // The password of a new Cassandra is its user's name.
        installation.set(PASSWORD, user.to_owned());
        installation.set("AGENTWORKS_STORE_PASSWORD", user.to_owned());
        installation
    }

    async fn migrate(&self) {
        let output = crate::support::role::command(&["migrate"], &self.variables()).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_refuses_is_told_and_one_that_is_away_is_waited_for() {
    let mut installation = Installation::on_cassandra().await;
    let log = installation.ends(&["process"]).await;
    assert!(log.contains("run `agentworks migrate`"), "{log}");
    installation.migrate().await;
    let process = installation.start(&["process"]).await;
    process.is_ready().await;

    installation.set(PASSWORD, "hunter2".to_owned());
    for role in ["process", "serve"] {
        let log = installation.ends(&[role]).await;
        assert!(log.contains("cannot open the store") && !log.contains("hunter2"), "{log}");
    }

    let nowhere = crate::support::dev::free_port();
    installation.set("AGENTWORKS__STORE__URL", format!("cql://127.0.0.1:{nowhere}/space"));
    let serve = installation.start(&["serve"]).await;
    serve.waits_for("the store is not available").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_the_work_and_go_on_without_one_that_is_killed() {
    let installation = Installation::on_cassandra().await;
    installation.migrate().await;
    let (ingest, serve) = (installation.start(&["ingest"]).await, installation.start(&["serve"]).await);
    let quick = ["process", "--set", "hot.block_age=500ms", "--set", "warm.block_age=500ms"];
    let mut processes = vec![installation.start(&quick).await, installation.start(&quick).await];
    for role in [&ingest, &serve].into_iter().chain(&processes) {
        role.is_ready().await;
    }
    let mut terminal = Terminal::connect_to(serve.address(), &token(), "card-0", "").await;

    // Enough cards that each partition of both topics has some, and so each process, whichever six of twelve it has.
    let cards: Vec<_> = (0..48).map(|n| format!("card-{n}")).collect();
    let source = |n: usize| if n.is_multiple_of(2) { "agent" } else { "system" };
    let post = async |numbers: std::ops::Range<usize>| {
        let all = cards.iter().enumerate().map(|(n, card)| lines_of(source(n), card, numbers.clone()));
        let all: String = all.collect();
        let answer = ingest.post("/v1/logs", &token(), all).await;
        assert_eq!(answer["accepted"], cards.len() * numbers.len(), "{answer}");
    };
    post(0..50).await;
    for process in &processes {
        let works = async || (process.metric("agentworks_logs_processed_total", "").await > 0.0).then_some(());
        eventually(PATIENCE, works).await;
    }
    processes.remove(rand::rng().random_range(0..2)).kill_9().await;
    post(50..100).await;

    // The other has all partitions, and all of them in the store.
    let [left] = &processes[..] else { panic!("one is left") };
    let all_taken = async || {
        let lags = left.samples("agentworks_sink_lag_entries", "sink=\"hot\"").await;
        // Three topics with four partitions each.
        (lags.len() == 12 && lags.iter().all(|lag| *lag == 0.0)).then_some(())
    };
    eventually(PATIENCE, all_taken).await;
    assert_eq!(terminal.lines(100).await, messages(0..100));
    for card in &cards {
        assert_eq!(read(&serve, card).await, messages(0..100), "{card}");
    }
    assert!(
        serve.metric("agentworks_reader_entries_total", "tier=\"hot\"").await > 0.0,
        "some were read from the store"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_asks_whoever_indexes_for_what_is_not_published_yet() {
    let installation = Installation::on_cassandra().await.with_objects();
    installation.migrate().await;
    let ingest = installation.start(&["ingest"]).await;
    // One that reads nothing of the log, and one that does.
    let asks = installation.start(&["serve", "--set", "search.tail=0"]).await;
    let folder = format!("search.folder={}", installation.folder.path().join("another").display());
    let reads = installation.start(&["serve", "--set", &folder]).await;
    let process = installation.start(&["process", "--sinks", "search", "--set", "search.split_age=1h"]).await;
    for role in [&ingest, &asks, &reads, &process] {
        role.is_ready().await;
    }
    for number in 0..3 {
        ingest.post("/v1/logs", &token(), lines("card", 50 * number..50 * (number + 1))).await;
        let found = async |serve: &Role| {
            let found = search(serve).await;
            (found["totalCount"] == 50 * (number + 1) && found["incomplete"].is_null()).then_some(())
        };
        eventually(PATIENCE, async || found(&asks).await).await;
        eventually(PATIENCE, async || found(&reads).await).await;
    }
    assert_eq!(installation.splits().len(), 0, "nothing is published yet");
    process.kill_9().await;
    // Who can't look at it says so, and who can has all of it at once.
    let found = search(&asks).await;
    assert!(found["incomplete"].to_string().contains("are not indexed yet"), "{found}");
    let found = search(&reads).await;
    assert_eq!((&found["totalCount"], &found["incomplete"]), (&json!(150), &serde_json::Value::Null));
}
