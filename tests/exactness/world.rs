//! A log, a store that processes share, and what is to be equal in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_kafka::SeekPool;
use agentworks_processors::lane;
use agentworks_schemas::{Topic, TopicPartition};
use agentworks_store::{EmbeddedStore, Store};

use crate::checker::{Checked, Checker, SINKS};
use crate::log::Log;
use crate::member::{Member, Order, Pace};
use crate::recorder::Recorder;
use crate::remote::StoreServer;
use crate::support::cassandra::cassandra;
use crate::support::{Scratch, eventually};

/// How long processors may take over what is on the log.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Whether there is time for the long versions of the tests.
pub fn is_chaos() -> bool {
    std::env::var_os("AGENTWORKS_CHAOS").is_some()
}

/// Tests that load the machine, and measure how soon it has recovered, run one after another.
pub async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ALONE.lock().await
}

/// Where everything random in a test comes from. It is printed, and can be given.
pub fn seed(test: &str) -> u64 {
    let seed = std::env::var("AGENTWORKS_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("{test}: AGENTWORKS_SEED={seed}");
    seed
}

/// See the module.
pub struct World {
    pub log: Log,
    pub store: Arc<Recorder>,
    pub seed: u64,
    server: StoreServer,
    seek: SeekPool,
    /// Where the store lies, if it is this one's alone.
    #[allow(dead_code, reason = "it is removed with the world")]
    folder: Option<Scratch>,
}

impl World {
    /// With topics of so many partitions on the Kafka of all tests, and an embedded store.
    pub async fn new(partitions: i32, seed: u64) -> Self {
        Self::over(Log::new(partitions, seed).await, seed).await
    }

    /// The same with a keyspace on the Cassandra of all tests.
    pub async fn on_cassandra(partitions: i32, seed: u64) -> Self {
        let (_, store) = cassandra().await.store().await;
        Self::of(Log::new(partitions, seed).await, Arc::new(store), seed).await
    }

    /// With an embedded store, over a log that is there.
    pub async fn over(log: Log, seed: u64) -> Self {
        let folder = Scratch::new("exactness");
        let store = Arc::new(EmbeddedStore::open(folder.path().join("store")).unwrap());
        World { folder: Some(folder), ..Self::of(log, store, seed).await }
    }

    /// Over a log and a store that are there.
    pub async fn of(log: Log, store: Arc<dyn Store>, seed: u64) -> Self {
        let store = Recorder::new(store);
        let server = StoreServer::start(store.clone()).await;
        let seek = SeekPool::new(log.settings.clone(), 1);
        World { log, store, seed, server, seek, folder: None }
    }

    /// An order for a processor of this world.
    pub fn order(&self, pace: Pace) -> Order {
        Order::new(&self.log, self.server.address(), pace)
    }

    /// Where every partition ends now.
    pub async fn ends(&self) -> BTreeMap<TopicPartition, i64> {
        let mut ends = BTreeMap::new();
        for topic in Topic::ALL {
            for partition in (0..self.log.partitions).map(|number| TopicPartition::new(topic, number)) {
                let marks = eventually(PATIENCE, async || self.seek.watermarks(partition).await.ok()).await;
                ends.insert(partition, marks.high);
            }
        }
        ends
    }

    /// Waits until every sink holds everything up to `ends`.
    ///
    /// # Panics
    /// If that takes too long; it says what is missing then.
    pub async fn held(&self, ends: &BTreeMap<TopicPartition, i64>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let missing = self.missing(ends).await;
            if missing.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "AGENTWORKS_SEED={}: missing yet: {missing:?}", self.seed);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What isn't held: the sinks' names and partitions, where they are, and where they should be.
    async fn missing(&self, ends: &BTreeMap<TopicPartition, i64>) -> Vec<String> {
        let mut missing = Vec::new();
        for (partition, end) in ends {
            for sink in SINKS {
                let held = lane::load(&*self.store, sink, *partition).await.ok().flatten();
                let high = held.map(|held| held.high);
                if high.is_none_or(|high| high < *end) {
                    missing.push(format!("{sink} of {partition}: {high:?} of {end}"));
                }
            }
        }
        missing
    }

    /// Has one more processor do what is left, then holds the store to the topics.
    ///
    /// # Panics
    /// If they differ.
    pub async fn settle(&self) -> Checked {
        let mut last = Member::start(&self.order(Pace::Brisk));
        self.held(&self.ends().await).await;
        last.leave().await;
        last.ended(PATIENCE).await.expect("it leaves");
        self.check().await
    }

    /// Holds the store to the topics.
    ///
    /// # Panics
    /// If they differ.
    pub async fn check(&self) -> Checked {
        let checker = Checker::new(&self.log.settings, self.store.clone(), self.seed).await;
        match checker.check().await {
            Ok(checked) => checked,
            Err(faults) => panic!("AGENTWORKS_SEED={}: {faults}", self.seed),
        }
    }
}
