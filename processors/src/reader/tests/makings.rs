//! Topics that were made again: what cold has of the makings before comes first, and nobody else is asked for it.

use agentworks_schemas::Position;
use proptest::prelude::*;

use super::*;
use crate::reader::makings::start_of;
use crate::reader::tiers::LOG_BUDGET;

/// Cases in which each partition comes after up to two makings of its topic.
fn remade() -> impl Strategy<Value = Case> {
    let earlier = prop::collection::vec(prop::collection::vec(fake::partition(), 0..=2), 3);
    (case(), earlier).prop_map(|(case, earlier)| {
        let partitions = case.partitions.into_iter().zip(earlier).map(|(partition, earlier)| {
            let at = partition.at;
            let mut before: Vec<FakePartition> = Vec::new();
            for making in earlier {
                let so_far = before.clone();
                let later = so_far.len() as i64 * 200;
                let making = making.over().after(so_far, later);
                before.push(FakePartition { earlier: Vec::new(), ..making });
            }
            let later = before.len() as i64 * 200;
            let mut partition = partition.after(before, later);
            partition.place(at);
            partition
        });
        Case { partitions: partitions.collect(), ..case }
    })
}

async fn last_in(
    reading: &Arc<Reading>,
    lanes: &[ScopeLane],
    (from, to): (&Cursor, &Cursor),
    wanted: (usize, usize),
) -> Result<Vec<ReadItem>, ReadError> {
    found(newest(reading, Plan::new(&reading.filter, from.clone(), to, lanes)?, to, wanted, None).await)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// Forward, resumed anywhere, and backward, over all makings: all give the one order.
    #[test]
    fn one_order_over_all_makings(case in remade()) {
        let tiers = Arc::new(FakeTiers::new(case.partitions.clone()));
        let reading = reading(&tiers, case.scope.clone(), case.filter.clone());
        let (lanes, end) = (tiers.lanes(), tiers.cursor(|partition| partition.log.1));
        let start = start_of(&lanes);
        block_on(async {
            let items = collect_in(&reading, &lanes, &start, &end).await.unwrap();
            prop_assert_eq!(model::plain(&items), model::items(&case, &start, &end));
            let anywhere = collect_in(&reading, &lanes, &Cursor::new(), &end).await.unwrap();
            prop_assert_eq!(&anywhere, &items);
            for (index, item) in items.iter().enumerate() {
                let rest = collect_in(&reading, &lanes, cursor_of(item), &end).await.unwrap();
                prop_assert_eq!(&rest, &items[index + 1..], "resumed after {:?}", item);
            }
            let entries = items.iter().filter(is_entry).count();
            for count in (1..=entries + 1).filter(|_| case.is_monotone()) {
                let newest = last_in(&reading, &lanes, (&start, &end), (count, usize::MAX)).await.unwrap();
                let mut index = items.iter().enumerate().filter(|(_, item)| is_entry(item)).map(|(index, _)| index);
                let first = if count > entries { 0 } else { index.nth(entries - count).unwrap() };
                prop_assert_eq!(&newest, &items[first..], "the newest {}", count);
            }
            Ok(())
        })?;
    }

    /// Pages backward over all makings are together all that there is.
    #[test]
    fn pages_backward_over_all_makings(
        case in remade(),
        count in 1..7usize,
        room in prop_oneof![Just(usize::MAX), 1..6_000usize],
    ) {
        let tiers = Arc::new(FakeTiers::new(case.partitions.clone()));
        let reading = reading(&tiers, case.scope.clone(), case.filter.clone());
        let lanes = tiers.lanes();
        let start = start_of(&lanes);
        let mut before = tiers.cursor(|partition| partition.log.1);
        block_on(async {
            let all = collect_in(&reading, &lanes, &start, &before).await.unwrap();
            let mut pages: Vec<ReadItem> = Vec::new();
            loop {
                let page = last_in(&reading, &lanes, (&start, &before), (count, room)).await.unwrap();
                let Some(first) = page.first() else { break };
                before = before_item(first);
                pages.splice(0..0, page);
            }
            are_all(&case, &pages, &all)
        })?;
    }
}

/// Offsets 0 to 6 in each of two makings; of the first, cold has 2 to 5; hot has what there is now.
fn twice() -> FakePartition {
    let mut first = FakePartition { cold: Some((2, 5)), ..FakePartition::default() };
    first.records = (0..6).map(|offset| fake::entry(&first, offset, "w", "c", "r")).collect();
    let mut second = FakePartition { log: (0, 6), hot: Some((0, 6)), ..FakePartition::default() };
    second.records = (0..6).map(|offset| fake::entry(&second, offset, "w", "c", "r")).collect();
    second.after(vec![first], 100)
}

fn at(epoch: u32, offset: i64) -> Cursor {
    Cursor::from_iter([(twice().at, epoch, offset)])
}

/// Positions of entries, and gaps as the positions that they lie between.
fn places(items: &[ReadItem]) -> Vec<(u32, i64, i64)> {
    let place = |item: &ReadItem| match item {
        ReadItem::Entry { entry, .. } => {
            let Position { epoch, offset, .. } = entry.position;
            (epoch, offset, offset + 1)
        }
        ReadItem::Gap { partition, from, to, cursor } => (cursor.get(*partition).unwrap().0, *from, *to),
    };
    items.iter().map(place).collect()
}

#[test]
fn what_cold_lacks_of_a_making_that_is_over_is_a_gap() {
    let tiers = Arc::new(FakeTiers::new(vec![twice()]));
    let (reading, lanes) = (reading(&tiers, scope(), ReadFilter::default()), tiers.lanes());
    block_on(async {
        let start = start_of(&lanes);
        let items = collect_in(&reading, &lanes, &start, &at(1, 2)).await.unwrap();
        let expected = vec![(0, 0, 2), (0, 2, 3), (0, 3, 4), (0, 4, 5), (0, 5, 6), (1, 0, 1), (1, 1, 2)];
        assert_eq!(places(&items), expected);
        let cursors: Vec<_> = items.iter().map(|item| cursor_of(item).get(twice().at).unwrap()).collect();
        assert_eq!(cursors, [(0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (1, 1), (1, 2)]);
        let newest = last_in(&reading, &lanes, (&start, &at(1, 2)), (4, usize::MAX)).await.unwrap();
        assert_eq!(places(&newest), expected[2..]);
    });
}

#[test]
fn a_range_of_a_making_that_is_over_is_read_by_its_cursors_alone() {
    let tiers = Arc::new(FakeTiers::new(vec![twice()]));
    let reading = reading(&tiers, scope(), ReadFilter::default());
    block_on(async {
        for (from, to, expected) in [(2, 4, 2..4), (3, 4, 3..4), (4, 4, 4..4)] {
            let items = collect(&reading, &at(0, from), &at(0, to)).await.unwrap();
            assert_eq!(places(&items), expected.map(|offset| (0, offset, offset + 1)).collect::<Vec<_>>());
            let newest = last(&reading, &at(0, from), &at(0, to), 9).await.unwrap();
            assert_eq!(newest, items);
        }
    });
}

/// Another partition's position may lie in it: nothing may be lost because this one was empty.
#[test]
fn a_making_that_was_empty_is_passed_over() {
    let first = FakePartition { cold: Some((0, 0)), ..FakePartition::default() };
    let mut second = FakePartition { log: (0, 6), hot: Some((0, 6)), ..FakePartition::default() };
    second.records = (0..6).map(|offset| fake::entry(&second, offset, "w", "c", "r")).collect();
    let partition = second.after(vec![first], 100);
    let tiers = Arc::new(FakeTiers::new(vec![partition]));
    let (reading, lanes) = (reading(&tiers, scope(), ReadFilter::default()), tiers.lanes());
    block_on(async {
        let expected: Vec<_> = (0..6).map(|offset| (1, offset, offset + 1)).collect();
        let items = collect_in(&reading, &lanes, &at(0, 0), &at(1, 6)).await.unwrap();
        assert_eq!(places(&items), expected);
        let newest = last_in(&reading, &lanes, (&at(0, 0), &at(1, 6)), (9, usize::MAX)).await.unwrap();
        assert_eq!(newest, items);
        // It may be found to be over only while it is read.
        assert_eq!(collect(&reading, &at(0, 0), &at(0, 0)).await.unwrap(), []);
        assert!(reading.is_over(twice().at, 0).await.unwrap());
    });
}

/// Of a topic that was made again and isn't adopted yet, what hot holds is of the making before.
#[test]
fn what_is_not_adopted_yet_is_read_from_the_log() {
    let mut partition = twice();
    (partition.hot, partition.behind) = (None, Some((0, 6)));
    let tiers = Arc::new(FakeTiers::new(vec![partition]));
    let (reading, lanes) = (reading(&tiers, scope(), ReadFilter::default()), tiers.lanes());
    block_on(async {
        let items = collect_in(&reading, &lanes, &at(0, 4), &at(1, 2)).await.unwrap();
        assert_eq!(places(&items), [(0, 4, 5), (0, 5, 6), (1, 0, 1), (1, 1, 2)]);
        assert!(matches!(items[1], ReadItem::Gap { .. }), "cold lacks it");
        // Its offsets are not looked for in the log of another making.
        let read = collect(&reading, &at(0, 6), &at(0, 8)).await.unwrap();
        assert_eq!(places(&read), [(0, 6, 8)]);
        assert!(matches!(read[0], ReadItem::Gap { .. }));
        for (from, to) in [(at(2, 0), at(2, 1)), (at(1, 0), at(2, 1))] {
            assert!(matches!(collect_in(&reading, &lanes, &from, &to).await, Err(ReadError::Epoch)), "{from:?}");
        }
    });
}

/// Where the cold tier can't be reached, what others have is given all the same, and the fault.
#[tokio::test(start_paused = true)]
async fn what_is_at_hand_is_given_where_cold_is_away() {
    use crate::sink::SinkError;
    let away = |_: u64, partitions: &mut std::collections::BTreeMap<TopicPartition, FakePartition>| {
        partitions.values_mut().for_each(|partition| partition.is_cold_away = true);
        Ok(())
    };
    let tiers = Arc::new(FakeTiers::changing(vec![twice()], Box::new(away)));
    let (reading, lanes) = (reading(&tiers, scope(), ReadFilter::default()), tiers.lanes());
    let plan = |before: &Cursor| Plan::new(&reading.filter, start_of(&lanes), before, &lanes).unwrap();
    let (items, fault) = newest(&reading, plan(&at(1, 6)), &at(1, 6), (9, usize::MAX), None).await.unwrap();
    assert_eq!(places(&items), (0..6).map(|offset| (1, offset, offset + 1)).collect::<Vec<_>>());
    assert!(matches!(fault, Some(ReadError::Cold(SinkError::Store(_)))), "{fault:?}");
    let (items, fault) = newest(&reading, plan(&at(1, 6)), &at(1, 6), (6, usize::MAX), None).await.unwrap();
    let late = Some(std::time::Instant::now());
    let (too_late, _) = newest(&reading, plan(&at(1, 6)), &at(1, 6), (6, usize::MAX), late).await.unwrap();
    assert!(too_late.is_empty(), "there was no time");
    assert_eq!((items.len(), fault.is_none()), (6, true), "it isn't needed");
}

/// A card that has been silent for as long as the log is looked through may have more before it.
#[test]
fn a_budget_that_is_spent_at_the_floor_hides_no_making() {
    let mut partition = twice();
    let far = LOG_BUDGET;
    partition.records.clear();
    (partition.log, partition.hot) = ((0, far), None);
    let tiers = Arc::new(FakeTiers::new(vec![partition]));
    let (reading, lanes) = (reading(&tiers, scope(), ReadFilter::default()), tiers.lanes());
    let newest = block_on(last_in(&reading, &lanes, (&start_of(&lanes), &at(1, far)), (3, usize::MAX))).unwrap();
    assert_eq!(places(&newest).last(), Some(&(0, 5, 6)), "a gap, for cold ends before");
    assert_eq!(newest.iter().filter(is_entry).count(), 3);
}

#[test]
fn a_making_that_cold_lacks_is_refused() {
    let mut partition = twice();
    partition.earlier[0].cold = None;
    let tiers = Arc::new(FakeTiers::new(vec![partition]));
    let (reading, lanes) = (reading(&tiers, scope(), ReadFilter::default()), tiers.lanes());
    block_on(async {
        for (from, to) in [(at(0, 2), at(1, 6)), (at(0, 2), at(0, 4)), (at(1, 0), at(0, 4))] {
            for lanes in [&lanes[..], &[]] {
                let read = collect_in(&reading, lanes, &from, &to).await;
                assert!(matches!(read, Err(ReadError::Epoch)), "{from:?} to {to:?}");
                let searched = last_in(&reading, lanes, (&from, &to), (5, usize::MAX)).await;
                assert!(matches!(searched, Err(ReadError::Epoch)), "{from:?} to {to:?}");
            }
        }
        // All that there is begins with the making that is there.
        assert_eq!(start_of(&lanes), at(1, 0));
    });
}

/// Whoever reads when a topic is made again and adopted goes on with what cold has.
#[test]
fn a_making_that_ends_while_it_is_read_is_read_on_from_cold() {
    let mut now = FakePartition { log: (0, 6), hot: Some((0, 6)), cold: Some((0, 5)), ..FakePartition::default() };
    now.records = (0..6).map(|offset| fake::entry(&now, offset, "w", "c", "r")).collect();
    let change = move |call: u64, partitions: &mut std::collections::BTreeMap<TopicPartition, FakePartition>| {
        if call == 3 {
            for partition in partitions.values_mut() {
                let before = partition.clone().over();
                let made = FakePartition { log: (0, 1), hot: Some((0, 1)), ..FakePartition::default() };
                *partition = made.after(vec![before], 0);
            }
        }
        Ok(())
    };
    let tiers = Arc::new(FakeTiers::changing(vec![now], Box::new(change)));
    let reading = reading(&tiers, scope(), ReadFilter::default());
    let items = block_on(collect(&reading, &at(0, 0), &at(0, 6))).unwrap();
    let expected: Vec<_> = (0..6).map(|offset| (0, offset, offset + 1)).collect();
    assert_eq!(places(&items), expected);
    assert!(matches!(items.last(), Some(ReadItem::Gap { from: 5, to: 6, .. })));
}
