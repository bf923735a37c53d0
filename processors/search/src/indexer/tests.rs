#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use agentworks_objects::Objects;
use agentworks_objects::faulty::{Fault, FaultyStore};
use agentworks_processors::sink::{Flush, SinkError};
use agentworks_schemas::Position;

use super::*;
use crate::cache::{CacheConfig, SplitCache};
use crate::manifest::State;
use crate::schema::lane_of;
use crate::testing::{at, batch, batch_of};

struct World {
    folder: tempfile::TempDir,
    store: FaultyStore,
    objects: Objects,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let behind = Objects::folder(&folder.path().join("objects")).unwrap();
        let store = FaultyStore::new(behind.store().clone());
        let objects = behind.through(|_| Arc::new(store.clone()));
        World { folder, store, objects }
    }

    fn config(&self, name: &str) -> IndexerConfig {
        IndexerConfig { segment_docs: 40, ..IndexerConfig::new(self.folder.path().join(name)) }
    }

    fn indexer(&self, config: IndexerConfig) -> (Box<dyn Sink>, Live) {
        indexer(config, Manifest::new(self.objects.clone()), &mut Registry::default()).unwrap()
    }

    async fn state(&self) -> Arc<State> {
        Manifest::new(self.objects.clone()).refresh().await.unwrap()
    }

    /// The positions of all documents in the splits; fails if one is there twice.
    async fn positions(&self) -> BTreeSet<Position> {
        let cache = SplitCache::new(self.objects.clone(), CacheConfig::new(self.folder.path().join("cache"))).unwrap();
        let mut all = BTreeSet::new();
        for meta in self.state().await.splits.values() {
            let split = cache.open(meta).await.unwrap();
            let mut docs = 0;
            for segment in split.searcher().segment_readers() {
                let columns = segment.fast_fields();
                let (lane, epoch) = (columns.u64("lane").unwrap(), columns.u64("epoch").unwrap());
                let offset = columns.i64("offset").unwrap();
                for doc in 0..segment.max_doc() {
                    let position = Position {
                        partition: lane_of(lane.first(doc).unwrap()).unwrap(),
                        epoch: epoch.first(doc).unwrap() as u32,
                        offset: offset.first(doc).unwrap(),
                    };
                    assert!(meta.lanes.iter().any(|range| range.contains(position)), "{position} in {meta:?}");
                    assert!(all.insert(position), "{position} is there twice");
                    docs += 1;
                }
            }
            assert_eq!(docs, meta.docs);
            assert_eq!(meta.workspaces.values().map(|part| part.docs).sum::<u64>(), docs);
        }
        all
    }

    /// Fails unless the splits hold every offset below each lane's position, once.
    async fn check(&self) {
        let state = self.state().await;
        let expected: BTreeSet<_> = state
            .lanes
            .iter()
            .flat_map(|(partition, lane)| {
                (lane.low..lane.high).map(|offset| Position { partition: *partition, epoch: lane.epoch, offset })
            })
            .collect();
        assert_eq!(self.positions().await, expected);
    }
}

fn lane(partition: i32) -> agentworks_schemas::TopicPartition {
    at(partition, 0).partition
}

fn is_transient<T: std::fmt::Debug>(result: Result<T, SinkError>) -> bool {
    result.is_err_and(|error| error.is_transient())
}

/// The entries that are live and not published, and how many units can't be searched.
fn live_docs(live: &Live) -> (usize, usize) {
    let units = live.units();
    let open = units.iter().filter(|unit| !matches!(unit.state, UnitState::Published(_)));
    let docs = open.clone().filter(|unit| !unit.tainted).map(|unit| {
        let segments = unit.searcher.as_ref().map_or(0, |searcher| searcher.num_docs() as usize);
        segments + unit.pages.iter().map(|page| page.entries().count()).sum::<usize>()
    });
    (docs.sum(), open.filter(|unit| unit.tainted).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_is_live_at_once_and_published_once() {
    let world = World::new();
    let (mut sink, live) = world.indexer(world.config("a"));
    for partition in 0..2 {
        let held = sink.open(lane(partition), 0, 5).await.unwrap();
        assert_eq!((held.low, held.high), (5, 5));
    }
    let mut taken = 0;
    for from in (5..105).step_by(20) {
        for partition in 0..2 {
            sink.take(&batch(partition, from..from + 20)).await.unwrap();
            // Again, as after an error that somebody else had.
            sink.take(&batch(partition, from..from + 20)).await.unwrap();
            taken += 20;
            assert_eq!(live_docs(&live), (taken, 0));
        }
    }
    assert!(sink.pending() > 0);
    assert_eq!(sink.flush(Flush::Due).await.unwrap(), []);
    sink.flush(Flush::Free(1)).await.unwrap();
    assert_eq!((sink.pending(), live_docs(&live)), (0, (200, 0)), "segments on the disk take no memory");
    sink.take(&batch(0, 105..110)).await.unwrap();
    let mut held = sink.flush(Flush::Partition(lane(0))).await.unwrap();
    held.sort_by_key(|held| held.partition);
    assert_eq!(held.iter().map(|held| held.high).collect::<Vec<_>>(), [110, 105], "all lanes at once");
    assert_eq!(held[0].clock.time, crate::testing::record_time(109));
    assert_eq!(live_docs(&live), (0, 0));
    assert!(live.units().iter().any(|unit| matches!(unit.state, UnitState::Published(_))), "for a while");
    assert_eq!(world.state().await.splits.len(), 1);
    world.check().await;
    assert_eq!(sink.flush(Flush::Partition(lane(1))).await.unwrap(), []);
    let error = sink.take(&batch(0, 120..130)).await.unwrap_err();
    assert!(matches!(error, SinkError::Position { .. }), "a hole: {error}");
    // Another one goes on where this one was.
    let (mut next, _) = world.indexer(world.config("b"));
    assert_eq!(next.open(lane(0), 0, 5).await.unwrap().high, 110);
    assert!(
        matches!(next.open(lane(1), 0, 200).await, Ok(held) if held.high == 105),
        "the runtime sees to the log's begin"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn splits_are_ended_by_age_and_size() {
    let world = World::new();
    let config = IndexerConfig { age: Duration::ZERO, ..world.config("a") };
    let (mut sink, _) = world.indexer(config);
    sink.open(lane(0), 0, 0).await.unwrap();
    let mut high = 0;
    for from in (0..60).step_by(10) {
        sink.take(&batch(0, from..from + 10)).await.unwrap();
        for held in sink.flush(Flush::Due).await.unwrap() {
            assert!(held.high > high);
            high = held.high;
        }
    }
    sink.flush(Flush::Partition(lane(0))).await.unwrap();
    assert!(world.state().await.splits.len() > 1);
    world.check().await;
    // By its number of segments.
    let world = World::new();
    let config = IndexerConfig { segment_docs: 1, queue_bytes: 1, ..world.config("a") };
    let (mut sink, _) = world.indexer(config);
    sink.open(lane(0), 0, 0).await.unwrap();
    for from in 0..100 {
        sink.take(&batch(0, from..from + 1)).await.unwrap();
        sink.flush(Flush::Due).await.unwrap();
    }
    sink.flush(Flush::Partition(lane(0))).await.unwrap();
    let splits = world.state().await.splits.len();
    assert!((100 / 2 / MAX_SEGMENTS..50).contains(&splits), "{splits}");
    world.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_move_where_nothing_was_to_be_indexed() {
    let world = World::new();
    let (mut sink, _) = world.indexer(world.config("a"));
    sink.open(lane(0), 0, 0).await.unwrap();
    let mut builder = agentworks_kafka::BatchBuilder::new(lane(0), 0, 0);
    builder.cover(50);
    sink.take(&builder.build(agentworks_schemas::codec::Schemas::builtin())).await.unwrap();
    assert_eq!(sink.flush(Flush::Partition(lane(0))).await.unwrap()[0].high, 50);
    let state = world.state().await;
    assert_eq!((state.position(lane(0)), state.splits.len()), (Some((0, 50)), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_call_fails_nothing_is_lost_or_doubled() {
    for fault in [Fault::Unasked, Fault::Unanswered] {
        for failing in 0..14 {
            let world = World::new();
            let (mut sink, _) = world.indexer(world.config("a"));
            let mut calls = 0;
            world.store.fail(move |_, _| {
                calls += 1;
                (calls == failing).then_some(fault)
            });
            while sink.open(lane(0), 0, 0).await.is_err() {}
            for (from, to) in [(0, 30), (30, 70)] {
                while sink.take(&batch(0, from..to)).await.is_err() {}
                let mut attempts = 0;
                while is_transient(sink.flush(Flush::Partition(lane(0))).await) {
                    attempts += 1;
                    assert!(attempts < 3);
                }
            }
            world.store.heal();
            assert_eq!(world.state().await.position(lane(0)), Some((0, 70)));
            world.check().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_at_any_call_leaves_all_or_nothing() {
    for fault in [Fault::Unasked, Fault::Unanswered] {
        for last in 0..14 {
            let world = World::new();
            {
                // From some call on, nothing works: so it is as if the process had died there.
                let (mut sink, _) = world.indexer(world.config("a"));
                let mut calls = 0;
                world.store.fail(move |_, _| {
                    calls += 1;
                    if calls == last { Some(fault) } else { (calls > last).then_some(Fault::Unasked) }
                });
                if sink.open(lane(0), 0, 0).await.is_ok() {
                    sink.take(&batch(0, 0..50)).await.unwrap();
                    drop(sink.flush(Flush::Partition(lane(0))).await);
                }
            }
            world.store.heal();
            world.check().await;
            let (mut sink, _) = world.indexer(world.config("a"));
            let from = sink.open(lane(0), 0, 0).await.unwrap().high;
            assert!([0, 50].contains(&from), "{from}");
            if from < 80 {
                sink.take(&batch(0, 0..80)).await.unwrap();
            }
            sink.flush(Flush::Partition(lane(0))).await.unwrap();
            assert_eq!(world.state().await.position(lane(0)), Some((0, 80)));
            world.check().await;
        }
    }
}

/// One that lost its lane and is late to notice stops nobody, nor does it publish anything twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_overtaken_goes_on_behind_it() {
    let world = World::new();
    let (mut zombie, _) = world.indexer(world.config("zombie"));
    zombie.open(lane(0), 0, 0).await.unwrap();
    zombie.take(&batch(0, 0..50)).await.unwrap();
    let (mut owner, live) = world.indexer(world.config("owner"));
    for partition in 0..2 {
        owner.open(lane(partition), 0, 0).await.unwrap();
        owner.take(&batch(partition, 0..60)).await.unwrap();
    }
    zombie.flush(Flush::Partition(lane(0))).await.unwrap();
    let held = |mut held: Vec<agentworks_processors::lane::Held>| {
        held.sort_by_key(|held| held.partition);
        held.iter().map(|held| (held.partition, held.high)).collect::<Vec<_>>()
    };
    let published = owner.flush(Flush::Partition(lane(1))).await.unwrap();
    assert_eq!(held(published), [(lane(0), 60), (lane(1), 60)]);
    assert_eq!(live.units().iter().map(|unit| unit.lanes[&lane(0)].from).collect::<Vec<_>>(), [50]);
    world.check().await;
    owner.take(&batch(0, 60..80)).await.unwrap();
    assert_eq!(held(owner.flush(Flush::Partition(lane(0))).await.unwrap()), [(lane(0), 80)]);
    // What it has is there already, all of it.
    zombie.take(&batch(0, 50..70)).await.unwrap();
    assert_eq!(held(zombie.flush(Flush::Partition(lane(0))).await.unwrap()), [(lane(0), 70)]);
    let state = world.state().await;
    assert_eq!((state.position(lane(0)), state.position(lane(1))), (Some((0, 80)), Some((0, 60))));
    world.check().await;
    assert_eq!(live_docs(&live), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_was_lost_is_left_out() {
    let world = World::new();
    let (mut zombie, live) = world.indexer(world.config("zombie"));
    for partition in 0..2 {
        zombie.open(lane(partition), 0, 0).await.unwrap();
        zombie.take(&batch(partition, 0..50)).await.unwrap();
    }
    // Another has begun with the next making of its topic.
    let (mut other, _) = world.indexer(world.config("other"));
    other.open(lane(0), 1, 0).await.unwrap();
    other.take(&batch_of(1, 0, 0..60)).await.unwrap();
    other.flush(Flush::Partition(lane(0))).await.unwrap();
    let error = zombie.flush(Flush::Partition(lane(1))).await.unwrap_err();
    assert!(matches!(&error, SinkError::Position { partition, .. } if *partition == lane(0)), "{error}");
    zombie.close(lane(0));
    let held = zombie.flush(Flush::Partition(lane(1))).await.unwrap();
    assert_eq!(held.iter().map(|held| (held.partition, held.high)).collect::<Vec<_>>(), [(lane(1), 50)]);
    let state = world.state().await;
    assert_eq!((state.position(lane(0)), state.position(lane(1))), (Some((1, 60)), Some((0, 50))));
    world.check().await;
    assert_eq!(live_docs(&live), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_is_closed_and_opened_again_is_taken_once() {
    let world = World::new();
    let (mut sink, live) = world.indexer(world.config("a"));
    for partition in 0..2 {
        sink.open(lane(partition), 0, 0).await.unwrap();
        sink.take(&batch(partition, 0..50)).await.unwrap();
    }
    sink.close(lane(0));
    assert_eq!(live_docs(&live), (0, 1), "others may answer for it now");
    assert_eq!(sink.open(lane(0), 0, 0).await.unwrap().high, 0);
    assert_eq!(live_docs(&live), (0, 0));
    sink.take(&batch(0, 0..55)).await.unwrap();
    assert_eq!(live_docs(&live), (55, 0));
    sink.flush(Flush::Partition(lane(0))).await.unwrap();
    assert_eq!(world.state().await.position(lane(0)), Some((0, 55)));
    world.check().await;
    // And one that isn't opened again.
    sink.take(&batch(1, 50..70)).await.unwrap();
    sink.take(&batch(0, 55..70)).await.unwrap();
    sink.close(lane(0));
    sink.flush(Flush::Due).await.unwrap();
    sink.flush(Flush::Partition(lane(1))).await.unwrap();
    assert_eq!(live_docs(&live), (0, 0));
    let state = world.state().await;
    assert_eq!((state.position(lane(0)), state.position(lane(1))), (Some((0, 55)), Some((0, 70))));
    world.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_again_is_indexed_beside_the_old_one() {
    let world = World::new();
    let (mut sink, _) = world.indexer(world.config("a"));
    sink.open(lane(0), 0, 0).await.unwrap();
    sink.take(&batch(0, 0..20)).await.unwrap();
    sink.flush(Flush::Partition(lane(0))).await.unwrap();
    assert_eq!(sink.open(lane(0), 1, 7).await.unwrap().high, 7);
    assert_eq!(world.state().await.position(lane(0)), Some((1, 7)));
    assert_eq!(world.positions().await.len(), 20);
    let error = sink.open(lane(0), 0, 0).await.unwrap_err();
    assert!(matches!(error, SinkError::Position { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_out() {
    let world = World::new();
    let config = world.config("a");
    let scratch = config.scratch.clone();
    let (mut sink, live) = world.indexer(config);
    sink.open(lane(0), 0, 0).await.unwrap();
    // What can't be written to is a folder that isn't there.
    std::fs::remove_dir_all(&scratch).unwrap();
    sink.take(&batch(0, 0..50)).await.unwrap();
    for _ in 0..3 {
        assert!(is_transient(sink.flush(Flush::Free(1)).await));
        assert_eq!(live_docs(&live), (50, 0));
    }
    std::fs::create_dir_all(&scratch).unwrap();
    sink.flush(Flush::Free(1)).await.unwrap();
    sink.flush(Flush::Partition(lane(0))).await.unwrap();
    world.check().await;
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0, "nothing is left");
    // What a killed one has left is removed, and nothing else.
    for name in ["x.making", "keep.txt"] {
        std::fs::write(scratch.join(name), "x").unwrap();
    }
    std::fs::create_dir(scratch.join("y.merging")).unwrap();
    let _again = world.indexer(world.config("a"));
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 1);
}
