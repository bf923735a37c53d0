//! How much later a line is on a WebSocket than a bare consumer has it: the same records, the same moment of sending.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agentworks_ingest::producer::Producer;
use agentworks_schemas::protocol::ServerMessage;
use agentworks_schemas::topics::partition_of;
use agentworks_schemas::{Level, Source};
use futures_util::StreamExt;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::Scratch;
use crate::support::dev::{Dev, free_port};

const CARD: &str = "latency";
const SECONDS: u64 = 15;
/// Records sent before any is measured, for what is slow only the first time.
const WARM: u64 = 50;
/// Half of what one card's lane is built for on one machine, and far less.
const RATES: [u64; 2] = [500, 5_000];

/// When each record was sent, and how long it took to be seen, by its number.
struct Times {
    start: Instant,
    raw: Mutex<Vec<Duration>>,
    socket: Mutex<Vec<Duration>>,
}

impl Times {
    /// A record says in its message when it was sent; one that doesn't isn't measured.
    fn note(&self, list: &Mutex<Vec<Duration>>, message: &str) {
        let sent = message.split(' ').next().and_then(|nanos| nanos.parse().ok()).map(Duration::from_nanos);
        if let Some(sent) = sent {
            list.lock().unwrap().push(self.start.elapsed().saturating_sub(sent));
        }
    }
}

/// Measures and prints.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let scratch = Scratch::new("latency");
        let dev = Dev::start(&scratch.path().join("data"), (free_port(), free_port())).await;
        println!("| entries/s | | p50 | p99 |\n|---|---|---|---|");
        for rate in RATES {
            measure(&dev, rate).await;
        }
    });
}

async fn measure(dev: &Dev, rate: u64) {
    let times = Arc::new(Times { start: Instant::now(), raw: Mutex::default(), socket: Mutex::default() });
    let consumer = consumer(dev.brokers());
    let url = format!("{}/v1/cards/{CARD}/stream?history=0", dev.url().replace("http://", "ws://"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", dev.token()).parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();

    let reading = tokio::spawn({
        let times = times.clone();
        async move {
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else { continue };
                match ServerMessage::parse(&text).unwrap() {
                    ServerMessage::LogEntry { data, .. } => times.note(&times.socket, &data.message),
                    ServerMessage::LogsBatch { data, .. } => {
                        data.iter().for_each(|one| times.note(&times.socket, &one.entry.message));
                    }
                    _ => {}
                }
            }
        }
    });
    // No batching at the sender: it would hide in both figures what is to be seen.
    let producer = Producer::builder(dev.brokers()).linger(Duration::ZERO).build().unwrap();
    let run = producer.run("default", CARD, &format!("at-{rate}"));
    // The connections are there, and all who read have fetched once.
    for _ in 0..WARM {
        let delivery = run.log(Level::Info, Source::Agent, "bench", "warm").send().await.unwrap();
        delivery.await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let total = WARM + rate * SECONDS;
    let consuming = std::thread::spawn({
        let times = times.clone();
        move || {
            let mut seen = 0;
            while seen < total {
                let Some(message) = consumer.poll(Duration::from_secs(10)) else { break };
                let message = message.unwrap();
                let entry = agentworks_schemas::codec::decode_entry_body(&message.payload().unwrap()[10..]).unwrap();
                times.note(&times.raw, &entry.message);
                seen += 1;
            }
        }
    });

    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let (begin, mut sent) = (Instant::now(), WARM);
    let padding = "x".repeat(300);
    while sent < total {
        tick.tick().await;
        let due = (begin.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000) as u64;
        let due = (WARM + due).min(total);
        while sent < due {
            let message = format!("{} {padding}", times.start.elapsed().as_nanos());
            drop(run.log(Level::Info, Source::Agent, "bench", &message).send().await.unwrap());
            sent += 1;
        }
    }
    producer.flush(Duration::from_secs(30)).await.unwrap();
    consuming.join().unwrap();
    while (times.socket.lock().unwrap().len() as u64) < total - WARM {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    reading.abort();
    let raw = quantiles(&times.raw);
    let socket = quantiles(&times.socket);
    println!("| {rate} | produce → bare consumer | {:.2} ms | {:.2} ms |", raw.0, raw.1);
    println!("| {rate} | produce → WebSocket | {:.2} ms | {:.2} ms |", socket.0, socket.1);
    println!("| {rate} | added | {:+.2} ms | {:+.2} ms |", socket.0 - raw.0, socket.1 - raw.1);
}

/// A bare consumer at the end of the card's partition, tuned for latency as the gateway's is.
fn consumer(brokers: &str) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bench")
        .set("fetch.wait.max.ms", "20")
        .set("fetch.queue.backoff.ms", "5")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some("agent-logs"), Duration::from_secs(10)).unwrap();
    let partition = partition_of(CARD.as_bytes(), metadata.topics()[0].partitions().len() as i32);
    let (_, end) = consumer.fetch_watermarks("agent-logs", partition, Duration::from_secs(10)).unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset("agent-logs", partition, Offset::Offset(end)).unwrap();
    consumer.assign(&assignment).unwrap();
    consumer
}

/// The median and the 99th percentile, in milliseconds.
fn quantiles(list: &Mutex<Vec<Duration>>) -> (f64, f64) {
    let mut list = list.lock().unwrap();
    list.sort_unstable();
    let at = |share: f64| list[((list.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    (at(0.5), at(0.99))
}
