//! Making the tables.

use std::process::Stdio;
use std::time::Duration;

use agentworks_processors::TABLES;
use agentworks_store_cql::migrate::plan;
use agentworks_store_cql::{CqlConfig, CqlStore, migrate};
use scylla::client::session_builder::SessionBuilder;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::cassandra::cassandra;
use crate::support::{Scratch, agentworks, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrating_again_and_at_once_does_no_harm() {
    let config = cassandra().await.config();
    let message = CqlStore::connect(&config).await.unwrap_err().to_string();
    assert!(message.contains("run `agentworks migrate`"), "{message}");

    let both = tokio::join!(migrate(&config), migrate(&config));
    let (first, second) = (both.0.unwrap(), both.1.unwrap());
    assert!(!first.applied.is_empty() || !second.applied.is_empty());
    CqlStore::connect(&config).await.unwrap();

    let again = migrate(&config).await.unwrap();
    assert!(again.applied.is_empty(), "{again:?}");
    assert!(!again.present.is_empty());
    assert!(plan(&config).await.unwrap().pending.is_empty());
}

/// Runs `agentworks migrate`; gives whether it succeeded, and what it said.
async fn run(config: &CqlConfig, password: Option<&str>, arguments: &[&str]) -> (bool, String, String) {
    let address = format!("cql://cassandra@{}/{}", config.contact_points[0], config.keyspace);
    let mut command = Command::new(agentworks());
    command.args(["migrate", "--store", &address]).args(arguments).stdin(Stdio::null());
    command.env_remove("AGENTWORKS_STORE_PASSWORD").env("RUST_LOG", "off");
    if let Some(password) = password {
        command.env("AGENTWORKS_STORE_PASSWORD", password);
    }
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn the_command() {
    let config = cassandra().await.config();
    let (done, said, complained) = run(&config, Some("cassandra"), &["--dry-run"]).await;
    assert!(done, "{complained}");
    assert!(said.contains("CREATE KEYSPACE IF NOT EXISTS") && said.contains("-- 0001_tables.cql"), "{said}");
    assert!(said.contains("CREATE TABLE IF NOT EXISTS positions"), "{said}");
    let message = CqlStore::connect(&config).await.unwrap_err().to_string();
    assert!(message.contains("run `agentworks migrate`"), "{message}");

    let (done, said, complained) = run(&config, Some("cassandra"), &[]).await;
    assert!(done, "{complained}");
    assert_eq!(said, "applied 0001_tables.cql\napplied 0002_search_indexers.cql\n");
    CqlStore::connect(&config).await.unwrap();

    let (done, said, _) = run(&config, Some("cassandra"), &[]).await;
    assert_eq!((done, said.as_str()), (true, "all migrations are applied already\n"));

    let (done, _, complained) = run(&config, None, &[]).await;
    assert!(!done && complained.contains("AGENTWORKS_STORE_PASSWORD"), "{complained}");
    let mut command = Command::new(agentworks());
    let output = command.args(["migrate", "--store", "cql://me:s3cret@db/k"]).output().await.unwrap();
    let complained = String::from_utf8(output.stderr).unwrap();
    assert!(complained.contains("holds no password") && !complained.contains("s3cret"), "{complained}");
    let (done, _, complained) = run(&config, Some("s3cret"), &[]).await;
    assert!(!done && complained.contains("incorrect") && !complained.contains("s3cret"), "{complained}");
}

#[tokio::test]
async fn the_command_reads_the_configuration() {
    let config = cassandra().await.config();
    let folder = Scratch::new("migrate");
    let (file, password) = (folder.path().join("agentworks.toml"), folder.path().join("password"));
    std::fs::write(&password, "cassandra\n").unwrap();
    let store = format!("cql://cassandra@{}/{}", config.contact_points[0], config.keyspace);
    let text = format!("[store]\nurl = {store:?}\npassword_file = {:?}\n", password.to_str().unwrap());
    std::fs::write(&file, text).unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(agentworks());
        command.arg("migrate").args(arguments).env_remove("AGENTWORKS_STORE_PASSWORD").env("RUST_LOG", "off");
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (done, said) = run(&["--config", file.to_str().unwrap()]).await;
    assert!(done && said.starts_with("applied 0001_tables.cql\n"), "{said}");
    let (done, said) = run(&["--store", "embedded:data"]).await;
    assert!(!done && said.contains("an embedded store needs no migrations"), "{said}");
}

/// Kills the command after each few tables; the next one goes on, and the last one comes to what one alone would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_is_killed_is_finished_by_the_next() {
    let config = cassandra().await.config();
    let session = SessionBuilder::new().known_nodes(&config.contact_points).user("cassandra", "cassandra");
    let session = session.build().await.unwrap();
    let count = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
    let tables = async || {
        let rows = session.query_unpaged(count, (&config.keyspace,)).await.unwrap().into_rows_result().unwrap();
        rows.rows_num()
    };
    let address = format!("cql://cassandra@{}/{}", config.contact_points[0], config.keyspace);
    let command = || {
        let mut command = Command::new(agentworks());
        command.args(["migrate", "--store", &address]).env("AGENTWORKS_STORE_PASSWORD", "cassandra");
        command.env("RUST_LOG", "off").stdin(Stdio::null()).kill_on_drop(true);
        command
    };
    let mut killed = Vec::new();
    for least in [1, 4, 9, 14] {
        let mut child = command().spawn().unwrap();
        let died = timeout(PATIENCE, async {
            while child.try_wait().unwrap().is_none() {
                if tables().await >= least {
                    child.kill().await.unwrap();
                    return true;
                }
            }
            false
        });
        assert_eq!(died.await, Ok(true), "it ended before it had made {least} tables");
        killed.push(tables().await);
        // A table whose making was under way may be listed a moment before it can be asked.
        eventually(PATIENCE, async || {
            let unfinished = CqlStore::connect(&config).await.map_err(|error| error.to_string()).unwrap_err();
            unfinished.contains("run `agentworks migrate`").then_some(())
        })
        .await;
    }
    assert!(command().status().await.unwrap().success());
    assert_eq!(tables().await, TABLES.len() + 1, "killed with {killed:?}, and one notes what was applied");
    CqlStore::connect(&config).await.unwrap();
}
