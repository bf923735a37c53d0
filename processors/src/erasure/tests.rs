#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentworks_kafka::{KafkaSettings, SeekPool};
use agentworks_schemas::{Cursor, Position, Timestamp, Topic, TopicPartition, Topics};
use agentworks_store::{EmbeddedStore, Intercept, Key, Row, Scan, Store, StoreError, Table, Write};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Duration, Instant, advance};

use super::*;
use crate::epochs::{EPOCHS, Epoch};
use crate::lane::{self, HOUR, Held, Keep, Retention};
use crate::reader::LogReader;

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
        // Of the making before the topic had more partitions.
        ("w", "r", Position { partition: TopicPartition::new(Topic::AgentLogs, 7), ..at(0, 5_000) }, true),
        ("w", "other", Position { partition: TopicPartition::new(Topic::AgentLogs, 7), ..at(0, 0) }, false),
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

/// An erasure by somebody whose clock is ahead.
fn early(workspace: &str) -> Erasure {
    let erasure = erasure(workspace, Target::Workspace);
    Erasure { at: Timestamp(erasure.at.millis() + 3 * 3_600_000), ..erasure }
}

#[tokio::test]
async fn clocks_that_disagree_hide_no_erasure() {
    let (_folder, store) = store();
    let erasures = Erasures::follow(store.clone());
    journal::write(&*store, &early("early")).await.unwrap();
    erasures.refresh().await.unwrap();
    let late = erasure("late", Target::Workspace);
    journal::write(&*store, &late).await.unwrap();
    erasures.refresh().await.unwrap();
    assert!(erasures.view().await.unwrap().hides("late", "r", at(1, 0)));
    assert_eq!(Erasures::follow(store).view().await.unwrap().of("late"), [Arc::new(late)]);
}

/// A store to which somebody else writes an erasure just before the first write, which a process reads at once.
#[derive(Debug)]
struct Overtaken {
    behind: Arc<dyn Store>,
    by: Mutex<Option<Erasure>>,
    reader: Erasures,
}

#[async_trait]
impl Intercept for Overtaken {
    fn behind(&self) -> &Arc<dyn Store> {
        &self.behind
    }

    async fn intercept(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let first = self.by.lock().take();
        if let Some(other) = first {
            journal::write(&*self.behind, &other).await?;
            self.reader.refresh().await?;
        }
        self.behind.write(writes).await
    }
}

#[tokio::test]
async fn who_is_overtaken_writes_again_behind_that() {
    let (_folder, behind) = store();
    let reader = Erasures::follow(behind.clone());
    let store = Overtaken { behind, by: Mutex::new(Some(early("early"))), reader: reader.clone() };
    let late = erasure("late", Target::Workspace);
    journal::write(&store, &late).await.unwrap();
    reader.refresh().await.unwrap();
    assert_eq!(reader.view().await.unwrap().of("late"), [Arc::new(late)]);
}

#[test]
fn erasures_of_whole_workspaces_are_known_apart() {
    let mut view = View::default();
    assert!(view.whole_of("w").is_empty());
    let whole = erasure("w", Target::Workspace);
    view.add(whole.clone());
    view.add(whole.clone());
    view.add(erasure("w", Target::Run("r".into())));
    assert_eq!(view.whole_of("w"), [Arc::new(whole)]);
    assert!(view.whole_of("v").is_empty() && view.of("w").len() == 2);
}

/// Which runs there were is known by the runs sink alone.
#[tokio::test]
async fn warm_waits_for_the_runs_too() {
    let (_folder, store) = store();
    let pool = SeekPool::new(KafkaSettings::new("127.0.0.1:9", Topics::default()), 1);
    let eraser = Eraser::new(LogReader::new(store.clone(), pool));
    let erasure = erasure("w", Target::Workspace);
    for (sink, high, passed) in [("warm", 99, false), ("warm", 100, true), ("runs", 99, false), ("runs", 100, true)] {
        lane::publish(&*store, sink, &[Held::new(LANE, 1, high, None)]).await.unwrap();
        assert_eq!(eraser.has_passed(Tier::Warm, &erasure).await.unwrap(), passed, "{sink} at {high}");
    }
    assert!(eraser.has_passed(Tier::Hot, &erasure).await.unwrap(), "there is none");
}

/// Runs that were deleted are listed no more, and nobody follows the positions of makings that are over.
#[tokio::test]
async fn receipts_tell_of_rows_that_nothing_leads_to_any_more() {
    let (_folder, store) = store();
    let pool = SeekPool::new(KafkaSettings::new("127.0.0.1:9", Topics::default()), 1);
    let eraser = Eraser::new(LogReader::new(store.clone(), pool));
    let (first, second) = (erasure("w", Target::Run("r".into())), erasure("w", Target::Workspace));
    let [of_other_run, of_other] = [("w", Target::Run("other".into())), ("v", Target::Workspace)];
    let (of_other_run, of_other) = (erasure(of_other_run.0, of_other_run.1), erasure(of_other.0, of_other.1));
    let now = Timestamp::now();
    let until = Some(Timestamp(now.millis() + 60_000));
    for (erasure, cleared) in [(&first, Some(now)), (&second, None), (&of_other_run, None), (&of_other, None)] {
        journal::write(&*store, erasure).await.unwrap();
        let (rows, replaced, note) = (0, None, "a note".into());
        let gone_by = cleared.and(until);
        let state = TierState { tier: Tier::Warm, unreadable_since: now, gone_by, cleared, rows, replaced, note };
        receipt::write(&*store, erasure, &state).await.unwrap();
    }
    eraser.erasures().refresh().await.unwrap();
    let until = until.map(Timestamp::millis);
    for (erasure, expected) in [(&first, None), (&second, until), (&of_other_run, None), (&of_other, None)] {
        assert_eq!(eraser.left(Tier::Warm, erasure).await.unwrap(), expected, "{erasure}");
    }
    assert_eq!(eraser.left(Tier::Hot, &second).await.unwrap(), None);

    // The topic was made again.
    let keep = Keep { grain: HOUR, retention: Retention::new(Duration::from_secs(3600)) };
    for tier in [Tier::Hot, Tier::Warm] {
        lane::publish(&*store, tier.as_str(), &[Held::new(LANE, 1, 0, Some(&keep))]).await.unwrap();
    }
    assert_eq!(eraser.left(Tier::Hot, &second).await.unwrap(), None);
    for (revision, ago, is_left) in [(1, 0, true), (2, 4 * HOUR, false)] {
        let adopted = Timestamp(now.millis() - ago);
        let epoch = Epoch { epoch: 1, revision, as_is: 0, topic_id: None, adopted };
        let write = Write {
            table: &EPOCHS,
            key: Key { partition: vec!["topics".into()], clustering: vec![LANE.topic.as_str().into()] },
            version: revision.into(),
            expires: None,
            stats: Bytes::new(),
            payload: serde_json::to_vec(&epoch).unwrap().into(),
        };
        store.write(vec![write]).await.unwrap();
        let left = eraser.left(Tier::Hot, &second).await.unwrap();
        // To the end of its hour, one more, and the margin.
        let expected = (adopted.millis().div_euclid(HOUR) + 3) * HOUR;
        assert_eq!(left, is_left.then_some(expected), "{ago}");
        assert_eq!(eraser.left(Tier::Runs, &second).await.unwrap(), None);
    }
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
        replaced: None,
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

#[test]
fn receipts_of_before_are_read_and_names_are_bounded() {
    let before = r#"{"tier":"archive","unreadableSince":"2025-12-02T12:00:00Z","cleared":"2025-12-02T12:00:09Z","rows":3,"note":"n"}"#;
    let before: TierState = serde_json::from_str(before).unwrap();
    assert_eq!((before.rows, before.replaced.as_ref()), (3, None));
    assert!(serde_json::to_value(&before).unwrap().get("replaced").is_none());
    let mut clearing = Clearing::default();
    for file in 0..Replaced::NAMES + 5 {
        clearing.replaced(2, format!("entries/{file}"));
    }
    let Clearing { rows, replaced } = clearing;
    assert_eq!((rows, replaced.files, replaced.names.len()), (2010, 1005, 1000));
    let state = TierState { replaced: Some(replaced), ..before };
    let json = serde_json::to_value(&state).unwrap();
    assert_eq!((&json["replaced"]["files"], &json["replaced"]["names"][0]), (&1005.into(), &"entries/0".into()));
    assert_eq!(serde_json::from_value::<TierState>(json).unwrap(), state);
}
