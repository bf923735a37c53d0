//! What the sinks cost beside bare librdkafka: the same log, read by a consumer that only counts, and by one runtime that
//! feeds hot, warm and runs, into a store that takes everything and keeps nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agentworks_kafka::{Batch, KafkaSettings};
use agentworks_load::{Fleet, Record};
use agentworks_processors::blocks::Sharing;
use agentworks_processors::hot::{HotConfig, HotSink};
use agentworks_processors::lane::Held;
use agentworks_processors::runs::{RunsConfig, RunsSink};
use agentworks_processors::runtime::{Runtime, RuntimeConfig, RuntimeHandle};
use agentworks_processors::sink::{Flush, Sink, SinkError};
use agentworks_processors::warm::{WarmConfig, WarmSink};
use agentworks_schemas::codec::{Framing, encode_entry, encode_event};
use agentworks_schemas::{Timestamp, Topic, TopicPartition, Topics};
use agentworks_store::{Key, Row, Scan, Store, StoreError, Table, Write};
use async_trait::async_trait;
use prometheus_client::registry::Registry;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use rustix::time::{ClockId, clock_gettime};

use crate::support::records::{client, create_topics};
use crate::support::{kafka, unique_prefix};

const RECORDS: u64 = 12_000_000;
const PARTITIONS: i32 = 4;
const ROUNDS: usize = 3;

/// Measures and prints.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let settings = runtime.block_on(async {
        let broker = kafka().await;
        let topics = create_topics(&broker.bootstrap(), &unique_prefix(), PARTITIONS).await;
        KafkaSettings::new(broker.bootstrap(), topics)
    });
    let size = produce(&settings, RECORDS);
    let mut rounds = Vec::new();
    let store = Arc::new(NullStore::default());
    // Once unmeasured, for what is slow only the first time.
    for round in 0..=ROUNDS {
        let raw = measured(|| consume(&settings));
        store.reset();
        let ours = measured(|| runtime.block_on(feed(&settings, &store, round)));
        if round > 0 {
            rounds.push((raw, ours));
        }
    }
    println!("{RECORDS} records of {size} bytes in {PARTITIONS} partitions; medians of {ROUNDS} rounds\n");
    println!(
        "| | records/s | records per CPU-second of this process | ÷ raw | ÷ raw per CPU-second |\n|---|---|---|---|---|"
    );
    let medians = |of: fn(&(Cost, Cost)) -> f64| median(rounds.iter().map(of));
    let (raw, raw_cpu) = (medians(|(raw, _)| raw.rate()), medians(|(raw, _)| raw.per_cpu()));
    println!("| raw consume | {raw:.0} | {raw_cpu:.0} | 1.00 | 1.00 |");
    let (ours, ours_cpu) = (medians(|(_, ours)| ours.rate()), medians(|(_, ours)| ours.per_cpu()));
    let ratio = medians(|(raw, ours)| ours.rate() / raw.rate());
    let cpu_ratio = medians(|(raw, ours)| ours.per_cpu() / raw.per_cpu());
    println!("| hot + warm + runs | {ours:.0} | {ours_cpu:.0} | {ratio:.2} | {cpu_ratio:.2} |");
    let (calls, rows, bytes) = store.counts();
    println!("\nIn the last round the store was given {rows} rows of {bytes} bytes in {calls} calls.");
    println!("Goal: 0.5 of raw or more.");
}

/// What a round took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.wall += other.wall;
        self.cpu += other.cpu;
    }
}

impl Cost {
    fn rate(&self) -> f64 {
        RECORDS as f64 / self.wall.as_secs_f64()
    }

    fn per_cpu(&self) -> f64 {
        RECORDS as f64 / self.cpu.as_secs_f64()
    }
}

/// What this process takes for something.
pub fn measured(work: impl FnOnce()) -> Cost {
    let cpu = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let (began, before) = (Instant::now(), cpu());
    work();
    Cost { wall: began.elapsed(), cpu: cpu() - before }
}

/// Fills the log with so many records of what a fleet says. Returns their size on average.
pub fn produce(settings: &KafkaSettings, records: u64) -> u64 {
    let filler = Filler::new(settings);
    let fleet = Fleet { workspace: "acme".into(), ..Fleet::new(1, Timestamp::now()) };
    let mut bytes = 0;
    for step in fleet.steps().take(records as usize) {
        let mut payload = Vec::new();
        let (topic, card) = match &step.record {
            Record::Entry(entry) => {
                encode_entry(entry, Framing::Avro, &mut payload);
                (Topic::of(entry.source), entry.card_id.as_str())
            }
            Record::Event(event) => {
                encode_event(event, Framing::Avro, &mut payload);
                (Topic::RunEvents, event.card_id.as_str())
            }
        };
        bytes += payload.len() as u64;
        filler.send(topic, card, &payload);
    }
    filler.finish();
    bytes / records
}

/// Writes into the log as fast as it takes records.
pub struct Filler<'a> {
    producer: ThreadedProducer<DefaultProducerContext>,
    topics: &'a Topics,
}

impl<'a> Filler<'a> {
    pub fn new(settings: &'a KafkaSettings) -> Self {
        let config = [
            ("linger.ms", "20"),
            ("compression.type", "lz4"),
            ("queue.buffering.max.messages", "1000000"),
            ("partitioner", "murmur2_random"),
        ];
        Filler { producer: client(&settings.brokers, &config).create().unwrap(), topics: &settings.topics }
    }

    /// Waits for room in the producer's queue.
    pub fn send(&self, topic: Topic, card: &str, payload: &[u8]) {
        let name = self.topics.name(topic);
        let mut record = BaseRecord::to(&name).key(card.as_bytes()).payload(payload);
        while let Err((_, refused)) = self.producer.send(record) {
            record = refused;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until all is written.
    pub fn finish(self) {
        self.producer.flush(Duration::from_secs(60)).unwrap();
    }
}

/// Reads everything and counts it.
fn consume(settings: &KafkaSettings) {
    let consumer: BaseConsumer = settings.group_consumer("bench-raw", None).create().unwrap();
    let mut list = TopicPartitionList::new();
    for (topic, partition) in Topic::ALL.into_iter().flat_map(|topic| (0..PARTITIONS).map(move |n| (topic, n))) {
        list.add_partition_offset(&settings.topics.name(topic), partition, Offset::Offset(0)).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut count, mut bytes) = (0, 0);
    while count < RECORDS {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            count += 1;
            bytes += message.payload_len();
        }
    }
    assert!(bytes > 0);
}

/// Feeds all sinks from the start of the log to its end, and writes what is pending.
async fn feed(settings: &KafkaSettings, store: &Arc<NullStore>, round: usize) {
    let store: Arc<dyn Store> = store.clone();
    let mut registry = Registry::default();
    let taken = Arc::new(AtomicU64::new(0));
    let sharing = Sharing::default();
    let hot = HotSink::new(store.clone(), HotConfig::default(), &mut registry).unwrap().sharing(&sharing);
    let warm = WarmSink::new(store.clone(), WarmConfig::default(), &mut registry).unwrap().sharing(&sharing);
    let runs = Counting { sink: RunsSink::new(store.clone(), RunsConfig::default()), taken: taken.clone() };
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(hot), Box::new(warm), Box::new(runs)];
    let config = RuntimeConfig::new(settings.clone(), format!("bench-{round}-{}", unique_prefix()), store, sinks);
    let runtime = Runtime::start(config).unwrap();
    all_taken(&taken, RECORDS, &runtime).await;
    runtime.shutdown().await;
}

/// Waits until a runtime's sink has taken so many records.
pub async fn all_taken(taken: &AtomicU64, records: u64, runtime: &RuntimeHandle) {
    let (mut before, mut since) = (0, Instant::now());
    loop {
        let now = taken.load(Ordering::Acquire);
        if now >= records {
            return;
        }
        if now > before {
            (before, since) = (now, Instant::now());
        }
        // Some were lost, or it stands still.
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "{now} of {records} records were taken: {:?}",
            runtime.status()
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Counts what a sink has taken.
pub struct Counting<S> {
    pub sink: S,
    pub taken: Arc<AtomicU64>,
}

#[async_trait]
impl<S: Sink> Sink for Counting<S> {
    fn name(&self) -> &'static str {
        self.sink.name()
    }

    fn topics(&self) -> &'static [Topic] {
        self.sink.topics()
    }

    async fn open(&mut self, partition: TopicPartition, epoch: u32, log_start: i64) -> Result<Held, SinkError> {
        self.sink.open(partition, epoch, log_start).await
    }

    async fn take(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.sink.take(batch).await?;
        self.taken.fetch_add(batch.records().len() as u64, Ordering::Release);
        Ok(())
    }

    fn pending(&self) -> usize {
        self.sink.pending()
    }

    async fn flush(&mut self, what: Flush) -> Result<Vec<Held>, SinkError> {
        self.sink.flush(what).await
    }

    fn close(&mut self, partition: TopicPartition) {
        self.sink.close(partition);
    }
}

/// Takes everything and keeps nothing.
#[derive(Debug, Default)]
pub struct NullStore {
    calls: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl NullStore {
    fn reset(&self) {
        for count in [&self.calls, &self.rows, &self.bytes] {
            count.store(0, Ordering::Relaxed);
        }
    }

    fn counts(&self) -> (u64, u64, u64) {
        [&self.calls, &self.rows, &self.bytes].map(|count| count.load(Ordering::Relaxed)).into()
    }
}

#[async_trait]
impl Store for NullStore {
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(writes.len() as u64, Ordering::Relaxed);
        let bytes: usize = writes.iter().map(|write| write.payload.len() + write.stats.len()).sum();
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
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

/// The one in the middle.
pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
