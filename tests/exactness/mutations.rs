//! The checker is checked: with one of the things that exactness rests on broken, it finds fault, each time; and with all of
//! them whole, after the very same events, none.

use std::sync::Arc;

use agentworks_kafka::SeekPool;
use agentworks_processors::reader::{LogReader, Scope};
use agentworks_store::{EmbeddedStore, Key, Scan, Store};
use tempfile::TempDir;

use crate::broken::{Break, Broken, OneBlock, holds_blocks};
use crate::checker::{Checked, Checker, Faults, first_difference, read};
use crate::hands::{Batches, Hands};
use crate::log::Log;
use crate::recorder::Recorder;
use crate::world::seed;

/// A log, and an empty store.
struct Scene {
    log: Log,
    batches: Batches,
    inner: Arc<Recorder>,
    seed: u64,
    _folder: TempDir,
}

impl Scene {
    async fn new(test: &str) -> Self {
        let seed = seed(test);
        let mut log = Log::new(2, seed).await;
        log.load(5, 2_500).await;
        let folder = tempfile::tempdir().unwrap();
        let inner = Recorder::new(Arc::new(EmbeddedStore::open(folder.path()).unwrap()));
        Scene { batches: Batches::read(&log).await, log, inner, seed, _folder: folder }
    }

    async fn check(&self, store: Arc<dyn Store>) -> Result<Checked, Faults> {
        Checker::new(&self.log.settings, store, self.seed).await.check().await
    }

    /// One takes the first half and hangs; another takes everything and writes it; then the first goes on, and writes what
    /// it has.
    async fn zombie(&self, what: Break) -> Result<Checked, Faults> {
        let store: Arc<dyn Store> = Broken::new(self.inner.clone(), what);
        let mut zombie = Hands::open(&self.log, store.clone()).await;
        zombie.take(self.batches.first_halves()).await;
        let mut other = Hands::open(&self.log, store.clone()).await;
        other.take(self.batches.all()).await;
        other.flush(&self.log).await.unwrap();
        zombie.flush(&self.log).await.unwrap();
        self.check(store).await
    }

    /// One takes everything, and dies as soon as it has written a position; another goes on.
    async fn crash(&self, what: Break) -> Result<Checked, Faults> {
        let broken = Broken::new(self.inner.clone(), what);
        let mut first = Hands::open(&self.log, broken.clone()).await;
        first.take(self.batches.all()).await;
        broken.crash();
        first.flush(&self.log).await.unwrap_err();
        drop(first);
        let mut next = Hands::open(&self.log, self.inner.clone()).await;
        next.take(self.batches.all()).await;
        next.flush(&self.log).await.unwrap();
        self.check(self.inner.clone()).await
    }

    /// What somebody reads who takes every block as it is, without looking whether others hold the same entries: the first
    /// difference in any card.
    async fn read_without_deduplication(&self) -> Option<String> {
        let checker = Checker::new(&self.log.settings, self.inner.clone(), self.seed).await;
        let seek = SeekPool::new(self.log.settings.clone(), 1);
        for ((workspace, card), expected) in &checker.truth.cards {
            let mut found = Vec::new();
            for (table, partitions) in self.inner.partitions() {
                let is_of_card =
                    |partition: &Vec<_>| partition[..2] == [workspace.as_str().into(), card.as_str().into()];
                for partition in partitions.into_iter().filter(|p| holds_blocks(table) && is_of_card(p)) {
                    for row in self.inner.scan(Scan::partition(table, partition.clone())).await.unwrap() {
                        let key = Key { partition: partition.clone(), clustering: row.clustering };
                        let one = OneBlock { behind: self.inner.clone(), table, key };
                        let reader = LogReader::new(Arc::new(one), seek.clone());
                        let scope = Scope::Card { workspace: workspace.clone(), card: card.clone() };
                        found.extend(read(&reader, &scope).await.unwrap());
                    }
                }
            }
            if let Some(difference) = first_difference(&expected.entries, &found) {
                return Some(difference);
            }
        }
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_shows_that_fencing_is_missing() {
    println!("{:?}", Scene::new("sound zombie").await.zombie(Break::Nothing).await.map_err(|f| panic!("{f}")));
    let faults = Scene::new("fencing").await.zombie(Break::Fencing).await.unwrap_err().to_string();
    println!("{faults}");
    assert!(faults.contains("hot holds") && faults.contains("runs holds"), "{faults}");
    assert!(faults.contains("the topics tell"), "run parts went back: {faults}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_shows_that_keys_lack_the_last_offset() {
    let faults = Scene::new("last").await.zombie(Break::Last).await.unwrap_err().to_string();
    println!("{faults}");
    assert!(faults.contains("card left/"), "{faults}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_shows_that_data_comes_after_its_position() {
    println!("{:?}", Scene::new("sound crash").await.crash(Break::Nothing).await.map_err(|f| panic!("{f}")));
    let faults = Scene::new("order").await.crash(Break::Order).await.unwrap_err().to_string();
    println!("{faults}");
    assert!(faults.contains("card left/"), "{faults}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_blocks_show_that_deduplication_is_missing() {
    let scene = Scene::new("deduplication").await;
    let mut one = Hands::open(&scene.log, scene.inner.clone()).await;
    one.take(scene.batches.all()).await;
    one.flush(&scene.log).await.unwrap();
    assert_eq!(scene.read_without_deduplication().await, None, "nothing overlaps yet");

    let scene = Scene::new("overlaps").await;
    scene.zombie(Break::Nothing).await.unwrap_or_else(|faults| panic!("{faults}"));
    let difference = scene.read_without_deduplication().await.expect("blocks overlap");
    println!("{difference}");
}
