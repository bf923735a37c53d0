//! Replays of long runs: how soon the first entry is there, at the start and after a seek, beside a bare consumer that is
//! assigned at the same offset; a thousand at once at their own pace; and a thousand that are paused.
//!
//! A lane of ten million entries (`AGENTWORKS_BENCH_ENTRIES` says how many) holds a long run with most of them and a
//! sparse one with a hundredth. The store knows the runs and their marks; the entries themselves are in the log alone.

mod lane;
mod players;

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use self::lane::{Lane, Run};
use self::players::{Client, Crowd};
use crate::proc;

/// How many starts and seeks are measured.
const SAMPLES: usize = 300;
/// How many replays play at once, and for how long they are watched.
const CROWD: usize = 1_000;
const WATCHED: Duration = Duration::from_secs(20);

/// Measures and prints.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    proc::raise_open_files();
    runtime.block_on(async {
        let began = Instant::now();
        let lane = Lane::fill().await;
        let (entries, took) = (lane.entries(), began.elapsed().as_secs_f64());
        println!("{entries} entries in one lane, loaded and marked in {took:.0} s\n");
        println!("| | bare consumer p50, p99 | replay p50, p99 | ÷ p50 | ÷ p99 |\n|---|---|---|---|---|");
        for run in [&lane.long, &lane.sparse] {
            starts(&lane, run).await;
            seeks(&lane, run).await;
        }
        println!("\nGoal: 1.5 or less, and 100 ms at the 99th percentile.\n");
        crowd(&lane).await;
    });
}

/// From asking for a replay to its first entry.
async fn starts(lane: &Lane, run: &Run) {
    let (raw, mut client) = (Raw::new(lane), Client::connect(lane, run.card).await);
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for sample in 0..SAMPLES / 3 + 1 {
        let bare = raw.first(run.offset(0));
        let replay = client.start(run.name).await;
        client.stop().await;
        // Once unmeasured, for what is slow only the first time.
        if sample > 0 {
            theirs.push(bare);
            ours.push(replay);
        }
    }
    report(&format!("{}, start", run.name), theirs, ours);
}

/// From asking for an ordinal to the entry that has it.
async fn seeks(lane: &Lane, run: &Run) {
    let (raw, mut client) = (Raw::new(lane), Client::connect(lane, run.card).await);
    client.start(run.name).await;
    let mut random = StdRng::seed_from_u64(5);
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for sample in 0..=SAMPLES {
        let ordinal = random.random_range(0..run.entries);
        let bare = raw.first(run.offset(ordinal));
        let replay = client.seek(ordinal).await;
        if sample > 0 {
            theirs.push(bare);
            ours.push(replay);
        }
    }
    client.stop().await;
    report(&format!("{}, seek to any ordinal", run.name), theirs, ours);
}

fn report(what: &str, mut theirs: Vec<Duration>, mut ours: Vec<Duration>) {
    let (theirs, ours) = (quantiles(&mut theirs), quantiles(&mut ours));
    println!(
        "| {what} | {:.1}, {:.1} ms | {:.1}, {:.1} ms | {:.2} | {:.2} |",
        theirs.0,
        theirs.1,
        ours.0,
        ours.1,
        ours.0 / theirs.0,
        ours.1 / theirs.1
    );
}

/// The median and the 99th percentile, in milliseconds.
fn quantiles(list: &mut [Duration]) -> (f64, f64) {
    list.sort_unstable();
    let at = |share: f64| list[((list.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    (at(0.5), at(0.99))
}

/// A bare consumer, which is kept.
struct Raw {
    consumer: BaseConsumer,
    topic: String,
}

impl Raw {
    fn new(lane: &Lane) -> Self {
        let consumer = crate::support::records::consumer(&lane.brokers);
        Raw { consumer, topic: lane.topics.name(agentworks_schemas::Topic::AgentLogs) }
    }

    /// How long it takes from the assignment to the record at an offset.
    fn first(&self, offset: i64) -> Duration {
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(&self.topic, 0, Offset::Offset(offset)).unwrap();
        let began = Instant::now();
        self.consumer.assign(&assignment).unwrap();
        loop {
            let message = self.consumer.poll(Duration::from_secs(10)).expect("a record in time");
            if message.is_ok_and(|message| message.offset() == offset) {
                let took = began.elapsed();
                self.consumer.unassign().unwrap();
                return took;
            }
        }
    }
}

/// A thousand replays from anywhere in the long run at the pace of the run, and then paused.
async fn crowd(lane: &Lane) {
    let pid = lane.gateway.pid();
    let state = |what: &str| {
        let (rss, threads) = (proc::rss(pid), proc::threads(pid));
        println!("| {what} | {:.0} MiB | {threads} |", rss as f64 / f64::from(1 << 20));
        rss
    };
    let count = if crate::is_small() { CROWD / 10 } else { CROWD };
    println!("| the gateway with | resident | threads |\n|---|---|---|");
    state("nobody");
    let began = Instant::now();
    let mut crowd = Crowd::connect(lane, count).await;
    let connected = state(&format!("{count} connections"));
    crowd.start().await;
    let started = began.elapsed();
    let (cpu, watched) = (proc::cpu(pid), Instant::now());
    crowd.watch(WATCHED).await;
    let (cpu, took) = (proc::cpu(pid) - cpu, watched.elapsed());
    let playing = state(&format!("{count} replays that play"));
    crowd.pause().await;
    // Longer than a paused replay keeps what it has read ahead.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let idle_cpu = proc::cpu(pid);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle_cpu = proc::cpu(pid) - idle_cpu;
    let paused = state(&format!("{count} replays that are paused"));
    let each = |rss: u64| rss.saturating_sub(connected) as f64 / count as f64 / 1024.0;
    println!("\nKiB a replay beyond its connection: {:.0} playing, {:.0} paused.", each(playing), each(paused));
    let (entries, lateness) = crowd.seen();
    println!(
        "{count} replays at 1×, from nothing to all of them playing in {:.1} s: {:.0} entries/s, {:.0} % of a core; \
         late by p50 {:.1} ms, p99 {:.1} ms. Paused they take {:.1} % of a core.",
        started.as_secs_f64(),
        entries as f64 / took.as_secs_f64(),
        cpu.as_secs_f64() / took.as_secs_f64() * 100.0,
        lateness.0,
        lateness.1,
        idle_cpu.as_secs_f64() / 5.0 * 100.0,
    );
}
