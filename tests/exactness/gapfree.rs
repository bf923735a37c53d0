//! What clients are shown of their cards equals what the topics held, or they are told exactly what retention took, however
//! often they are cut off, stopped, slow, or left without their gateway.
//!
//! - [`client`]: a terminal that comes back; [`crowd`]: many of them, as a process that can be stopped.
//! - [`gateways`]: processes that are killed. [`topics`]: what is written, and the truth about it.
//! - [`check`]: one held to the other.

mod check;
mod client;
mod crowd;
mod gateways;
mod topics;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use tokio::time::{Instant, sleep_until};

use self::check::{Checked, check};
use self::crowd::{Crowd, Order};
use self::gateways::{Gateways, Tiers};
use self::topics::{Topics, last};
use crate::support::{Scratch, eventually};
use crate::world::{PATIENCE, alone, is_chaos, seed};

const WORKSPACE: &str = "gapfree";
/// A card that nobody writes to.
const QUIET: &str = "quiet";

/// How much, and how rough.
#[derive(Clone, Copy, Debug)]
struct Storm {
    tiers: Tiers,
    partitions: i32,
    cards: usize,
    clients: usize,
    crowds: usize,
    gateways: usize,
    /// Entries a second, and for how long.
    rate: u64,
    time: Duration,
    /// How often a gateway is killed.
    kills: u32,
    /// How often a crowd is stopped for a while.
    stops: u32,
    /// How often retention takes what a stopped crowd has not been shown.
    strikes: u32,
}

const SHORT: Storm = Storm {
    tiers: Tiers::Log,
    partitions: 4,
    cards: 10,
    clients: 40,
    crowds: 4,
    gateways: 2,
    rate: 2_000,
    time: Duration::from_secs(15),
    kills: 1,
    stops: 4,
    strikes: 0,
};

const LONG: Storm = Storm {
    tiers: Tiers::Store,
    partitions: 12,
    cards: 50,
    clients: 200,
    crowds: 8,
    gateways: 3,
    rate: 10_000,
    time: Duration::from_secs(120),
    kills: 12,
    stops: 40,
    strikes: 0,
};

/// A long one with nothing but the log. Whoever connects has all of a lane's log looked through for the card's active run, which the
/// store would know, and so there may not be too much of it.
const BARE: Storm =
    Storm { tiers: Tiers::Log, clients: 100, rate: 3_000, time: Duration::from_secs(60), kills: 6, stops: 20, ..LONG };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_come_and_go_miss_nothing_and_see_nothing_twice() {
    let _alone = alone().await;
    let seed = seed("gapfree");
    if is_chaos() {
        blow(LONG, seed).await;
        blow(BARE, seed).await;
    } else {
        blow(SHORT, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_took_is_told_and_nothing_else() {
    let _alone = alone().await;
    let seed = seed("gapfree, retention");
    if is_chaos() {
        blow(Storm { strikes: 6, ..BARE }, seed).await;
    } else {
        let (time, clients) = (Duration::from_secs(8), SHORT.clients / 2);
        blow(Storm { time, clients, kills: 0, stops: 0, strikes: 1, ..SHORT }, seed).await;
    }
}

/// Has a storm come over gateways and clients, and looks what these were shown. What retention takes from the log, no store may
/// have: see [`Tiers`].
async fn blow(storm: Storm, seed: u64) {
    let random = |stream: u64| StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(stream));
    let cards: Vec<_> = (0..storm.cards).map(|n| format!("card-{n}")).collect();
    let mut topics = Topics::new(storm.partitions).await;
    let mut gateways = Gateways::start(&topics.settings, storm.tiers, storm.gateways).await;
    let folder = Scratch::new("crowds");
    let order = |crowd: usize| Order {
        cards: (crowd..storm.clients).step_by(storm.crowds).map(|n| cards[n % cards.len()].clone()).collect(),
        seed: seed.wrapping_add((crowd * storm.clients) as u64),
        file: folder.path().join(format!("crowd-{crowd}.json")),
        news: gateways.news(),
    };
    let mut crowds: Vec<_> = (0..storm.crowds).map(|crowd| Crowd::start(&order(crowd))).collect();

    // Every client has a position before anything may be gone.
    let begun = topics.write(&cards, storm.rate, Duration::from_secs(1), 0, random(1)).await;
    for crowd in &mut crowds {
        crowd.has_begun().await;
    }
    let (sent, done) = tokio::join!(
        topics.write(&cards, storm.rate, storm.time, begun, random(2)),
        rage(&storm, &topics, &mut gateways, &mut crowds, random(3)),
    );
    println!("gapfree: {done:?}; {sent} entries");

    let truth = topics.truth().await;
    let news = crowd::News { last: Some(last(&truth)), ..gateways.news() };
    let mut told = Told::default();
    for crowd in crowds {
        for account in crowd.accounts(news.clone()).await {
            match check(&account, &truth[&account.card], &topics.starts()) {
                Ok(checked) => told.add(&account, checked),
                Err(faults) => panic!("AGENTWORKS_SEED={seed}, a client of {}:\n{faults}", account.card),
            }
        }
    }
    println!("gapfree: {told:?}");
    assert!(told.connections > storm.clients, "nobody was cut off: {told:?}");
    assert_eq!(told.gaps > 0, storm.strikes > 0, "{told:?}");
}

/// What was done how often.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "printed")]
struct Done {
    killed: usize,
    stopped: usize,
    struck: usize,
}

enum Blow {
    Kill,
    Stop(usize),
    Continue(usize),
    Strike,
}

/// Does to gateways and clients what the seed says, until the time has passed and all who were stopped have gone on.
async fn rage(
    storm: &Storm,
    topics: &Topics,
    gateways: &mut Gateways,
    crowds: &mut [Crowd],
    mut random: StdRng,
) -> Done {
    let (begin, mut done) = (Instant::now(), Done::default());
    for (at, blow) in blows(storm, &mut random) {
        sleep_until(begin + at).await;
        match blow {
            Blow::Kill => {
                gateways.kill(random.random_range(0..storm.gateways)).await;
                done.killed += 1;
            }
            Blow::Stop(crowd) => {
                crowds[crowd].signal(Signal::STOP);
                done.stopped += 1;
            }
            Blow::Continue(crowd) => crowds[crowd].signal(Signal::CONT),
            Blow::Strike => {
                let crowd = &crowds[random.random_range(0..crowds.len())];
                crowd.signal(Signal::STOP);
                strike(storm, topics, gateways, &mut random).await;
                crowd.signal(Signal::CONT);
                done.struck += 1;
            }
        }
        for crowd in &mut *crowds {
            crowd.tell(&gateways.news()).await;
        }
    }
    done
}

/// Has retention take what the clients that are stopped have not been shown, and some that nobody has: no gateway runs
/// meanwhile that would have it in memory.
async fn strike(storm: &Storm, topics: &Topics, gateways: &mut Gateways, random: &mut StdRng) {
    let more = async |seconds: f64| {
        let enough = topics.written() + (storm.rate as f64 * seconds) as u64;
        eventually(PATIENCE, async || (topics.written() >= enough).then_some(())).await;
    };
    more(2.0).await;
    let meanwhile = async {
        more(0.5).await;
        topics.take_beginnings(random).await;
    };
    gateways.kill_all(meanwhile).await;
}

/// What is to happen, and when.
fn blows(storm: &Storm, random: &mut StdRng) -> Vec<(Duration, Blow)> {
    let mut blows = Vec::new();
    let time = storm.time.as_secs_f64();
    // Spread evenly, and not quite.
    let times = |count: u32, random: &mut StdRng| -> Vec<f64> {
        (0..count).map(|n| time * (f64::from(n) + random.random_range(0.1..0.9)) / f64::from(count)).collect()
    };
    blows.extend(times(storm.kills, random).into_iter().map(|at| (at, Blow::Kill)));
    blows.extend(times(storm.strikes, random).into_iter().map(|at| (at * 0.5, Blow::Strike)));
    for at in times(storm.stops, random) {
        let crowd = random.random_range(0..storm.crowds);
        // From shorter than anybody minds to longer than the gateway waits.
        let ends = (at + random.random_range(0.3..7.0)).min(time);
        blows.extend([(at, Blow::Stop(crowd)), (ends, Blow::Continue(crowd))]);
    }
    blows.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    blows.into_iter().map(|(at, blow)| (Duration::from_secs_f64(at), blow)).collect()
}

/// What all clients were told.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "printed")]
struct Told {
    entries: usize,
    gone: usize,
    gaps: usize,
    connections: usize,
    lags: usize,
    closes: std::collections::BTreeMap<u16, u32>,
}

impl Told {
    fn add(&mut self, account: &check::Account, checked: Checked) {
        self.entries += checked.entries;
        self.gone += checked.gone;
        self.gaps += account.gaps.len();
        self.connections += account.connections as usize;
        self.lags += account.lags as usize;
        for (code, count) in &account.closes {
            *self.closes.entry(*code).or_default() += count;
        }
    }
}

/// The number that an entry's message begins with.
fn number_of(message: &str) -> u64 {
    message.split(' ').next().and_then(|number| number.parse().ok()).unwrap()
}
