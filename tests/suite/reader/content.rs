use std::sync::Arc;

use agentworks_processors::reader::{ReadFilter, Scope};
use agentworks_schemas::topics::partition_of;
use agentworks_schemas::{Level, LogEntry, Source, Topic, TopicPartition};
use rand::RngExt;

use super::world::{PARTITIONS, World, card_scope, collect, cursor_of, entry, positioned, produced, run_scope};
use crate::support::cassandra::cassandra;

const CARDS: [&str; 3] = ["card-1", "card-2", "card-3"];
const WORKSPACES: [&str; 2] = ["w", "v"];
const RUNS: [&str; 2] = ["r1", "r2"];

/// One entry of each card of both workspaces in each partition: so that hot knows them all.
async fn begin(world: &mut World) {
    for (workspace, card) in WORKSPACES.into_iter().flat_map(|w| CARDS.map(|card| (w, card))) {
        for (partition, source) in (0..PARTITIONS).flat_map(|p| [Source::System, Source::Agent].map(|s| (p, s))) {
            world.produce([produced(&entry(workspace, card, RUNS[0], 0, source), partition)]).await;
        }
    }
    world.feed_all().await;
}

/// Entries of all cards of both workspaces; a fifth of them misplaced.
async fn fill(world: &mut World, count: i64) {
    let mut records = Vec::new();
    for sequence in 0..count {
        let random = &mut world.random;
        let card = CARDS[random.random_range(0..CARDS.len())];
        let workspace = WORKSPACES[random.random_range(0..WORKSPACES.len())];
        let run = RUNS[random.random_range(0..RUNS.len())];
        let source = if random.random_bool(0.2) { Source::System } else { Source::Agent };
        let right = partition_of(card.as_bytes(), PARTITIONS);
        let partition = if random.random_bool(0.2) { random.random_range(0..PARTITIONS) } else { right };
        records.push(produced(&entry(workspace, card, run, sequence, source), partition));
    }
    world.produce(records).await;
}

fn scopes() -> Vec<Scope> {
    let mut scopes = Vec::new();
    for (workspace, card) in WORKSPACES.into_iter().flat_map(|w| CARDS.map(|card| (w, card))) {
        scopes.push(card_scope(workspace, card));
        scopes.extend(RUNS.map(|run| run_scope(workspace, card, run)));
    }
    scopes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_is_what_the_topics_hold() {
    for seed in 0..2 {
        fill_and_compare(World::new(seed).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_from_cassandra() {
    let (_, store) = cassandra().await.store().await;
    fill_and_compare(World::on(Arc::new(store), 2).await).await;
}

async fn fill_and_compare(mut world: World) {
    begin(&mut world).await;
    fill(&mut world, 1500).await;
    world.feed_randomly().await;

    let mut expected = Vec::new();
    for scope in scopes() {
        expected.push((world.entries(&scope).await, scope));
    }
    read_and_compare(&mut world, &expected).await;
    world.age().await;
    read_and_compare(&mut world, &expected).await;
}

/// Entries, and where they lie.
type Positioned = Vec<(TopicPartition, i64, LogEntry<'static>)>;

/// Reads scopes whole, in part, and from their ends.
async fn read_and_compare(world: &mut World, scopes: &[(Positioned, Scope)]) {
    for (expected, scope) in scopes {
        let (start, end) = (world.reader.start(scope).await.unwrap(), world.reader.end(scope).await.unwrap());
        let read = |from, to| collect(world.reader.read(scope.clone(), ReadFilter::default(), from, to));
        let items = read(start.clone(), end.clone()).await;
        assert_eq!(&positioned(&items), expected, "{scope:?}");

        for _ in 0..2 {
            let (a, b) = (world.random.random_range(0..items.len()), world.random.random_range(0..items.len()));
            let (first, last) = (a.min(b), a.max(b));
            let rest = read(cursor_of(&items[first]).clone(), end.clone()).await;
            assert_eq!(rest, items[first + 1..], "{scope:?} resumed after {first}");
            let middle = read(cursor_of(&items[first]).clone(), cursor_of(&items[last]).clone()).await;
            assert_eq!(positioned(&middle), positioned(&items[first + 1..=last]), "{scope:?} {first} to {last}");

            let count = world.random.random_range(1..items.len() + 10);
            let newest = world.reader.newest(scope, &ReadFilter::default(), &end, count).await.unwrap();
            assert_eq!(newest, items[items.len().saturating_sub(count)..], "{scope:?} newest {count}");
            let before = cursor_of(&items[last]);
            let page = world.reader.newest(scope, &ReadFilter::default(), before, count).await.unwrap();
            let wanted = &items[(last + 1).saturating_sub(count)..=last];
            assert_eq!(positioned(&page), positioned(wanted), "{scope:?} {count} before {last}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_lets_some_pass() {
    let mut world = World::new(10).await;
    begin(&mut world).await;
    fill(&mut world, 1200).await;
    world.feed_randomly().await;

    let scope = card_scope("w", CARDS[0]);
    let all = world.entries(&scope).await;
    let (start, end) = (world.reader.start(&scope).await.unwrap(), world.reader.end(&scope).await.unwrap());
    let middle = all[all.len() / 2].2.timestamp;
    let filters = [
        ReadFilter { levels: Some(vec![Level::Error, Level::Fatal]), ..ReadFilter::default() },
        ReadFilter { sources: Some(vec![Source::System]), ..ReadFilter::default() },
        ReadFilter { topics: Some(vec![Topic::AgentLogs]), ..ReadFilter::default() },
        ReadFilter { since: Some(middle), until: Some(middle), ..ReadFilter::default() },
        ReadFilter { components: Some(vec!["another".into()]), ..ReadFilter::default() },
    ];
    for filter in filters {
        let passes =
            |(at, _, entry): &&(TopicPartition, i64, LogEntry<'_>)| filter.reads(at.topic) && filter.passes(entry);
        let expected: Vec<_> = all.iter().filter(passes).cloned().collect();
        let items = collect(world.reader.read(scope.clone(), filter.clone(), start.clone(), end.clone())).await;
        assert_eq!(positioned(&items), expected, "{filter:?}");
        let newest = world.reader.newest(&scope, &filter, &end, 7).await.unwrap();
        assert_eq!(positioned(&newest), expected[expected.len().saturating_sub(7)..], "{filter:?}");
    }
}

/// Records that another partitioner placed are found as soon as hot has seen one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misplaced_records_are_served() {
    let mut world = World::new(11).await;
    let scope = card_scope("w", "lost");
    let wrong = (partition_of(b"lost", PARTITIONS) + 1) % PARTITIONS;
    let lines =
        |range: std::ops::Range<i64>| range.map(|i| produced(&entry("w", "lost", "r", i, Source::Agent), wrong));
    world.produce(lines(0..50)).await;
    world.feed_all().await;
    // Beyond hot, from the log.
    world.produce(lines(50..80)).await;

    let (start, end) = (world.reader.start(&scope).await.unwrap(), world.reader.end(&scope).await.unwrap());
    let items = collect(world.reader.read(scope.clone(), ReadFilter::default(), start, end.clone())).await;
    assert_eq!(positioned(&items), world.entries(&scope).await);
    assert_eq!(items.len(), 80);

    // A cursor from before the partition was known reads it from its start.
    let mut old = world.reader.start(&scope).await.unwrap();
    let misplaced = old.iter().map(|(at, ..)| at).find(|at| at.partition == wrong).unwrap();
    old.remove(misplaced);
    let items = collect(world.reader.read(scope.clone(), ReadFilter::default(), old, end)).await;
    assert_eq!(items.len(), 80);
}

/// A card that nobody wrote to is an empty stream, and no gap; also where the log has lost its beginning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_card_is_empty() {
    let mut world = World::new(12).await;
    fill(&mut world, 300).await;
    for feed in [false, true] {
        if feed {
            world.feed_all().await;
        }
        let scope = card_scope("w", "nobody");
        let (start, end) = (world.reader.start(&scope).await.unwrap(), world.reader.end(&scope).await.unwrap());
        let items = collect(world.reader.read(scope.clone(), ReadFilter::default(), start, end.clone())).await;
        assert_eq!(items, []);
        assert_eq!(world.reader.newest(&scope, &ReadFilter::default(), &end, 10).await.unwrap(), []);
        assert_eq!(world.reader.active_run("w", "nobody").await.unwrap(), None);
    }
}
