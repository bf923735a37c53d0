#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use agentworks_schemas::{Timestamp, Topic, TopicPartition};
use agentworks_store::{Scan, Store};
use prometheus_client::registry::Registry;

use super::*;
use crate::blocks::Cleared;
use crate::blocks::tests::{AT, Log, Reader, scan, store};
use crate::erasure::{Erasure, Target};
use crate::lane::{HOUR, bucket_of};
use crate::runs::{RunsConfig, RunsSink};
use crate::sink::{Flush, Sink};

fn sink(store: &Arc<dyn Store>, config: WarmConfig) -> WarmSink {
    WarmSink::new(store.clone(), config, &mut Registry::default()).unwrap()
}

/// Blocks that are always due.
fn always() -> WarmConfig {
    WarmConfig { block_age: Duration::ZERO, ..WarmConfig::default() }
}

/// Lines of some cards in turn, each with runs of its own, and one run that is of all.
fn log(cards: &[&str], count: i64) -> Log {
    let mut log = Log::of_cards(cards, count);
    for line in &mut log.lines {
        line.run = if line.offset % 7 == 0 { "shared".into() } else { format!("{}-{}", line.card, line.offset / 100) };
    }
    log
}

/// How many blocks a run has on the day of the first line.
async fn blocks(store: &Arc<dyn Store>, log: &Log, run: &str) -> usize {
    let bucket = bucket_of(log.lines[0].timestamp, DAY);
    let scan = Scan::partition(WARM.table(30 * DAY), vec!["acme".into(), run.into(), bucket.into()]);
    store.scan(scan).await.unwrap().len()
}

#[tokio::test]
async fn large_lines_of_runs_that_go_on_together_are_read_a_few_at_a_time() {
    let (_folder, store) = store();
    let mut log = Log::of_cards(&["a", "b"], 300);
    for line in &mut log.lines {
        line.run = format!("{}-{}", line.card, line.offset % 5);
        line.length = if line.offset % 4 < 2 { 200_000 } else { 100 };
    }
    let mut sink = sink(&store, always());
    sink.open(AT, 0, 0).await.unwrap();
    sink.take(&log.batch(0..300)).await.unwrap();
    let held = sink.flush(Flush::Due).await.unwrap().remove(0);
    for limit in [1, 64, 5_000] {
        let (run, wanted) = (Reader::run(&store), log.entries_where(0..300, |line| line.run == "a-3"));
        assert_eq!(run.all_forward(&held, scan("a-3", 0, 300), limit).await, wanted);
        assert_eq!(run.all_backward(&held, scan("a-3", 0, 300), limit).await, wanted);
        let (card, wanted) = (Reader::card(&store), log.entries("a", 0..300));
        assert_eq!(card.all_forward(&held, scan("a", 0, 300), limit).await, wanted);
        assert_eq!(card.all_backward(&held, scan("a", 0, 300), limit).await, wanted);
    }
}

#[tokio::test]
async fn runs_and_cards_are_read() {
    let (_folder, store) = store();
    let log = log(&["a", "b", "c"], 900);
    let mut sink = sink(&store, WarmConfig { block_bytes: 4_000, partition_bytes: 100_000, ..always() });
    sink.open(AT, 0, 0).await.unwrap();
    sink.take(&log.batch(0..900)).await.unwrap();
    let held = sink.flush(Flush::Due).await.unwrap().remove(0);
    assert_eq!((held.low, held.high, sink.pending()), (0, 900, 0));
    assert!(held.buckets.len() > 1);
    for (from, to) in [(0, 900), (123, 707)] {
        for limit in [1, 7, 64, 5_000] {
            for run in ["shared", "b-3", "nothing"] {
                let wanted = log.entries_where(from..to, |line| line.run == run);
                let reader = Reader::run(&store);
                assert_eq!(reader.all_forward(&held, scan(run, from, to), limit).await, wanted);
                assert_eq!(reader.all_backward(&held, scan(run, from, to), limit).await, wanted);
            }
            for card in ["a", "c", "nobody"] {
                let (wanted, reader) = (log.entries(card, from..to), Reader::card(&store));
                assert_eq!(reader.all_forward(&held, scan(card, from, to), limit).await, wanted);
                assert_eq!(reader.all_backward(&held, scan(card, from, to), limit).await, wanted);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_run_closes_its_blocks() {
    let (_folder, store) = store();
    let mut log = Log::of_cards(&["a", "b"], 100);
    let time = log.lines[0].timestamp;
    for line in &mut log.lines {
        line.run = format!("run-of-{}", line.card);
        line.timestamp = time;
    }
    let system = Log { partition: TopicPartition::new(Topic::SystemLogs, 2), ..log.clone() };
    // An event that ends the run of a, and one that does not end that of b.
    let mut events = Log { partition: TopicPartition::new(Topic::RunEvents, 5), lines: log.lines[..2].to_vec() };
    events.lines[0].length = 0;
    let mut sink = sink(&store, WarmConfig::default());
    for log in [&log, &system, &events] {
        sink.open(log.partition, 0, 0).await.unwrap();
    }
    sink.take(&log.batch(0..100)).await.unwrap();
    sink.take(&system.batch(0..100)).await.unwrap();
    sink.flush(Flush::Due).await.unwrap();
    assert_eq!((blocks(&store, &log, "run-of-a").await, blocks(&store, &log, "run-of-b").await), (0, 0));
    sink.take(&events.batch(0..2)).await.unwrap();
    sink.flush(Flush::Due).await.unwrap();
    // In both partitions, at once.
    assert_eq!((blocks(&store, &log, "run-of-a").await, blocks(&store, &log, "run-of-b").await), (2, 0));
    tokio::time::advance(Duration::from_secs(30)).await;
    let moved = sink.flush(Flush::Due).await.unwrap();
    assert_eq!((blocks(&store, &log, "run-of-b").await, moved.len(), sink.pending()), (2, 3, 0));
}

#[tokio::test]
async fn days_are_buckets_and_expire() {
    let (_folder, store) = store();
    let mut log = log(&["a", "b"], 300);
    // Ten lines a day, thirty days of them up to now.
    let now = Timestamp::now().millis();
    for line in &mut log.lines {
        line.timestamp = Timestamp(now - (29 - line.offset / 10) * DAY);
    }
    let config = WarmConfig { retention: Retention::new(Duration::from_secs(20 * 86_400)), ..always() };
    let mut sink = sink(&store, config);
    sink.open(AT, 0, 0).await.unwrap();
    sink.take(&log.batch(0..300)).await.unwrap();
    sink.flush(Flush::Due).await.unwrap();
    // Kept for 20 days after the end of their own: the first nine are relied on no more.
    let reader = Reader::card(&store);
    let held = reader.held(AT).await.unwrap();
    assert_eq!((held.low, held.high), (90, 300));
    assert_eq!(reader.all_forward(&held, scan("b", 0, 300), 7).await, log.entries("b", 90..300));
    assert_eq!(reader.all_backward(&held, scan("b", 0, 300), 7).await, log.entries("b", 90..300));
    assert!(held.expires(held.buckets[0].0, "acme", 90).unwrap() > now + HOUR);
}

#[tokio::test]
async fn what_finds_an_erased_run_under_its_further_cards_is_told_of_until_it_expires() {
    let (_folder, store) = store();
    // A run of two cards, two days ago, and another one today.
    let mut log = Log::of_cards(&["a", "b"], 300);
    for line in &mut log.lines {
        match line.offset < 200 {
            true => line.timestamp = Timestamp(line.timestamp.millis() - 2 * DAY),
            false => line.run = "later".into(),
        }
    }
    let mut sinks: [Box<dyn Sink>; 2] =
        [Box::new(sink(&store, always())), Box::new(RunsSink::new(store.clone(), RunsConfig::default()))];
    for sink in &mut sinks {
        sink.open(AT, 0, 0).await.unwrap();
        sink.take(&log.batch(0..300)).await.unwrap();
        sink.flush(Flush::Partition(AT)).await.unwrap();
    }
    let held = Reader::card(&store).held(AT).await.unwrap();
    let bucket = bucket_of(log.lines[0].timestamp, DAY);
    let rows = async |card: &str| {
        let partition = vec!["acme".into(), card.into(), bucket.into()];
        store.scan(Scan::partition(&CARD_RUNS, partition)).await.unwrap().len()
    };
    assert_eq!((blocks(&store, &log, "run").await, rows("a").await, rows("b").await), (1, 1, 1));

    let upto = [(AT, 0, 300)].into_iter().collect();
    let erasure = Erasure::new("acme", Target::Run("run".into()), upto, "tests");
    let until = held.expires_last(bucket, "acme");
    assert!(until.is_some());
    // The second time as who goes on after the first was killed.
    for deleted in [1, 0] {
        assert_eq!(erase(&store, &erasure).await.unwrap(), Cleared { rows: deleted, until });
        assert_eq!((blocks(&store, &log, "run").await, rows("a").await, rows("b").await), (0, 0, 1));
    }
}
