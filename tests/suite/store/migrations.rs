//! Making the tables.

use std::process::Stdio;

use agentworks_store_cql::migrate::plan;
use agentworks_store_cql::{CqlConfig, CqlStore, migrate};
use tokio::process::Command;

use crate::support::agentworks;
use crate::support::cassandra::cassandra;

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
    assert_eq!(said, "applied 0001_tables.cql\n");
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
