use agentworks_processors::reader::ReadFilter;
use agentworks_schemas::topics::partition_of;
use agentworks_schemas::{Source, Topic};
use rand::RngExt;

use super::world::{PARTITIONS, World, entry, positioned, produced, run_scope};

/// Every ordinal is found, whatever part of the run has marks, with and without system-logs, in one partition or several.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ordinal_is_found() {
    let scope = run_scope("w", "long", "r");
    let right = partition_of(b"long", PARTITIONS);
    for (seed, misplaced) in [(30, 0.0), (31, 0.3)] {
        let mut world = World::new(seed).await;
        for part in 0..2 {
            // The sources take turns, so that for long stretches only one of them speaks; another run is in between.
            let records: Vec<_> = (0..5000)
                .map(|i| {
                    let sequence = part * 5000 + i;
                    let is_system = if (i / 1100) % 2 == 0 { 0.05 } else { 0.9 };
                    let source = if world.random.random_bool(is_system) { Source::System } else { Source::Agent };
                    let run = if world.random.random_bool(0.1) { "another" } else { "r" };
                    let is_misplaced = world.random.random_bool(misplaced);
                    let partition = if is_misplaced { (right + 1) % PARTITIONS } else { right };
                    produced(&entry("w", "long", run, sequence, source), partition)
                })
                .collect();
            world.produce(records).await;
            if part == 0 {
                world.feed_all().await;
            }
        }
        world.feed_randomly().await;

        let all = world.entries(&scope).await;
        let end = world.reader.end(&scope).await.unwrap();
        for include_system in [false, true] {
            let topics = if include_system { Topic::LOGS.to_vec() } else { vec![Topic::AgentLogs] };
            let filter = ReadFilter { topics: Some(topics), ..ReadFilter::default() };
            let expected: Vec<_> = all.iter().filter(|(at, ..)| filter.reads(at.topic)).cloned().collect();
            let count = expected.len() as u64;
            let mut ordinals = vec![0, 1, 999, 1000, 1001, count - 1, count, count + 1, u64::MAX];
            ordinals.extend((0..12).map(|_| world.random.random_range(0..count)));
            for ordinal in ordinals {
                let (cursor, found) = world.reader.seek_ordinal(&scope, ordinal, include_system).await.unwrap();
                assert_eq!(found, ordinal.min(count));
                let mut stream = world.reader.read(scope.clone(), filter.clone(), cursor, end.clone());
                let mut items = Vec::new();
                while let (true, Some(item)) = (items.len() < 20, stream.recv().await) {
                    items.push(item.unwrap());
                }
                let expected: Vec<_> = expected.iter().skip(found as usize).take(20).cloned().collect();
                assert_eq!(positioned(&items), expected, "from {ordinal}, system {include_system}");
            }
        }
    }
}
