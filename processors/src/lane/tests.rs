#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use agentworks_schemas::Topic;
use agentworks_store::{EmbeddedStore, Store};
use proptest::prelude::*;

use super::*;

const AT: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 3 };
const DAY: Duration = Duration::from_secs(86_400);

fn hour(hour: i64, minute: i64) -> Timestamp {
    Timestamp(hour * BUCKET + minute * 60_000)
}

fn store() -> (tempfile::TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&folder).unwrap();
    (folder, Arc::new(store))
}

/// Five records in the hours 10, 11, 11 (late), 13 and 14.
fn held() -> Held {
    let mut held = Held::new(AT, 2, 100, Some(DAY));
    let buckets =
        [(100, 10), (105, 11), (106, 9), (110, 13), (111, 14)].map(|(offset, at)| held.observe(offset, hour(at, 30)));
    assert_eq!(buckets, [10, 11, 11, 13, 14]);
    held
}

#[test]
fn the_clock_runs_with_the_offsets() {
    let held = held();
    assert_eq!(held.buckets, [(10, 100), (11, 105), (13, 110), (14, 111)]);
    assert_eq!((held.low, held.high, held.clock), (100, 112, hour(14, 30)));
    let before = held.back_to(110, hour(11, 30));
    assert_eq!(before.buckets, [(10, 100), (11, 105)]);
    // Taking the same again gives the same.
    let mut again = before;
    again.observe(110, hour(13, 30));
    again.observe(111, hour(14, 30));
    assert_eq!(again, held);
}

#[test]
fn low_moves_with_the_time_and_ahead_of_the_rows() {
    let held = held();
    for (now, low) in [(hour(34, 59), 100), (hour(35, 0), 105), (hour(36, 0), 110), (hour(37, 59), 110)] {
        assert_eq!(held.low_at(now), low, "at {now}");
    }
    assert_eq!(held.low_at(hour(39, 0)), held.high);
    assert_eq!(held.expires(10), Some(hour(36, 0).millis()));

    let mut expired = held.clone();
    expired.expire(hour(36, 0));
    assert_eq!((expired.low, &expired.buckets[..]), (110, &[(13, 110), (14, 111)][..]));
    expired.expire(hour(40, 0));
    assert_eq!((expired.low, &expired.buckets[..]), (112, &[][..]));
    // The next record lies in the last bucket still, for the clock stands there.
    assert_eq!(expired.observe(112, hour(14, 0)), 14);
    assert_eq!(expired.buckets, [(14, 112)]);
}

#[test]
fn what_does_not_expire_has_no_buckets() {
    let mut held = Held::new(AT, 0, 0, None);
    held.observe(0, hour(10, 0));
    assert_eq!((held.low_at(hour(1_000_000, 0)), held.expires(10), held.buckets.len()), (0, None, 0));
}

#[test]
fn ranges_lie_in_few_buckets() {
    let held = held();
    assert_eq!(held.buckets_of(0..1000), [(10, 100..105), (11, 105..110), (13, 110..111), (14, 111..1000)]);
    assert_eq!(held.buckets_of(106..109), [(11, 106..109)]);
    assert_eq!(held.buckets_of(104..106), [(10, 104..105), (11, 105..106)]);
    assert_eq!(held.buckets_of(0..100), []);
    assert_eq!(held.buckets_of(107..107), []);
}

#[tokio::test]
async fn positions_survive() {
    let (_folder, store) = store();
    assert_eq!(load(&*store, "hot", AT).await.unwrap(), None);
    let held = held();
    let other = Held { partition: TopicPartition::new(Topic::RunEvents, 3), ..Held::new(AT, 0, 7, None) };
    publish(&*store, "hot", &[held.clone(), other.clone()]).await.unwrap();
    assert_eq!(load(&*store, "hot", AT).await.unwrap(), Some(held));
    assert_eq!(load(&*store, "hot", other.partition).await.unwrap(), Some(other));
    assert_eq!(load(&*store, "runs", AT).await.unwrap(), None);
}

#[tokio::test]
async fn whoever_is_behind_does_not_win() {
    let (_folder, store) = store();
    let held = held();
    publish(&*store, "hot", std::slice::from_ref(&held)).await.unwrap();
    publish(&*store, "hot", &[held.back_to(110, hour(11, 30))]).await.unwrap();
    publish(&*store, "hot", &[Held::new(AT, 1, 1_000_000, None)]).await.unwrap();
    assert_eq!(load(&*store, "hot", AT).await.unwrap(), Some(held));
    let next = Held::new(AT, 3, 0, None);
    publish(&*store, "hot", std::slice::from_ref(&next)).await.unwrap();
    assert_eq!(load(&*store, "hot", AT).await.unwrap(), Some(next));
}

#[tokio::test]
async fn a_sink_begins_where_it_was_or_says_why_not() {
    let (_folder, store) = store();
    let first = begin(&*store, "hot", AT, 2, 100, Some(DAY)).await.unwrap();
    assert_eq!(first, Held::new(AT, 2, 100, Some(DAY)));
    assert_eq!(load(&*store, "hot", AT).await.unwrap(), Some(first));

    let held = held();
    publish(&*store, "hot", std::slice::from_ref(&held)).await.unwrap();
    assert_eq!(begin(&*store, "hot", AT, 2, 112, Some(DAY)).await.unwrap(), held);

    let error = begin(&*store, "hot", AT, 2, 113, Some(DAY)).await.unwrap_err().to_string();
    assert!(error.contains("all below 112, and the log begins at 113"), "{error}");
    let error = begin(&*store, "hot", AT, 1, 0, Some(DAY)).await.unwrap_err().to_string();
    assert!(error.contains("epoch 2 already"), "{error}");

    let shorter = begin(&*store, "hot", AT, 2, 0, Some(DAY / 2)).await.unwrap();
    assert_eq!((shorter.low, shorter.low_at(hour(24, 0))), (100, 110));
    let longer = begin(&*store, "hot", AT, 2, 0, Some(2 * DAY)).await.unwrap();
    assert_eq!((longer.low, longer.high, longer.buckets.len()), (112, 112, 0));

    let next = begin(&*store, "hot", AT, 3, 5, Some(DAY)).await.unwrap();
    assert_eq!(next, Held::new(AT, 3, 5, Some(DAY)));
}

proptest! {
    /// However the log is cut into takings, each of which goes back some way, every record gets the same bucket.
    #[test]
    fn taking_again_finds_the_same(
        times in prop::collection::vec(0..20 * BUCKET, 1..60),
        cuts in prop::collection::vec((0..60usize, 0..60usize), 0..10),
    ) {
        let mut straight = Held::new(AT, 0, 0, Some(DAY));
        let mut clocks = vec![straight.clock];
        let mut buckets = Vec::new();
        for (offset, time) in (0..).zip(&times) {
            buckets.push(straight.observe(offset, Timestamp(*time)));
            clocks.push(straight.clock);
        }
        let mut held = Held::new(AT, 0, 0, Some(DAY));
        for (to, back) in cuts.into_iter().chain([(times.len(), times.len())]) {
            for offset in held.high as usize..to.min(times.len()) {
                prop_assert_eq!(held.observe(offset as i64, Timestamp(times[offset])), buckets[offset]);
            }
            let back = back.min(held.high as usize);
            held = held.back_to(back as i64, clocks[back]);
        }
        prop_assert_eq!(held, straight);
    }
}
