//! Whatever is flushed, fails, is killed and delivered again, and whoever wrote at the same time: a reader sees each
//! entry once and in order.

use std::time::Duration;

use prometheus_client::registry::Registry;
use proptest::prelude::*;

use super::*;
use crate::blocks::block::SEGMENT;
use crate::hot::{CardLane, HotConfig, HotSink, card_lanes};
use crate::lane::Retention;
use crate::sink::faulty::FaultyStore;
use crate::sink::{Flush, Sink};
use crate::warm::{WarmConfig, WarmSink};

const RUNS: [&str; 4] = ["r", "s", "t", "u"];
const CARDS: [&str; 3] = ["a", "b", "c"];

/// Lines of a few cards with holes, late timestamps, and now and then the next segment or the next hour.
fn log() -> impl Strategy<Value = Log> {
    let step = prop_oneof![20 => 1..4i64, 1 => Just(SEGMENT / 2)];
    let pause = prop_oneof![20 => -2_000..2_000i64, 1 => Just(HOUR / 2)];
    let line = (0..CARDS.len(), 0..RUNS.len(), step, pause, prop_oneof![9 => 0..100usize, 1 => 500..3_000usize]);
    prop::collection::vec(line, 1..150).prop_map(|lines| {
        let (mut offset, mut timestamp) = (0, Timestamp::now().millis() - 2 * HOUR);
        let line = |(card, run, step, pause, length): (usize, usize, i64, i64, usize)| {
            offset += step;
            timestamp += pause;
            // A run is a card's, but for one that is of all.
            let run = if run == 3 { RUNS[3] } else { RUNS[card] };
            let (card, run) = (CARDS[card].to_owned(), run.to_owned());
            Line { offset, card, run, timestamp: Timestamp(timestamp), length }
        };
        Log { partition: AT, lines: lines.into_iter().map(line).collect() }
    })
}

#[derive(Clone, Debug)]
enum Step {
    /// Takes so many of the next lines.
    Take(usize),
    /// One of the sinks takes so many of the next lines before the others.
    Ahead(usize, usize),
    Flush(Flush),
    /// Flushes, and so many writes fail after some of their rows.
    Fail(Vec<u64>),
    /// As `Fail`, and then begins anew where the position says, as another process, which keeps for so many days.
    Crash(Vec<u64>, u64),
    /// The other of two processes, neither of which knows that it isn't alone, goes on from here.
    Switch,
}

fn step() -> impl Strategy<Value = Step> {
    let flush = prop_oneof![
        4 => Just(Flush::Due),
        4 => Just(Flush::Begin),
        2 => (0..10_000usize).prop_map(Flush::Free),
        1 => Just(Flush::Partition(AT)),
    ];
    let masks = || prop::collection::vec(any::<u64>(), 1..4);
    prop_oneof![
        10 => (1..30usize).prop_map(Step::Take),
        1 => (0..2usize, 1..30usize).prop_map(|(sink, lines)| Step::Ahead(sink, lines)),
        6 => flush.prop_map(Step::Flush),
        2 => masks().prop_map(Step::Fail),
        2 => (masks(), 1..7u64).prop_map(|(masks, days)| Step::Crash(masks, days)),
        2 => Just(Step::Switch),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tested {
    Hot,
    Warm,
}

/// A process with its sinks, and what each takes next.
struct Process {
    sinks: Vec<(Box<dyn Sink>, i64)>,
}

impl Process {
    async fn start(store: &Arc<dyn Store>, tested: &[Tested], days: u64) -> Self {
        let (mut sinks, sharing) = (Vec::new(), Sharing::default());
        for tested in tested {
            let mut sink = sink(store, *tested, days, &sharing);
            let next = sink.open(AT, 0, 0).await.unwrap().high;
            sinks.push((sink, next));
        }
        Process { sinks }
    }

    /// All sinks take the same batch: from where the last of them is.
    async fn take(&mut self, log: &Log, lines: usize) {
        let from = self.sinks.iter().map(|(_, next)| *next).min().unwrap();
        if let Some(batch) = next_batch(log, from, lines) {
            for (sink, next) in self.sinks.iter_mut().filter(|(_, next)| *next < batch.to) {
                sink.take(&batch).await.unwrap();
                *next = batch.to;
            }
        }
    }

    async fn take_ahead(&mut self, log: &Log, sink: usize, lines: usize) {
        let sink = sink % self.sinks.len();
        let (sink, next) = &mut self.sinks[sink];
        if let Some(batch) = next_batch(log, *next, lines) {
            sink.take(&batch).await.unwrap();
            *next = batch.to;
        }
    }

    async fn flush(&mut self, what: Flush) -> Result<(), SinkError> {
        let mut flushed = Ok(());
        for (sink, _) in &mut self.sinks {
            flushed = flushed.and(sink.flush(what).await.map(drop));
        }
        flushed
    }

    /// The same where nothing fails any more. What was begun when something did may be told now.
    async fn flush_well(&mut self, what: Flush) {
        if self.flush(what).await.is_err() {
            self.flush(what).await.unwrap();
        }
    }
}

fn next_batch(log: &Log, from: i64, lines: usize) -> Option<Batch> {
    let end = log.lines.iter().filter(|line| line.offset >= from).take(lines).last()?;
    Some(log.batch(from..end.offset + 1))
}

fn sink(store: &Arc<dyn Store>, tested: Tested, days: u64, sharing: &Sharing) -> Box<dyn Sink> {
    // Small blocks that are due at once, and small buckets, so that a few lines make many. Warm's are larger, so that
    // several of hot's frames go into one, and end elsewhere.
    let (block_age, writes) = (Duration::ZERO, 2);
    let (days, block_bytes, partition_bytes) = match tested {
        Tested::Hot => (days, 1_000, 8_000),
        Tested::Warm => (10 * days, 2_500, 11_000),
    };
    let (retention, registry) = (Retention::new(Duration::from_secs(days * 86_400)), &mut Registry::default());
    match tested {
        Tested::Hot => {
            let config = HotConfig::default();
            let config =
                HotConfig { retention, block_bytes, block_age, partition_bytes, writes, known_cards: 2, ..config };
            Box::new(HotSink::new(store.clone(), config, registry).unwrap().sharing(sharing))
        }
        Tested::Warm => {
            let config = WarmConfig::default();
            let config =
                WarmConfig { retention, block_bytes, block_age, partition_bytes, writes, known_runs: 2, ..config };
            Box::new(WarmSink::new(store.clone(), config, registry).unwrap().sharing(sharing))
        }
    }
}

async fn check(store: &Arc<dyn Store>, tested: Tested, log: &Log, limit: usize) {
    let readers = match tested {
        Tested::Hot => vec![(Reader::hot(store), &CARDS[..])],
        Tested::Warm => vec![(Reader::run(store), &RUNS[..]), (Reader::card(store), &CARDS[..])],
    };
    for (reader, owners) in readers {
        let held = reader.held(AT).await.unwrap();
        assert_eq!(held.low, 0);
        for owner in owners {
            let is_its =
                |line: &Line| if let Reader::Run(_) = reader { line.run == *owner } else { line.card == *owner };
            let wanted = log.entries_where(0..held.high, is_its);
            let end = log.end();
            let got = reader.all_forward(&held, scan(owner, 0, end), limit).await;
            assert_eq!(offsets(&got), offsets(&wanted), "{owner} forward");
            assert_eq!(got, wanted);
            let got = reader.all_backward(&held, scan(owner, 0, end), limit).await;
            assert_eq!(offsets(&got), offsets(&wanted), "{owner} backward");
            assert_eq!(got, wanted);
            // From any entry on, and to any.
            if let Some(middle) = wanted.get(wanted.len() / 2).map(|entry| entry.position.offset) {
                let got = reader.forward(&held, &scan(owner, middle, end), 1).await.unwrap();
                assert_eq!(got[0].position.offset, middle);
                let got = reader.backward(&held, &scan(owner, 0, middle + 1), 1).await.unwrap().entries;
                assert_eq!(got[0].position.offset, middle);
            }
            // Of what passes by the blocks' statistics, nothing is missing.
            let errors = |entry: &StoredEntry| entry.entry.level == Level::Error;
            let got =
                reader.forward_of(&held, &scan(owner, 0, end), 1_000, &|stats| stats.has_level(Level::Error)).await;
            let got: Vec<_> = got.unwrap().into_iter().filter(errors).collect();
            let errors: Vec<_> = wanted.iter().filter(|entry| errors(entry)).cloned().collect();
            assert_eq!(got, errors, "{owner} errors");
            let got =
                reader.backward_of(&held, &scan(owner, 0, end), 1_000, &|stats| stats.has_level(Level::Error)).await;
            let got = got.unwrap().entries.into_iter().filter(|entry| entry.entry.level == Level::Error);
            let got: Vec<_> = got.collect();
            assert_eq!(got, errors, "{owner} errors backward");
            let first = wanted.first().map(|entry| entry.position.offset);
            if let (Some(first), Tested::Hot) = (first, tested) {
                let lanes = card_lanes(&**store, "acme", owner).await.unwrap();
                assert_eq!(lanes, [CardLane { partition: AT, epoch: 0, first }]);
            }
        }
    }
}

fn offsets(entries: &[StoredEntry]) -> Vec<i64> {
    entries.iter().map(|entry| entry.position.offset).collect()
}

async fn run(tested: &[Tested], log: Log, steps: Vec<Step>, limit: usize) {
    let (_folder, behind) = store();
    let faulty = FaultyStore::new(behind.clone());
    let store: Arc<dyn Store> = faulty.clone();
    let mut process = Process::start(&store, tested, 1).await;
    let mut other = Process::start(&store, tested, 1).await;
    for step in steps {
        let is_telling = matches!(step, Step::Fail(_) | Step::Crash(..));
        match step {
            Step::Take(lines) => process.take(&log, lines).await,
            Step::Ahead(sink, lines) => process.take_ahead(&log, sink, lines).await,
            Step::Flush(what) => process.flush_well(what).await,
            Step::Fail(masks) => {
                faulty.fail(masks);
                let _ = process.flush(Flush::Due).await;
                faulty.fail(Vec::new());
            }
            Step::Crash(masks, days) => {
                faulty.fail(masks);
                let _ = process.flush(Flush::Due).await;
                faulty.fail(Vec::new());
                process = Process::start(&store, tested, days).await;
            }
            Step::Switch => std::mem::swap(&mut process, &mut other),
        }
        if is_telling {
            for tested in tested {
                check(&behind, *tested, &log, limit).await;
            }
        }
    }
    process.take(&log, usize::MAX).await;
    process.flush_well(Flush::Partition(AT)).await;
    for tested in tested {
        check(&behind, *tested, &log, limit).await;
    }
}

/// It has put entries elsewhere that the other's frame, of which it has the beginning, gets only then.
#[tokio::test]
async fn a_sink_that_was_ahead_does_not_share_what_it_has() {
    let lines = Log::of_cards(&["a"], 20).lines.into_iter().map(|line| Line { run: "r".to_owned(), ..line });
    let log = Log { partition: AT, lines: lines.collect() };
    for sink in [0, 1] {
        let steps = vec![Step::Take(2), Step::Ahead(sink, 2), Step::Take(4), Step::Take(2)];
        run(&[Tested::Hot, Tested::Warm], log.clone(), steps, 100).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn each_entry_is_read_once_and_in_order(
        tested in prop::sample::subsequence(vec![Tested::Hot, Tested::Warm], 1..=2).prop_shuffle(),
        log in log(),
        steps in prop::collection::vec(step(), 1..25),
        limit in 1..50usize,
    ) {
        tokio::runtime::Runtime::new().unwrap().block_on(run(&tested, log, steps, limit));
    }
}
