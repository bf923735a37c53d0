//! A processor as a process of its own: this test binary, started again.

use std::collections::HashMap;
use std::io::BufRead;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::{Batch, KafkaSettings};
use agentworks_processors::blocks::Sharing;
use agentworks_processors::erasure::Erasures;
use agentworks_processors::hot::{HotConfig, HotSink};
use agentworks_processors::lane::Held;
use agentworks_processors::runs::{RunsConfig, RunsSink};
use agentworks_processors::runtime::{LaneStatus, Runtime, RuntimeConfig, RuntimeHandle};
use agentworks_processors::sink::{Flush, Sink, SinkError};
use agentworks_processors::warm::{WarmConfig, WarmSink};
use agentworks_schemas::{Topic, TopicPartition, Topics};
use agentworks_store::Store;
use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::child::{self, Child, tell};
use crate::failpoint::{Failpoint, Plan};
use crate::log::Log;
use crate::remote::RemoteStore;
use crate::support::eventually;
use crate::world::PATIENCE;

/// When sinks write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pace {
    /// Always: small blocks, and little memory for what is pending.
    Eager,
    /// When partitions are given up, and not before.
    Lazy,
    /// Somewhat sooner than in production.
    Brisk,
}

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    pub brokers: String,
    pub prefix: String,
    pub group: String,
    /// A static member has its partitions back at once when it is started again.
    pub instance: Option<String>,
    pub store: SocketAddr,
    pub pace: Pace,
    pub plan: Option<Plan>,
    /// Further settings of librdkafka.
    pub extra: Vec<(String, String)>,
}

impl Order {
    /// To feed the store that is served at `store` from the topics of `log`.
    pub fn new(log: &Log, store: SocketAddr, pace: Pace) -> Self {
        Order {
            brokers: log.settings.brokers.clone(),
            prefix: log.settings.topics.prefix().to_owned(),
            group: log.group(),
            instance: None,
            store,
            pace,
            plan: None,
            extra: log.settings.extra.clone(),
        }
    }
}

/// A running processor. It is killed when this is dropped.
#[derive(Debug)]
pub struct Member(Child);

impl Member {
    pub fn start(order: &Order) -> Self {
        Member(Child::start("member::process_of_other_tests", order))
    }

    /// The most memory that it has had, in KiB.
    pub fn peak_rss(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Has its plan count from now on.
    pub async fn arm(&mut self) {
        self.0.say("arm").await.unwrap();
        assert_eq!(self.0.told().await.as_deref(), Some("armed"));
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill_9(self) {
        self.0.kill_9().await;
    }
}

impl Deref for Member {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Member {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

#[test]
#[ignore = "a process that other tests start"]
fn process_of_other_tests() {
    child::run(work);
}

async fn work(order: Order) {
    let remote: Arc<dyn Store> = Arc::new(RemoteStore::new(order.store));
    let failpoint = order.plan.clone().map(|plan| Arc::new(Failpoint::new(remote.clone(), plan)));
    let store = failpoint.clone().map_or(remote, |failpoint| failpoint as Arc<dyn Store>);
    let mut settings = KafkaSettings::new(order.brokers, Topics::with_prefix(order.prefix));
    settings.extra = order.extra;
    let taken = Taken::default();
    let mut sinks = sinks(&store, order.pace);
    let last = sinks.pop().unwrap();
    sinks.push(Box::new(Watched { sink: last, taken: taken.clone() }));
    let mut config = RuntimeConfig::new(settings, order.group, store, sinks);
    config.instance = order.instance;
    if order.pace == Pace::Eager {
        config.memory = 256 << 10;
    }
    let runtime = Runtime::start(config).unwrap();

    let mut commands = commands();
    loop {
        match commands.recv().await.as_deref() {
            Some("arm") => {
                taken.all(&runtime).await;
                failpoint.iter().for_each(|failpoint| failpoint.arm());
                tell("armed");
            }
            Some("leave") => return runtime.shutdown().await,
            // The parent is gone.
            _ => return,
        }
    }
}

/// How far the sinks have been given the log, per partition.
#[derive(Clone, Debug, Default)]
struct Taken(Arc<Mutex<HashMap<TopicPartition, i64>>>);

impl Taken {
    /// Waits until all partitions of `runtime` have been taken to their ends.
    async fn all(&self, runtime: &RuntimeHandle) {
        let is_all = || {
            let taken = self.0.lock();
            let lanes = runtime.status().lanes;
            let is_taken = |lane: &LaneStatus| lane.end.is_some_and(|end| taken.get(&lane.partition) >= Some(&end));
            runtime.is_ready() && !lanes.is_empty() && lanes.iter().all(is_taken)
        };
        eventually(PATIENCE, async || is_all().then_some(())).await;
    }
}

/// The last of a runtime's sinks: what it has been given, the others have too.
struct Watched {
    sink: Box<dyn Sink>,
    taken: Taken,
}

#[async_trait]
impl Sink for Watched {
    fn name(&self) -> &'static str {
        self.sink.name()
    }

    fn topics(&self) -> &'static [Topic] {
        self.sink.topics()
    }

    async fn open(&mut self, partition: TopicPartition, epoch: u32, log_start: i64) -> Result<Held, SinkError> {
        let held = self.sink.open(partition, epoch, log_start).await?;
        self.taken.0.lock().insert(partition, held.high);
        Ok(held)
    }

    async fn take(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.sink.take(batch).await?;
        self.taken.0.lock().insert(batch.partition, batch.to);
        Ok(())
    }

    fn pending(&self) -> usize {
        self.sink.pending()
    }

    async fn flush(&mut self, what: Flush) -> Result<Vec<Held>, SinkError> {
        self.sink.flush(what).await
    }

    fn close(&mut self, partition: TopicPartition) {
        self.taken.0.lock().remove(&partition);
        self.sink.close(partition);
    }
}

/// The lines that the parent writes.
pub fn commands() -> mpsc::UnboundedReceiver<String> {
    let (sender, commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    commands
}

/// All sinks, over one store. Must be called within a Tokio runtime.
pub fn sinks(store: &Arc<dyn Store>, pace: Pace) -> Vec<Box<dyn Sink>> {
    let (block_age, block_bytes) = match pace {
        Pace::Eager => (Duration::from_millis(20), 4 << 10),
        Pace::Lazy => (Duration::from_secs(3600), 4 << 20),
        Pace::Brisk => (Duration::from_millis(700), 32 << 10),
    };
    // So that buckets end in the midst of it. It must not differ from one processor to the next.
    let partition_bytes = 1 << 20;
    let hot = HotConfig { block_age, block_bytes, partition_bytes, ..HotConfig::default() };
    let warm = WarmConfig { block_age: 2 * block_age, block_bytes, partition_bytes, ..WarmConfig::default() };
    let runs = RunsConfig { max_age: block_age, max_age_of_status: block_age, ..RunsConfig::default() };
    let (sharing, erasures) = (Sharing::default(), Erasures::follow(store.clone()));
    let hot = HotSink::new(store.clone(), hot, &mut Registry::default()).unwrap().erasures(erasures.clone());
    let warm = WarmSink::new(store.clone(), warm, &mut Registry::default()).unwrap();
    vec![
        Box::new(hot.sharing(&sharing)),
        Box::new(warm.sharing(&sharing)),
        Box::new(RunsSink::new(store.clone(), runs).erasures(erasures)),
    ]
}
