//! What lies in the topics, decoded.

use agentworks_load::{Observed, hash};
use agentworks_schemas::codec::{Decoded, Defaults, Schemas, decode_entry, decode_event};
use agentworks_schemas::{LogEntry, RunEvent, Timestamp, Topic, TopicPartition, Topics};

use crate::support::records::{Record, read_all};

const NOTHING_LEFT_OUT: Defaults<'_> = Defaults { timestamp: Timestamp(0), id: "left out" };

/// An entry in the log.
#[derive(Clone, Debug)]
pub struct Written {
    pub partition: i32,
    pub offset: i64,
    pub entry: LogEntry<'static>,
}

/// All entries of a topic, by partition and offset.
pub async fn entries(bootstrap: &str, topics: &Topics, topic: Topic) -> Vec<Written> {
    let records = read_all(bootstrap, &topics.name(topic)).await;
    let written = |record: Record| Written {
        partition: record.partition,
        offset: record.offset,
        entry: entry(&record).record.into_owned(),
    };
    records.into_iter().map(written).collect()
}

/// What the entries of one card say, in the order of the log.
pub async fn messages(bootstrap: &str, topics: &Topics, card: &str) -> Vec<String> {
    let entries = entries(bootstrap, topics, Topic::AgentLogs).await;
    let of_card = entries.into_iter().filter(|written| written.entry.card_id == card);
    of_card.map(|written| written.entry.message.to_string()).collect()
}

/// All run events, by partition and offset.
pub async fn events(bootstrap: &str, topics: &Topics) -> Vec<RunEvent<'static>> {
    let records = read_all(bootstrap, &topics.name(Topic::RunEvents)).await;
    records.iter().map(|record| event(record).record.into_owned()).collect()
}

/// All topics, as the ledger's checker wants them.
pub async fn observed(bootstrap: &str, topics: &Topics) -> Vec<Observed> {
    let mut observed = Vec::new();
    for topic in Topic::ALL {
        for record in read_all(bootstrap, &topics.name(topic)).await {
            let (id, hash) = match topic {
                Topic::RunEvents => event(&record).hashed(|event| event.id.to_string()),
                _ => entry(&record).hashed(|entry| entry.id.to_string()),
            };
            let partition = TopicPartition::new(topic, record.partition);
            observed.push(Observed { partition, offset: record.offset, id, hash });
        }
    }
    observed
}

fn entry(record: &Record) -> Decoded<'_, LogEntry<'_>> {
    let payload = record.payload.as_deref().unwrap();
    decode_entry(Schemas::builtin(), record.key.as_deref(), payload, NOTHING_LEFT_OUT).unwrap()
}

fn event(record: &Record) -> Decoded<'_, RunEvent<'_>> {
    let payload = record.payload.as_deref().unwrap();
    decode_event(Schemas::builtin(), record.key.as_deref(), payload, NOTHING_LEFT_OUT).unwrap()
}

trait Hashed<T> {
    fn hashed(self, id: impl FnOnce(&T) -> String) -> (String, u64);
}

impl<T> Hashed<T> for Decoded<'_, T> {
    fn hashed(self, id: impl FnOnce(&T) -> String) -> (String, u64) {
        (id(&self.record), hash(&self.body))
    }
}
