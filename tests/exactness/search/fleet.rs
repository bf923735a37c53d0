//! Three indexers, a merger and two searchers over one index: whatever becomes of any of them, both searchers say at any
//! time what a look at the topics says.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rustix::process::Signal;

use super::member::{Member, Order, Work};
use super::place::Place;
use super::truth::{check, check_alone, difference, expected, requests};
use crate::hands::Batches;
use crate::support::minio::minio;
use crate::support::{Scratch, unique_prefix};
use crate::world::{World, alone, seed};

/// How soon what was written is to be found.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_or_hangs_all_is_found() {
    let _alone = alone().await;
    let folder = Scratch::new("search");
    let seed = seed("search fleet");
    let place = match minio().await {
        Some(minio) => Place::Minio(minio.endpoint(), unique_prefix()),
        None => Place::Folder(folder.path().join("objects")),
    };
    let mut world = World::new(4, seed).await;
    // Who dies is missed soon.
    for (name, value) in
        [("session.timeout.ms", "2500"), ("heartbeat.interval.ms", "400"), ("max.poll.interval.ms", "3000")]
    {
        world.log.settings.extra.push((name.into(), value.into()));
    }
    live(world, &place, &folder).await;
}

/// The searchers, and what has been written.
struct Watch {
    searchers: Vec<Member>,
    seed: u64,
}

impl Watch {
    /// Both find all that is on the log: at once, if they have found it before, or soon.
    async fn find_all(&mut self, world: &World, within: Duration, when: &str) {
        let batches = Batches::read(&world.log).await;
        let begun = Instant::now();
        for request in requests() {
            let expected = expected(&batches, &request);
            for (number, searcher) in self.searchers.iter_mut().enumerate() {
                loop {
                    let found = searcher.ask(&request).await.expect("it lives");
                    let fault = match &found {
                        Ok(found) => difference(found, &expected),
                        Err(error) => Some(error.clone()),
                    };
                    let Some(fault) = fault else { break };
                    let is_late = begun.elapsed() > within;
                    assert!(
                        !is_late,
                        "AGENTWORKS_SEED={}: {when}, searcher {number}, {}: {fault}",
                        self.seed, request.query
                    );
                    // More than there is, is never right.
                    let count = found.map_or(0, |found| found.count);
                    assert!(
                        count <= expected.count,
                        "AGENTWORKS_SEED={}: {when}: {count} of {}",
                        self.seed,
                        expected.count
                    );
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        println!("search fleet: {when}: all is found, after {:.1?}", begun.elapsed());
    }
}

async fn live(mut world: World, place: &Place, folder: &Scratch) {
    let mut random = StdRng::seed_from_u64(world.seed);
    let mut names = 0;
    let mut order = |work: Work, world: &World| {
        names += 1;
        Order::new(work, world, place, &folder.path().join(format!("{work:?}-{names}")))
    };
    let mut indexers: Vec<_> = (0..3).map(|_| Member::start(&order(Work::Index, &world))).collect();
    let searching: Vec<_> = (0..2).map(|_| order(Work::Search, &world)).collect();
    let merger = Member::start(&order(Work::Merge, &world));
    let mut watch = Watch { searchers: searching.iter().map(Member::start).collect(), seed: world.seed };
    world.log.load(8, 1_500).await;
    watch.find_all(&world, SOON, "with three indexers").await;

    indexers.shuffle(&mut random);
    indexers.pop().unwrap().kill_9().await;
    watch.find_all(&world, Duration::ZERO, "one was killed just now").await;
    world.log.load(8, 800).await;
    watch.find_all(&world, SOON, "two are left").await;

    // One that hangs for longer than its group waits, and wakes while others have its lanes.
    let zombie = indexers.pop().unwrap();
    zombie.signal(Signal::STOP);
    watch.find_all(&world, Duration::ZERO, "one hangs").await;
    world.log.load(8, 800).await;
    indexers.push(Member::start(&order(Work::Index, &world)));
    watch.find_all(&world, SOON, "another has come").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    zombie.signal(Signal::CONT);
    world.log.load(8, 800).await;
    watch.find_all(&world, SOON, "the one that hung wakes").await;

    watch.searchers.swap_remove(0).kill_9().await;
    watch.find_all(&world, Duration::ZERO, "a searcher was killed").await;
    // In the folder of the one that is gone.
    watch.searchers.push(Member::start(&searching[0]));
    merger.kill_9().await;
    watch.find_all(&world, Duration::ZERO, "another searcher, no merger").await;

    let entries = check(&world, place).await;
    check_alone(&world, place).await;
    for member in indexers.into_iter().chain([zombie]) {
        member.leave().await;
    }
    watch.find_all(&world, Duration::ZERO, "no indexer is left").await;
    println!("search fleet: {entries} entries, each once");
}
