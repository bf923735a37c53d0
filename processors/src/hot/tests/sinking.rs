//! Taking, flushing and reading, step by step.

use super::*;
use crate::blocks::block::BlockKey;
use crate::erasure::{Erasure, Erasures, Target};
use crate::lane::bucket_of;
use crate::sink::SinkError;
use crate::sink::faulty::FaultyStore;
use agentworks_schemas::Cursor;
use agentworks_store::Scan;

/// How many blocks a card has in the bucket of the first line.
async fn blocks(store: &Arc<dyn Store>, log: &Log, card: &str) -> usize {
    let bucket = bucket_of(log.lines[0].timestamp, HOUR);
    let scan = Scan::partition(HOT.table(0), vec!["acme".into(), card.into(), bucket.into()]);
    store.scan(scan).await.unwrap().len()
}

#[tokio::test]
async fn what_was_flushed_is_read() {
    let (_folder, store) = store();
    let log = Log::of_cards(&["a", "b", "c"], 300);
    let mut sink = sink(&store, never());
    let held = sink.open(AT, 0, 0).await.unwrap();
    assert_eq!((held.low, held.high), (0, 0));
    let reader = Reader::hot(&store);
    assert_eq!(reader.held(AT).await, Some(held));

    sink.take(&log.batch(0..300)).await.unwrap();
    assert!(sink.pending() > 300 * 100);
    assert_eq!(sink.flush(Flush::Due).await.unwrap(), []);
    assert_eq!(reader.held(AT).await.unwrap().high, 0);

    let moved = sink.flush(Flush::Partition(AT)).await.unwrap();
    let held = reader.held(AT).await.unwrap();
    assert_eq!((&moved[..], held.low, held.high), (&[held.clone()][..], 0, 300));
    assert_eq!(sink.pending(), 0);
    for card in ["a", "b", "c"] {
        assert_eq!(blocks(&store, &log, card).await, 1);
        for limit in [1, 7, 1000] {
            let (all, some) = (log.entries(card, 0..300), log.entries(card, 17..203));
            assert_eq!(reader.all_forward(&held, scan(card, 0, 300), limit).await, all);
            assert_eq!(reader.all_backward(&held, scan(card, 0, 300), limit).await, all);
            assert_eq!(reader.all_forward(&held, scan(card, 17, 203), limit).await, some);
            assert_eq!(reader.all_backward(&held, scan(card, 17, 203), limit).await, some);
        }
    }
    assert_eq!(reader.forward(&held, &scan("nobody", 0, 300), 10).await.unwrap(), []);
    let other_epoch = BlockScan { epoch: 1, ..scan("a", 0, 300) };
    assert_eq!(reader.forward(&held, &other_epoch, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_page_does_not_read_everything() {
    let (_folder, store) = store();
    let log = Log::of_cards(&["a"], 500);
    let mut sink = sink(&store, HotConfig { block_bytes: 4_000, ..never() });
    sink.open(AT, 0, 0).await.unwrap();
    sink.take(&log.batch(0..500)).await.unwrap();
    let held = sink.flush(Flush::Partition(AT)).await.unwrap().remove(0);
    let count = blocks(&store, &log, "a").await;
    assert!(count > 10, "{count} blocks");
    let reader = Reader::hot(&store);
    let page = reader.forward(&held, &scan("a", 0, 500), 10).await.unwrap();
    // Nor is anything fetched that isn't wanted.
    let skipped = prometheus_client::metrics::counter::Counter::default();
    let by_blocks = BlockReader::new(store.clone(), &HOT, skipped.clone());
    let none = by_blocks.forward(&held, &scan("a", 0, 500), 10, &|_| false).await.unwrap();
    assert_eq!((none.len(), skipped.get()), (0, count as u64));
    assert!((10..60).contains(&page.len()), "{} entries", page.len());
    let last = reader.backward(&held, &scan("a", 0, 500), 10).await.unwrap();
    assert_eq!(last, Last { entries: log.entries("a", 490..500), is_cut: true });
}

#[tokio::test]
async fn a_page_of_large_lines_is_short_and_the_next_goes_on() {
    let (_folder, store) = store();
    let mut log = Log::of_cards(&["a", "b"], 200);
    log.lines.iter_mut().filter(|line| line.offset % 3 == 0).for_each(|line| line.length = 200_000);
    let mut sink = sink(&store, never());
    sink.open(AT, 0, 0).await.unwrap();
    sink.take(&log.batch(0..200)).await.unwrap();
    let held = sink.flush(Flush::Partition(AT)).await.unwrap().remove(0);
    let reader = Reader::hot(&store);
    for limit in [1, 64, 1000] {
        assert_eq!(reader.all_forward(&held, scan("a", 0, 200), limit).await, log.entries("a", 0..200));
        assert_eq!(reader.all_backward(&held, scan("a", 0, 200), limit).await, log.entries("a", 0..200));
    }
    let is_page =
        |entries: &[StoredEntry]| (CHUNK_BYTES..3 * CHUNK_BYTES).contains(&entries.iter().collect::<Weight>().bytes());
    assert!(is_page(&reader.forward(&held, &scan("a", 0, 200), 1000).await.unwrap()));
    let last = reader.backward(&held, &scan("a", 0, 200), 1000).await.unwrap();
    assert!(last.is_cut && is_page(&last.entries));
}

#[tokio::test]
async fn nothing_beyond_what_is_held_is_read() {
    let (_folder, store) = store();
    let log = Log::of_cards(&["a", "b"], 100);
    let faulty = FaultyStore::new(store.clone());
    let behind: Arc<dyn Store> = faulty.clone();
    let mut sink = sink(&behind, always());
    sink.open(AT, 0, 0).await.unwrap();
    sink.take(&log.batch(0..50)).await.unwrap();
    sink.flush(Flush::Due).await.unwrap();
    // The next blocks are written, but their position isn't: of the two writes of cards and position, the latter fails.
    sink.take(&log.batch(50..100)).await.unwrap();
    faulty.fail(vec![!0]);
    assert!(sink.flush(Flush::Due).await.is_err());
    assert!(!faulty.is_failing());
    let reader = Reader::hot(&store);
    let held = reader.held(AT).await.unwrap();
    assert_eq!(held.high, 50);
    assert_eq!(reader.all_forward(&held, scan("a", 0, 100), 10).await, log.entries("a", 0..50));
    assert_eq!(reader.all_backward(&held, scan("a", 0, 100), 10).await, log.entries("a", 0..50));
}

#[tokio::test]
async fn a_flush_that_failed_is_made_again() {
    let (_folder, store) = store();
    let log = Log::of_cards(&["a", "b", "c"], 300);
    let faulty = FaultyStore::new(store.clone());
    let behind: Arc<dyn Store> = faulty.clone();
    let mut sink = sink(&behind, HotConfig { block_bytes: 2_000, ..never() });
    sink.open(AT, 0, 0).await.unwrap();
    sink.take(&log.batch(0..300)).await.unwrap();
    faulty.fail(vec![!0, 0, 5]);
    while faulty.is_failing() {
        let error = sink.flush(Flush::Partition(AT)).await.unwrap_err();
        assert!(error.is_transient());
    }
    let held = sink.flush(Flush::Partition(AT)).await.unwrap().remove(0);
    assert_eq!((held.high, sink.pending()), (300, 0));
    let reader = Reader::hot(&store);
    for card in ["a", "b", "c"] {
        assert_eq!(reader.all_forward(&held, scan(card, 0, 300), 10).await, log.entries(card, 0..300));
        assert_eq!(card_lanes(&*store, "acme", card).await.unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn blocks_are_written_when_they_are_old_or_full() {
    let (_folder, store) = store();
    let mut log = Log::of_cards(&["old", "full", "full", "full"], 400);
    let first = log.lines[0].timestamp.millis();
    log.lines.iter_mut().zip(first..).for_each(|(line, time)| line.timestamp = Timestamp(time));
    let mut sink = sink(&store, HotConfig { block_bytes: 20_000, ..HotConfig::default() });
    sink.open(AT, 0, 0).await.unwrap();
    sink.take(&log.batch(0..100)).await.unwrap();
    tokio::time::advance(Duration::from_secs(3)).await;
    sink.take(&log.batch(100..400)).await.unwrap();
    sink.flush(Flush::Due).await.unwrap();
    assert_eq!((blocks(&store, &log, "old").await, blocks(&store, &log, "full").await), (0, 2));
    tokio::time::advance(Duration::from_secs(2)).await;
    // The old one is due, and what remains of the other not yet: the position moves up to that.
    let held = sink.flush(Flush::Due).await.unwrap().remove(0);
    assert_eq!((blocks(&store, &log, "old").await, blocks(&store, &log, "full").await), (1, 2));
    assert!((200..400).contains(&held.high), "{held:?}");
    assert_eq!(log.lines[held.high as usize].card, "full");
    tokio::time::advance(Duration::from_secs(5)).await;
    let held = sink.flush(Flush::Due).await.unwrap().remove(0);
    assert_eq!((held.high, sink.pending()), (400, 0));
}

/// Else whoever is killed every few seconds would begin anew for ever.
#[tokio::test(start_paused = true)]
async fn who_catches_up_has_written_soon() {
    let (_folder, store) = store();
    // A line for each second.
    let log = Log::of_cards(&["a", "b"], 400);
    let mut sink = sink(&store, HotConfig::default());
    sink.open(AT, 0, 0).await.unwrap();
    sink.take(&log.batch(0..300)).await.unwrap();
    assert_eq!(sink.flush(Flush::Due).await.unwrap(), []);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(sink.flush(Flush::Due).await.unwrap().remove(0).high, 300);
    sink.take(&log.batch(300..303)).await.unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(sink.flush(Flush::Due).await.unwrap(), []);
}

#[tokio::test]
async fn memory_is_freed_by_the_largest_blocks() {
    let (_folder, store) = store();
    let log = Log::of_cards(&["small", "large", "large", "large", "large"], 500);
    let mut sink = sink(&store, HotConfig { block_bytes: 1 << 20, ..never() });
    sink.open(AT, 0, 0).await.unwrap();
    sink.take(&log.batch(0..500)).await.unwrap();
    let pending = sink.pending();
    sink.flush(Flush::Free(1)).await.unwrap();
    assert_eq!((blocks(&store, &log, "small").await, blocks(&store, &log, "large").await), (0, 1));
    assert!(sink.pending() < pending / 2);
    sink.flush(Flush::Free(usize::MAX)).await.unwrap();
    assert_eq!((blocks(&store, &log, "small").await, sink.pending()), (1, 0));
}

#[tokio::test]
async fn offsets_without_entries_are_passed() {
    let (_folder, store) = store();
    let mut log = Log::of_cards(&["a"], 100);
    log.lines.retain(|line| line.offset % 10 == 0);
    let mut sink = sink(&store, always());
    sink.open(AT, 0, 0).await.unwrap();
    sink.take(&log.batch(0..1000)).await.unwrap();
    // Taken already, in whole and in part.
    sink.take(&log.batch(50..70)).await.unwrap();
    sink.take(&log.batch(900..1200)).await.unwrap();
    let held = sink.flush(Flush::Due).await.unwrap().remove(0);
    assert_eq!(held.high, 1200);
    let reader = Reader::hot(&store);
    assert_eq!(reader.all_forward(&held, scan("a", 0, 1200), 3).await, log.entries("a", 0..100));

    let error = sink.take(&log.batch(1201..1300)).await.unwrap_err();
    assert!(matches!(&error, SinkError::Position { reason, .. } if reason.contains("1200 is next")), "{error}");
}

#[tokio::test]
async fn hours_are_buckets_and_expire() {
    let (_folder, store) = store();
    let mut log = Log::of_cards(&["a", "b"], 300);
    // Ten lines an hour, thirty hours of them up to now; each hour's last comes late, with the time of the hour before.
    let now = Timestamp::now().millis();
    for line in &mut log.lines {
        let hours = 29 - line.offset / 10 + i64::from(line.offset % 10 == 9);
        line.timestamp = Timestamp(now - hours * HOUR);
    }
    let mut sink = sink(&store, always());
    sink.open(AT, 0, 0).await.unwrap();
    sink.take(&log.batch(0..300)).await.unwrap();
    let moved = sink.flush(Flush::Due).await.unwrap();
    let reader = Reader::hot(&store);
    let held = reader.held(AT).await.unwrap();
    assert_eq!(moved, std::slice::from_ref(&held));
    // Kept for 24 hours after the end of their hour: the first five are relied on no more.
    assert_eq!((held.low, held.high), (50, 300));
    for card in ["a", "b"] {
        let wanted = log.entries(card, 50..300);
        assert_eq!(reader.all_forward(&held, scan(card, 0, 300), 7).await, wanted);
        assert_eq!(reader.all_backward(&held, scan(card, 0, 300), 7).await, wanted);
    }
}

#[tokio::test]
async fn damage_names_the_block() {
    let (_folder, store) = store();
    let log = Log::of_cards(&["a"], 10);
    let mut sink = sink(&store, always());
    sink.open(AT, 0, 0).await.unwrap();
    sink.take(&log.batch(0..10)).await.unwrap();
    let held = sink.flush(Flush::Due).await.unwrap().remove(0);
    let bucket = held.buckets[0].0;
    let key = BlockKey {
        table: HOT.table(0),
        workspace: "acme".into(),
        owner: "a".into(),
        bucket,
        partition: AT,
        epoch: 0,
        first: 0,
        last: 9,
    };
    let row = store.get(key.table, &key.key()).await.unwrap().unwrap();
    let mut contents = row.payload.to_vec();
    *contents.last_mut().unwrap() ^= 1;
    let stats = BlockStats::decode(&row.stats).unwrap();
    store.write(vec![key.write(&stats, contents, None)]).await.unwrap();
    let error = Reader::hot(&store).forward(&held, &scan("a", 0, 10), 10).await.unwrap_err();
    assert!(matches!(&error, SinkError::Corrupt(text) if text.contains(&key.to_string())), "{error}");
}

#[tokio::test]
async fn cards_and_their_lanes_are_known() {
    let (_folder, store) = store();
    let mut sink = sink(&store, always());
    let (entries, events) = (Log::of_cards(&["a", "b"], 10), Log::of_cards(&["b", "c"], 4));
    let events = Log { partition: TopicPartition::new(Topic::RunEvents, 3), ..events };
    for log in [&entries, &events] {
        sink.open(log.partition, 0, 0).await.unwrap();
        sink.take(&log.batch(0..log.end())).await.unwrap();
    }
    sink.flush(Flush::Due).await.unwrap();

    let lane = |partition, first| CardLane { partition, epoch: 0, first };
    let lanes_of_b = [lane(AT, 1), lane(events.partition, 0)];
    assert_eq!(card_lanes(&*store, "acme", "b").await.unwrap(), lanes_of_b);
    assert_eq!(card_lanes(&*store, "acme", "c").await.unwrap(), [lane(events.partition, 1)]);
    assert_eq!(card_lanes(&*store, "other", "b").await.unwrap(), []);
    let cards = cards_of_workspace(&*store, "acme", 10).await.unwrap();
    assert_eq!(cards.iter().map(|card| card.card.as_str()).collect::<Vec<_>>(), ["b", "c", "a"]);
    assert_eq!(cards_of_workspace(&*store, "acme", 2).await.unwrap(), cards[..2]);
    let held = Reader::hot(&store).held(events.partition).await.unwrap();
    assert_eq!(held.high, 4);

    // A sink that has forgotten what the first one saw changes nothing, nor does one that sees a later part.
    let mut again = super::sink(&store, HotConfig { known_cards: 1, ..always() });
    again.open(AT, 0, 0).await.unwrap();
    let later = Log { lines: Log::of_cards(&["b"], 20).lines, ..entries.clone() };
    again.take(&later.batch(10..20)).await.unwrap();
    again.flush(Flush::Due).await.unwrap();
    assert_eq!(card_lanes(&*store, "acme", "b").await.unwrap(), lanes_of_b);
}

#[tokio::test]
async fn what_is_closed_is_dropped_and_taken_again() {
    let (_folder, store) = store();
    let log = Log::of_cards(&["a", "b"], 100);
    let mut sink = sink(&store, never());
    sink.open(AT, 0, 0).await.unwrap();
    sink.take(&log.batch(0..60)).await.unwrap();
    sink.close(AT);
    assert_eq!(sink.flush(Flush::Partition(AT)).await.unwrap(), []);
    sink.take(&log.batch(60..100)).await.unwrap();
    assert_eq!((sink.open(AT, 0, 0).await.unwrap().high, sink.pending()), (0, 0));
    sink.take(&log.batch(0..100)).await.unwrap();
    let held = sink.flush(Flush::Partition(AT)).await.unwrap().remove(0);
    let reader = Reader::hot(&store);
    assert_eq!(reader.all_forward(&held, scan("b", 0, 100), 9).await, log.entries("b", 0..100));
    assert_eq!(lane::load(&*store, "hot", AT).await.unwrap(), Some(held));
}

#[tokio::test]
async fn a_crowded_hour_is_cut_into_parts() {
    let (_folder, store) = store();
    let log = Log::of_cards(&["a", "b"], 300);
    let mut sink = sink(&store, HotConfig { partition_bytes: 5_000, ..always() });
    sink.open(AT, 0, 0).await.unwrap();
    sink.take(&log.batch(0..300)).await.unwrap();
    let held = sink.flush(Flush::Due).await.unwrap().remove(0);
    assert!(held.buckets.len() > 5, "{held:?}");
    let size = |line: &crate::blocks::tests::Line| {
        let mut body = Vec::new();
        agentworks_schemas::codec::encode_entry_body(&line.entry(), &mut body);
        body.len()
    };
    for span in held.spans("acme", 0..300) {
        let lines = log.lines.iter().filter(|line| span.offsets.contains(&line.offset));
        let bytes: usize = lines.map(size).sum();
        assert!((5_000..5_500).contains(&bytes) || span.offsets.end == 300, "{bytes} bytes");
    }
    let reader = Reader::hot(&store);
    for card in ["a", "b"] {
        assert_eq!(reader.all_forward(&held, scan(card, 0, 300), 7).await, log.entries(card, 0..300));
        assert_eq!(reader.all_backward(&held, scan(card, 0, 300), 7).await, log.entries(card, 0..300));
    }
}

#[tokio::test]
async fn workspaces_are_kept_in_tables_of_their_class() {
    let (_folder, store) = store();
    let log = Log::of_cards(&["a"], 300);
    let retention = |hours: u64| {
        let days = Duration::from_secs(hours * 3600);
        Retention { workspaces: [("acme".to_owned(), days)].into(), ..HotConfig::default().retention }
    };
    let error =
        HotSink::new(store.clone(), HotConfig { retention: retention(169), ..always() }, &mut Registry::default());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("hot keeps entries for 7 days at most") && error.contains("acme"), "{error}");

    // A change holds from where it was made: what was written before is read where it lies.
    for (from, to, hours) in [(0, 100, 48), (100, 200, 168), (200, 300, 12)] {
        let mut sink = sink(&store, HotConfig { retention: retention(hours), ..always() });
        assert_eq!(sink.open(AT, 0, 0).await.unwrap().high, from);
        sink.take(&log.batch(from..to)).await.unwrap();
        sink.flush(Flush::Due).await.unwrap();
    }
    let bucket = bucket_of(log.lines[0].timestamp, HOUR);
    for class in &HOT.classes {
        let scan = Scan::partition(&class.table, vec!["acme".into(), "a".into(), bucket.into()]);
        assert_eq!(store.scan(scan).await.unwrap().len(), 1, "{}", class.table.name);
    }
    let reader = Reader::hot(&store);
    let held = reader.held(AT).await.unwrap();
    assert_eq!(reader.all_forward(&held, scan("a", 0, 300), 7).await, log.entries("a", 0..300));
    assert_eq!(reader.all_backward(&held, scan("a", 50, 250), 7).await, log.entries("a", 50..250));
}

#[tokio::test]
async fn a_card_that_goes_on_after_an_erasure_is_listed_and_erased_again() {
    let (_folder, store) = store();
    // All within a minute, and a block.
    let mut log = Log::of_cards(&["a", "b"], 30);
    log.lines.retain(|line| line.offset < 20 || line.card == "b");
    let erasures = Erasures::follow(store.clone());
    let mut sink = sink(&store, never()).erasures(erasures.clone());
    sink.open(AT, 0, 0).await.unwrap();
    sink.take(&log.batch(0..20)).await.unwrap();
    sink.flush(Flush::Due).await.unwrap();
    let erase_upto = |offset| {
        let upto: Cursor = [(AT, 0, offset)].into_iter().collect();
        Erasure::new("acme", Target::Workspace, upto, "tests")
    };
    let first = erase_upto(20);
    crate::erasure::write(&*store, &first).await.unwrap();
    while erasures.view().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sink.take(&log.batch(20..30)).await.unwrap();
    sink.flush(Flush::Partition(AT)).await.unwrap();

    let names = async || {
        let cards = cards_of_workspace(&*store, "acme", 10).await.unwrap();
        let shown = cards.into_iter().filter(|info| !info.is_erased(&first));
        shown.map(|info| info.card).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["b"]);
    erase(&store, &first).await.unwrap();
    assert_eq!(names().await, ["b"], "its row was not deleted");
    assert_eq!((blocks(&store, &log, "a").await, blocks(&store, &log, "b").await), (0, 1));
    erase(&store, &erase_upto(30)).await.unwrap();
    assert_eq!(cards_of_workspace(&*store, "acme", 10).await.unwrap(), []);
    assert_eq!(blocks(&store, &log, "b").await, 0, "found by its row");
}
