//! What a sink holds of a partition, and where that is kept.
//!
//! Along a partition runs a *clock*: the greatest record timestamp so far. It is a function of the log, so whoever takes
//! a record again, however often and in whatever batches, finds it in the same *bucket* of time.

mod expiry;
mod position;
#[cfg(test)]
mod tests;

use std::time::Duration;

use agentworks_kafka::Batch;
use agentworks_schemas::{Timestamp, TopicPartition};

pub use expiry::{BUCKET, MARGIN};
pub use position::{POSITIONS, begin, load, publish};

use crate::sink::SinkError;

/// What a sink holds of one partition: every entry in `[low, high)`, and possibly some beyond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The partition.
    pub partition: TopicPartition,
    /// Which making of its topic.
    pub epoch: u32,
    /// The first offset that is held. It moves up as old data expires, ahead of the expiry by a margin.
    pub low: i64,
    /// The first offset that isn't held yet: where the sink goes on.
    pub high: i64,
    /// The partition's clock at `high`: the running maximum of its record timestamps.
    pub clock: Timestamp,
    /// Where each bucket of time began: (the clock's bucket number, first offset), ascending, from the one that `low`
    /// lies in. A bucket number is the clock divided by [`BUCKET`].
    ///
    /// Empty where nothing expires.
    pub buckets: Vec<(i64, i64)>,
    /// How long entries are kept after the end of their bucket, in milliseconds; `None` if they don't expire.
    pub ttl: Option<i64>,
}

impl Held {
    /// Nothing yet, from `start` on.
    pub fn new(partition: TopicPartition, epoch: u32, start: i64, ttl: Option<Duration>) -> Self {
        let ttl = ttl.map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 4));
        Held { partition, epoch, low: start, high: start, clock: Timestamp(0), buckets: Vec::new(), ttl }
    }

    /// The version of the position's row: greater wherever more of the log is known. See DESIGN: `epoch << 44 | offset`.
    pub fn version(&self) -> i64 {
        version(self.epoch, self.high)
    }

    /// Goes past the record at `offset`. Returns the number of the bucket that it lies in.
    pub fn observe(&mut self, offset: i64, timestamp: Timestamp) -> i64 {
        self.high = offset + 1;
        self.clock = self.clock.max(timestamp);
        let bucket = expiry::bucket(self.clock);
        if self.ttl.is_some() && self.buckets.last().is_none_or(|(last, _)| *last < bucket) {
            self.buckets.push((bucket, offset));
        }
        bucket
    }

    /// The same as it was at an earlier offset, where the clock stood at `clock`.
    pub fn back_to(&self, high: i64, clock: Timestamp) -> Held {
        let buckets = self.buckets.iter().copied().filter(|(_, first)| *first < high).collect();
        Held { high, clock, buckets, low: self.low.min(high), ..self.clone() }
    }

    /// Whether the batch, of which what lies below `high` has been taken, has anything beyond.
    ///
    /// # Errors
    /// If the batch doesn't follow on what has been taken.
    pub fn is_new(&self, batch: &Batch) -> Result<bool, SinkError> {
        let partition = self.partition;
        if batch.epoch != self.epoch {
            let reason = format!("a batch of epoch {}, while epoch {} is open", batch.epoch, self.epoch);
            return Err(SinkError::Position { partition, reason });
        }
        if batch.from > self.high {
            let reason = format!("a batch from {}, while {} is next", batch.from, self.high);
            return Err(SinkError::Position { partition, reason });
        }
        Ok(batch.to > self.high)
    }
}

/// The version of what is known of the log up to `offset`: it grows with the log, and from one making of a topic to the
/// next.
pub fn version(epoch: u32, offset: i64) -> i64 {
    i64::from(epoch) << 44 | offset
}
