//! The partition runtime on real Kafka, with sinks in memory.

mod cut_back;
mod election;
mod epochs;
mod faults;
mod markers;
mod members;
mod restart;
mod room;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::KafkaSettings;
use agentworks_processors::runtime::testing::Memory;
use agentworks_processors::runtime::{LaneState, Runtime, RuntimeConfig, RuntimeHandle};
use agentworks_schemas::{Topic, TopicPartition, Topics};
use agentworks_store::{EmbeddedStore, Store};

use crate::support::records::{create_topics, produce, read_all};
use crate::support::{Scratch, eventually, kafka, unique_prefix};

const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 4;
/// Of both topics of logs.
const ALL: usize = 2 * PARTITIONS as usize;
const LANE: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };

/// Topics of a test's own, and what is produced to them.
struct Log {
    settings: KafkaSettings,
    /// Where epochs are recorded.
    store: Arc<dyn Store>,
    _folder: Scratch,
    produced: usize,
}

impl Log {
    async fn new() -> Self {
        Self::at(&kafka().await.bootstrap()).await
    }

    async fn at(bootstrap: &str) -> Self {
        Self::of(bootstrap, create_topics(bootstrap, &unique_prefix(), PARTITIONS).await)
    }

    /// Topics that have been made.
    fn of(bootstrap: &str, topics: Topics) -> Self {
        let folder = Scratch::new("runtime");
        let store = Arc::new(EmbeddedStore::open(folder.path()).unwrap());
        Log { settings: KafkaSettings::new(bootstrap, topics), store, _folder: folder, produced: 0 }
    }

    /// Produces entries, spread over the topics of logs and their partitions.
    async fn produce(&mut self, count: usize) {
        for topic in Topic::LOGS {
            let name = self.settings.topics.name(topic);
            let entries = (self.produced..self.produced + count).map(|n| {
                let card = format!("card-{}", n % 23);
                let json = format!(
                    r#"{{"id":"{n}","runId":"run","cardId":"{card}","workspaceId":"space","message":"a line of text"}}"#
                );
                (card, json)
            });
            produce(&self.settings.brokers, &name, entries).await;
        }
        self.produced += count;
    }

    /// A runtime that feeds sinks of these memories.
    fn start(&self, memories: &[&Memory]) -> RuntimeHandle {
        Runtime::start(self.config(memories)).unwrap()
    }

    fn config(&self, memories: &[&Memory]) -> RuntimeConfig {
        let sinks = memories.iter().map(|memory| memory.sink(&Topic::LOGS)).collect();
        let group = format!("{}store", self.settings.topics.prefix());
        let look = Duration::from_millis(200);
        RuntimeConfig { look, ..RuntimeConfig::new(self.settings.clone(), group, self.store.clone(), sinks) }
    }

    /// The payloads on the log, by partition and offset.
    async fn contents(&self) -> BTreeMap<TopicPartition, Vec<(i64, String)>> {
        let mut contents: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for topic in Topic::LOGS {
            for record in read_all(&self.settings.brokers, &self.settings.topics.name(topic)).await {
                let lane = contents.entry(TopicPartition::new(topic, record.partition)).or_default();
                lane.push((record.offset, record.text().to_owned()));
            }
        }
        contents
    }

    /// Waits until the memories hold all of the log, and makes sure that each has every record once.
    async fn held_by(&self, memories: &[&Memory]) {
        let contents = self.contents().await;
        for memory in memories {
            for (partition, lines) in &contents {
                let end = lines.last().map_or(0, |(offset, _)| offset + 1);
                eventually(PATIENCE, async || memory.held(*partition).filter(|(_, high)| *high >= end)).await;
                let records = memory.records(*partition);
                assert_eq!(records.len(), lines.len(), "{partition}");
                for ((offset, id), (expected, line)) in records.iter().zip(lines) {
                    assert_eq!(offset, expected);
                    assert!(line.contains(&format!(r#""id":"{id}""#)), "{partition}@{offset}: {id} is not of {line}");
                }
            }
            assert_eq!(memory.problems(), [] as [String; 0]);
        }
    }
}

/// Waits until a runtime reads so many partitions.
async fn reads(runtime: &RuntimeHandle, partitions: usize) {
    eventually(PATIENCE, async || (runtime.is_ready() && runtime.status().lanes.len() == partitions).then_some(()))
        .await;
}

/// The partitions that have stopped, and why.
fn stopped(runtime: &RuntimeHandle) -> Vec<(TopicPartition, String)> {
    let lanes = runtime.status().lanes.into_iter();
    lanes
        .filter_map(|lane| match lane.state {
            LaneState::Stopped(reason) => Some((lane.partition, reason)),
            _ => None,
        })
        .collect()
}
