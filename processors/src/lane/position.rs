//! Positions in the store.

use std::time::Duration;

use agentworks_schemas::{Timestamp, TopicPartition};
use agentworks_store::{Column, Key, Store, StoreError, Table, Write};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Held;
use crate::sink::SinkError;

/// The positions of all sinks: `sink, topic, partition` → [`Held`].
pub const POSITIONS: Table = Table {
    name: "positions",
    partition: &[Column::text("sink")],
    clustering: &[Column::text("topic"), Column::int("partition")],
    versioned: true,
};

/// What a position's row holds, as JSON: there are few of them, and people look at them.
#[derive(Serialize, Deserialize)]
struct Stored {
    epoch: u32,
    low: i64,
    high: i64,
    clock: i64,
    #[serde(default)]
    buckets: Vec<(i64, i64)>,
    #[serde(default)]
    ttl: Option<i64>,
}

fn key(sink: &str, partition: TopicPartition) -> Key {
    let clustering = vec![partition.topic.as_str().into(), i64::from(partition.partition).into()];
    Key { partition: vec![sink.into()], clustering }
}

/// Loads what `sink` holds of `partition`; `None` if it never began.
pub async fn load(store: &dyn Store, sink: &str, partition: TopicPartition) -> Result<Option<Held>, StoreError> {
    let Some(row) = store.get(&POSITIONS, &key(sink, partition)).await? else { return Ok(None) };
    let stored: Stored = serde_json::from_slice(&row.payload)
        .map_err(|error| StoreError::Failed(format!("the position of {sink} in {partition} is damaged: {error}")))?;
    let Stored { epoch, low, high, clock, buckets, ttl } = stored;
    Ok(Some(Held { partition, epoch, low, high, clock: Timestamp(clock), buckets, ttl }))
}

/// Publishes what `sink` holds. Call it after the data is durable. Where the store knows a later position already, that
/// one stays: the writer has been overtaken, and what it wrote does no harm.
pub async fn publish(store: &dyn Store, sink: &str, held: &[Held]) -> Result<(), StoreError> {
    let write = |held: &Held| {
        let &Held { partition, epoch, low, high, clock, ref buckets, ttl } = held;
        let stored = Stored { epoch, low, high, clock: clock.millis(), buckets: buckets.clone(), ttl };
        let payload = serde_json::to_vec(&stored).map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(Write {
            table: &POSITIONS,
            key: key(sink, partition),
            version: held.version(),
            expires: None,
            stats: Bytes::new(),
            payload: payload.into(),
        })
    };
    store.write(held.iter().map(write).collect::<Result<_, StoreError>>()?).await
}

/// Where `sink` goes on in a partition. If it never began there, or if the topic has been made again since, it begins at
/// `log_start`, and the empty range is published.
///
/// # Errors
/// If what is stored and the log don't fit together; or the store's.
pub async fn begin(
    store: &dyn Store,
    sink: &str,
    partition: TopicPartition,
    epoch: u32,
    log_start: i64,
    ttl: Option<Duration>,
) -> Result<Held, SinkError> {
    let fresh = Held::new(partition, epoch, log_start, ttl);
    let mut held = match load(store, sink, partition).await? {
        Some(held) if held.epoch == epoch => held,
        Some(held) if held.epoch > epoch => {
            let reason = format!("{sink} has taken epoch {} already, and is to take {epoch}", held.epoch);
            return Err(SinkError::Position { partition, reason });
        }
        _ => {
            publish(store, sink, std::slice::from_ref(&fresh)).await?;
            return Ok(fresh);
        }
    };
    if held.high < log_start {
        let reason = format!(
            "{sink} has taken all below {}, and the log begins at {log_start}: records between were deleted untaken",
            held.high
        );
        return Err(SinkError::Position { partition, reason });
    }
    if fresh.ttl.unwrap_or(i64::MAX) > held.ttl.unwrap_or(i64::MAX) {
        // What was written under the shorter one expires earlier than would now be relied on.
        held.low = held.high;
        held.buckets.clear();
    }
    held.ttl = fresh.ttl;
    Ok(held)
}
