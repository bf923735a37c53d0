//! Positions in the store.

use agentworks_schemas::{Timestamp, Topic, TopicPartition};
use agentworks_store::{Column, Key, Part, Row, Scan, Store, StoreError, Table};
use serde::{Deserialize, Serialize};

use super::{Clock, Held, Keep, Terms};
use crate::blocks::table::json;
use crate::epochs::forgotten;
use crate::sink::SinkError;

/// The positions of all sinks: `sink, topic, partition` → [`Held`].
pub const POSITIONS: Table = Table {
    name: "positions",
    partition: &[Column::text("sink")],
    clustering: &[Column::text("topic"), Column::int("partition")],
    versioned: true,
};

/// What a position's row holds, as JSON.
#[derive(Serialize, Deserialize)]
struct Stored {
    epoch: u32,
    #[serde(default)]
    began: i64,
    low: i64,
    high: i64,
    clock: i64,
    /// Not in a row of before buckets had a bound, nor is `terms`.
    #[serde(default)]
    bucket: i64,
    #[serde(default)]
    filled: u64,
    #[serde(default)]
    buckets: Vec<(i64, i64)>,
    #[serde(default)]
    terms: Option<Terms>,
    /// Only in a row of before retention was by workspace.
    #[serde(default, skip_serializing)]
    ttl: Option<i64>,
}

fn key(sink: &str, partition: TopicPartition) -> Key {
    Key { partition: vec![sink.into()], clustering: parts_of(partition).into() }
}

/// A partition as columns: its topic, its number.
pub(crate) fn parts_of(partition: TopicPartition) -> [Part; 2] {
    [partition.topic.as_str().into(), i64::from(partition.partition).into()]
}

/// The partition of such columns.
pub(crate) fn partition_of(parts: &[Part]) -> Option<TopicPartition> {
    let [Part::Text(topic), Part::Int(number)] = parts else { return None };
    Some(TopicPartition::new(Topic::named(topic)?, i32::try_from(*number).ok()?))
}

/// Loads what `sink` holds of `partition`; `None` if it never began.
pub async fn load(store: &dyn Store, sink: &str, partition: TopicPartition) -> Result<Option<Held>, StoreError> {
    let row = store.get(&POSITIONS, &key(sink, partition)).await?;
    row.map(|row| read(sink, partition, &row)).transpose()
}

/// Loads what `sink` holds of all partitions, by partition.
pub(crate) async fn load_all(store: &dyn Store, sink: &str) -> Result<Vec<Held>, StoreError> {
    let mut all = Vec::new();
    for row in store.scan(Scan::partition(&POSITIONS, vec![sink.into()])).await? {
        if let Some(partition) = partition_of(&row.clustering) {
            all.push(read(sink, partition, &row)?);
        }
    }
    Ok(all)
}

fn read(sink: &str, partition: TopicPartition, row: &Row) -> Result<Held, StoreError> {
    let stored: Stored = serde_json::from_slice(&row.payload)
        .map_err(|error| StoreError::Failed(format!("the position of {sink} in {partition} is damaged: {error}")))?;
    let Stored { epoch, began, mut low, high, clock, bucket, filled, mut buckets, terms, ttl } = stored;
    if terms.is_none() && ttl.is_some() {
        // It speaks of tables that are not read any more.
        low = high;
        buckets.clear();
    }
    let clock = Clock { time: Timestamp(clock), bucket, filled };
    Ok(Held { partition, epoch, began, low, high, clock, buckets, terms })
}

/// Publishes what `sink` holds. Call it after the data is durable. Where the store knows a later position already, that
/// one stays: the writer has been overtaken, and what it wrote does no harm.
pub async fn publish(store: &dyn Store, sink: &str, held: &[Held]) -> Result<(), StoreError> {
    let write = |held: &Held| {
        let &Held { partition, epoch, began, low, high, clock, ref buckets, ref terms } = held;
        let Clock { time, bucket, filled } = clock;
        let (buckets, terms) = (buckets.clone(), terms.clone());
        let clock = time.millis();
        let stored = Stored { epoch, began, low, high, clock, bucket, filled, buckets, terms, ttl: None };
        json(&POSITIONS, key(sink, partition), held.version(), &stored)
    };
    store.write(held.iter().map(write).collect::<Result<_, StoreError>>()?).await
}

/// Where `sink` goes on in a partition. If it never began there, or if the topic has been made again since, it begins at
/// `log_start`, and the empty range is published. What is kept from there on is kept as `keep` says.
///
/// # Errors
/// If what is stored and the log don't fit together; or the store's.
pub async fn begin(
    store: &dyn Store,
    sink: &str,
    partition: TopicPartition,
    epoch: u32,
    log_start: i64,
    keep: Option<&Keep>,
) -> Result<Held, SinkError> {
    let fresh = Held::new(partition, epoch, log_start, keep);
    let mut held = match load(store, sink, partition).await? {
        Some(held) if held.epoch == epoch => held,
        Some(held) if held.epoch > epoch => {
            let reason = forgotten(sink, held.epoch, partition.topic, epoch);
            return Err(SinkError::Position { partition, reason });
        }
        _ => {
            publish(store, sink, std::slice::from_ref(&fresh)).await?;
            return Ok(fresh);
        }
    };
    if held.high < log_start {
        let reason = format!(
            "{sink} has taken all below {}, and the log begins at {log_start}: records between were deleted untaken. \
             Lengthen the retention; `agentworks topics adopt {} --skip-lost` goes on without them",
            held.high, partition.topic
        );
        return Err(SinkError::Position { partition, reason });
    }
    match (keep, &mut held.terms) {
        (Some(keep), Some(terms)) if terms.grain == keep.grain => terms.change(&keep.retention, held.high),
        (None, None) => {}
        // What is held was written in another way: nothing of it is relied on any more.
        _ => {
            held.terms = keep.map(|keep| Terms::new(keep, held.high));
            held.low = held.high;
            held.buckets.clear();
            held.clock = Clock { time: held.clock.time, ..Clock::default() };
        }
    }
    Ok(held)
}
