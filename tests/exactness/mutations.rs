//! The checker is checked: with one of the things that exactness rests on broken, it finds fault, each time; and with all of
//! them whole, after the very same events, none.

use std::sync::Arc;

use agentworks_store::{EmbeddedStore, Store};
use futures_util::future::join;
use tempfile::TempDir;
use tokio::process::Command;

use crate::broken::{Break, Broken};
use crate::checker::{Checked, Checker, Faults};
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

/// The reader's switch is for a whole process, so this is one of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_blocks_show_that_deduplication_is_missing() {
    let child = |switch: Option<&str>| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "mutations::overlapping_blocks", "--ignored", "--nocapture"]);
        child.envs(switch.map(|name| (name, "1"))).kill_on_drop(true);
        async move {
            let output = child.output().await.unwrap();
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            (output.status.success(), said)
        }
    };
    let (sound, broken) = join(child(None), child(Some("AGENTWORKS_TEST_KEEP_DUPLICATES"))).await;
    assert!(sound.0 && sound.1.contains("1 passed"), "{}", sound.1);
    assert!(!broken.0 && broken.1.contains("card left/"), "{}", broken.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test above, with and without the switch"]
async fn overlapping_blocks() {
    let scene = Scene::new("overlaps").await;
    scene.zombie(Break::Nothing).await.unwrap_or_else(|faults| panic!("{faults}"));
}
