//! A rebalance storm: processors are killed, stopped for longer than the group waits and continued, started and made to
//! leave, at random, all the while a fleet writes. Those that were stopped write late, as zombies, what others have
//! written long since.

use std::time::{Duration, Instant};

use agentworks_load::{Fleet, Limit};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;

use crate::log::WORKSPACES;
use crate::member::{Member, Order, Pace};
use crate::world::{PATIENCE, World, alone, is_chaos, seed};

/// How large and how long.
struct Storm {
    partitions: i32,
    members: usize,
    records: u64,
    time: Duration,
    /// After how long the group gives a member up that isn't heard of, and one that doesn't poll.
    session: Duration,
    poll: Duration,
}

const SHORT: Storm = Storm {
    partitions: 8,
    members: 4,
    records: 60_000,
    time: Duration::from_secs(20),
    session: Duration::from_millis(2000),
    poll: Duration::from_millis(3000),
};

const LONG: Storm = Storm {
    partitions: 32,
    members: 8,
    records: 500_000,
    time: Duration::from_secs(120),
    session: Duration::from_millis(6000),
    poll: Duration::from_millis(8000),
};

/// A member, and since when and until when it is stopped, if it is.
struct Slot {
    member: Member,
    stopped_until: Option<Instant>,
}

/// What was done how often.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "printed")]
struct Done {
    started: usize,
    killed: usize,
    stopped: usize,
    continued: usize,
    left: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_die_and_hang_and_come_back_lose_and_double_nothing() {
    let _alone = alone().await;
    let seed = seed("storm");
    if is_chaos() {
        blow(World::new(LONG.partitions, seed).await, &LONG).await;
        blow(World::on_cassandra(LONG.partitions, seed).await, &LONG).await;
    } else {
        blow(World::new(SHORT.partitions, seed).await, &SHORT).await;
    }
}

/// Has a storm come over a world, and looks what is left.
async fn blow(mut world: World, storm: &Storm) {
    let millis = |time: Duration| time.as_millis().to_string();
    for (name, value) in [
        ("session.timeout.ms", millis(storm.session)),
        ("max.poll.interval.ms", millis(storm.poll)),
        ("heartbeat.interval.ms", millis(storm.session / 6)),
    ] {
        world.log.settings.extra.push((name.into(), value));
    }

    // The two workspaces' records bear the same ids.
    let rate = storm.records as f64 / 2.0 / storm.time.as_secs_f64();
    let fleet = Fleet { cards: 40, rate, ..world.log.fleet("") };
    let fleets = WORKSPACES.map(|workspace| Fleet { workspace: workspace.into(), ..fleet.clone() });
    let limit = Limit { records: Some(storm.records / 2), time: None };
    let (left, right, done) = tokio::join!(
        world.log.stream(&fleets[0], limit, std::future::pending()),
        world.log.stream(&fleets[1], limit, std::future::pending()),
        rage(&world, storm),
    );
    println!("storm: {done:?}; sent {} and {}", left.acked, right.acked);
    assert!(done.killed > 0 && done.continued > 0, "it was a calm: {done:?}");
    println!("storm: {:?}", world.settle().await);
}

/// Does to the members what the seed says, until the time has passed and all who were stopped have gone on.
async fn rage(world: &World, storm: &Storm) -> Done {
    let mut random = StdRng::seed_from_u64(world.seed);
    let order = world.order(Pace::Brisk);
    let mut slots: Vec<Slot> = (0..storm.members / 2).map(|_| start(&order)).collect();
    let mut done = Done { started: slots.len(), ..Done::default() };
    let end = Instant::now() + storm.time;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1200))).await;
        done.continued += go_on(&mut slots, Instant::now());
        let victim = random.random_range(0..slots.len());
        let is_running = slots[victim].stopped_until.is_none();
        match random.random_range(0..10) {
            0..=1 if slots.len() > 2 => {
                slots.swap_remove(victim).member.kill_9().await;
                done.killed += 1;
            }
            2..=4 if is_running => {
                // From shorter than the group waits to much longer.
                let time = storm.poll.mul_f64(random.random_range(0.3..2.2));
                slots[victim].member.signal(Signal::STOP);
                slots[victim].stopped_until = Some(Instant::now() + time);
                done.stopped += 1;
            }
            5 if slots.len() > 2 && is_running => {
                let mut leaving = slots.swap_remove(victim).member;
                leaving.leave().await;
                tokio::spawn(async move { leaving.ended(PATIENCE).await });
                done.left += 1;
            }
            6.. if slots.len() < storm.members => {
                slots.push(start(&order));
                done.started += 1;
            }
            _ => {}
        }
    }
    done.continued += go_on(&mut slots, end + PATIENCE);
    // Those who were stopped find out, and write what they still have, before all is compared.
    world.held(&world.ends().await).await;
    for slot in &mut slots {
        slot.member.leave().await;
    }
    for slot in &mut slots {
        slot.member.ended(PATIENCE).await.expect("it leaves");
    }
    done
}

fn start(order: &Order) -> Slot {
    Slot { member: Member::start(order), stopped_until: None }
}

/// Continues those whose time has come; how many that were.
fn go_on(slots: &mut [Slot], now: Instant) -> usize {
    let due = slots.iter_mut().filter(|slot| slot.stopped_until.is_some_and(|until| until <= now));
    due.map(|slot| {
        slot.stopped_until = None;
        slot.member.signal(Signal::CONT);
    })
    .count()
}
