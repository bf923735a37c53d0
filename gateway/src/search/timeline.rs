//! Timelines of few buckets, whatever instants entries have: a clock that is wrong by thousands of years is one entry's fault,
//! and mustn't be paid by who counts.

use std::collections::BTreeMap;
use std::mem::take;

use agentworks_query::request::{MAX_BUCKETS, bucket, buckets, coarser};
use agentworks_schemas::Timestamp;
use agentworks_schemas::protocol::TimelinePoint;

use super::SearchFault;

/// A range of time in milliseconds, both of its ends included.
pub(crate) type Range = (i64, i64);

/// The buckets of a range, those without entries among them; outside of it those that have entries.
pub(crate) fn filled(counts: &BTreeMap<i64, u64>, (from, to): Range, interval: i64) -> Vec<TimelinePoint> {
    let point = |at, count| TimelinePoint { timestamp: Timestamp(at), count };
    let first = bucket(Timestamp(from), interval).0;
    let mut points: Vec<_> = counts.range(..first).map(|(at, count)| point(*at, *count)).collect();
    let mut at = first;
    while at <= to {
        points.push(point(at, counts.get(&at).copied().unwrap_or(0)));
        at = at.saturating_add(interval);
    }
    points.extend(counts.range(at..).map(|(at, count)| point(*at, *count)));
    points
}

/// How many buckets [`filled`] makes; without a range, how many have entries.
fn len(counts: &BTreeMap<i64, u64>, range: Option<Range>, interval: i64) -> u64 {
    let Some((from, to)) = range else { return counts.len() as u64 };
    let (from, to) = (Timestamp(from), Timestamp(to));
    let is_outside = |at: &&i64| **at < bucket(from, interval).0 || **at > to.0;
    buckets(from, to, interval) + counts.keys().filter(is_outside).count() as u64
}

/// Makes buckets longer until there are few enough; the interval that they have then.
pub(super) fn fit(counts: &mut BTreeMap<i64, u64>, range: Option<Range>, mut interval: i64) -> i64 {
    while len(counts, range, interval) > MAX_BUCKETS as u64 {
        interval = coarser(interval);
        for (at, count) in take(counts) {
            *counts.entry(bucket(Timestamp(at), interval).0).or_default() += count;
        }
    }
    interval
}

/// An interval that somebody chose for a range, if that doesn't make too many buckets.
pub(super) fn checked(interval: i64, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<i64, SearchFault> {
    if interval < 1 {
        return Err(SearchFault::Invalid(format!("interval: {interval} ms is not a length of time")));
    }
    let (Some(from), Some(to)) = (from, to) else {
        let message = "interval: it needs a range of time; give since, too, or leave it out";
        return Err(SearchFault::Invalid(message.to_owned()));
    };
    let buckets = buckets(from, to, interval);
    if buckets > MAX_BUCKETS as u64 {
        let message = format!(
            "interval: {interval} ms make {buckets} buckets of this range, and there are at most {MAX_BUCKETS}; take a \
             longer one, or a shorter range"
        );
        return Err(SearchFault::Invalid(message));
    }
    Ok(interval)
}

/// Fails if what was found makes too many buckets of an interval that somebody chose, though the range didn't: some entries
/// lie beyond its open end.
pub(super) fn check_found(counts: &BTreeMap<i64, u64>, range: Option<Range>, interval: i64) -> Result<(), SearchFault> {
    let buckets = len(counts, range, interval);
    if buckets <= MAX_BUCKETS as u64 {
        return Ok(());
    }
    Err(SearchFault::Invalid(format!(
        "interval: {interval} ms make {buckets} buckets with those of entries that are later than now, and there are at most \
         {MAX_BUCKETS}; give until, too, or take a longer one"
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The last day that a timestamp can have.
    const FAR: i64 = 253_402_214_400_000;

    fn counts(points: &[TimelinePoint]) -> Vec<(i64, u64)> {
        points.iter().map(|point| (point.timestamp.0, point.count)).collect()
    }

    #[test]
    fn what_is_outside_of_the_range_is_told_without_what_lies_between() {
        let found = [(-20, 1), (10, 2), (40, 3), (FAR, 4)].into();
        let points = filled(&found, (5, 35), 10);
        assert_eq!(counts(&points), [(-20, 1), (0, 0), (10, 2), (20, 0), (30, 0), (40, 3), (FAR, 4)]);
        assert_eq!(len(&found, Some((5, 35)), 10), 7);
        assert_eq!(counts(&filled(&found, (50, 40), 10)), [(-20, 1), (10, 2), (40, 3), (FAR, 4)]);
        assert_eq!(len(&found, Some((50, 40)), 10), 4);
    }

    #[test]
    fn buckets_that_are_too_many_become_longer_ones_that_count_the_same() {
        for range in [None, Some((0, 3_600_000))] {
            let mut found: BTreeMap<i64, u64> = (0..25_000).map(|n| (n * 3_600_000, 1)).collect();
            let interval = fit(&mut found, range, 3_600_000);
            assert_eq!(interval, 24 * 3_600_000, "{range:?}");
            assert_eq!((found.len(), found.values().sum::<u64>()), (1042, 25_000));
            assert!(len(&found, range, interval) <= MAX_BUCKETS as u64);
        }
        let mut few = [(0, 1), (FAR, 1)].into();
        assert_eq!(fit(&mut few, Some((0, 3_600_000)), 30_000), 30_000);
        assert_eq!(few.len(), 2);
    }

    #[test]
    fn an_interval_that_was_chosen_stays_or_is_refused() {
        let (from, to) = (Some(Timestamp(0)), Some(Timestamp(9_999_999)));
        assert_eq!(checked(1000, from, to), Ok(1000));
        assert!(checked(999, from, to).unwrap_err().to_string().contains("at most 10000"));
        assert!(checked(0, from, to).unwrap_err().to_string().contains("not a length"));
        assert!(checked(1, None, to).unwrap_err().to_string().contains("give since"));
        let late: BTreeMap<i64, u64> = (0..10_000).map(|n| (FAR + n, 1)).collect();
        assert_eq!(check_found(&late, None, 1), Ok(()));
        assert!(check_found(&late, Some((0, 5)), 1).unwrap_err().to_string().contains("give until"));
    }
}
