//! Processors are killed at the boundaries between their writes, one after the other, each going on where the one before
//! died. In the end the store equals the topics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use agentworks_processors::lane;
use agentworks_schemas::{Topic, TopicPartition};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::failpoint::{Plan, Side};
use crate::member::{Member, Order, Pace};
use crate::support::eventually;
use crate::world::{PATIENCE, World, alone, is_chaos, seed};

/// How long a process may take until it comes to where it is to die.
const DIES: Duration = Duration::from_secs(60);

/// How long it is waited for that it comes there, where it may not.
const COMES: Duration = Duration::from_secs(15);

/// What sinks write to, at least, as [`Plan::only`] names it or begins.
const WRITTEN: &[&str] = &[
    "hot_blocks",
    "card_lanes",
    "cards",
    "positions/hot",
    "warm_blocks",
    "warm_card_runs",
    "positions/warm",
    "run_parts",
    "runs_by_card",
    "run_marks",
    "positions/runs",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_at_any_write_loses_and_doubles_nothing() {
    let _alone = alone().await;
    let seed = seed("failpoints");
    let kinds = if is_chaos() { usize::MAX } else { 14 };
    let any = if is_chaos() { (1..=100).collect() } else { vec![7, 20, 33, 46] };
    kill(World::new(3, seed).await, kinds, &any).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_at_any_write_to_cassandra_loses_and_doubles_nothing() {
    if !is_chaos() {
        return println!("this takes minutes: `make chaos` runs it");
    }
    let _alone = alone().await;
    let seed = seed("failpoints on Cassandra");
    let any: Vec<_> = (1..=30).collect();
    kill(World::on_cassandra(3, seed).await, usize::MAX, &any).await;
}

/// Kills one processor after the other: as they begin, at boundaries of so many kinds, and at boundaries with these
/// numbers, whatever kind they are of.
async fn kill(mut world: World, kinds: usize, any: &[u32]) {
    let mut random = StdRng::seed_from_u64(world.seed);
    world.log.load(6, 5_000).await;

    // As they open their partitions, the first thing that is written.
    for nth in 1..=4 {
        let side = *Side::ALL.choose(&mut random).unwrap();
        assert!(dies(&world, Plan { nth, side, ..Plan::drawn(&mut random) }).await);
    }
    // One that is killed anywhere, once it has written to everything there is.
    let member = Member::start(&static_order(&world));
    let written = eventually(PATIENCE, async || {
        let written = world.store.names();
        let is_written = |wanted: &&str| written.iter().any(|name| name.starts_with(*wanted));
        WRITTEN.iter().all(is_written).then_some(written)
    })
    .await;
    member.kill_9().await;

    let plans = plans(&written, kinds, any, &mut random);
    let (planned, mut died) = (plans.len(), 0);
    for plan in plans {
        // Every one finds new runs, and more the later it is to die; marks are only in long ones.
        match plan.only.as_deref() {
            Some("run_marks") => world.log.load(1, 5_000).await,
            _ => world.log.load(6, 800 + 100 * u64::from(plan.nth)).await,
        }
        died += usize::from(dies(&world, plan).await);
    }
    println!("failpoints: {died} of {planned} came to where they were to die");
    // Whether a member comes to a rare write before it has nothing left to take is a matter of time.
    assert!(died * 4 >= planned * 3, "{died} of {planned}");
    println!("failpoints: {:?}", world.settle().await);
}

/// So many kinds of boundaries, and boundaries as they come.
fn plans(written: &BTreeSet<String>, kinds: usize, any: &[u32], random: &mut StdRng) -> Vec<Plan> {
    // Which making of the topics it is, is written once.
    let often = written.iter().filter(|name| *name != "epochs");
    let all = often.flat_map(|name| Side::ALL.map(|side| (name.clone(), side)));
    // Those that have written a position, and committed nothing, are always among them.
    let is_before_commit = |(name, side): &(String, Side)| name.starts_with("positions/") && *side == Side::After;
    let (mut chosen, others): (Vec<_>, Vec<_>) = all.partition(is_before_commit);
    chosen.extend(others.sample(random, kinds.saturating_sub(chosen.len())).cloned());
    chosen.shuffle(random);
    let mut plans = Vec::new();
    for (only, side) in chosen {
        // Some are written to once in a while, others all the time.
        let nth = match &*only {
            name if name.contains("blocks") || name.contains("parts") => random.random_range(1..=4),
            name if name.contains("positions") => random.random_range(1..=2),
            _ => 1,
        };
        plans.push(Plan { only: Some(only), nth, side, ..Plan::drawn(random) });
    }
    for nth in any {
        let sides = if is_chaos() { &Side::ALL[..] } else { &Side::ALL[*nth as usize % 3..][..1] };
        let plan = |side| Plan { nth: *nth, side, ..Plan::drawn(random) };
        plans.extend(sides.iter().copied().map(plan));
    }
    plans
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_while_giving_up_its_partitions_loses_and_doubles_nothing() {
    let _alone = alone().await;
    let seed = seed("revocation");
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new(4, seed).await;
    // Who dies is missed soon.
    for (name, value) in [("session.timeout.ms", "2000"), ("heartbeat.interval.ms", "300")] {
        world.log.settings.extra.push((name.into(), value.into()));
    }
    let rounds = if is_chaos() { 24 } else { 4 };
    for round in 0..rounds {
        world.log.load(6, 2_000).await;
        let side = Side::ALL[round % 3];
        let plan = Plan { nth: random.random_range(1..=8), side, armed: false, ..Plan::drawn(&mut random) };
        let mut one = Member::start(&Order { plan: Some(plan.clone()), ..world.order(Pace::Lazy) });
        // It holds all of it in memory, and has written none.
        one.arm().await;
        let mut other = None;
        if round % 2 == 0 {
            // Another takes half of it.
            other = Some(Member::start(&world.order(Pace::Lazy)));
        } else {
            one.leave().await;
        }
        let told = one.ended(DIES).await.unwrap_or_else(|| panic!("it lives beyond: {plan}"));
        println!("  {}", told.unwrap_or_else(|| panic!("it ended without coming to: {plan}")));
        if let Some(mut other) = other {
            other.leave().await;
            other.ended(DIES).await.expect("it leaves");
        }
    }
    println!("revocation: {:?}", world.settle().await);
}

/// What the group has committed is for whoever watches its lag: between the last position and the commit is nothing that
/// could be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_after_its_last_position_and_before_the_commit_loses_and_doubles_nothing() {
    let _alone = alone().await;
    let seed = seed("before the commit");
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new(2, seed).await;
    // Who dies is missed soon.
    for (name, value) in [("session.timeout.ms", "2000"), ("heartbeat.interval.ms", "300")] {
        world.log.settings.extra.push((name.into(), value.into()));
    }
    for _ in 0..if is_chaos() { 8 } else { 2 } {
        world.log.load(4, 800).await;
        let ends = world.ends().await;
        let mut moves = Vec::new();
        for (partition, end) in &ends {
            let held = lane::load(&*world.store, "runs", *partition).await.unwrap();
            moves.extend((held.map_or(0, |held| held.high) < *end).then_some((*partition, *end)));
        }
        // Of each lane that moves, the position of runs is written once, and after those of the others.
        let (only, nth) = (Some("positions/runs".into()), u32::try_from(moves.len()).unwrap());
        let plan = Plan { only, nth, side: Side::After, armed: false, ..Plan::drawn(&mut random) };
        let mut member = Member::start(&Order { plan: Some(plan.clone()), ..world.order(Pace::Lazy) });
        member.arm().await;
        member.leave().await;
        let told = member.ended(DIES).await.unwrap_or_else(|| panic!("it lives beyond: {plan}"));
        println!("  {}", told.unwrap_or_else(|| panic!("it ended without coming to: {plan}")));
        world.held(&ends).await;
        let committed = committed(&world).await;
        let is_behind = |(partition, end): &(TopicPartition, i64)| committed.get(partition) < Some(end);
        assert!(moves.iter().all(is_behind), "{committed:?} of {moves:?}");
    }
    println!("before the commit: {:?}", world.settle().await);
}

/// What the group of the processors has committed.
async fn committed(world: &World) -> BTreeMap<TopicPartition, i64> {
    let (settings, group, partitions) = (world.log.settings.clone(), world.log.group(), world.log.partitions);
    let ask = move || {
        let consumer: BaseConsumer = settings.group_consumer(&group, None).create().unwrap();
        let mut committed = BTreeMap::new();
        for topic in Topic::ALL {
            let mut list = TopicPartitionList::new();
            list.add_partition_range(&settings.topics.name(topic), 0, partitions - 1);
            for element in consumer.committed_offsets(list, PATIENCE).unwrap().elements() {
                if let Offset::Offset(offset) = element.offset() {
                    committed.insert(TopicPartition::new(topic, element.partition()), offset);
                }
            }
        }
        committed
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// Starts a processor with a plan, and waits until it has died of it; or kills it, if it doesn't come to that.
async fn dies(world: &World, plan: Plan) -> bool {
    let begun = Instant::now();
    let mut member = Member::start(&Order { plan: Some(plan.clone()), ..static_order(world) });
    match member.ended(COMES).await {
        Some(told) => {
            let told = told.unwrap_or_else(|| panic!("it ended without coming to: {plan}"));
            println!("  {told}, after {:.1?}", begun.elapsed());
            true
        }
        None => {
            println!("  killed, for it didn't come to: {plan}");
            member.kill_9().await;
            false
        }
    }
}

/// An order for one that has all partitions back as soon as it is started again.
fn static_order(world: &World) -> Order {
    Order { instance: Some("one".into()), ..world.order(Pace::Eager) }
}
