//! By which record the log of a partition is known again.
//!
//! A log can be cut back: an election makes a broker the leader that lacks its last records. Once it has grown again past a
//! sink's position, no offset shows it, and whoever goes on there never sees what was written in place of the old records.
//! So each consumer group keeps, beside its sinks' positions, the *tail* of each partition: the last record known that one of
//! them holds. Before a partition is read again, the record at the tail's offset is compared with it.
//!
//! What is kept is written now and then, and may lag some seconds behind the positions: what was cut back behind it goes
//! unnoticed.

use agentworks_kafka::{Fingerprint, KafkaError, SeekPool, SeekRequest, Watermarks};
use agentworks_schemas::{Topic, TopicPartition};
use agentworks_store::{Column, Key, Part, Row, Scan, Store, StoreError, Table};
use serde::{Deserialize, Serialize};

use crate::blocks::table::json;
use crate::epochs::Sight;
use crate::lane::{partition_of, parts_of, version};

/// The tails: `scope, consumer group, topic, partition` → [`Tail`]. There is one scope.
pub const TAILS: Table = Table {
    name: "log_tails",
    partition: &[Column::text("scope")],
    clustering: &[Column::text("consumer_group"), Column::text("topic"), Column::int("partition")],
    versioned: true,
};

const SCOPE: &str = "tails";

/// A record that a sink of a group holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tail {
    /// In which making of the topic.
    pub(crate) epoch: u32,
    /// Under which revision of what is recorded of that.
    pub(crate) revision: u32,
    /// What it is known by.
    pub(crate) record: Fingerprint,
}

fn key(group: &str, partition: TopicPartition) -> Key {
    let [topic, number] = parts_of(partition);
    Key { partition: vec![SCOPE.into()], clustering: vec![group.into(), topic, number] }
}

/// The tail that a group keeps of a partition; `None` if it has none yet.
pub(crate) async fn load(
    store: &dyn Store,
    group: &str,
    partition: TopicPartition,
) -> Result<Option<Tail>, StoreError> {
    let row = store.get(&TAILS, &key(group, partition)).await?;
    row.map(|row| read(group, partition, &row)).transpose()
}

/// The tails that all groups keep of a topic's partitions.
pub(crate) async fn load_all(
    store: &dyn Store,
    topic: Topic,
) -> Result<Vec<(String, TopicPartition, Tail)>, StoreError> {
    let mut all = Vec::new();
    for row in store.scan(Scan::partition(&TAILS, vec![SCOPE.into()])).await? {
        let [Part::Text(group), of @ ..] = row.clustering.as_slice() else { continue };
        if let Some(partition) = partition_of(of).filter(|partition| partition.topic == topic) {
            all.push((group.clone(), partition, read(group, partition, &row)?));
        }
    }
    Ok(all)
}

fn read(group: &str, partition: TopicPartition, row: &Row) -> Result<Tail, StoreError> {
    let damaged = |error| StoreError::Failed(format!("the tail of {partition} in group {group} is damaged: {error}"));
    serde_json::from_slice(&row.payload).map_err(damaged)
}

/// Keeps tails. One that lies before the one that is there changes nothing.
pub(crate) async fn keep(store: &dyn Store, group: &str, tails: &[(TopicPartition, Tail)]) -> Result<(), StoreError> {
    let write = |(partition, tail): &(TopicPartition, Tail)| {
        json(&TAILS, key(group, *partition), version(tail.epoch, tail.record.offset), tail)
    };
    store.write(tails.iter().map(write).collect::<Result<_, StoreError>>()?).await
}

impl Tail {
    /// Whether it tells of the log that is there: one of before an operator took that as it is doesn't.
    pub(crate) fn counts(&self, sight: &Sight) -> bool {
        sight.is_of(self.epoch) && self.revision >= sight.recorded.as_is
    }

    /// Whether a partition's log, which begins and ends at `marks`, has another record in its place.
    ///
    /// Where there is none at its offset any more, retention or compaction has taken it, and nothing is known.
    pub(crate) async fn is_replaced(
        &self,
        seek: &SeekPool,
        partition: TopicPartition,
        marks: Watermarks,
    ) -> Result<bool, KafkaError> {
        let from = self.record.offset;
        if from < marks.low || from >= marks.high {
            return Ok(false);
        }
        let mut batches = seek.read(SeekRequest { partition, epoch: self.epoch, from, to: from + 1, key: None });
        while let Some(batch) = batches.recv().await {
            match batch {
                Ok(batch) => {
                    if let Some(found) = batch.last() {
                        return Ok(found != self.record);
                    }
                }
                // Retention has gone on since the log was asked where it begins.
                Err(KafkaError::OutOfRange { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// What a log that was cut back is told by, and what to do.
pub(crate) fn cut_back(partition: TopicPartition, offset: i64) -> String {
    let topic = partition.topic;
    format!(
        "the record at {offset} of {partition} is not the one that was taken: the log was cut back, and has grown again \
         since. Bring the old log back; or delete the topic, make it again, and `agentworks topics adopt {topic}` goes on \
         with that; or `agentworks topics adopt {topic} --cut-back` goes on in the log as it is, without what was written \
         in place of the old records"
    )
}
