//! The reader over made-up tiers: every way in which hot, warm, cold and log may overlap, and change while it reads.

#![allow(clippy::unwrap_used)]

mod changes;
mod fake;
mod makings;
mod model;
mod places;
mod settled;

use std::sync::Arc;

use agentworks_schemas::{Cursor, Timestamp, Topic, TopicPartition};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::delivery::Found;
use super::lanes::ScopeLane;
use super::stream::{Plan, newest, spawn};
use super::tiers::{Reading, Tier};
use super::{ReadError, ReadFilter, ReadItem, Scope};
use fake::{FakePartition, FakeTiers};

fn scope() -> Scope {
    Scope::Card { workspace: "w".into(), card: "c".into() }
}

fn reading(tiers: &Arc<FakeTiers>, scope: Scope, filter: ReadFilter) -> Arc<Reading> {
    Arc::new(Reading { tiers: tiers.clone(), scope, filter, erased: Arc::default(), metrics: Default::default() })
}

/// All that a reading gives, up to its end or its error.
async fn collect(reading: &Arc<Reading>, from: &Cursor, to: &Cursor) -> Result<Vec<ReadItem>, ReadError> {
    collect_in(reading, &[], from, to).await
}

/// The same, where `lanes` are known.
async fn collect_in(
    reading: &Arc<Reading>,
    lanes: &[ScopeLane],
    from: &Cursor,
    to: &Cursor,
) -> Result<Vec<ReadItem>, ReadError> {
    let plan = Plan::new(&reading.filter, from.clone(), to, lanes);
    let mut stream = spawn(reading.clone(), async move { plan });
    let mut items: Vec<ReadItem> = Vec::new();
    while let Some(found) = stream.recv().await {
        match found? {
            Found::Item(item) => items.push(item),
            Found::Nothing(passed) => {
                let last = items.last().map(cursor_of).unwrap_or(from);
                let is_beyond = |(at, epoch, next)| passed.get(at).is_some_and(|passed| passed >= (epoch, next));
                assert!(last.iter().all(is_beyond), "{passed:?} lies before {last:?}");
            }
        }
    }
    Ok(items)
}

async fn last(reading: &Arc<Reading>, from: &Cursor, to: &Cursor, count: usize) -> Result<Vec<ReadItem>, ReadError> {
    last_in(reading, from, to, (count, usize::MAX)).await
}

/// The same, or as many as there is room for.
async fn last_in(
    reading: &Arc<Reading>,
    from: &Cursor,
    to: &Cursor,
    wanted: (usize, usize),
) -> Result<Vec<ReadItem>, ReadError> {
    found(newest(reading, Plan::new(&reading.filter, from.clone(), to, &[])?, to, wanted, None).await)
}

/// What was found, if there was no fault.
fn found(newest: Result<(Vec<ReadItem>, Option<ReadError>), ReadError>) -> Result<Vec<ReadItem>, ReadError> {
    let (items, fault) = newest?;
    fault.map_or(Ok(items), Err)
}

/// Whether pages are together all that there is; in its order, where that is clear.
fn are_all(case: &Case, pages: &[ReadItem], all: &[ReadItem]) -> Result<(), TestCaseError> {
    if case.is_monotone() {
        prop_assert_eq!(pages, all);
    } else {
        let sorted = |items: &[ReadItem]| {
            let mut plain = model::plain(items);
            plain.sort();
            plain
        };
        prop_assert_eq!(sorted(pages), sorted(all));
    }
    Ok(())
}

fn cursor_of(item: &ReadItem) -> &Cursor {
    match item {
        ReadItem::Entry { cursor, .. } | ReadItem::Gap { cursor, .. } => cursor,
    }
}

/// The cursor just before an item: the one after it, but for the item itself.
fn before_item(item: &ReadItem) -> Cursor {
    let mut before = cursor_of(item).clone();
    let (partition, from) = match item {
        ReadItem::Entry { entry, .. } => (entry.position.partition, entry.position.offset),
        ReadItem::Gap { partition, from, .. } => (*partition, *from),
    };
    let epoch = before.get(partition).map_or(0, |(epoch, _)| epoch);
    before.set(partition, epoch, from);
    before
}

fn is_entry(item: &&ReadItem) -> bool {
    matches!(item, ReadItem::Entry { .. })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[derive(Clone, Debug)]
struct Case {
    partitions: Vec<FakePartition>,
    scope: Scope,
    filter: ReadFilter,
}

impl Case {
    fn is_monotone(&self) -> bool {
        let is_sorted = |of: &FakePartition| of.records.is_sorted_by_key(|record| record.timestamp);
        self.partitions.iter().all(|partition| is_sorted(partition) && partition.earlier.iter().all(is_sorted))
    }
}

fn case() -> impl Strategy<Value = Case> {
    let at = [(Topic::AgentLogs, 0), (Topic::AgentLogs, 1), (Topic::SystemLogs, 0)];
    let partitions = prop::collection::vec(fake::partition(), 1..=at.len()).prop_map(move |mut partitions| {
        for (partition, (topic, number)) in partitions.iter_mut().zip(at) {
            partition.place(TopicPartition::new(topic, number));
        }
        partitions
    });
    let run = Scope::Run { workspace: "w".into(), run: "r".into(), card: "c".into() };
    let errors = ReadFilter { levels: Some(vec![agentworks_schemas::Level::Error]), ..ReadFilter::default() };
    let late = ReadFilter { since: Some(Timestamp(20)), ..ReadFilter::default() };
    let scope = prop_oneof![3 => Just(scope()), 1 => Just(run)];
    let filter = prop_oneof![3 => Just(ReadFilter::default()), 1 => Just(errors), 1 => Just(late)];
    (partitions, scope, filter).prop_map(|(partitions, scope, filter)| Case { partitions, scope, filter })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// Forward, resumed anywhere, and backward: all give the one order.
    #[test]
    fn one_order(case in case(), from in 0..8i64, beyond in 0..3i64) {
        let tiers = Arc::new(FakeTiers::new(case.partitions.clone()));
        let reading = reading(&tiers, case.scope.clone(), case.filter.clone());
        let start = tiers.cursor(|partition| from.min(partition.log.1));
        // What a search backward ends at is never below the floor.
        let floor = tiers.cursor(|partition| partition.floor.max(from).min(partition.log.1));
        let end = tiers.cursor(|partition| partition.log.1);
        let expected = model::items(&case, &start, &end);
        block_on(async {
            let items = collect(&reading, &start, &end).await.unwrap();
            prop_assert_eq!(model::plain(&items), expected);

            // A `to` beyond the end of the log is the end of the log.
            let ahead = tiers.cursor(|partition| partition.log.1 + beyond);
            prop_assert_eq!(&collect(&reading, &start, &ahead).await.unwrap(), &items);

            for (index, item) in items.iter().enumerate() {
                let rest = collect(&reading, cursor_of(item), &end).await.unwrap();
                prop_assert_eq!(&rest, &items[index + 1..], "resumed after {:?}", item);
            }

            // Which entries are the last is clear only where times don't go back.
            let entries = items.iter().filter(is_entry).count();
            for count in (0..=entries + 1).filter(|_| case.is_monotone()) {
                let newest = last(&reading, &floor, &end, count).await.unwrap();
                let skip = entries.saturating_sub(count);
                let mut index = items.iter().enumerate().filter(|(_, item)| is_entry(item)).map(|(index, _)| index);
                let first = match count {
                    0 => items.len(),
                    _ if count > entries => 0,
                    _ => index.nth(skip).unwrap(),
                };
                prop_assert_eq!(&newest, &items[first..], "the newest {}", count);
            }
            Ok(())
        })?;
    }

    /// Each page before the first item of the one after it: together, all, however little there is room for.
    #[test]
    fn pages_backward(case in case(), count in 1..7usize, room in prop_oneof![Just(usize::MAX), 1..6_000usize]) {
        let tiers = Arc::new(FakeTiers::new(case.partitions.clone()));
        let reading = reading(&tiers, case.scope.clone(), case.filter.clone());
        let start = tiers.cursor(|partition| partition.floor);
        let mut before = tiers.cursor(|partition| partition.log.1);
        block_on(async {
            let all = collect(&reading, &start, &before).await.unwrap();
            let mut pages: Vec<ReadItem> = Vec::new();
            loop {
                let page = last_in(&reading, &start, &before, (count, room)).await.unwrap();
                let Some(first) = page.first() else { break };
                before = before_item(first);
                pages.splice(0..0, page);
            }
            are_all(&case, &pages, &all)
        })?;
    }
}

#[test]
fn another_epoch_is_refused() {
    let mut partition = FakePartition::default();
    partition.place(TopicPartition::new(Topic::AgentLogs, 0));
    partition.records = (0..4).map(|offset| fake::entry(&partition, offset, "w", "c", "r")).collect();
    partition.log = (0, 4);
    partition.hot = Some((0, 2));
    let tiers = Arc::new(FakeTiers::new(vec![partition]));
    let reading = reading(&tiers, scope(), ReadFilter::default());
    let at = |epoch, offset| Cursor::from_iter([(TopicPartition::new(Topic::AgentLogs, 0), epoch, offset)]);
    block_on(async {
        // The cursors don't agree; they agree, but hot is of another; the position lies beyond the end.
        for (from, to) in [(at(0, 0), at(1, 4)), (at(1, 0), at(1, 4)), (at(0, 7), at(0, 9))] {
            assert!(matches!(collect(&reading, &from, &to).await, Err(ReadError::Epoch)), "{from:?} to {to:?}");
        }
    });
}

#[test]
fn what_was_read_is_counted() {
    let mut partition = FakePartition::default();
    partition.records = (0..8).map(|offset| fake::entry(&partition, offset, "w", "c", "r")).collect();
    (partition.log, partition.hot, partition.warm) = ((5, 8), Some((3, 5)), Some((1, 4)));
    let tiers = Arc::new(FakeTiers::new(vec![partition]));
    // Where both hold it, a card is read from hot and a run from warm.
    let run = Scope::Run { workspace: "w".into(), run: "r".into(), card: "c".into() };
    for (scope, hot, warm) in [(scope(), 2, 2), (run, 1, 3)] {
        let reading = reading(&tiers, scope, ReadFilter::default());
        block_on(collect(&reading, &tiers.cursor(|_| 0), &tiers.cursor(|_| 8))).unwrap();
        let metrics = &reading.metrics;
        assert_eq!((metrics.entries(Tier::Hot).get(), metrics.entries(Tier::Warm).get()), (hot, warm));
        assert_eq!((metrics.log.get(), metrics.gaps.get()), (3, 1));
    }
}
