use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::{KafkaSettings, SeekPool, SeekRequest};
use agentworks_processors::blocks::Sharing;
use agentworks_processors::hot::{HotConfig, HotSink};
use agentworks_processors::lane;
use agentworks_processors::reader::{LogReader, ReadItem, ReadStream, Scope};
use agentworks_processors::runs::{RunsConfig, RunsSink};
use agentworks_processors::sink::{Flush, Sink};
use agentworks_processors::warm::{WarmConfig, WarmSink};
use agentworks_schemas::{
    Cursor, Level, LogEntry, RunEvent, RunEventKind, Source, Timestamp, Topic, TopicPartition, Topics,
};
use agentworks_store::{EmbeddedStore, Store};
use futures_util::future::join_all;
use prometheus_client::registry::Registry;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::admin::AdminOptions;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::records::{self, admin, create_topics, read_all};
use crate::support::{Scratch, kafka, unique_prefix};

pub(super) const PARTITIONS: i32 = 3;

/// A record to be produced, where it is wanted.
pub(super) struct Produced {
    pub(super) at: TopicPartition,
    pub(super) key: String,
    pub(super) payload: Vec<u8>,
}

pub(super) struct World {
    pub(super) bootstrap: String,
    pub(super) topics: Topics,
    pub(super) seek: SeekPool,
    pub(super) store: Arc<dyn Store>,
    pub(super) reader: LogReader,
    pub(super) random: StdRng,
    sinks: Vec<Box<dyn Sink>>,
    taken: HashMap<(usize, TopicPartition), i64>,
    producer: FutureProducer,
    _scratch: Option<Scratch>,
}

/// A record as the topic holds it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) at: TopicPartition,
    pub(super) offset: i64,
    pub(super) timestamp: Timestamp,
    pub(super) payload: Vec<u8>,
}

impl World {
    /// New topics, an empty store, and sinks that have taken nothing.
    pub(super) async fn new(seed: u64) -> World {
        let scratch = Scratch::new("reader");
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(scratch.path().join("store")).unwrap());
        World { _scratch: Some(scratch), ..World::on(store, seed).await }
    }

    /// The same, on a store of another kind.
    pub(super) async fn on(store: Arc<dyn Store>, seed: u64) -> World {
        let bootstrap = kafka().await.bootstrap();
        let topics = create_topics(&bootstrap, &unique_prefix(), PARTITIONS).await;
        let seek = SeekPool::new(KafkaSettings::new(&bootstrap, topics.clone()), 4);
        // Flushes are the test's own, and blocks are small, for there to be many.
        let never = Duration::from_secs(3600);
        let hot = HotConfig { block_bytes: 4096, block_age: never, ..HotConfig::default() };
        let warm =
            WarmConfig { block_bytes: 8192, block_age: never, partition_bytes: 100_000, ..WarmConfig::default() };
        let runs = RunsConfig { max_age: never, max_age_of_status: never, ..RunsConfig::default() };
        let sharing = Sharing::default();
        let sinks: Vec<Box<dyn Sink>> = vec![
            Box::new(HotSink::new(store.clone(), hot, &mut Registry::default()).unwrap().sharing(&sharing)),
            Box::new(RunsSink::new(store.clone(), runs)),
            Box::new(WarmSink::new(store.clone(), warm, &mut Registry::default()).unwrap().sharing(&sharing)),
        ];
        println!("seed {seed}");
        World {
            producer: records::producer(&bootstrap, &[("linger.ms", "5"), ("enable.idempotence", "true")]),
            reader: LogReader::new(store.clone(), seek.clone()),
            random: StdRng::seed_from_u64(seed),
            taken: HashMap::new(),
            _scratch: None,
            bootstrap,
            topics,
            seek,
            store,
            sinks,
        }
    }

    /// All partitions of all topics.
    pub(super) fn partitions() -> impl Iterator<Item = TopicPartition> {
        Topic::ALL.into_iter().flat_map(|topic| (0..PARTITIONS).map(move |number| TopicPartition::new(topic, number)))
    }

    /// Produces records, each where it is wanted, in this order per partition.
    pub(super) async fn produce(&self, records: impl IntoIterator<Item = Produced>) {
        let names: Vec<_> = Topic::ALL.iter().map(|topic| self.topics.name(*topic)).collect();
        let deliveries = records.into_iter().map(|Produced { at, key, payload }| {
            let name = &names[at.topic as usize];
            let record = FutureRecord::to(name).partition(at.partition).key(&key).payload(&payload);
            self.producer.send_result(record).map_err(|(error, _)| error).unwrap()
        });
        for delivery in join_all(deliveries.collect::<Vec<_>>()).await {
            delivery.unwrap().unwrap();
        }
    }

    /// Feeds a sink (0 is hot, 1 is runs, 2 is warm) what lies below `to` in a partition and that it hasn't taken. Unless `flush` is
    /// set, some of it stays pending.
    pub(super) async fn feed(&mut self, sink: usize, at: TopicPartition, to: i64, flush: bool) {
        let World { sinks, taken, seek, .. } = self;
        let sink_of = &mut sinks[sink];
        let from = match taken.get(&(sink, at)) {
            Some(from) => *from,
            None => sink_of.open(at, 0, seek.watermarks(at).await.unwrap().low).await.unwrap().high,
        };
        if from < to {
            let mut batches = seek.read(SeekRequest { partition: at, epoch: 0, from, to, key: None });
            while let Some(batch) = batches.recv().await {
                sink_of.take(&batch.unwrap()).await.unwrap();
            }
        }
        taken.insert((sink, at), to.max(from));
        let what = if flush { Flush::Partition(at) } else { Flush::Due };
        sink_of.flush(what).await.unwrap();
    }

    /// Feeds all sinks up to random places, in random steps, of which some are flushed.
    pub(super) async fn feed_randomly(&mut self) {
        for at in World::partitions() {
            let end = self.seek.watermarks(at).await.unwrap().high;
            for sink in 0..3 {
                let mut to = 0;
                for _ in 0..self.random.random_range(0..6) {
                    to = self.random.random_range(to..=end);
                    let flush = self.random.random_bool(0.5);
                    self.feed(sink, at, to, flush).await;
                }
            }
        }
    }

    /// Feeds all sinks all that there is.
    pub(super) async fn feed_all(&mut self) {
        for at in World::partitions() {
            let end = self.seek.watermarks(at).await.unwrap().high;
            for sink in 0..3 {
                self.feed(sink, at, end, true).await;
            }
        }
    }

    /// Cuts the log, as its retention would.
    pub(super) async fn cut(&self, at: TopicPartition, low: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&self.topics.name(at.topic), at.partition, Offset::Offset(low)).unwrap();
        admin(&self.bootstrap).delete_records(&offsets, &AdminOptions::new()).await.unwrap();
    }

    /// Moves a tier's `low`, as time would.
    pub(super) async fn expire(&self, tier: &str, at: TopicPartition, low: i64) {
        let held = lane::load(self.store.as_ref(), tier, at).await.unwrap().unwrap();
        lane::publish(self.store.as_ref(), tier, &[lane::Held { low, ..held }]).await.unwrap();
    }

    /// Moves hot's `low`, and cuts the log, so far that warm or either of them still has what is gone.
    pub(super) async fn age(&mut self) {
        for at in World::partitions().filter(|at| at.topic != Topic::RunEvents) {
            let hot = lane::load(self.store.as_ref(), "hot", at).await.unwrap();
            let warm = lane::load(self.store.as_ref(), "warm", at).await.unwrap();
            let (Some(hot), Some(warm)) = (hot, warm) else { continue };
            let low = self.random.random_range(0..=hot.high.min(warm.high));
            self.expire("hot", at, low).await;
            let low = self.random.random_range(0..=hot.high.max(warm.high));
            self.cut(at, low).await;
        }
    }

    /// What the topics hold, by partition and offset.
    pub(super) async fn held(&self) -> Vec<Held> {
        let mut held = Vec::new();
        for topic in Topic::ALL {
            for record in read_all(&self.bootstrap, &self.topics.name(topic)).await {
                held.push(Held {
                    at: TopicPartition::new(topic, record.partition),
                    offset: record.offset,
                    timestamp: Timestamp(record.timestamp.to_millis().unwrap()),
                    payload: record.payload.unwrap(),
                });
            }
        }
        held
    }

    /// The entries of a scope in the stream's order.
    pub(super) async fn entries(&self, scope: &Scope) -> Vec<(TopicPartition, i64, LogEntry<'static>)> {
        let mut entries = BTreeMap::new();
        let mut clocks: HashMap<TopicPartition, Timestamp> = HashMap::new();
        for record in self.held().await.into_iter().filter(|record| record.at.topic != Topic::RunEvents) {
            let clock = clocks.entry(record.at).or_default();
            *clock = record.timestamp.max(*clock);
            let entry: LogEntry<'_> = serde_json::from_slice(&record.payload).unwrap();
            if scope.holds(&entry) {
                entries.insert((*clock, record.at, record.offset), entry.into_owned());
            }
        }
        entries.into_iter().map(|((_, at, offset), entry)| (at, offset, entry)).collect()
    }
}

pub(super) fn card_scope(workspace: &str, card: &str) -> Scope {
    Scope::Card { workspace: workspace.into(), card: card.into() }
}

pub(super) fn run_scope(workspace: &str, card: &str, run: &str) -> Scope {
    Scope::Run { workspace: workspace.into(), card: card.into(), run: run.into() }
}

/// Entries that differ in all that a reader looks at; `sequence` tells them apart.
pub(super) fn entry(workspace: &str, card: &str, run: &str, sequence: i64, source: Source) -> LogEntry<'static> {
    LogEntry {
        id: format!("{workspace}-{card}-{run}-{sequence}").into(),
        run_id: run.to_owned().into(),
        card_id: card.to_owned().into(),
        workspace_id: workspace.to_owned().into(),
        timestamp: Timestamp(1_700_000_000_000 + sequence),
        sequence,
        level: Level::ALL[sequence.unsigned_abs() as usize % 5],
        source,
        component: "test".into(),
        message: format!("line {sequence} {}", "of some length ".repeat(sequence.unsigned_abs() as usize % 7)).into(),
        data: None,
        agent_id: Some("agent".into()),
        provider: None,
        model: None,
        user_id: None,
        tags: None,
        correlation_id: None,
        parent_span_id: None,
        trace_id: None,
    }
}

pub(super) fn event(workspace: &str, card: &str, run: &str, kind: RunEventKind, timestamp: i64) -> RunEvent<'static> {
    RunEvent {
        id: format!("{workspace}-{card}-{run}-{kind:?}-{timestamp}").into(),
        run_id: run.to_owned().into(),
        card_id: card.to_owned().into(),
        workspace_id: workspace.to_owned().into(),
        timestamp: Timestamp(timestamp),
        kind,
        agent_id: None,
        provider: None,
        model: None,
        user_id: None,
        cost: (kind == RunEventKind::Usage).then_some(0.25),
        input_tokens: (kind == RunEventKind::Usage).then_some(3),
        output_tokens: None,
        exit_code: None,
        reason: None,
        trace_id: None,
    }
}

/// The entry's record, in its topic.
pub(super) fn produced(entry: &LogEntry<'_>, partition: i32) -> Produced {
    let at = TopicPartition::new(Topic::of(entry.source), partition);
    Produced { at, key: entry.card_id.to_string(), payload: serde_json::to_vec(entry).unwrap() }
}

pub(super) fn produced_event(event: &RunEvent<'_>, partition: i32) -> Produced {
    let at = TopicPartition::new(Topic::RunEvents, partition);
    Produced { at, key: event.card_id.to_string(), payload: serde_json::to_vec(event).unwrap() }
}

/// All items of a stream.
pub(super) async fn collect(mut stream: ReadStream) -> Vec<ReadItem> {
    let mut items = Vec::new();
    while let Some(item) = stream.recv().await {
        items.push(item.unwrap());
    }
    items
}

/// Where the entries of items lie, with the entries. There must be no gaps.
pub(super) fn positioned(items: &[ReadItem]) -> Vec<(TopicPartition, i64, LogEntry<'static>)> {
    let positioned = |item: &ReadItem| match item {
        ReadItem::Entry { entry, .. } => (entry.position.partition, entry.position.offset, entry.entry.clone()),
        ReadItem::Gap { .. } => panic!("{item:?}"),
    };
    items.iter().map(positioned).collect()
}

pub(super) fn cursor_of(item: &ReadItem) -> &Cursor {
    match item {
        ReadItem::Entry { cursor, .. } | ReadItem::Gap { cursor, .. } => cursor,
    }
}
