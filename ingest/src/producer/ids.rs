//! Ids for entries: UUIDv7 at a rate of millions a second.

use agentworks_schemas::Timestamp;
use uuid::fmt::Hyphenated;
use uuid::{Builder, Uuid};

/// Makes UUIDv7 that only ever grow. The system's random source is asked once, when it is made: a call for every id would
/// cost more than the rest of sending an entry.
#[derive(Debug)]
pub(crate) struct Ids {
    /// The millisecond of the last id, and how many were made in it.
    millis: u64,
    count: u16,
    /// The state of a SplitMix64, which gives the 62 random bits.
    random: u64,
}

/// RFC 9562 leaves 12 bits beside the time; they count within a millisecond.
const COUNTS: u16 = 1 << 12;

impl Ids {
    pub(crate) fn new() -> Self {
        let seed = Uuid::new_v4().as_u128();
        Ids { millis: 0, count: 0, random: (seed >> 64) as u64 ^ seed as u64 }
    }

    /// The id after the last one. When more than 4,096 are asked for in a millisecond, or the clock goes back, the id's
    /// time runs ahead of the clock.
    fn next(&mut self, now: Timestamp) -> Uuid {
        let now = u64::try_from(now.millis()).unwrap_or(0);
        if now > self.millis {
            (self.millis, self.count) = (now, 0);
        } else {
            self.count += 1;
            if self.count == COUNTS {
                (self.millis, self.count) = (self.millis + 1, 0);
            }
        }
        let mut rest = [0; 10];
        rest[..2].copy_from_slice(&self.count.to_be_bytes());
        rest[2..].copy_from_slice(&self.bits().to_be_bytes());
        Builder::from_unix_timestamp_millis(self.millis, &rest).into_uuid()
    }

    /// The same, as text.
    pub(crate) fn next_text(&mut self, now: Timestamp) -> String {
        let mut text = [0; Hyphenated::LENGTH];
        self.next(now).as_hyphenated().encode_lower(&mut text).to_owned()
    }

    fn bits(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_whatever_the_clock_does() {
        let mut ids = Ids::new();
        let start = 1_764_670_530_000;
        let clock = (0..10_000).map(|_| start).chain([start + 2, start - 5000, start + 50]);
        let made: Vec<Uuid> = clock.map(|millis| ids.next(Timestamp(millis))).collect();
        assert!(made.is_sorted_by(|a, b| a < b));
        assert!(made.iter().all(|id| id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122));
        let last = made[made.len() - 1].get_timestamp().map(|time| time.to_unix());
        assert_eq!(last, Some((1_764_670_530, 50_000_000)));
    }

    #[test]
    fn two_sources_differ() {
        let now = Timestamp(1_764_670_530_000);
        assert_ne!(Ids::new().next(now), Ids::new().next(now));
    }
}
