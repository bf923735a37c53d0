#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentworks_schemas::{Cursor, Position, Timestamp, Topic, TopicPartition};
use agentworks_store::{EmbeddedStore, Key, Row, Scan, Store, StoreError, Table, Write};
use async_trait::async_trait;
use tokio::time::{Duration, Instant, advance};

use super::*;

const LANE: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };

fn at(epoch: u32, offset: i64) -> Position {
    Position { partition: LANE, epoch, offset }
}

fn erasure(workspace: &str, target: Target) -> Erasure {
    let upto: Cursor = [(LANE, 1, 100)].into_iter().collect();
    Erasure::new(workspace, target, upto, "tests")
}

fn store() -> (tempfile::TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&folder).unwrap();
    (folder, Arc::new(store))
}

/// A store that can be away.
#[derive(Debug)]
struct Away {
    behind: Arc<dyn Store>,
    is_away: AtomicBool,
}

impl Away {
    fn check(&self) -> Result<(), StoreError> {
        match self.is_away.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable("it is away".into())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Away {
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.check()?;
        self.behind.write(writes).await
    }

    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError> {
        self.check()?;
        self.behind.get(table, key).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        self.check()?;
        self.behind.scan(scan).await
    }

    async fn delete(&self, table: &'static Table, key: &Key, version: i64) -> Result<(), StoreError> {
        self.check()?;
        self.behind.delete(table, key, version).await
    }
}

#[test]
fn an_erasure_hides_what_was_there_when_it_was_made() {
    let run = erasure("w", Target::Run("r".into()));
    for (workspace, name, position, hidden) in [
        ("w", "r", at(1, 99), true),
        ("w", "r", at(1, 100), false),
        ("w", "r", at(0, 5_000), true),
        ("w", "r", at(2, 0), false),
        ("w", "other", at(1, 0), false),
        ("v", "r", at(1, 0), false),
        ("w", "r", Position { partition: TopicPartition::new(Topic::AgentLogs, 7), ..at(1, 0) }, false),
    ] {
        assert_eq!(run.hides(workspace, name, position), hidden, "{workspace} {name} {position}");
    }
    let all = erasure("w", Target::Workspace);
    assert!(all.hides("w", "any", at(1, 99)) && !all.hides("v", "any", at(1, 99)));
}

#[tokio::test]
async fn what_one_process_erases_another_hides() {
    let (_folder, store) = store();
    let (here, there) = (Erasures::follow(store.clone()), Erasures::follow(store.clone()));
    assert!(here.view().await.unwrap().is_empty());
    let erasure = erasure("w", Target::Workspace);
    journal::write(&*store, &erasure).await.unwrap();
    for erasures in [&here, &there] {
        let since = Instant::now();
        while !erasures.view().await.unwrap().hides("w", "r", at(1, 0)) {
            assert!(since.elapsed() < LEASE, "it was not seen in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(here.view().await.unwrap().of("w"), [Arc::new(erasure)]);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_know_does_not_serve() {
    let (_folder, behind) = store();
    let store = Arc::new(Away { behind, is_away: AtomicBool::new(false) });
    let erasures = Erasures::follow(store.clone());
    erasures.view().await.unwrap();
    store.is_away.store(true, Ordering::Relaxed);
    advance(LEASE / 2).await;
    erasures.view().await.expect("what was read is good for a while");
    advance(LEASE).await;
    let error = erasures.view().await.unwrap_err();
    assert!(error.is_transient() && erasures.current().is_none(), "{error}");
    store.is_away.store(false, Ordering::Relaxed);
    erasures.view().await.expect("the store is back");
}

#[tokio::test]
async fn receipts_are_kept_and_a_cleared_tier_stays_cleared() {
    let (_folder, store) = store();
    let (erasure, other) = (erasure("w", Target::Workspace), erasure("w", Target::Run("r".into())));
    let state = |tier, cleared| TierState {
        tier,
        unreadable_since: Timestamp(1),
        gone_by: cleared,
        cleared,
        rows: 0,
        note: "a note".into(),
    };
    let cleared = state(Tier::Hot, Some(Timestamp(5)));
    for state in [state(Tier::Runs, None), cleared.clone(), state(Tier::Hot, None)] {
        receipt::write(&*store, &erasure, &state).await.unwrap();
    }
    receipt::write(&*store, &other, &state(Tier::Log, None)).await.unwrap();
    let receipt = receipt::read(&*store, &erasure).await.unwrap();
    assert_eq!(receipt.tiers, [cleared, state(Tier::Runs, None)]);
    assert!(!receipt.is_settled());
    let json = serde_json::to_value(&receipt).unwrap();
    assert_eq!((&json["workspace"], &json["tiers"][0]["tier"]), (&"w".into(), &"hot".into()));
}
