//! Buckets of time, and of bounded size.
//!
//! A bucket is what lies together in the store: a stretch of time, of an hour or a day, in as many *parts* as it takes
//! for none to grow beyond a limit of bytes. Its number is the stretch's, shifted, plus the part's, so that numbers grow
//! with the offsets.

use agentworks_schemas::Timestamp;

/// An hour in milliseconds: the grain of hot's buckets.
pub const HOUR: i64 = 3_600_000;

/// A day in milliseconds: the grain of warm's.
pub const DAY: i64 = 24 * HOUR;

/// How many bits of a bucket's number are its part's. At 512 MiB a part that is 512 TiB a stretch; the stretch itself
/// has room for any timestamp there is.
const PART_BITS: u32 = 20;
const LAST_PART: i64 = (1 << PART_BITS) - 1;

/// Where a partition stands, as far as that follows from its records: a function of the log and of where the sink began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Clock {
    /// The running maximum of the record timestamps.
    pub time: Timestamp,
    /// The number of the bucket that the last record lies in.
    pub bucket: i64,
    /// How many bytes of records that bucket has been given.
    pub filled: u64,
}

impl Clock {
    /// Goes past a record. Returns the number of its bucket.
    ///
    /// A bucket takes records until it has `limit` bytes, so that it never has more than that and one record.
    pub(super) fn pass(&mut self, timestamp: Timestamp, bytes: u64, grain: i64, limit: u64) -> i64 {
        self.time = self.time.max(timestamp);
        let first_part = self.time.millis().div_euclid(grain) << PART_BITS;
        if self.bucket < first_part {
            (self.bucket, self.filled) = (first_part, 0);
        } else if self.filled >= limit && self.bucket & LAST_PART < LAST_PART {
            (self.bucket, self.filled) = (self.bucket + 1, 0);
        }
        self.filled += bytes;
        self.bucket
    }
}

/// The instant at which a bucket's stretch of time ends, in milliseconds since the Unix epoch.
pub(super) fn end_of(bucket: i64, grain: i64) -> i64 {
    ((bucket >> PART_BITS) + 1).saturating_mul(grain)
}

/// The number of the first bucket of an instant.
pub(crate) fn bucket_of(time: Timestamp, grain: i64) -> i64 {
    time.millis().div_euclid(grain) << PART_BITS
}
