//! What the topics hold, read with a bare consumer, and counted anew with nothing of the processors in between.

mod recount;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use agentworks_kafka::KafkaSettings;
use agentworks_kafka::topics::{Watermarks, watermarks_of};
use agentworks_load::hash;
use agentworks_schemas::codec::{Defaults, Schemas, decode_entry, decode_event};
use agentworks_schemas::{Timestamp, Topic, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::records::{PATIENCE, consumer};
pub use recount::{Run, RunInPartition};

/// An entry: where it lies, when it came, and a hash of its canonical bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    pub partition: TopicPartition,
    pub epoch: u32,
    pub offset: i64,
    pub recorded: Timestamp,
    pub hash: u64,
}

impl Told {
    /// What identifies it.
    pub fn position(&self) -> (TopicPartition, u32, i64) {
        (self.partition, self.epoch, self.offset)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told { partition, epoch, offset, recorded, hash } = self;
        write!(f, "{partition}/{epoch}@{offset} of {} ({hash:016x})", recorded.millis())
    }
}

/// What the topics hold of a card.
#[derive(Debug, Default)]
pub struct Card {
    /// Its entries, by partition and offset.
    pub entries: Vec<Told>,
    /// Where its records lie, events too, and the offset of the first in each.
    pub lanes: BTreeMap<TopicPartition, i64>,
    /// The record timestamp of the last.
    pub last: Option<Timestamp>,
}

/// A workspace, and what is named within it.
pub type Name = (String, String);

/// What the topics hold.
#[derive(Debug, Default)]
pub struct Truth {
    pub cards: BTreeMap<Name, Card>,
    pub runs: BTreeMap<Name, Run>,
    /// Where every partition begins and ends.
    pub ends: BTreeMap<TopicPartition, (i64, i64)>,
    /// How many entries there are.
    pub entries: usize,
    /// How many records can't be decoded.
    pub rejects: usize,
}

impl Truth {
    /// Reads all topics from their starts to their ends, as of now.
    pub async fn read(settings: &KafkaSettings) -> Truth {
        let settings = settings.clone();
        tokio::task::spawn_blocking(move || read(&settings)).await.unwrap()
    }

    /// The workspaces in which anything was written.
    pub fn workspaces(&self) -> BTreeSet<&str> {
        self.cards.keys().map(|(workspace, _)| workspace.as_str()).collect()
    }

    fn take(&mut self, schemas: &Schemas, partition: TopicPartition, message: &BorrowedMessage<'_>) {
        let recorded = Timestamp(message.timestamp().to_millis().unwrap());
        let id = format!("{partition}@{}", message.offset());
        let defaults = Defaults { timestamp: recorded, id: &id };
        let (key, payload) = (message.key(), message.payload().unwrap_or_default());
        let at = (partition, message.offset());
        if partition.topic == Topic::RunEvents {
            let Ok(event) = decode_event(schemas, key, payload, defaults) else { return self.rejects += 1 };
            let event = event.record;
            let (workspace, card, run) = (&*event.workspace_id, &*event.card_id, &*event.run_id);
            self.card(workspace, card).see(at, recorded);
            self.run(workspace, run, card, at, recorded).event(&event, recorded);
            return;
        }
        let Ok(entry) = decode_entry(schemas, key, payload, defaults) else { return self.rejects += 1 };
        let told = Told { partition, epoch: 0, offset: message.offset(), recorded, hash: hash(&entry.body) };
        let entry = entry.record;
        let (workspace, card, run) = (&*entry.workspace_id, &*entry.card_id, &*entry.run_id);
        self.entries += 1;
        let of_card = self.card(workspace, card);
        of_card.see(at, recorded);
        of_card.entries.push(told);
        let of_run = self.run(workspace, run, card, at, recorded);
        of_run.entry(&entry, recorded);
        self.runs.get_mut(&(workspace.to_owned(), run.to_owned())).unwrap().entries.push(told);
    }

    fn card(&mut self, workspace: &str, card: &str) -> &mut Card {
        self.cards.entry((workspace.to_owned(), card.to_owned())).or_default()
    }

    fn run(
        &mut self,
        workspace: &str,
        run: &str,
        card: &str,
        (partition, offset): (TopicPartition, i64),
        recorded: Timestamp,
    ) -> &mut RunInPartition {
        let run = self.runs.entry((workspace.to_owned(), run.to_owned())).or_default();
        run.parts.entry(partition).or_insert_with(|| RunInPartition::new(card, offset, recorded))
    }
}

impl Card {
    fn see(&mut self, (partition, offset): (TopicPartition, i64), recorded: Timestamp) {
        self.lanes.entry(partition).or_insert(offset);
        self.last = self.last.max(Some(recorded));
    }
}

fn read(settings: &KafkaSettings) -> Truth {
    let consumer = consumer(&settings.brokers);
    let schemas = Schemas::builtin();
    let mut truth = Truth::default();
    for topic in Topic::ALL {
        let name = settings.topics.name(topic);
        let metadata = consumer.fetch_metadata(Some(&name), PATIENCE).unwrap();
        let mut assignment = TopicPartitionList::new();
        let mut open = BTreeSet::new();
        for partition in metadata.topics()[0].partitions() {
            let Watermarks { low, high } = watermarks_of(&consumer, &name, partition.id()).unwrap();
            truth.ends.insert(TopicPartition::new(topic, partition.id()), (low, high));
            if low < high {
                assignment.add_partition_offset(&name, partition.id(), Offset::Offset(low)).unwrap();
                open.insert(partition.id());
            }
        }
        if open.is_empty() {
            continue;
        }
        consumer.assign(&assignment).unwrap();
        read_topic(&consumer, schemas, topic, open, &mut truth);
    }
    // Records came partition by partition, but not one partition after the other.
    truth.cards.values_mut().for_each(|card| card.entries.sort_unstable());
    truth.runs.values_mut().for_each(|run| run.entries.sort_unstable());
    truth
}

fn read_topic(consumer: &BaseConsumer, schemas: &Schemas, topic: Topic, mut open: BTreeSet<i32>, truth: &mut Truth) {
    let mut last_seen = Instant::now();
    while !open.is_empty() {
        assert!(last_seen.elapsed() < PATIENCE, "{topic} has no end in partitions {open:?}");
        let message = match consumer.poll(Duration::from_millis(100)) {
            None => continue,
            Some(Ok(message)) => message,
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
                continue;
            }
            Some(Err(error)) => panic!("{topic}: {error}"),
        };
        last_seen = Instant::now();
        truth.take(schemas, TopicPartition::new(topic, message.partition()), &message);
    }
}
