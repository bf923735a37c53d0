//! Buckets of time, and when what lies in them expires.
//!
//! Rows expire by the store's clock, whether or not a sink is there to move `low`. So readers don't trust a published
//! `low` alone: they work out by their own clock which buckets may still be relied on ([`Held::low_at`]). Rows outlive
//! that by [`MARGIN`], so that a reader that has just asked isn't overtaken by the expiry, nor by a small difference
//! between two machines' clocks.

use std::ops::Range;

use agentworks_schemas::Timestamp;

use super::Held;

/// How long an hour is, in milliseconds: the grain of time buckets.
pub const BUCKET: i64 = 3_600_000;

/// How long rows outlive their being relied on, in milliseconds.
pub const MARGIN: i64 = BUCKET;

/// The number of the bucket in which an instant lies.
pub(super) fn bucket(clock: Timestamp) -> i64 {
    clock.millis().div_euclid(BUCKET)
}

/// The instant until which what lies in a bucket may be relied on.
fn relied_on_until(bucket: i64, ttl: i64) -> i64 {
    (bucket + 1).saturating_mul(BUCKET).saturating_add(ttl)
}

impl Held {
    /// When the rows of a bucket expire, in milliseconds since the Unix epoch; `None` for never.
    pub fn expires(&self, bucket: i64) -> Option<i64> {
        self.ttl.map(|ttl| relied_on_until(bucket, ttl).saturating_add(MARGIN))
    }

    /// The first offset that may be relied on at `now`.
    pub fn low_at(&self, now: Timestamp) -> i64 {
        let Some(ttl) = self.ttl else { return self.low };
        let is_gone = |(bucket, _): &(i64, i64)| relied_on_until(*bucket, ttl) <= now.millis();
        match self.buckets.iter().position(|bucket| !is_gone(bucket)) {
            Some(0) => self.low,
            Some(index) => self.low.max(self.buckets[index].1),
            None if self.buckets.is_empty() => self.low,
            None => self.high,
        }
    }

    /// Moves `low` to where it is at `now`, and forgets the buckets below.
    pub fn expire(&mut self, now: Timestamp) {
        let low = self.low_at(now);
        if low > self.low {
            self.low = low;
            self.buckets.retain(|(_, first)| *first >= low);
        }
    }

    /// The buckets that offsets of a range lie in, ascending: each one's number, and which of the offsets lie in it.
    pub fn buckets_of(&self, offsets: Range<i64>) -> Vec<(i64, Range<i64>)> {
        let ends = self.buckets.iter().skip(1).map(|(_, first)| *first).chain([i64::MAX]);
        let buckets = self.buckets.iter().zip(ends);
        let within = buckets.map(|((bucket, first), end)| (*bucket, offsets.start.max(*first)..offsets.end.min(end)));
        within.filter(|(_, offsets)| !offsets.is_empty()).collect()
    }
}
