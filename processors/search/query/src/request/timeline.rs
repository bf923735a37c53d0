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

/// The interval of a timeline over a range of time, in milliseconds: at most a few hundred buckets for up to two days, one
/// an hour beyond, one a day where those were more than [`MAX_BUCKETS`]. Without a range it is an hour.
pub fn interval_for(from: Option<Timestamp>, to: Option<Timestamp>) -> i64 {
    let (Some(from), Some(to)) = (from, to) else { return HOUR };
    let range = to.0.saturating_sub(from.0);
    let finer = [
        (2 * MINUTE, SECOND),
        (10 * MINUTE, 5 * SECOND),
        (HOUR, 30 * SECOND),
        (4 * HOUR, MINUTE),
        (12 * HOUR, 5 * MINUTE),
        (2 * DAY, 15 * MINUTE),
    ];
    match finer.into_iter().find(|(longest, _)| range <= *longest) {
        Some((_, interval)) => interval,
        None if range / HOUR < MAX_BUCKETS as i64 => HOUR,
        None => DAY,
    }
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
        assert_eq!(interval_for(None, Some(Timestamp(7))), HOUR);
        for range in (0..48).map(|shift| 1i64 << shift) {
            assert!(range / interval(range) <= MAX_BUCKETS as i64 || interval(range) == DAY);
        }
        assert_eq!(bucket(Timestamp(-1), HOUR), Timestamp(-HOUR));
        assert_eq!(bucket(Timestamp(HOUR), HOUR), Timestamp(HOUR));
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
