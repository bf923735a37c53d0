//! The archive equals the topics, whatever dies on the way: whoever fills it is killed at any write and at any time, hangs
//! and comes back when others have its partitions, finds the disk full and its bucket gone; whoever keeps it is killed as well.
//!
//! - [`member`]: a process that fills or keeps an archive, and dies where it is told to.
//! - [`check`]: holds an archive to the topics, and engines to the archive.
//! - [`keeping`]: killing those that merge, sum up and delete.
//! - [`places`]: a disk that is full, a bucket that goes away.

mod check;
mod keeping;
mod member;
mod places;

use std::time::{Duration, Instant};

use agentworks_objects::Objects;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;

use self::check::{Known, age, hold, settle, vacuum};
use self::member::{Dies, Order, launch};
use crate::failpoint::Side;
use crate::member::Pace;
use crate::support::Scratch;
use crate::world::{World, alone, is_chaos, seed};

/// How long it is waited for that a process comes to where it is to die.
const COMES: Duration = Duration::from_secs(20);

/// An order to fill an archive from a world, by one that has all partitions back as soon as it is started again.
fn order(world: &World, objects: &Scratch) -> Order {
    let mut log = world.order(Pace::Eager);
    log.group = format!("{}archive", log.prefix);
    log.instance = Some("one".into());
    Order { log: Some(log), objects: objects.path().join("archive"), dies: None }
}

fn objects(scratch: &Scratch) -> Objects {
    Objects::folder(&scratch.path().join("archive")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_while_it_fills_loses_and_doubles_nothing() {
    let _alone = alone().await;
    let seed = seed("archive");
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new(2, seed).await;
    let scratch = Scratch::new("archive");
    // As the tables are made, as files are uploaded, as they are published.
    let mut plans = vec![(None, 2, Side::Before), (None, 5, Side::After)];
    for side in Side::ALL {
        plans.push((Some("date="), random.random_range(1..=2), side));
        plans.push((Some("_delta_log/0"), random.random_range(1..=3), side));
    }
    let rounds = if is_chaos() { 8 } else { 1 };
    for (path, nth, side) in std::iter::repeat_n(plans, rounds).flatten() {
        world.log.load(4, 600).await;
        let dies = Dies { path: path.map(str::to_owned), nth, side };
        let mut member = launch(&Order { dies: Some(dies.clone()), ..order(&world, &scratch) });
        match member.ended(COMES).await {
            Some(told) => println!("  {}", told.unwrap_or_else(|| panic!("it ended without coming to: {dies:?}"))),
            None => panic!("it lives beyond: {dies:?}"),
        }
    }
    settle(&world, &order(&world, &scratch)).await;
    let known = Known::so_far(&world, &objects(&scratch)).await;
    // Engines see what there was, while more comes.
    let member = launch(&order(&world, &scratch));
    let load = async {
        for _ in 0..6 {
            world.log.load(4, 600).await;
        }
    };
    let table = scratch.path().join("archive/entries");
    tokio::join!(load, known.is_seen(&table));
    member.kill_9().await;
    // At any time: while rows are encoded, while files are half written.
    for _ in 0..4 * rounds {
        let member = launch(&order(&world, &scratch));
        world.log.load(4, 1500).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..600))).await;
        member.kill_9().await;
    }
    settle(&world, &order(&world, &scratch)).await;
    println!("archive: {:?}", hold(&world, &objects(&scratch)).await);
    // What was written and never published goes, and nothing else.
    assert_eq!(vacuum(&objects(&scratch)).await, 0, "all of it is young");
    age(scratch.path());
    let orphans = vacuum(&objects(&scratch)).await;
    assert!(orphans >= rounds, "{orphans}");
    hold(&world, &objects(&scratch)).await;
    check::only_current(&objects(&scratch), scratch.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wakes_when_others_have_its_partitions_takes_nothing_back() {
    let _alone = alone().await;
    let mut world = World::new(2, seed("zombies of the archive")).await;
    for (name, value) in [("session.timeout.ms", "2000"), ("heartbeat.interval.ms", "300")] {
        world.log.settings.extra.push((name.into(), value.into()));
    }
    let scratch = Scratch::new("archive-zombie");
    let mut member = order(&world, &scratch);
    if let Some(log) = &mut member.log {
        log.instance = None;
    }
    let zombie = launch(&member);
    world.log.load(4, 600).await;
    check::filled(&world, &objects(&scratch)).await;
    let rounds = if is_chaos() { 6 } else { 2 };
    for _ in 0..rounds {
        // It has some of it in memory, published or not, when it stops.
        world.log.load(4, 1500).await;
        zombie.signal(Signal::STOP);
        let begun = Instant::now();
        let mut heir = launch(&member);
        check::filled(&world, &objects(&scratch)).await;
        println!("  taken over after {:.1?}", begun.elapsed());
        world.log.load(4, 600).await;
        zombie.signal(Signal::CONT);
        check::filled(&world, &objects(&scratch)).await;
        heir.leave().await;
        heir.ended(COMES).await.expect("it leaves");
    }
    zombie.kill_9().await;
    settle(&world, &member).await;
    println!("zombies: {:?}", hold(&world, &objects(&scratch)).await);
}
