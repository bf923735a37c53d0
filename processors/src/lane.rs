//! What a sink holds of a partition, and where that is kept.
//!
//! Along a partition runs a [`Clock`]: the greatest record timestamp so far, the *bucket* of time that it stands in, and
//! how many bytes that bucket has been given. It is a function of the log, so whoever takes a record again, however
//! often and in whatever batches, finds it in the same bucket.
//!
//! - `clock`: buckets of time, and of bounded size.
//! - `retention`: how long what lies in them is kept, by workspace, and since which offset that has been so.
//! - `expiry`: from which offset on a tier may be relied on.
//! - `position`: all of that in the store.

mod clock;
mod expiry;
mod position;
mod retention;
#[cfg(test)]
mod tests;

use std::time::Duration;

use agentworks_kafka::Batch;
use agentworks_schemas::{Timestamp, TopicPartition};

#[cfg(test)]
pub(crate) use clock::bucket_of;
pub use clock::{Clock, DAY, HOUR};
pub use expiry::{MARGIN, Span};
pub use position::{POSITIONS, begin, load, publish};
pub(crate) use position::{load_all, partition_of, parts_of};
pub use retention::{Keep, Retention, Term, Terms};

use crate::sink::SinkError;

/// A sink that catches up publishes its position as often, by the log's own clock, as one that takes records as they are
/// written, but not more often than this, if it has rows to write.
pub(crate) const CATCHING_UP: Duration = Duration::from_secs(1);

/// Whether what is due at this age is due, which has waited for so long by the machine's clock, and for so much of the
/// log's own. Who catches up has taken as much by then as who takes records as they are written, and doesn't begin anew
/// after each fault; but it waits for `least`.
pub fn is_due(age: Duration, least: Duration, waited: Duration, passed: Duration) -> bool {
    waited >= age || (waited >= least && passed >= age)
}

/// What a sink holds of one partition: every entry in `[low, high)`, and possibly some beyond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The partition.
    pub partition: TopicPartition,
    /// Which making of its topic.
    pub epoch: u32,
    /// Where the sink began: it never saw what lay before, which is not to say that there was nothing. 0 in positions of
    /// before this was kept.
    pub began: i64,
    /// The first offset that is held, of the workspaces whose entries are kept longest. It moves up as old data expires,
    /// ahead of the expiry by a margin. A workspace's own is [`Held::low_at`].
    pub low: i64,
    /// The first offset that isn't held yet: where the sink goes on.
    pub high: i64,
    /// The partition's clock at `high`.
    pub clock: Clock,
    /// Where each bucket began: (its number, first offset), ascending in both, from the one that `low` lies in.
    ///
    /// Empty where nothing expires.
    pub buckets: Vec<(i64, i64)>,
    /// How long entries are kept; `None` if they don't expire.
    pub terms: Option<Terms>,
}

impl Held {
    /// Nothing yet, from `start` on.
    pub fn new(partition: TopicPartition, epoch: u32, start: i64, keep: Option<&Keep>) -> Self {
        let terms = keep.map(|keep| Terms::new(keep, start));
        let (clock, buckets) = (Clock::default(), Vec::new());
        Held { partition, epoch, began: start, low: start, high: start, clock, buckets, terms }
    }

    /// The version of the position's row: greater wherever more of the log is known. See DESIGN: `epoch << 44 | offset`.
    pub fn version(&self) -> i64 {
        version(self.epoch, self.high)
    }

    /// Goes past the record at `offset`, which takes no room in a bucket.
    pub fn observe(&mut self, offset: i64, timestamp: Timestamp) {
        self.place(offset, timestamp, 0, u64::MAX);
    }

    /// Goes past the record at `offset`, of so many bytes. Returns the number of the bucket that it lies in: a new one
    /// where the clock enters the next stretch of time, or where the last one has been given `limit` bytes.
    pub fn place(&mut self, offset: i64, timestamp: Timestamp, bytes: u64, limit: u64) -> i64 {
        self.high = offset + 1;
        let grain = self.terms.as_ref().map_or(HOUR, |terms| terms.grain);
        let bucket = self.clock.pass(timestamp, bytes, grain, limit);
        if self.terms.is_some() && self.buckets.last().is_none_or(|(last, _)| *last < bucket) {
            self.buckets.push((bucket, offset));
        }
        bucket
    }

    /// The same as it was at an earlier offset, where the clock stood at `clock`.
    pub fn back_to(&self, high: i64, clock: Clock) -> Held {
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
