//! One entry to a thousand viewers, and a thousand cards with a viewer each: what it costs the gateway, beside Centrifugo's
//! engine, and how late it is. The same crowd for both, the same bytes, the same moments of publishing, in turns.
//!
//! Ours is the whole gateway process, which gets entries from Kafka as it does in production: consuming, decoding and encoding are
//! in its figures, and the producer's and Kafka's part in its latencies. Theirs gets publications ready-made, once from Kafka
//! too, as Centrifugo's own consumer does it, and once over a pipe, which costs next to nothing.

use std::time::{Duration, Instant};

use agentworks_ingest::producer::{Producer, RunHandle};
use agentworks_schemas::{Level, LogEntry, Source, Timestamp};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::io::AsyncWriteExt;

use crate::crowd::{Crowd, Opening, stamp};
use crate::proc::cpu;
use crate::servers::{Beside, Gateway, WORKSPACE};
use crate::support::records::{create_topic, producer};
use crate::support::{kafka, unique_prefix};

/// An entry's message, so that its JSON has about 600 bytes.
const MESSAGE: usize = 330;
/// What is sent before anything is measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long what was sent last may take.
const LATE: Duration = Duration::from_secs(10);

/// How much is asked for: the same of both, and what both can hold.
#[derive(Clone, Copy)]
struct Scale {
    /// Viewers, or cards with a viewer each.
    many: usize,
    /// Deliveries a second.
    rate: usize,
    time: Duration,
    /// How often each has its turn.
    turns: usize,
}

const FULL: Scale = Scale { many: 1_000, rate: 20_000, time: Duration::from_secs(10), turns: 3 };
const SMALL: Scale = Scale { many: 100, rate: 2_000, time: Duration::from_secs(3), turns: 1 };

/// Measures and prints.
pub fn run() {
    let scale = if crate::is_small() { SMALL } else { FULL };
    crate::proc::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let many: Vec<_> = (0..scale.many).map(|n| format!("card-{n}")).collect();
        let gateway = Gateway::start(&[&many[..], &["card".to_owned()]].concat()).await;
        let mut servers = vec![Server::gateway(gateway)];
        servers.extend(Server::centrifuge_on_kafka().await);
        servers.extend(Beside::centrifuge(&[]).await.map(Server::centrifuge));
        println!("| {} deliveries/s | | CPU-s per million | deliveries per CPU-s | p50 | p99 | bytes |", scale.rate);
        println!("|---|---|---|---|---|---|---|");
        let one = vec!["card".to_owned(); scale.many];
        measure(&mut servers, &scale, &one, &format!("1 → {}", scale.many)).await;
        measure(&mut servers, &scale, &many, &format!("{} × 1", scale.many)).await;
    });
}

/// Has a viewer for each of `cards`, which may be the same one many times.
async fn measure(servers: &mut [Server], scale: &Scale, cards: &[String], title: &str) {
    let mut distinct = cards.to_vec();
    distinct.dedup();
    let mut crowds = Vec::new();
    for server in &*servers {
        crowds.push(Crowd::gather(cards.iter().map(|card| server.viewer(card)).collect()));
    }
    let mut results: Vec<_> = servers.iter().map(|_| Taken::default()).collect();
    // Publications a second; each reaches all who watch its card.
    let rate = scale.rate * distinct.len() / cards.len();
    for (server, crowd) in servers.iter_mut().zip(&crowds) {
        server.publish(&distinct, rate, WARM_UP).await;
        until_seen(crowd, 0).await;
    }
    for _ in 0..scale.turns {
        for ((server, crowd), taken) in servers.iter_mut().zip(&crowds).zip(&mut results) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            drop(crowd.latencies());
            let (before, began) = (crowd.count(), cpu(server.pid()));
            let published = server.publish(&distinct, rate, scale.time).await;
            let due = (published * cards.len() / distinct.len()) as u64;
            until_seen(crowd, before.stamps + due).await;
            let after = crowd.count();
            assert_eq!((after.stamps - before.stamps, crowd.lost()), (due, 0), "{title}, {}", server.name);
            taken.cpu += cpu(server.pid()) - began;
            taken.deliveries += due;
            taken.bytes += after.bytes - before.bytes;
            taken.latencies.extend(crowd.latencies());
        }
    }
    for (server, taken) in servers.iter().zip(&mut results) {
        taken.print(title, server.name);
    }
    let [ours, theirs @ ..] = &results[..] else { return };
    for (theirs, server) in theirs.iter().zip(&servers[1..]) {
        let ratio = theirs.cpu.as_secs_f64() / ours.cpu.as_secs_f64();
        let late = ours.quantile(0.99) / theirs.quantile(0.99);
        println!("| {title} | ours ÷ {} | | **{ratio:.2}** (≥ 1.5) | | **{late:.2}** (≤ 1) | |", server.name);
    }
}

/// Waits until so many stamps have come, or for too long; with 0, until no more come.
async fn until_seen(crowd: &Crowd, total: u64) {
    let deadline = Instant::now() + LATE;
    let mut last = None;
    while Instant::now() < deadline {
        let seen = crowd.count().stamps;
        if total > 0 && seen >= total || total == 0 && last == Some(seen) {
            return;
        }
        last = Some(seen);
        tokio::time::sleep(Duration::from_millis(if total == 0 { 300 } else { 5 })).await;
    }
}

/// What was measured of a server.
#[derive(Default)]
struct Taken {
    cpu: Duration,
    deliveries: u64,
    bytes: u64,
    /// In microseconds; sorted when it is printed.
    latencies: Vec<u32>,
}

impl Taken {
    fn print(&mut self, title: &str, name: &str) {
        self.latencies.sort_unstable();
        let seconds = self.cpu.as_secs_f64();
        let (per_million, per_second) = (seconds * 1e6 / self.deliveries as f64, self.deliveries as f64 / seconds);
        let (p50, p99) = (self.quantile(0.5), self.quantile(0.99));
        let bytes = self.bytes / self.deliveries;
        println!("| {title} | {name} | {per_million:.1} | {per_second:.0} | {p50:.1} ms | {p99:.1} ms | {bytes} |");
    }

    /// In milliseconds.
    fn quantile(&self, share: f64) -> f64 {
        f64::from(self.latencies[((self.latencies.len() - 1) as f64 * share) as usize]) / 1000.0
    }
}

/// A server, and how it is published to.
struct Server {
    name: &'static str,
    kind: Kind,
}

enum Kind {
    Gateway {
        gateway: Gateway,
        producer: Producer,
    },
    Centrifuge {
        beside: Beside,
        /// If it is published to by way of Kafka: what writes there, and the topic.
        kafka: Option<(FutureProducer, String)>,
    },
}

impl Server {
    fn gateway(gateway: Gateway) -> Self {
        let producer = gateway.producer();
        Server { name: "gateway", kind: Kind::Gateway { gateway, producer } }
    }

    fn centrifuge(beside: Beside) -> Self {
        Server { name: "Centrifuge, pipe", kind: Kind::Centrifuge { beside, kafka: None } }
    }

    async fn centrifuge_on_kafka() -> Option<Self> {
        let (brokers, topic) = (kafka().await.bootstrap(), unique_prefix());
        create_topic(&brokers, &topic, 12).await;
        let beside = Beside::centrifuge(&["-brokers", &brokers, "-topic", &topic]).await?;
        // As the gateway's entries are written.
        let producer = producer(&brokers, &[("linger.ms", "1"), ("compression.type", "lz4")]);
        let kafka = Some((producer, topic));
        Some(Server { name: "Centrifuge, Kafka", kind: Kind::Centrifuge { beside, kafka } })
    }

    fn pid(&self) -> u32 {
        match &self.kind {
            Kind::Gateway { gateway, .. } => gateway.pid(),
            Kind::Centrifuge { beside, .. } => beside.pid(),
        }
    }

    fn viewer(&self, card: &str) -> Opening {
        match &self.kind {
            Kind::Gateway { gateway, .. } => gateway.viewer(card),
            Kind::Centrifuge { beside, .. } => beside.subscriber(card),
        }
    }

    /// Publishes entries at a rate, evenly and to one card after the other; how many those were.
    async fn publish(&mut self, cards: &[String], rate: usize, time: Duration) -> usize {
        let runs: Vec<RunHandle> = match &self.kind {
            Kind::Gateway { producer, .. } => cards.iter().map(|card| producer.run(WORKSPACE, card, "run-1")).collect(),
            Kind::Centrifuge { .. } => Vec::new(),
        };
        let total = (rate as f64 * time.as_secs_f64()) as usize;
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        let (begin, mut sent) = (Instant::now(), 0);
        while sent < total {
            tick.tick().await;
            let due = ((begin.elapsed().as_secs_f64() * rate as f64) as usize).min(total);
            let mut lines = Vec::new();
            for number in sent..due {
                let card = number % cards.len();
                let message = message();
                let entry = || serde_json::to_vec(&entry(&cards[card], number as i64, &message)).unwrap();
                match &self.kind {
                    Kind::Gateway { .. } => {
                        drop(runs[card].log(Level::Info, Source::Agent, "bench", &message).send().await.unwrap());
                    }
                    Kind::Centrifuge { kafka: Some((producer, topic)), .. } => {
                        let entry = entry();
                        let record = FutureRecord::to(topic).key(&cards[card]).payload(&entry);
                        enqueue(producer, record).await;
                    }
                    Kind::Centrifuge { kafka: None, .. } => {
                        lines.extend_from_slice(cards[card].as_bytes());
                        lines.push(b' ');
                        lines.append(&mut entry());
                        lines.push(b'\n');
                    }
                }
            }
            sent = due;
            if let Kind::Centrifuge { beside, .. } = &mut self.kind {
                beside.stdin.write_all(&lines).await.unwrap();
            }
        }
        total
    }
}

/// Hands a record to the producer, which may have to wait for room.
async fn enqueue(producer: &FutureProducer, mut record: FutureRecord<'_, String, Vec<u8>>) {
    loop {
        match producer.send_result(record) {
            Ok(_) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => record = back,
            Err((error, _)) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn message() -> String {
    let stamp = stamp();
    format!("{stamp} {}", "x".repeat(MESSAGE - stamp.len()))
}

/// An entry as the gateway's clients get it.
fn entry<'a>(card: &'a str, sequence: i64, message: &'a str) -> LogEntry<'a> {
    LogEntry {
        id: "0198c0de-0000-7000-8000-000000000000".into(),
        run_id: "run-1".into(),
        card_id: card.into(),
        workspace_id: WORKSPACE.into(),
        timestamp: Timestamp::now(),
        sequence,
        level: Level::Info,
        source: Source::Agent,
        component: "bench".into(),
        message: message.into(),
        data: None,
        agent_id: None,
        provider: None,
        model: None,
        user_id: None,
        tags: None,
        correlation_id: None,
        parent_span_id: None,
        trace_id: None,
    }
}
