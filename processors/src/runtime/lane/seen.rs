//! Records of a partition that were seen.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use agentworks_kafka::Fingerprint;

/// How far records that are remembered lie apart, at least, as long as they are few.
const GRAIN: Duration = Duration::from_secs(1);

/// So many are remembered; of more, every other is forgotten, and those to come lie twice as far apart.
const MOST: usize = 128;

/// The last record that came of a partition, and some before it, of which the sinks hold one day the last.
#[derive(Debug)]
pub(in crate::runtime) struct Seen {
    last: Option<Fingerprint>,
    /// Ascending, with when each came.
    some: VecDeque<(Instant, Fingerprint)>,
    grain: Duration,
}

impl Default for Seen {
    fn default() -> Self {
        Seen { last: None, some: VecDeque::new(), grain: GRAIN }
    }
}

impl Seen {
    /// Notes a record.
    pub(in crate::runtime) fn note(&mut self, record: Fingerprint, now: Instant) {
        self.last = Some(record);
        if self.some.back().is_none_or(|(at, _)| now - *at >= self.grain) {
            if self.some.len() == MOST {
                let mut number = 0;
                self.some.retain(|_| {
                    number += 1;
                    number % 2 == 1
                });
                self.grain *= 2;
            }
            self.some.push_back((now, record));
        }
    }

    /// The last record that came.
    pub(in crate::runtime) fn last(&self) -> Option<Fingerprint> {
        self.last
    }

    /// The last record below `held` that is remembered. What lies before it is forgotten.
    pub(in crate::runtime) fn below(&mut self, held: i64) -> Option<Fingerprint> {
        if let Some(last) = self.last.filter(|last| last.offset < held) {
            return Some(last);
        }
        while self.some.get(1).is_some_and(|(_, next)| next.offset < held) {
            self.some.pop_front();
        }
        if self.some.len() == 1 {
            self.grain = GRAIN;
        }
        self.some.front().map(|(_, first)| *first).filter(|first| first.offset < held)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn record(offset: i64) -> Fingerprint {
        serde_json::from_value(json!({"offset": offset, "timestamp": 0, "hash": 1})).unwrap()
    }

    fn below(seen: &mut Seen, held: i64) -> Option<i64> {
        seen.below(held).map(|record| record.offset)
    }

    #[test]
    fn the_last_that_is_held_is_known_by_the_second() {
        let (mut seen, begun) = (Seen::default(), Instant::now());
        assert_eq!(below(&mut seen, 5), None);
        for offset in 0..100 {
            seen.note(record(offset), begun + Duration::from_millis(100) * u32::try_from(offset).unwrap());
        }
        assert_eq!(seen.last(), Some(record(99)));
        assert_eq!(below(&mut seen, 0), None);
        assert_eq!(below(&mut seen, 1), Some(0));
        assert_eq!(below(&mut seen, 25), Some(20));
        assert_eq!(below(&mut seen, 99), Some(90));
        assert_eq!(below(&mut seen, 100), Some(99));
        assert_eq!(seen.some.len(), 1);
    }

    #[test]
    fn what_is_not_held_for_long_takes_little_memory() {
        let (mut seen, begun) = (Seen::default(), Instant::now());
        for offset in 0..10_000 {
            seen.note(record(offset), begun + GRAIN * u32::try_from(offset).unwrap());
        }
        assert!(seen.some.len() <= MOST);
        assert_eq!(below(&mut seen, 1), Some(0), "the first is the one that is held first");
        assert!(below(&mut seen, 5000).is_some_and(|offset| offset > 4800));
    }
}
