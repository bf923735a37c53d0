#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agentworks_objects::Objects;
use agentworks_objects::faulty::{FaultyStore, Operation};
use agentworks_processors::erasure::{Erasure, Target};
use agentworks_schemas::{Cursor, Timestamp};
use agentworks_store::{EmbeddedStore, Store};

use super::rewrite::Group;
use super::*;
use crate::cache::CacheConfig;

use crate::split::{SplitMeta, Times, object_name};
use crate::testing::{FakeLog, at, entries, entry, erase, publish};

struct World {
    folder: tempfile::TempDir,
    manifest: Manifest,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifest = Manifest::new(Objects::folder(&folder.path().join("objects")).unwrap());
        std::fs::create_dir(folder.path().join("scratch")).unwrap();
        World { folder, manifest }
    }

    fn config(&self) -> MaintainConfig {
        let merge =
            MergePolicy { factor: 4, max_docs: 10_000, min_docs: 100, own_docs: u64::MAX, ..MergePolicy::default() };
        MaintainConfig { merge, ..MaintainConfig::new(self.folder.path().join("scratch")) }
    }

    /// One that shares nothing with others but the store.
    fn maintainer(&self, config: MaintainConfig, erasures: Option<Erasures>) -> Maintainer {
        let manifest = Manifest::new(self.manifest.objects().clone());
        let cache =
            SplitCache::new(manifest.objects().clone(), CacheConfig::new(self.folder.path().join("cache"))).unwrap();
        Maintainer::new(manifest, cache, config, erasures)
    }

    /// The positions that the splits have; fails if one is there twice, or a split isn't as its meta says.
    async fn positions(&self) -> BTreeSet<i64> {
        let keeper = self.maintainer(self.config(), None);
        let mut all = BTreeSet::new();
        for meta in self.manifest.refresh().await.unwrap().splits.values() {
            let split = keeper.cache.open(meta).await.unwrap();
            let mut by_workspace = BTreeMap::<String, u64>::new();
            for segment in split.searcher().segment_readers() {
                let offsets = segment.fast_fields().i64("offset").unwrap();
                for doc in 0..segment.max_doc() {
                    let offset = offsets.first(doc).unwrap();
                    assert!(all.insert(offset), "{offset} is there twice");
                    *by_workspace.entry(entry(at(0, offset)).workspace_id.to_string()).or_default() += 1;
                }
            }
            let said: BTreeMap<String, u64> =
                meta.workspaces.iter().map(|(name, part)| (name.clone(), part.docs)).collect();
            assert_eq!(by_workspace, said);
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_splits_are_merged_and_hold_the_same() {
    let world = World::new();
    for from in (0..90).step_by(10) {
        publish(&world.manifest, &[entries(0, from..from + 10)]).await;
    }
    let maintainer = world.maintainer(world.config(), None);
    assert_eq!(maintainer.merge().await.unwrap(), 2);
    let state = world.manifest.refresh().await.unwrap();
    assert_eq!((state.splits.len(), state.removed.len()), (3, 8));
    assert_eq!(world.positions().await, (0..90).collect());
    assert_eq!(state.position(at(0, 0).partition), Some((0, 90)));
    assert!(state.splits.values().all(|split| split.lanes.len() == 1));
    assert_eq!(maintainer.merge().await.unwrap(), 0);
    let scratch = std::fs::read_dir(world.folder.path().join("scratch")).unwrap().count();
    assert_eq!(scratch, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_merge_at_once() {
    let world = World::new();
    for from in (0..160).step_by(5) {
        publish(&world.manifest, &[entries(0, from..from + 5)]).await;
    }
    let tasks = (0..3).map(|_| {
        let maintainer = world.maintainer(world.config(), None);
        tokio::spawn(async move { maintainer.merge().await })
    });
    let mut merged = 0;
    for task in tasks.collect::<Vec<_>>() {
        merged += task.await.unwrap().unwrap();
    }
    assert!(merged >= 8, "{merged}");
    assert_eq!(world.positions().await, (0..160).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_workspaces_get_splits_of_their_own() {
    let world = World::new();
    for from in (0..60).step_by(15) {
        publish(&world.manifest, &[entries(0, from..from + 15)]).await;
    }
    let mut config = world.config();
    config.merge.own_docs = 20;
    world.maintainer(config, None).merge().await.unwrap();
    let state = world.manifest.refresh().await.unwrap();
    assert_eq!(state.splits.len(), 3);
    assert!(state.splits.values().all(|split| split.workspaces.len() == 1 && split.docs == 20));
    assert_eq!(world.positions().await, (0..60).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_goes() {
    let world = World::new();
    for from in [0, 30] {
        publish(&world.manifest, &[entries(0, from..from + 30)]).await;
    }
    // Record timestamps are of 1970. One workspace is kept for ever, the others not.
    let ages = Duration::from_secs(100 * 365 * 86_400);
    let retention = |default, own| Retention { default, workspaces: BTreeMap::from([("workspace-1".to_owned(), own)]) };
    let expire = async |retention: Retention| {
        let config = MaintainConfig { retention: Some(retention), ..world.config() };
        world.maintainer(config, None).expire().await.unwrap()
    };
    assert_eq!(expire(retention(ages, ages)).await, 0);
    assert_eq!(expire(retention(Duration::from_secs(60), ages)).await, 2);
    assert_eq!(world.positions().await, (0..60).filter(|offset| offset % 3 == 1).collect());
    assert_eq!(expire(retention(Duration::from_secs(60), ages)).await, 0);
    assert_eq!(expire(retention(Duration::from_secs(60), Duration::from_secs(60))).await, 2);
    let state = world.manifest.refresh().await.unwrap();
    assert_eq!((state.splits.len(), state.position(at(0, 0).partition)), (0, Some((0, 60))), "positions stay");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_erased_goes_and_nothing_else() {
    let world = World::new();
    for from in [0, 30] {
        publish(&world.manifest, &[entries(0, from..from + 30)]).await;
    }
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(world.folder.path().join("store")).unwrap());
    let erasure = |target, upto| {
        let upto: Cursor = [(at(0, 0).partition, 0, upto)].into_iter().collect();
        Erasure::new("workspace-1", target, upto, "tests")
    };
    let run = erasure(Target::Run("run-3".into()), 40);
    let whole = erasure(Target::Workspace, 20);
    let ahead = erasure(Target::Workspace, 61);
    for erasure in [&run, &whole, &ahead] {
        erase(&*store, erasure).await;
    }
    let is_of = |erasure: &Erasure, offset| {
        let (position, entry) = (at(0, offset), entry(at(0, offset)));
        erasure.hides(&entry.workspace_id, &entry.run_id, position)
    };
    let only = |erasure: &Erasure| {
        // Each by itself.
        let folder = world.folder.path().join(&erasure.id);
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(folder).unwrap());
        (store, erasure.clone())
    };
    for erasure in [&run, &whole] {
        let before = world.positions().await;
        let (store, erasure) = only(erasure);
        erase(&*store, &erasure).await;
        let maintainer = world.maintainer(world.config(), Some(Erasures::follow(store)));
        assert!(matches!(maintainer.erase(&erasure).await.unwrap(), Erased::Done(n) if n > 0));
        assert_eq!(maintainer.erase(&erasure).await.unwrap(), Erased::Done(0));
        let left: BTreeSet<_> = before.iter().copied().filter(|offset| !is_of(&erasure, *offset)).collect();
        assert!(left.len() < before.len());
        assert_eq!(world.positions().await, left);
    }
    let maintainer = world.maintainer(world.config(), Some(Erasures::follow(store)));
    assert_eq!(maintainer.erase(&ahead).await.unwrap(), Erased::NotYet);
    // Whatever is written for other reasons leaves out what is erased, too.
    let splits: Vec<_> = world.manifest.refresh().await.unwrap().splits.values().cloned().collect();
    maintainer.merge_splits(splits).await.unwrap();
    assert!(world.positions().await.iter().all(|offset| !is_of(&ahead, *offset)));
}

/// The topic was made again, and has another partition alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_in_a_partition_that_is_no_more_is_erased_too() {
    let world = World::new();
    publish(&world.manifest, &[entries(0, 0..30)]).await;
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(world.folder.path().join("store")).unwrap());
    let upto: Cursor = [(at(1, 0).partition, 1, 0)].into_iter().collect();
    let erasure = Erasure::new("workspace-1", Target::Workspace, upto, "tests");
    erase(&*store, &erasure).await;
    let maintainer = world.maintainer(world.config(), Some(Erasures::follow(store)));
    assert_eq!(maintainer.erase(&erasure).await.unwrap(), Erased::Done(1));
    assert_eq!(world.positions().await, (0..30).filter(|offset| offset % 3 != 1).collect());
}

/// Where a large workspace has its own split of some ranges, and not of others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_again_is_only_what_was_there() {
    let world = World::new();
    for from in [0, 30] {
        publish(&world.manifest, &[entries(0, from..from + 30)]).await;
    }
    let maintainer = world.maintainer(world.config(), None);
    let splits = async || {
        let state = world.manifest.refresh().await.unwrap();
        state.splits.values().cloned().collect::<Vec<_>>()
    };
    // One workspace is large at first, and then it isn't.
    let own = "workspace-1".to_owned();
    let groups = vec![Group::Own(own.clone()), Group::Others(vec![own.clone()])];
    assert!(maintainer.replace("merge", splits().await, groups).await.unwrap());
    publish(&world.manifest, &[entries(0, 60..90)]).await;
    let others = splits().await.into_iter().filter(|split| split.workspaces.len() > 1).collect();
    assert!(maintainer.merge_splits(others).await.unwrap());
    let state = world.manifest.refresh().await.unwrap();
    let merged = state.splits.values().find(|split| split.workspaces.len() == 3).unwrap();
    let lengths = |name| merged.ranges_of(name).iter().map(|range| range.to - range.from).sum::<i64>();
    assert_eq!((lengths("workspace-0"), lengths("workspace-1"), lengths("workspace-2")), (90, 30, 90));
    assert_eq!(world.positions().await, (0..90).collect());
    let log = FakeLog { ends: BTreeMap::from([(0, 90)]), ..FakeLog::default() };
    for _ in 0..2 {
        let named: Vec<_> = splits().await.iter().map(|split| split.id.clone()).collect();
        let done = maintainer.reindex(&log, &named, None).await.unwrap();
        assert!(done.iter().all(|done| done.docs.0 == done.docs.1), "{done:?}");
        assert_eq!(world.positions().await, (0..90).collect());
    }
}

/// A workspace that has a split of its own elsewhere, and nothing left in one that had something of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_nothing_left_is_known_to_lie_elsewhere() {
    let world = World::new();
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(world.folder.path().join("store")).unwrap());
    let upto: Cursor = [(at(0, 0).partition, 0, 33)].into_iter().collect();
    let erasure = Erasure::new("workspace-1", Target::Run("run-3".into()), upto, "tests");
    let before = world.maintainer(world.config(), None);
    let splits = async || {
        let state = world.manifest.refresh().await.unwrap();
        state.splits.values().cloned().collect::<Vec<_>>()
    };
    let shared = async || splits().await.into_iter().filter(|split| split.workspaces.len() > 1).collect::<Vec<_>>();
    publish(&world.manifest, &[entries(0, 0..30)]).await;
    let own = "workspace-1".to_owned();
    let groups = vec![Group::Own(own.clone()), Group::Others(vec![own])];
    assert!(before.replace("merge", splits().await, groups).await.unwrap());
    publish(&world.manifest, &[entries(0, 30..33)]).await;
    assert!(before.merge_splits(shared().await).await.unwrap());
    // All that the shared one has of the workspace is a line of this run.
    erase(&*store, &erasure).await;
    let maintainer = world.maintainer(world.config(), Some(Erasures::follow(store)));
    assert!(matches!(maintainer.erase(&erasure).await.unwrap(), Erased::Done(2)));
    assert_eq!(shared().await[0].ranges_of("workspace-1"), []);
    publish(&world.manifest, &[entries(0, 33..63)]).await;
    assert!(maintainer.merge_splits(shared().await).await.unwrap());
    let left: BTreeSet<_> = (0..63).filter(|offset| ![10, 31].contains(offset)).collect();
    assert_eq!(world.positions().await, left);
    let log = FakeLog { ends: BTreeMap::from([(0, 63)]), ..FakeLog::default() };
    let named: Vec<_> = splits().await.iter().map(|split| split.id.clone()).collect();
    maintainer.reindex(&log, &named, None).await.unwrap();
    assert_eq!(world.positions().await, left);
}

/// Whoever stands still between uploading and publishing finds what it uploaded deleted, as nothing named it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_before_it_was_published_is_uploaded_again() {
    let world = World::new();
    for from in [0, 30] {
        publish(&world.manifest, &[entries(0, from..from + 30)]).await;
    }
    let files = {
        let folder = world.folder.path().join("objects/splits");
        move || std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect::<BTreeSet<_>>()
    };
    let mut store = None;
    let objects = world.manifest.objects().through(|behind| store.insert(Arc::new(FaultyStore::new(behind))).clone());
    let (known, mut deleted) = (files(), 0);
    store.unwrap().fail(move |operation, path| {
        if operation == Operation::Put && path.as_ref().contains("manifest/") {
            for file in files().difference(&known) {
                std::fs::remove_file(file).unwrap();
                deleted += 1;
            }
            assert_eq!(deleted, 1);
        }
        None
    });
    let (manifest, folder) = (Manifest::new(objects), world.folder.path().join("cache"));
    let cache = SplitCache::new(world.manifest.objects().clone(), CacheConfig::new(folder)).unwrap();
    let maintainer = Maintainer::new(manifest, cache, world.config(), None);
    let splits = world.manifest.refresh().await.unwrap().splits.values().cloned().collect();
    assert!(maintainer.merge_splits(splits).await.unwrap());
    assert_eq!(world.positions().await, (0..60).collect());
}

/// One that is damaged keeps nobody from merging, expiring and erasing the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_split_stands_in_nobodys_way() {
    let world = World::new();
    for from in (0..120).step_by(10) {
        publish(&world.manifest, &[entries(0, from..from + 10)]).await;
    }
    let state = world.manifest.refresh().await.unwrap();
    let damaged = state.splits.keys().nth(1).unwrap().clone();
    world.manifest.objects().delete(&object_name(&damaged)).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(world.folder.path().join("store")).unwrap());
    let upto: Cursor = [(at(0, 0).partition, 0, 120)].into_iter().collect();
    let erasure = Erasure::new("workspace-1", Target::Workspace, upto, "tests");
    erase(&*store, &erasure).await;
    let maintainer = world.maintainer(world.config(), Some(Erasures::follow(store)));
    let is_told = |error: SearchError| matches!(error, SearchError::Split { id, .. } if id == damaged);
    assert!(is_told(maintainer.round().await.unwrap_err()));
    let state = world.manifest.refresh().await.unwrap();
    assert_eq!(state.splits.len(), 3, "the damaged one, and the eleven others merged by fours");
    assert!(is_told(maintainer.erase(&erasure).await.unwrap_err()));
    let state = world.manifest.refresh().await.unwrap();
    let of_workspace = state.splits_of("workspace-1", None).map(|split| split.id.clone());
    assert_eq!(of_workspace.collect::<Vec<_>>(), std::slice::from_ref(&damaged));
    // Once it is made again, all is well.
    let log = FakeLog { ends: BTreeMap::from([(0, 120)]), ..FakeLog::default() };
    maintainer.reindex(&log, std::slice::from_ref(&damaged), None).await.unwrap();
    assert!(matches!(maintainer.erase(&erasure).await.unwrap(), Erased::Done(_)));
    maintainer.round().await.unwrap();
    assert_eq!(world.positions().await, (0..120).filter(|offset| offset % 3 != 1).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_splits_are_made_again_from_the_log() {
    let world = World::new();
    let mut metas: Vec<SplitMeta> = Vec::new();
    for from in (0..120).step_by(30) {
        metas.push(publish(&world.manifest, &[entries(0, from..from + 30)]).await);
    }
    // Large workspaces in splits of their own: a range lies in several splits then.
    let mut config = world.config();
    config.merge.own_docs = 40;
    let maintainer = world.maintainer(config, None);
    maintainer.merge().await.unwrap();
    let state = world.manifest.refresh().await.unwrap();
    let objects = world.manifest.objects();
    for id in state.splits.keys() {
        objects.delete(&object_name(id)).await.unwrap();
    }
    let log = FakeLog { ends: BTreeMap::from([(0, 120)]), ..FakeLog::default() };
    let named: Vec<_> = state.splits.keys().cloned().collect();
    let done = maintainer.reindex(&log, &named, None).await.unwrap();
    assert!(done.len() == 3 && done.iter().all(|done| done.docs == (40, 40)), "{done:?}");
    assert_eq!(world.positions().await, (0..120).collect());
    // By time, and where the log hasn't everything any more.
    let times = Times { first: Timestamp(1_000_000), last: Timestamp(1_000_010) };
    assert_eq!(maintainer.reindex(&log, &[], Some(times)).await.unwrap().len(), 3);
    assert_eq!(world.positions().await, (0..120).collect());
    let short = FakeLog { ends: BTreeMap::from([(0, 100)]), ..FakeLog::default() };
    let error = maintainer.reindex(&short, &[], Some(times)).await.unwrap_err();
    assert!(error.to_string().contains("read up to 100"), "{error}");
    let away = FakeLog { is_away: true, ..short };
    assert!(maintainer.reindex(&away, &[], Some(times)).await.unwrap_err().is_transient());
    assert_eq!(world.positions().await, (0..120).collect());
    let error = maintainer.reindex(&log, &[metas[0].id.clone()], None).await.unwrap_err();
    assert!(matches!(error, SearchError::Gone(_)), "{error}");
}
