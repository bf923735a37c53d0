//! What changes while it is read: `low` passes, the log is cut, hot catches up, calls fail.

use std::collections::BTreeMap;

use agentworks_kafka::KafkaError;
use agentworks_schemas::TopicPartition;
use agentworks_store::StoreError;
use proptest::prelude::*;

use super::fake::{Change, FakePartition, FakeTiers};
use super::model::{Plain, plain};
use super::*;

/// At this call: what happens to which partition.
#[derive(Clone, Debug)]
enum Event {
    /// Hot's `low` moves to this share of the log.
    HotLow(i64),
    /// Warm's `low` moves there.
    WarmLow(i64),
    /// Warm comes to hold so much.
    WarmHigh(i64),
    /// The log is cut there.
    LogLow(i64),
    /// Hot comes to hold so much.
    HotHigh(i64),
    /// The call fails.
    Fault,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..=100i64).prop_map(Event::HotLow),
        (0..=100i64).prop_map(Event::WarmLow),
        (0..=100i64).prop_map(Event::WarmHigh),
        (0..=100i64).prop_map(Event::LogLow),
        (0..=100i64).prop_map(Event::HotHigh),
        Just(Event::Fault),
    ]
}

fn script(events: Vec<(u64, usize, Event)>) -> Change {
    Box::new(move |call, partitions: &mut BTreeMap<TopicPartition, FakePartition>| {
        for (_, index, event) in events.iter().filter(|(at, ..)| *at == call) {
            let index = index % partitions.len();
            let Some(partition) = partitions.values_mut().nth(index) else { continue };
            let at = |percent: i64| partition.log.1 * percent / 100;
            let raised =
                |held: Option<(i64, i64)>, by: &i64| held.map(|(low, high)| (low.max(at(*by)).min(high), high));
            let grown = |held: Option<(i64, i64)>, by: &i64| held.map(|(low, high)| (low, high.max(at(*by))));
            match event {
                Event::LogLow(percent) => partition.log.0 = partition.log.0.max(at(*percent)),
                Event::HotLow(percent) => partition.hot = raised(partition.hot, percent),
                Event::HotHigh(percent) => partition.hot = grown(partition.hot, percent),
                Event::WarmLow(percent) => partition.warm = raised(partition.warm, percent),
                Event::WarmHigh(percent) => partition.warm = grown(partition.warm, percent),
                Event::Fault => return Err(KafkaError::Unavailable("a fault".into()).into()),
            }
        }
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// Whatever changes: what wasn't given lies in a gap that was told of, in order, and nothing comes twice.
    #[test]
    fn nothing_is_lost_silently(
        case in case(),
        events in prop::collection::vec((1..60u64, 0..3usize, event()), 0..6),
    ) {
        let partitions = case.partitions.clone();
        let tiers = Arc::new(FakeTiers::changing(partitions, script(events)));
        let reading = reading(&tiers, case.scope.clone(), case.filter.clone());
        let (start, end) = (tiers.cursor(|_| 0), tiers.cursor(|partition| partition.log.1));
        let items = block_on(collect(&reading, &start, &end)).unwrap();
        let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        let wanted = |partition: TopicPartition, from: i64, to: i64| {
            let records = case.partitions.iter().filter(move |of| of.at == partition).flat_map(|of| &of.records);
            records.filter(move |record| (from..to).contains(&record.position.offset))
                .filter(|record| case.scope.holds(&record.entry) && case.filter.passes(&record.entry))
                .count()
        };
        for item in plain(&items) {
            let (partition, from, to) = match item {
                Plain::Entry(partition, offset, _) => (partition, offset, offset + 1),
                Plain::Gap(partition, from, to) => (partition, from, to),
            };
            let next = next.entry(partition).or_default();
            prop_assert!(from >= *next, "{partition}: {from} comes after {next}");
            prop_assert_eq!(wanted(partition, *next, from), 0, "lost in {}..{} of {}", next, from, partition);
            *next = to;
        }
        for partition in &case.partitions {
            let next = next.get(&partition.at).copied().unwrap_or_default();
            prop_assert_eq!(wanted(partition.at, next, partition.log.1), 0, "lost from {} on in {}", next, partition.at);
        }
    }
}

/// One partition with `count` entries, in hot up to `high`.
fn one(count: i64, high: i64) -> FakePartition {
    let mut partition = FakePartition { log: (0, count), hot: Some((0, high)), ..FakePartition::default() };
    partition.records = (0..count).map(|offset| fake::entry(&partition, offset, "w", "c", "r")).collect();
    partition
}

#[test]
fn a_fault_that_lasts_ends_the_stream() {
    let faulty = |fault: fn() -> ReadError| {
        let tiers =
            FakeTiers::changing(vec![one(8, 4)], Box::new(move |call, _| if call > 2 { Err(fault()) } else { Ok(()) }));
        reading(&Arc::new(tiers), scope(), ReadFilter::default())
    };
    let lasting = faulty(|| StoreError::Failed("for good".into()).into());
    let (start, end) = (Cursor::from_iter([(one(0, 0).at, 0, 0)]), Cursor::from_iter([(one(0, 0).at, 0, 8)]));
    assert!(matches!(block_on(collect(&lasting, &start, &end)), Err(ReadError::Store(StoreError::Failed(_)))));
}

#[test]
fn a_dropped_stream_stops_reading() {
    block_on(async {
        let tiers = Arc::new(FakeTiers::new(vec![one(5000, 5000)]));
        let reading = reading(&tiers, scope(), ReadFilter::default());
        let plan = Plan::new(&reading.filter, tiers.cursor(|_| 0), &tiers.cursor(|_| 5000), &[]);
        let mut stream = spawn(reading.clone(), async move { plan });
        stream.recv().await.unwrap().unwrap();
        drop(stream);
        // The task gives its share of the reading back.
        while Arc::strong_count(&reading) > 1 {
            tokio::task::yield_now().await;
        }
    });
}
