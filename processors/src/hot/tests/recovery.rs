//! Whatever is flushed, fails, is killed and delivered again, and whoever wrote at the same time: a reader sees each
//! entry once and in order.

use proptest::prelude::*;

use super::*;
use crate::hot::block::SEGMENT;
use crate::sink::faulty::FaultyStore;

const CARDS: [&str; 3] = ["a", "b", "c"];

/// Lines of a few cards with holes, late timestamps, and now and then the next segment or the next hour.
fn log() -> impl Strategy<Value = Log> {
    let step = prop_oneof![20 => 1..4i64, 1 => Just(SEGMENT / 2)];
    let pause = prop_oneof![20 => -2_000..2_000i64, 1 => Just(BUCKET / 2)];
    let line = (0..CARDS.len(), step, pause, prop_oneof![9 => 0..100usize, 1 => 500..3_000usize]);
    prop::collection::vec(line, 1..150).prop_map(|lines| {
        let (mut offset, mut timestamp) = (0, Timestamp::now().millis() - 2 * BUCKET);
        let line = |(card, step, pause, length): (usize, i64, i64, usize)| {
            offset += step;
            timestamp += pause;
            Line { offset, card: CARDS[card].to_owned(), timestamp: Timestamp(timestamp), length }
        };
        Log { partition: AT, lines: lines.into_iter().map(line).collect() }
    })
}

#[derive(Clone, Debug)]
enum Step {
    /// Takes so many of the next lines.
    Take(usize),
    Flush(Flush),
    /// Flushes, and so many writes fail after some of their rows.
    Fail(Vec<u64>),
    /// As `Fail`, and then begins anew where the position says, as another process.
    Crash(Vec<u64>),
    /// The other of two processes, neither of which knows that it isn't alone, goes on from here.
    Switch,
}

fn step() -> impl Strategy<Value = Step> {
    let flush = prop_oneof![
        4 => Just(Flush::Due),
        2 => (0..10_000usize).prop_map(Flush::Free),
        1 => Just(Flush::Partition(AT)),
    ];
    let masks = || prop::collection::vec(any::<u64>(), 1..4);
    prop_oneof![
        10 => (1..30usize).prop_map(Step::Take),
        6 => flush.prop_map(Step::Flush),
        2 => masks().prop_map(Step::Fail),
        2 => masks().prop_map(Step::Crash),
        2 => Just(Step::Switch),
    ]
}

/// A process with the sink, and what it takes next.
struct Process {
    sink: HotSink,
    next: i64,
}

impl Process {
    async fn start(store: &Arc<dyn Store>) -> Self {
        // Small blocks that are due at once, so that a few lines make many.
        let mut sink = sink(store, HotConfig { block_bytes: 1_000, writes: 2, known_cards: 2, ..always() });
        let next = sink.open(AT, 0, 0).await.unwrap().high;
        Process { sink, next }
    }

    async fn take(&mut self, log: &Log, lines: usize) {
        let end = log.lines.iter().filter(|line| line.offset >= self.next).take(lines).last();
        let Some(end) = end.map(|line| line.offset + 1) else { return };
        self.sink.take(&log.batch(self.next..end)).await.unwrap();
        self.next = end;
    }
}

async fn check(store: &Arc<dyn Store>, log: &Log, limit: usize) {
    let reader = HotReader::new(store.clone());
    let held = reader.held(AT).await.unwrap().unwrap();
    assert_eq!(held.low, 0);
    for card in CARDS {
        let wanted = log.entries(card, 0..held.high);
        let end = log.end();
        let got = read_forward(&reader, &held, scan(card, 0, end), limit).await;
        assert_eq!(offsets(&got), offsets(&wanted), "{card} forward");
        assert_eq!(got, wanted);
        let got = read_backward(&reader, &held, scan(card, 0, end), limit).await;
        assert_eq!(offsets(&got), offsets(&wanted), "{card} backward");
        assert_eq!(got, wanted);
        // From any entry on, and to any.
        if let Some(middle) = wanted.get(wanted.len() / 2).map(|entry| entry.position.offset) {
            let got = reader.forward(&held, &scan(card, middle, end), 1).await.unwrap();
            assert_eq!(got[0].position.offset, middle);
            let got = reader.backward(&held, &scan(card, 0, middle + 1), 1).await.unwrap();
            assert_eq!(got[0].position.offset, middle);
        }
        let first = wanted.first().map(|entry| entry.position.offset);
        if let Some(first) = first {
            let lanes = card_lanes(&**store, "acme", card).await.unwrap();
            assert_eq!(lanes, [CardLane { partition: AT, epoch: 0, first }]);
        }
    }
}

fn offsets(entries: &[StoredEntry]) -> Vec<i64> {
    entries.iter().map(|entry| entry.position.offset).collect()
}

async fn run(log: Log, steps: Vec<Step>, limit: usize) {
    let (_folder, behind) = store();
    let faulty = FaultyStore::new(behind.clone());
    let store: Arc<dyn Store> = faulty.clone();
    let mut process = Process::start(&store).await;
    let mut other = Process::start(&store).await;
    for step in steps {
        let is_telling = matches!(step, Step::Fail(_) | Step::Crash(_));
        match step {
            Step::Take(lines) => process.take(&log, lines).await,
            Step::Flush(what) => {
                process.sink.flush(what).await.unwrap();
            }
            Step::Fail(masks) => {
                faulty.fail(masks);
                let _ = process.sink.flush(Flush::Due).await;
                faulty.fail(Vec::new());
            }
            Step::Crash(masks) => {
                faulty.fail(masks);
                let _ = process.sink.flush(Flush::Due).await;
                faulty.fail(Vec::new());
                process = Process::start(&store).await;
            }
            Step::Switch => std::mem::swap(&mut process, &mut other),
        }
        if is_telling {
            check(&behind, &log, limit).await;
        }
    }
    process.take(&log, usize::MAX).await;
    process.sink.flush(Flush::Partition(AT)).await.unwrap();
    check(&behind, &log, limit).await;
    assert_eq!(HotReader::new(behind).held(AT).await.unwrap().unwrap().high, log.end());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn each_entry_is_read_once_and_in_order(
        log in log(),
        steps in prop::collection::vec(step(), 1..25),
        limit in 1..50usize,
    ) {
        tokio::runtime::Runtime::new().unwrap().block_on(run(log, steps, limit));
    }
}
