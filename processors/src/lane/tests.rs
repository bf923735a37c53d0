#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use agentworks_schemas::Topic;
use agentworks_store::{EmbeddedStore, Store};
use proptest::prelude::*;

use super::*;

const AT: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 3 };
const TTL: Duration = Duration::from_secs(86_400);
const HOURS: i64 = 1 << 20;

fn at(hour: i64, minute: i64) -> Timestamp {
    Timestamp(hour * HOUR + minute * 60_000)
}

fn store() -> (tempfile::TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&folder).unwrap();
    (folder, Arc::new(store))
}

fn keep(default: Duration, workspaces: &[(&str, Duration)]) -> Keep {
    let workspaces = workspaces.iter().map(|(workspace, ttl)| ((*workspace).to_owned(), *ttl)).collect();
    Keep { grain: HOUR, retention: Retention { default, workspaces } }
}

/// Five records in the hours 10, 11, 11 (late), 13 and 14.
fn held() -> Held {
    let mut held = Held::new(AT, 2, 100, Some(&keep(TTL, &[])));
    let buckets = [(100, 10), (105, 11), (106, 9), (110, 13), (111, 14)]
        .map(|(offset, hour)| held.place(offset, at(hour, 30), 10, 1_000));
    assert_eq!(buckets, [10, 11, 11, 13, 14].map(|hour| hour * HOURS));
    held
}

/// Where the clock stands after hour and minute, and so many bytes.
fn clock(hour: i64, minute: i64, filled: u64) -> Clock {
    Clock { time: at(hour, minute), bucket: hour * HOURS, filled }
}

#[test]
fn the_clock_runs_with_the_offsets() {
    let held = held();
    assert_eq!(held.buckets, [(10, 100), (11, 105), (13, 110), (14, 111)].map(|(hour, first)| (hour * HOURS, first)));
    assert_eq!((held.low, held.high, held.clock), (100, 112, clock(14, 30, 10)));
    let before = held.back_to(110, clock(11, 30, 20));
    assert_eq!(before.buckets, [(10 * HOURS, 100), (11 * HOURS, 105)]);
    // Taking the same again gives the same.
    let mut again = before;
    again.place(110, at(13, 30), 10, 1_000);
    again.place(111, at(14, 30), 10, 1_000);
    assert_eq!(again, held);
}

#[test]
fn a_bucket_that_is_full_is_followed_by_another() {
    let mut held = Held::new(AT, 0, 0, Some(&keep(TTL, &[])));
    let mut place = |offset, hour, bytes| held.place(offset, at(hour, 0), bytes, 100);
    let buckets = [place(0, 10, 60), place(1, 10, 60), place(2, 10, 500), place(3, 10, 0), place(4, 11, 1)];
    assert_eq!(buckets, [10 * HOURS, 10 * HOURS, 10 * HOURS + 1, 10 * HOURS + 2, 11 * HOURS]);
    // All parts of an hour are relied on until the same instant.
    for (bucket, ..) in &held.buckets[..3] {
        assert_eq!(held.expires(*bucket, "w", 0), Some(at(36, 0).millis()));
    }
    assert_eq!((held.low_at("w", at(34, 59)), held.low_at("w", at(35, 0))), (0, 4));
}

#[test]
fn low_moves_with_the_time_and_ahead_of_the_rows() {
    let held = held();
    for (now, low) in [(at(34, 59), 100), (at(35, 0), 105), (at(36, 0), 110), (at(37, 59), 110)] {
        assert_eq!(held.low_at("w", now), low, "at {now}");
    }
    assert_eq!(held.low_at("w", at(39, 0)), held.high);
    assert_eq!(held.expires(10 * HOURS, "w", 100), Some(at(36, 0).millis()));

    let mut expired = held.clone();
    expired.expire(at(36, 0));
    assert_eq!((expired.low, &expired.buckets[..]), (110, &[(13 * HOURS, 110), (14 * HOURS, 111)][..]));
    expired.expire(at(40, 0));
    assert_eq!((expired.low, &expired.buckets[..]), (112, &[][..]));
    // The next record lies in the last bucket still, for the clock stands there.
    assert_eq!(expired.place(112, at(14, 0), 1, 1_000), 14 * HOURS);
    assert_eq!(expired.buckets, [(14 * HOURS, 112)]);
}

#[test]
fn workspaces_have_terms_of_their_own() {
    let mut held =
        Held { terms: Some(Terms::new(&keep(TTL, &[("long", 3 * TTL), ("short", TTL / 2)]), 100)), ..held() };
    let lows = |held: &Held, now| ["long", "other", "short"].map(|workspace| held.low_at(workspace, now));
    assert_eq!(lows(&held, at(36, 0)), [100, 110, 112]);
    assert_eq!(held.expires(10 * HOURS, "long", 100), Some(at(84, 0).millis()));
    // What is kept for any is kept.
    held.expire(at(36, 0));
    assert_eq!((held.low, held.buckets.len()), (100, 4));
    assert_eq!(lows(&held, at(36, 0)), [100, 110, 112]);
    assert_eq!(held.clone().seen_by("other", at(36, 0)).buckets.len(), 2);
    held.expire(at(83, 0));
    assert_eq!((held.low, held.buckets.len()), (105, 3));
}

#[test]
fn a_change_of_terms_holds_from_then_on() {
    let mut held = held();
    let change = |held: &mut Held, keep: &Keep| {
        let since = held.high;
        held.terms.as_mut().unwrap().change(&keep.retention, since);
    };
    change(&mut held, &keep(2 * TTL, &[("w", 3 * TTL)]));
    held.place(112, at(14, 40), 1, 1_000);
    // The bucket of the change is in both.
    let spans: Vec<_> =
        held.spans("w", 111..113).into_iter().map(|span| (span.bucket, span.ttl, span.offsets)).collect();
    let day = TTL.as_millis() as i64;
    assert_eq!(spans, [(14 * HOURS, day, 111..112), (14 * HOURS, 3 * day, 112..113)]);
    assert_eq!((held.low_at("w", at(39, 0)), held.low_at("v", at(39, 0))), (112, 112));
    assert_eq!((held.low_at("w", at(63, 0)), held.low_at("v", at(63, 0))), (112, 113));
    let day_of = |offset| held.expires(14 * HOURS, "w", offset);
    assert_eq!((day_of(111), day_of(112)), (Some(at(40, 0).millis()), Some(at(88, 0).millis())));
    assert_eq!(held.expires_last(14 * HOURS, "w"), day_of(112));

    // Back to what was, for one of them by name; nothing is kept that was never in force.
    change(&mut held, &keep(2 * TTL, &[]));
    change(&mut held, &keep(2 * TTL, &[("x", 2 * TTL)]));
    let terms = held.terms.clone().unwrap();
    let of = |workspace: &str| terms.of(workspace).iter().map(|term| (term.since, term.ttl / day)).collect::<Vec<_>>();
    assert_eq!(of("w"), [(100, 1), (112, 3), (113, 2)]);
    assert_eq!((of("v"), of("x")), (vec![(100, 1), (112, 2)], vec![(100, 1), (112, 2)]));
    held.expire(at(39, 0));
    let terms = held.terms.unwrap();
    assert_eq!((held.low, terms.of("v").len(), terms.of("w").len()), (112, 1, 2));
}

#[test]
fn shorter_terms_leave_no_hole() {
    // What is newer goes first, and what is older with it.
    let mut held = held();
    held.terms.as_mut().unwrap().change(&keep(TTL / 12, &[]).retention, 110);
    for (now, low) in [(at(15, 59), 100), (at(16, 0), 111), (at(17, 0), 112)] {
        assert_eq!(held.low_at("w", now), low, "at {now}");
    }
}

#[test]
fn what_does_not_expire_has_no_buckets() {
    let mut held = Held::new(AT, 0, 0, None);
    held.observe(0, at(10, 0));
    let expires = held.expires(10, "w", 0);
    assert_eq!((held.low_at("w", at(1_000_000, 0)), expires, held.buckets.len()), (0, None, 0));
}

#[test]
fn ranges_lie_in_few_buckets() {
    let held = held();
    let spans = |offsets| -> Vec<_> {
        held.spans("w", offsets).into_iter().map(|span| (span.bucket / HOURS, span.offsets)).collect()
    };
    assert_eq!(spans(0..1000), [(10, 100..105), (11, 105..110), (13, 110..111), (14, 111..1000)]);
    assert_eq!(spans(106..109), [(11, 106..109)]);
    assert_eq!(spans(104..106), [(10, 104..105), (11, 105..106)]);
    assert_eq!(spans(0..100), []);
    assert_eq!(spans(107..107), []);
}

#[tokio::test]
async fn positions_survive() {
    let (_folder, store) = store();
    assert_eq!(load(&*store, "hot", AT).await.unwrap(), None);
    let terms = Terms::new(&keep(TTL, &[("w", 2 * TTL)]), 100);
    let held = Held { terms: Some(terms), ..held() };
    let other = Held { partition: TopicPartition::new(Topic::RunEvents, 3), ..Held::new(AT, 0, 7, None) };
    publish(&*store, "hot", &[held.clone(), other.clone()]).await.unwrap();
    assert_eq!(load(&*store, "hot", AT).await.unwrap(), Some(held));
    assert_eq!(load(&*store, "hot", other.partition).await.unwrap(), Some(other));
    assert_eq!(load(&*store, "runs", AT).await.unwrap(), None);
}

/// Writes a position as it was written before buckets were bounded.
async fn write_old(store: &dyn Store, sink: &str, json: &str) {
    let key = agentworks_store::Key { partition: vec![sink.into()], clustering: vec!["agent-logs".into(), 3.into()] };
    let (stats, payload) = (bytes::Bytes::new(), json.to_owned().into_bytes().into());
    let write =
        agentworks_store::Write { table: &POSITIONS, key, version: version(0, 12), expires: None, stats, payload };
    store.write(vec![write]).await.unwrap();
}

#[tokio::test]
async fn old_positions_are_read() {
    let (_folder, store) = store();
    let old = |ttl| format!(r#"{{"epoch":0,"low":3,"high":12,"clock":36000000,"buckets":[[10,3]],"ttl":{ttl}}}"#);
    write_old(&*store, "hot", &old("86400000")).await;
    write_old(&*store, "runs", &old("null").replace("[10,3]", "")).await;
    // Those blocks lie in tables that are not read any more; the runs are where they were.
    let hot = load(&*store, "hot", AT).await.unwrap().unwrap();
    assert_eq!((hot.low, hot.high, hot.buckets.len()), (12, 12, 0));
    let runs = load(&*store, "runs", AT).await.unwrap().unwrap();
    assert_eq!((runs.low, runs.high, runs.clock.time), (3, 12, at(10, 0)));
    let mut hot = begin(&*store, "hot", AT, 0, 0, Some(&keep(TTL, &[]))).await.unwrap();
    assert_eq!((hot.low, hot.high), (12, 12));
    assert_eq!(hot.place(12, at(9, 0), 1, 10), 10 * HOURS);
    assert_eq!(begin(&*store, "runs", AT, 0, 0, None).await.unwrap(), runs);
}

#[tokio::test]
async fn whoever_is_behind_does_not_win() {
    let (_folder, store) = store();
    let held = held();
    publish(&*store, "hot", std::slice::from_ref(&held)).await.unwrap();
    publish(&*store, "hot", &[held.back_to(110, clock(11, 30, 20))]).await.unwrap();
    publish(&*store, "hot", &[Held::new(AT, 1, 1_000_000, None)]).await.unwrap();
    assert_eq!(load(&*store, "hot", AT).await.unwrap(), Some(held));
    let next = Held::new(AT, 3, 0, None);
    publish(&*store, "hot", std::slice::from_ref(&next)).await.unwrap();
    assert_eq!(load(&*store, "hot", AT).await.unwrap(), Some(next));
}

#[tokio::test]
async fn a_sink_begins_where_it_was_or_says_why_not() {
    let (_folder, store) = store();
    let day = keep(TTL, &[]);
    let first = begin(&*store, "hot", AT, 2, 100, Some(&day)).await.unwrap();
    assert_eq!(first, Held::new(AT, 2, 100, Some(&day)));
    assert_eq!(load(&*store, "hot", AT).await.unwrap(), Some(first));

    let held = held();
    publish(&*store, "hot", std::slice::from_ref(&held)).await.unwrap();
    assert_eq!(begin(&*store, "hot", AT, 2, 112, Some(&day)).await.unwrap(), held);

    let error = begin(&*store, "hot", AT, 2, 113, Some(&day)).await.unwrap_err().to_string();
    assert!(error.contains("all below 112, and the log begins at 113"), "{error}");
    let error = begin(&*store, "hot", AT, 1, 0, Some(&day)).await.unwrap_err().to_string();
    assert!(error.contains("epoch 2 already"), "{error}");

    // Other terms lose nothing of what is there; another grain does.
    for ttl in [TTL / 2, 2 * TTL] {
        let changed = begin(&*store, "hot", AT, 2, 0, Some(&keep(ttl, &[]))).await.unwrap();
        assert_eq!((changed.low, changed.buckets.len(), changed.low_at("w", at(36, 0))), (100, 4, 110));
    }
    let days = begin(&*store, "hot", AT, 2, 0, Some(&Keep { grain: DAY, ..day.clone() })).await.unwrap();
    assert_eq!((days.low, days.high, days.buckets.len()), (112, 112, 0));

    let next = begin(&*store, "hot", AT, 3, 5, Some(&day)).await.unwrap();
    assert_eq!(next, Held::new(AT, 3, 5, Some(&day)));
}

proptest! {
    /// However the log is cut into takings, each of which goes back some way, every record gets the same bucket, and no
    /// bucket gets more than its limit and one record.
    #[test]
    fn taking_again_finds_the_same(
        records in prop::collection::vec((0..20 * HOUR, 0..300u64), 1..60),
        cuts in prop::collection::vec((0..60usize, 0..60usize), 0..10),
        limit in 1..1_000u64,
    ) {
        let mut straight = Held::new(AT, 0, 0, Some(&keep(TTL, &[])));
        let mut clocks = vec![straight.clock];
        let mut buckets = Vec::new();
        let mut sizes = std::collections::BTreeMap::<i64, Vec<u64>>::new();
        for (offset, (time, bytes)) in (0..).zip(&records) {
            let bucket = straight.place(offset, Timestamp(*time), *bytes, limit);
            buckets.push(bucket);
            sizes.entry(bucket).or_default().push(*bytes);
            clocks.push(straight.clock);
        }
        prop_assert!(buckets.is_sorted());
        for sizes in sizes.values() {
            let before_last: u64 = sizes[..sizes.len() - 1].iter().sum();
            prop_assert!(before_last < limit, "{sizes:?}");
        }
        let mut held = Held::new(AT, 0, 0, Some(&keep(TTL, &[])));
        for (to, back) in cuts.into_iter().chain([(records.len(), records.len())]) {
            for offset in held.high as usize..to.min(records.len()) {
                let (time, bytes) = records[offset];
                prop_assert_eq!(held.place(offset as i64, Timestamp(time), bytes, limit), buckets[offset]);
            }
            let back = back.min(held.high as usize);
            held = held.back_to(back as i64, clocks[back]);
        }
        prop_assert_eq!(held, straight);
    }

    /// Whatever was in force when: nothing that is relied on has expired, and from there on all is.
    #[test]
    fn what_is_relied_on_is_there(
        steps in prop::collection::vec((0..3 * HOUR, 0..300u64, prop::option::weighted(0.2, (1..30u32, 1..30u32))), 1..60),
        now in 0..200i64,
    ) {
        let mut held = Held::new(AT, 0, 0, Some(&keep(TTL, &[])));
        let now = at(now, 0);
        let (mut time, mut expiries) = (0, Vec::new());
        for (offset, (later, bytes, terms)) in (0..).zip(steps) {
            if let Some((default, own)) = terms {
                let hours = |hours: u32| TTL / 24 * hours;
                held.terms.as_mut().unwrap().change(&keep(hours(default), &[("own", hours(own))]).retention, offset);
            }
            time += later;
            let bucket = held.place(offset, Timestamp(time), bytes, 500);
            expiries.push(["own", "other"].map(|workspace| held.expires(bucket, workspace, offset).unwrap()));
        }
        let whole = held.clone();
        held.expire(now);
        for (index, workspace) in ["own", "other"].into_iter().enumerate() {
            let low = held.low_at(workspace, now);
            prop_assert_eq!(low, whole.low_at(workspace, now));
            prop_assert!(held.low <= low);
            for (offset, expiries) in (0..).zip(&expiries) {
                let until = expiries[index] - MARGIN;
                prop_assert!(offset < low || until > now.millis(), "{workspace}: {offset}, low {low}");
                prop_assert!(offset != low - 1 || until <= now.millis(), "{workspace}: {offset}, low {low}");
            }
            // Every offset that is relied on is found, where it was put.
            let mut next = low;
            for span in held.spans(workspace, low..held.high) {
                prop_assert_eq!(span.offsets.start, next);
                next = span.offsets.end;
                for offset in span.offsets {
                    let expires = expiries[offset as usize][index];
                    prop_assert_eq!(held.expires(span.bucket, workspace, offset), Some(expires));
                    prop_assert!(held.expires_last(span.bucket, workspace) >= Some(expires));
                }
            }
            prop_assert_eq!(next, held.high);
        }
    }
}
