//! The topics: what writes to them, a bare consumer that reads them all the while, and what takes their beginnings away.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use agentworks_ingest::producer::{Producer, RunHandle};
use agentworks_kafka::{KafkaSettings, SeekPool};
use agentworks_schemas::codec::{Defaults, Schemas, decode_entry};
use agentworks_schemas::{Level, Source, Timestamp, Topic, TopicPartition};
use parking_lot::Mutex;
use rand::RngExt;
use rand::rngs::StdRng;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::check::{Card, Starts};
use super::client::Last;
use super::{WORKSPACE, number_of};
use crate::support::records::{PATIENCE, admin, consumer, create_topics};
use crate::support::{eventually, kafka, unique_prefix};

/// Topics with entries.
const TOPICS: [Topic; 2] = [Topic::AgentLogs, Topic::SystemLogs];
const TICK: Duration = Duration::from_millis(5);

/// See the module.
pub struct Topics {
    pub settings: KafkaSettings,
    producer: Producer,
    seek: SeekPool,
    starts: Mutex<Starts>,
    read: Arc<Read>,
    reading: Option<JoinHandle<()>>,
}

/// What the bare consumer has read.
#[derive(Debug, Default)]
struct Read {
    cards: Mutex<HashMap<String, Card>>,
    next: Mutex<BTreeMap<TopicPartition, i64>>,
    stop: AtomicBool,
}

impl Topics {
    /// New ones, on the Kafka of all tests.
    pub async fn new(partitions: i32) -> Self {
        let brokers = kafka().await.bootstrap();
        let topics = create_topics(&brokers, &unique_prefix(), partitions).await;
        let settings = KafkaSettings::new(&brokers, topics.clone());
        let producer =
            Producer::builder(&brokers).topics(topics).delivery_timeout(Duration::from_secs(300)).build().unwrap();
        let (seek, read) = (SeekPool::new(settings.clone(), 1), Arc::new(Read::default()));
        let numbers = TOPICS.into_iter().flat_map(|topic| (0..partitions).map(move |n| TopicPartition::new(topic, n)));
        *read.next.lock() = numbers.map(|partition| (partition, 0)).collect();
        let reading = std::thread::spawn({
            let (settings, read) = (settings.clone(), read.clone());
            move || read.all(&settings)
        });
        Topics { settings, producer, seek, starts: Mutex::default(), read, reading: Some(reading) }
    }

    /// Writes entries at a rate, each to a card at random; all of them are acknowledged when this returns.
    /// `first` is the number of the first.
    pub async fn write(&self, cards: &[String], rate: u64, time: Duration, first: u64, mut random: StdRng) -> u64 {
        let run = |card: &String| self.producer.run(WORKSPACE, card, &format!("run-of-{card}"));
        let runs: Vec<RunHandle> = cards.iter().map(run).collect();
        let padding = "x".repeat(400);
        let mut tick = tokio::time::interval(TICK);
        let (begin, mut sent) = (Instant::now(), 0);
        while begin.elapsed() < time {
            tick.tick().await;
            while sent < (begin.elapsed().as_secs_f64() * rate as f64) as u64 {
                let source = if random.random_ratio(1, 8) { Source::System } else { Source::Agent };
                let message = format!("{} {}", first + sent, &padding[..random.random_range(0..400)]);
                let run = &runs[random.random_range(0..runs.len())];
                drop(run.log(Level::Info, source, "gapfree", &message).send().await.unwrap());
                sent += 1;
            }
        }
        self.producer.flush(Duration::from_secs(60)).await.unwrap();
        sent
    }

    /// How many entries the bare consumer has read.
    pub fn written(&self) -> u64 {
        self.read.next.lock().values().sum::<i64>().unsigned_abs()
    }

    /// Has the logs begin a little before where the bare consumer is: what lies before is gone.
    pub async fn take_beginnings(&self, random: &mut StdRng) {
        let next = self.read.next.lock().clone();
        let mut list = TopicPartitionList::new();
        for (partition, next) in next {
            let (start, mut starts) = (next - random.random_range(0..50), self.starts.lock());
            let starts = starts.entry(partition).or_default();
            if start > starts.last().copied().unwrap_or_default() {
                let topic = self.settings.topics.name(partition.topic);
                list.add_partition_offset(&topic, partition.partition, Offset::Offset(start)).unwrap();
                starts.insert(start);
            }
        }
        let deleted = admin(&self.settings.brokers).delete_records(&list, &AdminOptions::new()).await.unwrap();
        deleted.elements().iter().for_each(|element| element.error().unwrap());
    }

    /// Where logs began after their beginnings were taken.
    pub fn starts(&self) -> Starts {
        self.starts.lock().clone()
    }

    /// All that was ever written, by card; nothing more may be.
    pub async fn truth(&mut self) -> HashMap<String, Card> {
        let partitions: BTreeSet<_> = self.read.next.lock().keys().copied().collect();
        for partition in partitions {
            let end = self.seek.watermarks(partition).await.unwrap().high;
            let is_read = async || (self.read.next.lock()[&partition] >= end).then_some(());
            eventually(PATIENCE, is_read).await;
        }
        self.read.stop.store(true, Ordering::Relaxed);
        if let Some(reading) = self.reading.take() {
            tokio::task::spawn_blocking(|| reading.join().unwrap()).await.unwrap();
        }
        std::mem::take(&mut self.read.cards.lock())
    }
}

/// The last entries of each card.
pub fn last(truth: &HashMap<String, Card>) -> Last {
    let of = |card: &Card| {
        let mut last: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        for (partition, offset) in card.values() {
            let last = last.entry(*partition).or_insert(*offset);
            *last = (*last).max(*offset);
        }
        last.into_iter().collect()
    };
    truth.iter().map(|(name, card)| (name.clone(), of(card))).collect()
}

impl Read {
    /// Reads until it is told to stop.
    fn all(&self, settings: &KafkaSettings) {
        let consumer: BaseConsumer = consumer(&settings.brokers);
        let mut assignment = TopicPartitionList::new();
        for partition in self.next.lock().keys() {
            let topic = settings.topics.name(partition.topic);
            assignment.add_partition_offset(&topic, partition.partition, Offset::Offset(0)).unwrap();
        }
        consumer.assign(&assignment).unwrap();
        while !self.stop.load(Ordering::Relaxed) {
            match consumer.poll(Duration::from_millis(50)) {
                None | Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Ok(message)) => self.take(settings, &message),
                Some(Err(error)) => panic!("{error}"),
            }
        }
    }

    fn take(&self, settings: &KafkaSettings, message: &BorrowedMessage<'_>) {
        let topic = settings.topics.topic(message.topic()).unwrap();
        let (partition, offset) = (TopicPartition::new(topic, message.partition()), message.offset());
        let defaults = Defaults { timestamp: Timestamp::now(), id: "" };
        let payload = message.payload().unwrap();
        let entry = decode_entry(Schemas::builtin(), message.key(), payload, defaults).unwrap().record;
        let number = number_of(&entry.message);
        let mut cards = self.cards.lock();
        cards.entry(entry.card_id.to_string()).or_default().insert(number, (partition, offset));
        self.next.lock().insert(partition, offset + 1);
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        self.read.stop.store(true, Ordering::Relaxed);
    }
}
