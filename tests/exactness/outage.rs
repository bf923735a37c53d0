//! Kafka or the store stands still, or dies, in the midst of it, and goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_broker::{Broker, Config};
use agentworks_load::{Fleet, Limit};
use rustix::process::Signal;
use tokio::sync::oneshot;

use crate::log::{Log, WORKSPACES};
use crate::member::{Member, Pace};
use crate::support::cassandra::Cassandra;
use crate::support::{Scratch, eventually, process};
use crate::world::{PATIENCE, World, alone, is_chaos, seed};

/// Records a second.
const RATE: f64 = 1500.0;

/// In how long processors must have caught up after it, on a machine that does nothing else.
const RECOVERY: Duration = Duration::from_secs(30);

/// What a processor may take, in KiB.
const MEMORY: u64 = 400 << 10;

/// For how long something stands still.
fn standstill() -> Duration {
    Duration::from_secs(if is_chaos() { 60 } else { 6 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_that_stands_still_and_dies_loses_and_doubles_nothing() {
    if !is_chaos() {
        return println!("this takes minutes: `make chaos` runs it");
    }
    let _alone = alone().await;
    let seed = seed("outage of Kafka");
    let scratch = Scratch::new("outage-kafka");
    let broker = Broker::start(Config::new(scratch.path().join("kafka"))).await.unwrap();
    let world = World::over(Log::at(&broker.bootstrap(), 4, seed).await, seed).await;
    ride(&world, async {
        stand_still(broker.pid().unwrap()).await;
        recovered(&world, "Kafka stood still").await;
        // It is started again by its supervisor.
        process::kill_9(broker.pid().unwrap());
        recovered(&world, "Kafka was killed").await;
    })
    .await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cassandra_that_stands_still_and_dies_loses_and_doubles_nothing() {
    if !is_chaos() {
        return println!("this takes minutes: `make chaos` runs it");
    }
    let _alone = alone().await;
    let seed = seed("outage of Cassandra");
    let scratch = Scratch::new("outage-cassandra");
    let mut cassandra = Cassandra::start(scratch.path()).await;
    let (_, store) = cassandra.store().await;
    let world = World::of(Log::new(4, seed).await, Arc::new(store), seed).await;
    ride(&world, async {
        stand_still(cassandra.pid()).await;
        recovered(&world, "Cassandra stood still").await;
        process::kill_9(cassandra.pid());
        cassandra.start_again().await;
        recovered(&world, "Cassandra was killed").await;
    })
    .await;
}

/// Does what is to be done while a fleet writes and a processor works; then both are held to the topics.
async fn ride(world: &World, outages: impl Future<Output = ()>) {
    let mut member = Member::start(&world.order(Pace::Brisk));
    let fleet = Fleet { rate: RATE, ..world.log.fleet(WORKSPACES[0]) };
    let (stop, stopped) = oneshot::channel::<()>();
    let streaming = world.log.stream(&fleet, Limit::default(), async { drop(stopped.await) });
    let outages = async {
        eventually(PATIENCE, async || world.ends().await.values().any(|end| *end > 2_000).then_some(())).await;
        outages.await;
        drop(stop);
    };
    let (sent, ()) = tokio::join!(streaming, outages);
    world.held(&world.ends().await).await;
    println!("  sent {}; the processor had {} MiB at most", sent.acked, member.peak_rss() >> 10);
    assert!(member.peak_rss() < MEMORY, "{} KiB", member.peak_rss());
    member.leave().await;
    member.ended(PATIENCE).await.expect("it leaves");
    println!("  {:?}", world.check().await);
}

async fn stand_still(pid: u32) {
    process::signal(pid, Signal::STOP);
    tokio::time::sleep(standstill()).await;
    process::signal(pid, Signal::CONT);
}

/// Waits until all that is in the log now is in the store, and says how long that took.
async fn recovered(world: &World, after: &str) {
    let begun = Instant::now();
    world.held(&world.ends().await).await;
    println!("  after {after}: caught up in {:.1?}", begun.elapsed());
    assert!(begun.elapsed() < RECOVERY, "after {after}: {:?}", begun.elapsed());
}
