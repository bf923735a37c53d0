//! A lane with a long run and a sparse one, and a gateway over it.

use std::sync::Arc;
use std::time::Duration;

use agentworks_gateway::auth::{Secret, mint};
use agentworks_kafka::{KafkaSettings, SeekPool, SeekRequest};
use agentworks_processors::runs::{RunsConfig, RunsSink};
use agentworks_processors::sink::{Flush, Sink};
use agentworks_schemas::access::{Claims, Role as Access};
use agentworks_schemas::codec::{Framing, encode_entry, encode_event};
use agentworks_schemas::{Level, LogEntry, RunEvent, RunEventKind, Source, Timestamp, Topic, TopicPartition, Topics};
use agentworks_store::{EmbeddedStore, Store};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use crate::support::records::{client, create_topics};
use crate::support::role::Role;
use crate::support::{Scratch, kafka, unique_prefix};

const SECRET: &str = "a secret of the benchmarks, long enough";
const WORKSPACE: &str = "bench";
/// When the first entry was written, and how much later the next one of the long run.
const BEGAN: i64 = 1_764_670_530_000;
const STEP: i64 = 100;
/// Of so many records, one is of the sparse run and nine are of others.
const ROUND: u64 = 100;
const OTHERS: u64 = 9;
/// Records after the runs' ends, so that the lane has gone on since.
const AFTER: u64 = 1_000;

/// The lane, and the gateway that shows it.
pub struct Lane {
    pub brokers: String,
    pub topics: Topics,
    pub gateway: Role,
    pub long: Run,
    pub sparse: Run,
    _folder: Scratch,
}

/// A run, whose entries lie in every round at the same places.
pub struct Run {
    pub name: &'static str,
    pub card: &'static str,
    pub entries: u64,
    /// How many of its entries are in a round, and the place of the first.
    per_round: u64,
    first: u64,
}

impl Run {
    /// Where the entry with this ordinal lies.
    pub fn offset(&self, ordinal: u64) -> i64 {
        (ordinal / self.per_round * ROUND + self.first + ordinal % self.per_round) as i64
    }
}

impl Lane {
    /// Fills a lane, and the store with what it needs to know of it; then starts the gateway.
    pub async fn fill() -> Lane {
        let rounds = size() / ROUND;
        let (prefix, brokers, folder) = (unique_prefix(), kafka().await.bootstrap(), Scratch::new("bench-replay"));
        let topics = create_topics(&brokers, &prefix, 1).await;
        let settings = KafkaSettings::new(&brokers, topics.clone());
        let per_round = ROUND - 1 - OTHERS;
        let long = Run { name: "long", card: "long-card", entries: rounds * per_round, per_round, first: 0 };
        let sparse = Run { name: "sparse", card: "sparse-card", entries: rounds, per_round: 1, first: per_round };
        produce(&settings, [&long, &sparse], rounds);
        let path = folder.path().join("store");
        mark(&settings, Arc::new(EmbeddedStore::open(&path).unwrap())).await;

        let store = format!("embedded:{}", path.display());
        let variables = [
            ("AGENTWORKS__KAFKA__BROKERS", &*brokers),
            ("AGENTWORKS__KAFKA__TOPIC_PREFIX", &prefix),
            ("AGENTWORKS__STORE__URL", &store),
            ("AGENTWORKS__AUTH__SECRET", SECRET),
        ];
        let gateway = Role::start(&["serve"], &variables).await;
        gateway.is_ready().await;
        Lane { brokers, topics, gateway, long, sparse, _folder: folder }
    }

    /// How many records there are in the lane.
    pub fn entries(&self) -> u64 {
        self.sparse.entries * ROUND + AFTER
    }

    pub fn token(&self) -> String {
        let (workspace, subject) = (WORKSPACE.to_owned(), "bench".to_owned());
        let claims = Claims { workspace, subject, role: Access::Viewer, ..Claims::default() };
        mint(&Secret::new(SECRET, "the benchmarks").unwrap(), &claims, Duration::from_secs(24 * 3600)).unwrap()
    }
}

fn size() -> u64 {
    let asked = std::env::var("AGENTWORKS_BENCH_ENTRIES").ok().map(|entries| entries.parse().unwrap());
    asked.unwrap_or(if crate::is_small() { 200_000 } else { 10_000_000 })
}

fn produce(settings: &KafkaSettings, runs: [&Run; 2], rounds: u64) {
    let config = [("linger.ms", "20"), ("compression.type", "lz4"), ("queue.buffering.max.messages", "500000")];
    let producer: ThreadedProducer<_> = client(&settings.brokers, &config).create().unwrap();
    let [long, sparse] = runs;
    let mut out = Out { producer, names: Topic::ALL.map(|topic| settings.topics.name(topic)), buffer: Vec::new() };
    for run in runs {
        out.event(run, RunEventKind::Started, BEGAN);
    }
    for round in 0..rounds {
        for place in 0..ROUND {
            let number = round * ROUND + place;
            if place < long.per_round {
                let ordinal = round * long.per_round + place;
                out.entry(long.card, long.name, Source::Agent, number, BEGAN + ordinal as i64 * STEP);
            } else if place == sparse.first {
                out.entry(sparse.card, sparse.name, Source::Agent, number, BEGAN + round as i64 * STEP);
            } else {
                out.entry("other-card", "others", Source::Agent, number, BEGAN);
            }
        }
    }
    out.producer.flush(Duration::from_secs(120)).unwrap();
    for run in runs {
        out.event(run, RunEventKind::Completed, BEGAN + run.entries as i64 * STEP);
    }
    out.producer.flush(Duration::from_secs(120)).unwrap();
    for number in 0..AFTER {
        let source = if number % 10 == 0 { Source::System } else { Source::Agent };
        out.entry("other-card", "others", source, number, BEGAN);
    }
    // One batch may bear the runs' ends' timestamp.
    out.producer.flush(Duration::from_secs(120)).unwrap();
    std::thread::sleep(Duration::from_millis(10));
    out.entry("other-card", "others", Source::System, AFTER, BEGAN);
    out.entry("other-card", "others", Source::Agent, AFTER, BEGAN);
    out.producer.flush(Duration::from_secs(120)).unwrap();
}

struct Out {
    producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext>,
    names: [String; 3],
    buffer: Vec<u8>,
}

impl Out {
    fn entry(&mut self, card: &'static str, run: &'static str, source: Source, number: u64, at: i64) {
        let entry = entry(card, run, source, number, Timestamp(at));
        self.buffer.clear();
        encode_entry(&entry, Framing::Avro, &mut self.buffer);
        self.send(Topic::of(source), card);
    }

    fn event(&mut self, run: &Run, kind: RunEventKind, at: i64) {
        let event = RunEvent {
            id: format!("{}-{kind:?}", run.name).into(),
            run_id: run.name.into(),
            card_id: run.card.into(),
            workspace_id: WORKSPACE.into(),
            timestamp: Timestamp(at),
            kind,
            agent_id: None,
            provider: None,
            model: None,
            user_id: None,
            trace_id: None,
            cost: None,
            input_tokens: None,
            output_tokens: None,
            exit_code: None,
            reason: None,
        };
        self.buffer.clear();
        encode_event(&event, Framing::Avro, &mut self.buffer);
        self.send(Topic::RunEvents, run.card);
    }

    fn send(&mut self, topic: Topic, card: &str) {
        let mut record = BaseRecord::to(&self.names[topic as usize]).key(card.as_bytes()).payload(&self.buffer);
        while let Err((_, refused)) = self.producer.send(record) {
            record = refused;
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn entry(
    card: &'static str,
    run: &'static str,
    source: Source,
    number: u64,
    timestamp: Timestamp,
) -> LogEntry<'static> {
    let text = "Tool call search_documents returned 14 results in 182 ms; continuing with the highest ranked one. ";
    LogEntry {
        id: format!("0197f3a2-7c1e-7b44-9d0e-{number:012x}").into(),
        run_id: run.into(),
        card_id: card.into(),
        workspace_id: WORKSPACE.into(),
        timestamp,
        sequence: number as i64,
        level: Level::ALL[number as usize % 4],
        source,
        component: "planner".into(),
        message: text.repeat(1 + number as usize % 5).into(),
        data: None,
        agent_id: Some("agent-7".into()),
        provider: None,
        model: None,
        user_id: None,
        tags: None,
        correlation_id: None,
        parent_span_id: None,
        trace_id: None,
    }
}

/// Has the runs' sink count all that there is.
async fn mark(settings: &KafkaSettings, store: Arc<dyn Store>) {
    let pool = SeekPool::new(settings.clone(), 1);
    let mut sink = RunsSink::new(store, RunsConfig::default());
    for topic in Topic::ALL {
        let partition = TopicPartition::new(topic, 0);
        let marks = pool.watermarks(partition).await.unwrap();
        sink.open(partition, 0, marks.low).await.unwrap();
        let mut batches = pool.read(SeekRequest { partition, epoch: 0, from: marks.low, to: marks.high, key: None });
        while let Some(batch) = batches.recv().await {
            sink.take(&batch.unwrap()).await.unwrap();
        }
        sink.flush(Flush::Partition(partition)).await.unwrap();
    }
}
