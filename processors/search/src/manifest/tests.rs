#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentworks_objects::faulty::{Fault, FaultyStore};
use agentworks_processors::epochs::SinkPositions;
use agentworks_schemas::{Timestamp, TopicPartition};

use super::*;
use crate::split::{LaneRange, SplitId, SplitMeta, WorkspaceMeta};
use crate::testing::at;

fn lane(partition: i32) -> TopicPartition {
    at(partition, 0).partition
}

fn start(partition: i32) -> Change {
    let start = vec![LaneStart { partition: lane(partition), epoch: 0, start: 0, before: None }];
    Change { start, ..Change::new("start") }
}

fn split(lanes: &[LaneRange]) -> SplitMeta {
    let docs = lanes.iter().map(|lane| (lane.to - lane.from) as u64).sum();
    let workspaces =
        BTreeMap::from([("w".into(), WorkspaceMeta { docs, ..WorkspaceMeta::of(Timestamp(1), Timestamp(2)) })]);
    let footer = String::new();
    let (id, apart) = (SplitId::new(), Default::default());
    SplitMeta { id, bytes: 1, footer, docs, tier: 0, lanes: lanes.to_vec(), workspaces, apart, filter: None }
}

fn advance(partition: i32, from: i64, to: i64) -> Change {
    let lanes = vec![LaneRange { partition: lane(partition), epoch: 0, from, to }];
    Change { add: vec![split(&lanes)], lanes, ..Change::new("publish") }
}

fn folder() -> (tempfile::TempDir, Objects) {
    let folder = tempfile::tempdir().unwrap();
    let objects = Objects::folder(folder.path()).unwrap();
    (folder, objects)
}

/// Fails unless the splits of each lane tile what the lane holds.
fn check(state: &State) {
    for (partition, held) in &state.lanes {
        let lanes = state.splits.values().flat_map(|split| &split.lanes).filter(|range| range.partition == *partition);
        let mut ranges: Vec<_> = lanes.copied().collect();
        ranges.sort_unstable();
        let mut next = held.low;
        for range in ranges {
            assert_eq!(range.from, next, "{partition}: a hole or something twice");
            next = range.to;
        }
        assert_eq!(next, held.high, "{partition}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_publishers_lose_nothing_and_double_nothing() {
    let (_folder, objects) = folder();
    let tasks = (0..8).map(|partition| {
        let manifest = Manifest::new(objects.clone());
        tokio::spawn(async move {
            manifest.publish(&start(partition)).await.unwrap();
            for n in 0..15 {
                manifest.publish(&advance(partition, n * 10, n * 10 + 10)).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let state = Manifest::new(objects).refresh().await.unwrap();
    assert_eq!((state.version, state.splits.len()), (8 * 16, 8 * 15));
    check(&state);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_who_think_they_have_a_lane_one_is_fenced() {
    let (_folder, objects) = folder();
    Manifest::new(objects.clone()).publish(&start(0)).await.unwrap();
    let won = Arc::new(AtomicUsize::new(0));
    for round in 0..20 {
        let tasks = (0..4).map(|_| {
            let (manifest, won) = (Manifest::new(objects.clone()), won.clone());
            tokio::spawn(async move {
                match manifest.publish(&advance(0, round, round + 1)).await {
                    Ok(_) => drop(won.fetch_add(1, Ordering::Relaxed)),
                    Err(SearchError::Fenced(fences)) => {
                        assert_eq!((fences[0].expected, fences[0].found), ((0, round), Some((0, round + 1))));
                    }
                    Err(error) => panic!("{error}"),
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    }
    assert_eq!(won.load(Ordering::Relaxed), 20);
    check(&Manifest::new(objects).refresh().await.unwrap());
}

#[tokio::test]
async fn whatever_call_fails_in_whatever_way_the_change_is_made_once() {
    for fault in [Fault::Unasked, Fault::Unanswered] {
        for failing in 0..12 {
            let (_folder, objects) = folder();
            Manifest::new(objects.clone()).publish(&start(0)).await.unwrap();
            Manifest::new(objects.clone()).publish(&advance(0, 0, 5)).await.unwrap();
            let mut store = None;
            let faulty = objects.through(|behind| store.insert(Arc::new(FaultyStore::new(behind))).clone());
            let store = store.unwrap();
            let mut calls = 0;
            store.fail(move |_, _| {
                calls += 1;
                (calls == failing).then_some(fault)
            });
            let (manifest, change) = (Manifest::new(faulty), advance(0, 5, 9));
            if manifest.publish(&change).await.is_err() {
                // Here it may have died; another finds either all or nothing.
                let seen = Manifest::new(objects.clone()).refresh().await.unwrap();
                assert!([2, 3].contains(&seen.version));
                check(&seen);
                manifest.publish(&change).await.unwrap();
            }
            let state = Manifest::new(objects.clone()).refresh().await.unwrap();
            assert_eq!((state.version, state.position(lane(0))), (3, Some((0, 9))), "{fault:?} of call {failing}");
            check(&state);
        }
    }
}

#[tokio::test]
async fn splits_are_replaced_once() {
    let (_folder, objects) = folder();
    let (one, two) = (Manifest::new(objects.clone()), Manifest::new(objects.clone()));
    one.publish(&start(0)).await.unwrap();
    let (first, second) = (advance(0, 0, 5), advance(0, 5, 9));
    one.publish(&first).await.unwrap();
    one.publish(&second).await.unwrap();
    two.refresh().await.unwrap();
    let remove = vec![first.add[0].id.clone(), second.add[0].id.clone()];
    let merge = || {
        let add = vec![split(&LaneRange::union(first.lanes.iter().chain(&second.lanes).copied()))];
        Change { add, remove: remove.clone(), ..Change::new("merge") }
    };
    let (ours, theirs) = (merge(), merge());
    one.publish(&ours).await.unwrap();
    one.publish(&ours).await.unwrap();
    let error = two.publish(&theirs).await.unwrap_err();
    assert!(matches!(&error, SearchError::Gone(gone) if *gone == remove), "{error}");
    let state = two.refresh().await.unwrap();
    assert_eq!((state.version, state.splits.len(), state.removed.len()), (4, 1, 2));
    check(&state);
    // A change that was made, and of which others have replaced what it added, is known by its lanes.
    one.publish(&second).await.unwrap();
    assert_eq!(one.refresh().await.unwrap().version, 4);
}

#[tokio::test]
async fn a_topic_made_again_begins_anew() {
    let (_folder, objects) = folder();
    let manifest = Manifest::new(objects);
    manifest.publish(&start(0)).await.unwrap();
    manifest.publish(&advance(0, 0, 7)).await.unwrap();
    let again = |before| {
        let start = vec![LaneStart { partition: lane(0), epoch: 1, start: 3, before }];
        Change { start, ..Change::new("start") }
    };
    let error = manifest.publish(&again(Some((0, 5)))).await.unwrap_err();
    assert!(matches!(error, SearchError::Fenced(_)), "{error}");
    let state = manifest.publish(&again(Some((0, 7)))).await.unwrap();
    assert_eq!(state.position(lane(0)), Some((1, 3)));
    let error = manifest.publish(&advance(0, 7, 8)).await.unwrap_err();
    assert!(matches!(error, SearchError::Fenced(_)), "a zombie of the epoch before: {error}");
}

#[tokio::test]
async fn whoever_looks_after_all_sinks_has_a_lane_go_on() {
    let (_folder, objects) = folder();
    let manifest = Manifest::new(objects.clone());
    manifest.publish(&start(0)).await.unwrap();
    manifest.publish(&advance(0, 0, 7)).await.unwrap();
    // An operator's process, which has read nothing yet.
    let operator = Manifest::new(objects);
    let positions: &dyn SinkPositions = &operator;
    assert_eq!(positions.position(lane(0)).await.unwrap().map(|held| (held.low, held.high)), Some((0, 7)));
    assert_eq!(positions.position(lane(1)).await.unwrap(), None);
    // Neither back, nor in another epoch, nor where nobody began.
    for (partition, epoch, to) in [(0, 0, 7), (0, 0, 3), (0, 1, 20), (1, 0, 20)] {
        positions.skip_lost(lane(partition), epoch, to).await.unwrap();
    }
    assert_eq!(manifest.refresh().await.unwrap().version, 2);
    positions.skip_lost(lane(0), 0, 20).await.unwrap();
    assert_eq!(positions.position(lane(0)).await.unwrap().map(|held| (held.low, held.high)), Some((20, 20)));
    let error = manifest.publish(&advance(0, 7, 8)).await.unwrap_err();
    assert!(matches!(error, SearchError::Fenced(_)), "who goes on from before: {error}");
    let state = manifest.publish(&advance(0, 20, 30)).await.unwrap();
    assert_eq!((state.position(lane(0)), state.splits.len()), (Some((0, 30)), 2), "what was there stays to be found");
}

const NOW: Grace = Grace { versions: Duration::ZERO, removed: Duration::ZERO, orphans: Duration::ZERO };

#[tokio::test]
async fn old_versions_go_and_nobody_is_lost() {
    let (_folder, objects) = folder();
    let manifest = Manifest::new(objects.clone());
    let zombie = Manifest::new(objects.clone());
    let nobody = Manifest::new(objects.clone());
    nobody.refresh().await.unwrap();
    manifest.publish(&start(0)).await.unwrap();
    zombie.refresh().await.unwrap();
    for n in 0..100 {
        manifest.publish(&advance(0, n, n + 1)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    let deleted = manifest.clean(NOW).await.unwrap();
    assert_eq!(deleted.versions as u64, 2 * SNAPSHOT_EVERY - 1, "up to the last snapshot but one");
    let state = Manifest::new(objects.clone()).refresh().await.unwrap();
    assert_eq!(*state, *manifest.current());
    check(&state);
    // Those who stood still all the while make versions that were there already: nobody would read them.
    for (who, partition) in [(zombie, 1), (nobody, 2)] {
        who.publish(&start(partition)).await.unwrap();
        let state = Manifest::new(objects.clone()).refresh().await.unwrap();
        assert_eq!(state.position(lane(partition)), Some((0, 0)));
        let versions = files::versions(&objects).await.unwrap();
        assert!(versions.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{versions:?}");
    }
}

#[tokio::test]
async fn objects_that_nothing_names_go() {
    let (_folder, objects) = folder();
    let manifest = Manifest::new(objects.clone());
    manifest.publish(&start(0)).await.unwrap();
    let (first, second, orphan) = (advance(0, 0, 1), advance(0, 1, 2), SplitId::new());
    for id in [&first.add[0].id, &second.add[0].id, &orphan] {
        objects.put(&crate::split::object_name(id), "a split".into()).await.unwrap();
    }
    objects.put("splits/something.else", "not ours".into()).await.unwrap();
    for change in [&first, &second] {
        manifest.publish(change).await.unwrap();
    }
    assert_eq!(manifest.clean(Grace::default()).await.unwrap(), Deleted::default());
    let remove = vec![first.add[0].id.clone()];
    manifest.publish(&Change { remove, ..Change::new("expire") }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let deleted = manifest.clean(NOW).await.unwrap();
    assert_eq!((deleted.splits, deleted.orphans), (1, 1));
    assert!(objects.get(&crate::split::object_name(&second.add[0].id)).await.is_ok());
    assert!(manifest.refresh().await.unwrap().removed.is_empty());
    assert_eq!(manifest.clean(NOW).await.unwrap(), Deleted::default());
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let (_folder, objects) = folder();
    Manifest::new(objects.clone()).publish(&start(0)).await.unwrap();
    for contents in ["", "{}", r#"{"format":9,"change":{"id":"","why":"","at":0}}"#] {
        objects.put(&files::name(2), contents.into()).await.unwrap();
        let error = Manifest::new(objects.clone()).refresh().await.unwrap_err();
        assert!(error.to_string().contains("version 2") && !error.is_transient(), "{error}");
    }
}
