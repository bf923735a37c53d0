//! Making the tables.

mod proxy;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use agentworks_processors::TABLES;
use agentworks_store_cql::migrate::plan;
use agentworks_store_cql::{CqlConfig, CqlStore, migrate};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use scylla::client::session_builder::SessionBuilder;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::support::cassandra::cassandra;
use crate::support::{Scratch, agentworks, eventually};
use proxy::{Hold, Proxy, Side};

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
    assert_eq!(schema(&config).await, undisturbed().await.schema);
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
    assert_eq!(said, "applied 0001_tables.cql\napplied 0002_search_indexers.cql\napplied 0003_log_tails.cql\n");
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

/// What a migration does that nobody disturbs, and what it comes to.
struct Undisturbed {
    /// The statements, as the proxy sees them.
    statements: Vec<String>,
    schema: BTreeSet<String>,
}

async fn undisturbed() -> &'static Undisturbed {
    static UNDISTURBED: OnceCell<Undisturbed> = OnceCell::const_new();
    UNDISTURBED
        .get_or_init(|| async {
            let config = cassandra().await.config();
            let proxy = Proxy::start(cassandra().await.address(), &config.keyspace, None).await;
            assert!(command(&config, proxy.address()).status().await.unwrap().success());
            let (statements, schema) = (proxy.seen(), schema(&config).await);
            // The keyspace, the tables, one for the journal, and what is noted there.
            let migrations = statements.iter().filter(|statement| is_note(statement)).count();
            assert_eq!(statements.len(), 1 + TABLES.len() + 1 + migrations, "{statements:#?}");
            assert!(migrations > 1 && statements.last().is_some_and(|last| is_note(last)), "{statements:#?}");
            Undisturbed { statements, schema }
        })
        .await
}

fn is_note(statement: &str) -> bool {
    statement.starts_with("note ")
}

/// `agentworks migrate`, by way of an address.
fn command(config: &CqlConfig, by: SocketAddr) -> Command {
    let mut command = Command::new(agentworks());
    command.args(["migrate", "--store", &format!("cql://cassandra@{by}/{}", config.keyspace)]);
    command.env("AGENTWORKS_STORE_PASSWORD", "cassandra").env("RUST_LOG", "off");
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command
}

/// What the database says of a keyspace: everything but what it is called and what its tables' ids are; and what is noted.
async fn schema(config: &CqlConfig) -> BTreeSet<String> {
    let session = SessionBuilder::new().known_nodes(&config.contact_points).user("cassandra", "cassandra");
    let session = session.build().await.unwrap();
    let rows = async |of: &str, query: String| {
        let rows = session.query_unpaged(query, ()).await.unwrap().into_rows_result().unwrap();
        let rows: Vec<_> = rows.rows::<(String,)>().unwrap().map(|row| row.unwrap().0).collect();
        rows.into_iter()
            .map(move |json| {
                let mut row: serde_json::Map<String, Value> = serde_json::from_str(&json).unwrap();
                row.retain(|name, _| !matches!(name.as_str(), "keyspace_name" | "id"));
                format!("{of}: {}", Value::from(row))
            })
            .collect::<Vec<_>>()
    };
    let keyspace = &config.keyspace;
    let mut schema = BTreeSet::new();
    for of in ["keyspaces", "tables", "columns", "indexes", "types", "views"] {
        let query = format!("SELECT JSON * FROM system_schema.{of} WHERE keyspace_name = '{keyspace}'");
        schema.extend(rows(of, query).await);
    }
    schema.extend(rows("noted", format!("SELECT JSON * FROM {keyspace}.schema_migrations")).await);
    schema
}

/// Whether there is time for the long versions of the tests.
fn is_chaos() -> bool {
    std::env::var_os("AGENTWORKS_CHAOS").is_some()
}

fn random(test: &str) -> StdRng {
    let seed = std::env::var("AGENTWORKS_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("{test}: AGENTWORKS_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// All places where a migration can be killed, in the order in which it comes to them. A note is one row, and comes once.
fn holds(statements: &[String]) -> Vec<Hold> {
    let sides = |statement: &String| match is_note(statement) {
        true => &[Side::Before, Side::After][..],
        false => &[Side::Before, Side::During, Side::After],
    };
    let of = |statement: &String| {
        let statement = statement.clone();
        sides(&statement).iter().map(move |side| Hold { statement: statement.clone(), side: *side }).collect::<Vec<_>>()
    };
    statements.iter().flat_map(of).collect()
}

/// Kills the command between two statements; the next one goes on and is killed at a later place, and the last one comes to
/// what one alone would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_is_killed_between_two_statements_is_finished_by_the_next() {
    let (mut random, undisturbed) = (random("killed migrations"), undisturbed().await);
    let config = cassandra().await.config();
    let places = holds(&undisturbed.statements);
    let kills = if is_chaos() { places.len() } else { 6 };
    let chosen: BTreeSet<_> = (0..places.len()).sample(&mut random, kills).into_iter().collect();
    for place in chosen {
        let hold = &places[place];
        let proxy = Proxy::start(cassandra().await.address(), &config.keyspace, Some(hold.clone())).await;
        let mut child = command(&config, proxy.address()).spawn().unwrap();
        timeout(PATIENCE, proxy.held()).await.unwrap_or_else(|_| panic!("it doesn't come to: {hold}"));
        child.kill().await.unwrap();
        println!("  killed: {hold}");
        if place + 1 == places.len() {
            // All was done.
            continue;
        }
        // A table whose making was under way may be listed a moment before it can be asked.
        eventually(PATIENCE, async || {
            let unfinished = CqlStore::connect(&config).await.map_err(|error| error.to_string()).unwrap_err();
            unfinished.contains("run `agentworks migrate`").then_some(())
        })
        .await;
    }
    assert!(command(&config, cassandra().await.address()).status().await.unwrap().success());
    assert_eq!(schema(&config).await, undisturbed.schema);
    CqlStore::connect(&config).await.unwrap();
}

/// Two go on at once, and one of them is killed between two statements.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_that_migrate_at_once_is_killed_and_the_other_finishes() {
    let (mut random, undisturbed) = (random("racing migrations"), undisturbed().await);
    let places = holds(&undisturbed.statements);
    for _ in 0..if is_chaos() { 12 } else { 1 } {
        let config = cassandra().await.config();
        let hold = places.choose(&mut random).unwrap();
        let proxy = Proxy::start(cassandra().await.address(), &config.keyspace, Some(hold.clone())).await;
        let mut one = command(&config, proxy.address()).spawn().unwrap();
        let mut other = command(&config, cassandra().await.address()).spawn().unwrap();
        let came = timeout(PATIENCE, async {
            tokio::select! {
                () = proxy.held() => None,
                // The other may have been before it everywhere.
                status = one.wait() => Some(status.unwrap()),
            }
        });
        match came.await.unwrap_or_else(|_| panic!("it doesn't come to: {hold}")) {
            None => one.kill().await.unwrap(),
            Some(status) => assert!(status.success(), "{hold}"),
        }
        println!("  killed, or too late for that: {hold}");
        assert!(other.wait().await.unwrap().success(), "{hold}");
        assert_eq!(schema(&config).await, undisturbed.schema, "{hold}");
        assert!(migrate(&config).await.unwrap().applied.is_empty());
    }
}
