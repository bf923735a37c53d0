//! What ten thousand runs at once cost: the memory of a processor with all its sinks, and the writes that it makes. The
//! processor is a process of its own, over a store that takes everything and keeps nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_ingest::producer::Producer;
use agentworks_kafka::KafkaSettings;
use agentworks_load::{Fleet, Limit, Pace, Progress, drive};
use agentworks_processors::blocks::Sharing;
use agentworks_processors::hot::{HotConfig, HotSink};
use agentworks_processors::runs::{RunsConfig, RunsSink};
use agentworks_processors::runtime::{Runtime, RuntimeConfig, RuntimeHandle};
use agentworks_processors::warm::{WarmConfig, WarmSink};
use agentworks_schemas::{Timestamp, Topics};
use agentworks_store::{Key, Row, Scan, Store, StoreError, Table, Write};
use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use crate::support::{kafka, records, unique_prefix};

/// In the environment of the processor: the brokers, and the prefix of the topics.
const CHILD: &str = "AGENTWORKS_BENCH_MEMORY";

const RUNS: usize = 10_000;
const RATE: f64 = 2.0 * RUNS as f64;
const TIME: Duration = Duration::from_secs(90);
/// What happens before isn't counted as writing: every run is seen for the first time.
const WARM_UP: Duration = Duration::from_secs(30);
const PARTITIONS: i32 = 12;

/// Measures and prints.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (brokers, topics) = runtime.block_on(async {
        let brokers = kafka().await.bootstrap();
        let topics = records::create_topics(&brokers, &unique_prefix(), PARTITIONS).await;
        (brokers, topics)
    });
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, format!("{brokers} {}", topics.prefix()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut ask = |stdin: &mut ChildStdin| {
        stdin.write_all(b"\n").unwrap();
        lines.next().unwrap().unwrap()
    };

    // Every card has one run, which doesn't end.
    let fleet = Fleet {
        cards: RUNS,
        rate: RATE,
        skew: 0.0,
        run_length: 1_000_000..=1_000_000,
        ..Fleet::new(1, Timestamp::now())
    };
    let producer = Producer::builder(&brokers).topics(topics).build().unwrap();
    let progress = Arc::new(Progress::default());
    let load = runtime.spawn({
        let (fleet, progress) = (fleet.clone(), progress.clone());
        let limit = Limit { records: None, time: Some(TIME) };
        async move { drive(&fleet, Pace::Fleet, limit, &producer, None, &progress, std::future::pending()).await }
    });
    std::thread::sleep(WARM_UP);
    let (begun, before, acked) = (Instant::now(), ask(&mut stdin), progress.counts().acked);
    runtime.block_on(load).unwrap().unwrap();
    let (seconds, after) = (begun.elapsed().as_secs_f64(), ask(&mut stdin));
    let rate = (progress.counts().acked - acked) as f64 / seconds;
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().to_owned();
    drop(stdin);
    child.wait().unwrap();

    println!("{RUNS} runs at once, {rate:.0} records/s in all; peak RSS of the processor: {peak}\n");
    println!("| table | calls/s | rows/s | KiB/s |\n|---|---|---|---|");
    let (before, after): (Counts, Counts) = (parse(&before), parse(&after));
    for (table, now) in &after {
        let then = before.get(table).copied().unwrap_or_default();
        let per_second = |index: usize| (now[index] - then[index]) as f64 / seconds;
        println!("| {table} | {:.0} | {:.0} | {:.0} |", per_second(0), per_second(1), per_second(2) / 1024.0);
    }
}

/// Whether this process is the processor; then it has done its work when this returns.
pub fn is_child() -> bool {
    let Ok(order) = std::env::var(CHILD) else { return false };
    let (brokers, prefix) = order.split_once(' ').unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let counting = Arc::new(Counting::default());
    let running = runtime.block_on(async { start(brokers, prefix, counting.clone()) });
    for line in std::io::stdin().lines() {
        line.unwrap();
        println!("{}", serde_json::to_string(&*counting.0.lock()).unwrap());
    }
    drop(running);
    true
}

fn start(brokers: &str, prefix: &str, store: Arc<dyn Store>) -> RuntimeHandle {
    let sharing = Sharing::default();
    let hot = HotSink::new(store.clone(), HotConfig::default(), &mut Registry::default()).unwrap().sharing(&sharing);
    let warm = WarmSink::new(store.clone(), WarmConfig::default(), &mut Registry::default()).unwrap().sharing(&sharing);
    let runs = RunsSink::new(store.clone(), RunsConfig::default());
    let settings = KafkaSettings::new(brokers, Topics::with_prefix(prefix));
    let group = format!("{prefix}store");
    Runtime::start(RuntimeConfig::new(settings, group, store, vec![Box::new(hot), Box::new(warm), Box::new(runs)]))
        .unwrap()
}

/// By table: calls that wrote to it, rows, and bytes of their contents.
type Counts = BTreeMap<String, [u64; 3]>;

fn parse(line: &str) -> Counts {
    serde_json::from_str(line).unwrap()
}

/// Takes everything, and keeps but the counts.
#[derive(Debug, Default)]
struct Counting(Mutex<Counts>);

#[async_trait]
impl Store for Counting {
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let mut counts = self.0.lock();
        let mut last = "";
        for write in &writes {
            let name = write.table.name;
            let count = counts.entry(name.to_owned()).or_default();
            count[0] += u64::from(name != last);
            count[1] += 1;
            count[2] += (write.stats.len() + write.payload.len()) as u64;
            last = name;
        }
        Ok(())
    }

    async fn get(&self, _: &'static Table, _: &Key) -> Result<Option<Row>, StoreError> {
        Ok(None)
    }

    async fn scan(&self, _: Scan) -> Result<Vec<Row>, StoreError> {
        Ok(Vec::new())
    }

    async fn delete(&self, _: &'static Table, _: &Key, _: i64) -> Result<(), StoreError> {
        Ok(())
    }
}
