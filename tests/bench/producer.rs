//! What our producer costs beside bare librdkafka: the same entries, sent by a program that has them encoded already and
//! only counts its results, and by one that uses [`Producer`]: ids, numbers, checks, encoding, and a result for each.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agentworks_ingest::producer::{Compression, Delivery, Producer, RunHandle};
use agentworks_load::{Fleet, Record};
use agentworks_schemas::codec::{Framing, encode_entry};
use agentworks_schemas::{LogEntry, Timestamp, Topic, Topics};
use rdkafka::ClientContext;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::runtime::Runtime;

use crate::support::{kafka, records, unique_prefix};

const ENTRIES: usize = 200_000;
const ROUNDS: usize = 7;
const PARTITIONS: i32 = 4;

/// Measures and prints.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let broker = runtime.block_on(kafka());
    let bootstrap = broker.bootstrap();
    let topics = runtime.block_on(records::create_topics(&bootstrap, &unique_prefix(), PARTITIONS));
    let entries = entries();
    let payloads: Vec<Vec<u8>> = entries.iter().map(encoded).collect();
    let size = payloads.iter().map(Vec::len).sum::<usize>() / payloads.len();

    let mut rates: [Vec<f64>; 4] = Default::default();
    // Once unmeasured, for what is slow only the first time; then taking turns, so that neither has the better weather.
    for round in 0..=ROUNDS {
        let raw = |codec| send_raw(&bootstrap, &topics, &entries, &payloads, codec);
        let ours = |compression| send(&runtime, &bootstrap, &topics, &entries, compression);
        let measured = [raw("lz4"), ours(Compression::Lz4), raw("zstd"), ours(Compression::Zstd)];
        if round > 0 {
            rates.iter_mut().zip(measured).for_each(|(all, one)| all.push(one));
        }
    }
    let [raw_lz4, lz4, raw_zstd, zstd] = rates.map(median);
    println!("{ENTRIES} entries of {size} bytes on average to {PARTITIONS} partitions; medians of {ROUNDS} rounds\n");
    println!("| | entries/s | ÷ raw with the same codec |\n|---|---|---|");
    for (name, rate, raw) in [
        ("raw rdkafka, encoded before, lz4", raw_lz4, raw_lz4),
        ("our producer, lz4", lz4, raw_lz4),
        ("raw rdkafka, encoded before, zstd", raw_zstd, raw_zstd),
        ("our producer, zstd", zstd, raw_zstd),
    ] {
        println!("| {name} | {rate:.0} | {:.2} |", rate / raw);
    }
    println!("\nGoal: our producer at 0.8 of raw or more.");
}

/// What a fleet says on `agent-logs`.
fn entries() -> Vec<LogEntry<'static>> {
    let fleet = Fleet { workspace: "acme".into(), ..Fleet::new(1, Timestamp(1_764_670_530_000)) };
    let steps = fleet.steps().filter_map(|step| match step.record {
        Record::Entry(entry) if Topic::of(entry.source) == Topic::AgentLogs => Some(entry),
        _ => None,
    });
    steps.take(ENTRIES).collect()
}

fn encoded(entry: &LogEntry<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    encode_entry(entry, Framing::Avro, &mut payload);
    payload
}

/// Counts the results.
#[derive(Default)]
struct Counting {
    delivered: AtomicU64,
}

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok(), "{:?}", result.as_ref().err().map(|(error, _)| error));
        self.delivered.fetch_add(1, Ordering::Release);
    }
}

/// librdkafka with our producer's settings.
fn send_raw(
    bootstrap: &str,
    topics: &Topics,
    entries: &[LogEntry<'_>],
    payloads: &[Vec<u8>],
    codec: &'static str,
) -> f64 {
    let settings = [
        ("enable.idempotence", "true"),
        ("partitioner", "murmur2_random"),
        ("compression.codec", codec),
        ("linger.ms", "5"),
        ("socket.nagle.disable", "true"),
        ("queue.buffering.max.messages", "100000"),
        ("queue.buffering.max.kbytes", "65536"),
    ];
    let producer: ThreadedProducer<Counting> =
        records::client(bootstrap, &settings).create_with_context(Counting::default()).unwrap();
    let topic = topics.name(Topic::AgentLogs);
    let delivered = |count: usize| {
        while producer.context().delivered.load(Ordering::Acquire) < count as u64 {
            std::thread::sleep(Duration::from_micros(200));
        }
    };
    // The connection is there, and the client knows the topic.
    producer.send(BaseRecord::to(&topic).key("warm").payload("up")).map_err(|(error, _)| error).unwrap();
    delivered(1);

    let start = Instant::now();
    for (entry, payload) in entries.iter().zip(payloads) {
        let mut record = BaseRecord::to(&topic).key(entry.card_id.as_str()).payload(payload);
        while let Err((_, refused)) = producer.send(record) {
            record = refused;
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    delivered(1 + entries.len());
    entries.len() as f64 / start.elapsed().as_secs_f64()
}

fn send(
    runtime: &Runtime,
    bootstrap: &str,
    topics: &Topics,
    entries: &[LogEntry<'_>],
    compression: Compression,
) -> f64 {
    runtime.block_on(async {
        let builder = Producer::builder(bootstrap).topics(topics.clone()).compression(compression);
        let producer = builder.build().unwrap();
        let handle = |entry: &LogEntry<'_>| producer.run(&entry.workspace_id, &entry.card_id, &entry.run_id);
        let mut runs: HashMap<&str, RunHandle> = HashMap::new();
        // A program holds its handle, and does not look it up for each line.
        let handles: Vec<RunHandle> =
            entries.iter().map(|entry| runs.entry(&entry.run_id).or_insert_with(|| handle(entry)).clone()).collect();
        log(&producer.run("acme", "warm", "up"), &entries[0]).await.await.unwrap();

        let start = Instant::now();
        let mut deliveries: VecDeque<Delivery> = VecDeque::new();
        for (entry, run) in entries.iter().zip(&handles) {
            deliveries.push_back(log(run, entry).await);
            while let Some(first) = deliveries.pop_front() {
                match first.try_take() {
                    Ok(result) => drop(result.unwrap()),
                    Err(first) => {
                        deliveries.push_front(first);
                        break;
                    }
                }
            }
        }
        for delivery in deliveries {
            delivery.await.unwrap();
        }
        entries.len() as f64 / start.elapsed().as_secs_f64()
    })
}

/// Writes the same line again, as a program would.
async fn log(run: &RunHandle, entry: &LogEntry<'_>) -> Delivery {
    let mut line = run.log(entry.level, entry.source, &entry.component, &entry.message);
    if let Some(data) = &entry.data {
        line = line.data(data.clone());
    }
    if let Some(agent) = &entry.agent_id {
        line = line.agent(agent);
    }
    if let (Some(provider), Some(model)) = (&entry.provider, &entry.model) {
        line = line.model(provider, model);
    }
    if let Some(user) = &entry.user_id {
        line = line.user(user);
    }
    if let Some(tags) = &entry.tags {
        line = line.tags(tags.iter().map(|tag| tag.as_str()));
    }
    if let Some(trace) = &entry.trace_id {
        line = line.trace(trace, None);
    }
    line.send().await.unwrap()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
