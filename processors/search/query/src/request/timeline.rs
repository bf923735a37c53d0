//! The buckets of a timeline, and the range of time that a query demands.

use std::ops::Bound;

use agentworks_schemas::Timestamp;

use crate::ast::{Query, Test};

/// The most buckets of a timeline.
pub const MAX_BUCKETS: usize = 10_000;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Up to how long a range has buckets of which length.
const FINER: [(i64, i64); 6] = [
    (2 * MINUTE, SECOND),
    (10 * MINUTE, 5 * SECOND),
    (HOUR, 30 * SECOND),
    (4 * HOUR, MINUTE),
    (12 * HOUR, 5 * MINUTE),
    (2 * DAY, 15 * MINUTE),
];

/// The interval of a timeline over a range of time, in milliseconds: at most a few hundred buckets for up to two days, one
/// an hour beyond, and the next [`coarser`] ones where those were more than [`MAX_BUCKETS`]. Without a range it is an hour.
pub fn interval_for(from: Option<Timestamp>, to: Option<Timestamp>) -> i64 {
    let (Some(from), Some(to)) = (from, to) else { return HOUR };
    let range = to.0.saturating_sub(from.0);
    if let Some((_, interval)) = FINER.into_iter().find(|(longest, _)| range <= *longest) {
        return interval;
    }
    let mut interval = HOUR;
    while buckets(from, to, interval) > MAX_BUCKETS as u64 {
        interval = coarser(interval);
    }
    interval
}

/// The next longer interval that is chosen where buckets become too many. Of those that [`interval_for`] chooses it is a
/// multiple, so that buckets can be joined.
pub fn coarser(interval: i64) -> i64 {
    let mut known = FINER.into_iter().map(|(_, interval)| interval).chain([HOUR, DAY]);
    known.find(|known| *known > interval).unwrap_or_else(|| interval.saturating_mul(10))
}

/// How many buckets a range has, both of its ends included; none if it ends before it begins.
pub fn buckets(from: Timestamp, to: Timestamp, interval: i64) -> u64 {
    if to < from {
        return 0;
    }
    to.0.div_euclid(interval).abs_diff(from.0.div_euclid(interval)).saturating_add(1)
}

/// The bucket that an instant is in: its first instant.
pub fn bucket(at: Timestamp, interval: i64) -> Timestamp {
    Timestamp(at.0.div_euclid(interval).saturating_mul(interval))
}

/// Narrows a range to what a query demands of every hit.
pub(super) fn narrow(query: &Query, from: &mut Option<Timestamp>, to: &mut Option<Timestamp>) {
    match query {
        Query::And(queries) => queries.iter().for_each(|query| narrow(query, from, to)),
        Query::Boost(query, _) => narrow(query, from, to),
        Query::Match(_, Test::Times(ends)) => {
            let lower = match ends.lower {
                Bound::Included(at) => Some(at),
                Bound::Excluded(at) => Some(Timestamp(at.0.saturating_add(1))),
                Bound::Unbounded => None,
            };
            let upper = match ends.upper {
                Bound::Included(at) => Some(at),
                Bound::Excluded(at) => Some(Timestamp(at.0.saturating_sub(1))),
                Bound::Unbounded => None,
            };
            // `None` is the least, so it is right for the lower end alone.
            *from = (*from).max(lower);
            *to = [*to, upper].into_iter().flatten().min();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::request::SearchRequest;

    #[test]
    fn buckets_fit_the_range() {
        let interval = |range: i64| interval_for(Some(Timestamp(7)), Some(Timestamp(7 + range)));
        assert_eq!(interval(MINUTE), SECOND);
        assert_eq!(interval(HOUR), 30 * SECOND);
        assert_eq!(interval(DAY), 15 * MINUTE);
        assert_eq!(interval(7 * DAY), HOUR);
        assert_eq!(interval(400 * DAY), HOUR);
        assert_eq!(interval(4000 * DAY), DAY);
        // The year 1 is 740,000 days ago.
        assert_eq!(interval(740_000 * DAY), 100 * DAY);
        assert_eq!(interval_for(None, Some(Timestamp(7))), HOUR);
        for range in (0..62).map(|shift| 1i64 << shift) {
            let (from, to) = (Timestamp(7), Timestamp(7 + range));
            assert!(buckets(from, to, interval(range)) <= MAX_BUCKETS as u64, "{range}");
        }
        assert_eq!(bucket(Timestamp(-1), HOUR), Timestamp(-HOUR));
        assert_eq!(bucket(Timestamp(HOUR), HOUR), Timestamp(HOUR));
    }

    #[test]
    fn both_ends_are_in_a_bucket() {
        let buckets = |from, to| buckets(Timestamp(from), Timestamp(to), 10);
        assert_eq!((buckets(0, 9), buckets(0, 10), buckets(-1, 10), buckets(5, 4)), (1, 2, 3, 0));
        assert!(buckets(i64::MIN, i64::MAX) > 1 << 60);
    }

    #[test]
    fn a_coarser_interval_is_a_multiple() {
        let mut interval = SECOND;
        while interval < 1 << 50 {
            let next = coarser(interval);
            assert!(next > interval && next % interval == 0, "{interval}");
            interval = next;
        }
    }

    #[test]
    fn a_query_narrows_the_range() {
        let request = |text: &str| {
            let query = crate::parse(text, Timestamp(10 * HOUR)).unwrap();
            SearchRequest { from: Some(Timestamp(HOUR)), ..SearchRequest::new("w", query) }.times()
        };
        assert_eq!(request("a"), (Some(Timestamp(HOUR)), None));
        assert_eq!(request("a since:2h before:now"), (Some(Timestamp(8 * HOUR)), Some(Timestamp(10 * HOUR - 1))));
        assert_eq!(request("a OR since:2h"), (Some(Timestamp(HOUR)), None));
        assert_eq!(request("NOT since:2h"), (Some(Timestamp(HOUR)), None));
    }
}
