use std::collections::BTreeMap;

use agentworks_processors::reader::{ReadFilter, ReadItem};
use agentworks_schemas::topics::partition_of;
use agentworks_schemas::{Cursor, Source, Topic, TopicPartition};

use super::world::{PARTITIONS, World, card_scope, collect, entry, produced, run_scope};

fn place(card: &str) -> TopicPartition {
    TopicPartition::new(Topic::AgentLogs, partition_of(card.as_bytes(), PARTITIONS))
}

/// `count` lines of a card, from `first` on.
async fn write(world: &World, card: &str, first: i64, count: i64) {
    let partition = place(card).partition;
    world.produce((first..first + count).map(|i| produced(&entry("w", card, "r", i, Source::Agent), partition))).await;
}

/// The sequences of entries, and the gaps in offsets.
fn plain(items: &[ReadItem]) -> Vec<Result<i64, (i64, i64)>> {
    let plain = |item: &ReadItem| match item {
        ReadItem::Entry { entry, .. } => Ok(entry.entry.sequence),
        ReadItem::Gap { from, to, .. } => Err((*from, *to)),
    };
    items.iter().map(plain).collect()
}

/// The tiers have expired up to some offsets, the log up to another: what is gone from all is a gap, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_is_a_gap() {
    let card = "gone";
    let silent = TopicPartition::new(Topic::SystemLogs, place(card).partition);
    let all_but_warm = [(0, 300, 900), (300, 100, 900), (100, 300, 900), (300, 300, 900), (950, 900, 900)];
    let with_warm = [(950, 900, 0), (950, 700, 200), (500, 700, 200), (1000, 900, 900)];
    for (log_low, hot_low, warm_low) in all_but_warm.into_iter().chain(with_warm) {
        let mut world = World::new(20).await;
        write(&world, card, 0, 900).await;
        let others = (0..10).map(|i| produced(&entry("w", "other", "r", i, Source::System), silent.partition));
        world.produce(others).await;
        world.feed_all().await;
        write(&world, card, 900, 100).await;
        let start = world.reader.start(&card_scope("w", card)).await.unwrap();
        for (at, log_low, hot_low, warm_low) in [(place(card), log_low, hot_low, warm_low), (silent, 5, 5, 5)] {
            world.expire("hot", at, hot_low).await;
            world.expire("warm", at, warm_low).await;
            world.cut(at, log_low).await;
        }

        let is_held = |offset: &i64| *offset >= log_low || (*offset < 900 && *offset >= hot_low.min(warm_low));
        let mut wanted = Vec::new();
        for offset in 0..1000 {
            match wanted.last_mut() {
                _ if is_held(&offset) => wanted.push(Ok(offset)),
                Some(Err((_, to))) => *to = offset + 1,
                _ => wanted.push(Err((offset, offset + 1))),
            }
        }
        let tiers = format!("log from {log_low}, hot from {hot_low}, warm from {warm_low}");
        for scope in [card_scope("w", card), run_scope("w", card, "r")] {
            let end = world.reader.end(&scope).await.unwrap();
            let read = |from, to| collect(world.reader.read(scope.clone(), ReadFilter::default(), from, to));
            let items = read(start.clone(), end.clone()).await;
            assert_eq!(plain(&items), wanted, "{scope:?}, {tiers}");
            let newest = world.reader.newest(&scope, &ReadFilter::default(), &end, 2000).await.unwrap();
            assert_eq!(newest, items, "{scope:?}, {tiers}");

            // The other topic's partition was cut too, but the card was never there.
            let items = read(Cursor::from_iter([(silent, 0, 0)]), end).await;
            assert_eq!(plain(&items), wanted, "{scope:?}, {tiers}");
        }
    }
}

/// All are cut while a stream is in their midst.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn low_passes_a_slow_reader() {
    let (card, scope) = ("slow", card_scope("w", "slow"));
    let mut world = World::new(21).await;
    write(&world, card, 0, 20_000).await;
    world.feed_all().await;
    let (start, end) = (world.reader.start(&scope).await.unwrap(), world.reader.end(&scope).await.unwrap());
    let mut stream = world.reader.read(scope.clone(), ReadFilter::default(), start, end);
    let mut items = Vec::new();
    for _ in 0..100 {
        items.push(stream.recv().await.unwrap().unwrap());
    }
    world.expire("hot", place(card), 18_000).await;
    world.expire("warm", place(card), 14_000).await;
    world.cut(place(card), 16_000).await;
    items.extend(collect(stream).await);

    let items = plain(&items);
    let gap = items.iter().position(|item| item.is_err()).expect("the stream had not read so far ahead");
    let (before, after) = (&items[..gap], &items[gap + 1..]);
    assert_eq!(before, (0..gap as i64).map(Ok).collect::<Vec<_>>());
    assert_eq!(items[gap], Err((gap as i64, 14_000)));
    assert_eq!(after, (14_000..20_000).map(Ok).collect::<Vec<_>>());
}

/// Somebody reads on and on, while the log grows and the sinks follow in their own time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_grows_while_it_is_read() {
    const COUNT: i64 = 6000;
    let (card, scope) = ("busy", card_scope("w", "busy"));
    let mut world = World::new(22).await;
    // Hot must know the partition before anybody misplaces into it.
    let other = TopicPartition::new(Topic::AgentLogs, (place(card).partition + 1) % PARTITIONS);
    world.produce([produced(&entry("w", card, "r", 0, Source::Agent), other.partition)]).await;
    world.feed_all().await;
    let reader = world.reader.clone();

    let writing = async {
        for first in (1..COUNT).step_by(100) {
            let records = (first..(first + 100).min(COUNT)).map(|i| {
                let source = if i % 7 == 0 { Source::System } else { Source::Agent };
                let partition = if i % 5 == 0 { other.partition } else { place(card).partition };
                produced(&entry("w", card, "r", i, source), partition)
            });
            world.produce(records).await;
            world.feed_randomly().await;
        }
        world.feed_all().await;
    };
    let reading = async {
        let mut cursor = reader.start(&scope).await.unwrap();
        let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        let mut seen = Vec::new();
        while (seen.len() as i64) < COUNT {
            let end = reader.end(&scope).await.unwrap();
            let items = collect(reader.read(scope.clone(), ReadFilter::default(), cursor.clone(), end.clone())).await;
            for item in items {
                let ReadItem::Entry { entry, .. } = item else { panic!("{item:?}") };
                let next = next.entry(entry.position.partition).or_default();
                assert!(entry.position.offset >= *next, "{} comes after {next}", entry.position);
                *next = entry.position.offset + 1;
                seen.push(entry.entry.sequence);
            }
            for (partition, epoch, offset) in end.iter() {
                cursor.set(partition, epoch, offset);
            }
        }
        seen
    };
    let (_, mut seen) = tokio::join!(writing, reading);
    seen.sort_unstable();
    assert_eq!(seen, (0..COUNT).collect::<Vec<_>>());
}
