//! Erasing runs, broken off anywhere.

use std::sync::atomic::{AtomicI64, Ordering};

use agentworks_schemas::Cursor;
use agentworks_store::{Intercept, Key, Part, Scan, StoreError, Table, Write};
use async_trait::async_trait;

use super::*;
use crate::erasure::{ERASURES, Erasure, Erasures, Target, write as write_erasure};
use crate::runs::{Anew, BY_CARD, BY_DAY, MARKS, PARTS, erase};

/// A store that takes so many deletions, and then no more.
#[derive(Debug)]
struct Tired {
    behind: Arc<dyn Store>,
    deletions: AtomicI64,
}

#[async_trait]
impl Intercept for Tired {
    fn behind(&self) -> &Arc<dyn Store> {
        &self.behind
    }

    async fn intercept(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.behind.write(writes).await
    }

    async fn intercept_delete(&self, table: &'static Table, key: &Key, version: i64) -> Result<(), StoreError> {
        match self.deletions.fetch_sub(1, Ordering::SeqCst) > 0 {
            true => self.behind.delete(table, key, version).await,
            false => Err(StoreError::Unavailable("as told".into())),
        }
    }
}

fn erasure(target: Target, lines: i64, events: i64) -> Erasure {
    let upto: Cursor = [(LOGS, 0, lines), (EVENTS, 0, events)].into_iter().collect();
    Erasure::new("w", target, upto, "tests")
}

async fn count(store: &Arc<dyn Store>, table: &'static Table, partition: Vec<Part>) -> usize {
    store.scan(Scan::partition(table, partition)).await.unwrap().len()
}

/// How many rows there are of a run, listings aside, and how many rows list runs.
async fn rows(store: &Arc<dyn Store>, run: &str) -> (usize, usize) {
    let of_run = || vec!["w".into(), run.into()];
    let day = START.div_euclid(86_400_000);
    (
        count(store, &PARTS, of_run()).await + count(store, &MARKS, of_run()).await,
        count(store, &BY_CARD, vec!["w".into(), "card".into()]).await
            + count(store, &BY_DAY, vec!["w".into(), day.into()]).await,
    )
}

fn lines(run: usize, count: usize) -> impl Iterator<Item = Said> {
    (0..count).map(move |_| Said::Line(run, Level::Info))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whoever_goes_on_with_an_erasure_leaves_nothing() {
    // Marks, parts, and two listings of two partitions' parts.
    let logs: Vec<_> = lines(0, 2_500).chain(lines(1, 10)).collect();
    let events: Vec<_> = (0..2).map(|run| Said::Event(run, RunEventKind::Started, None, None)).collect();
    let mut broken_off = 0;
    for deletions in 0.. {
        let (_folder, store) = store();
        exercise(&store, &[(LOGS, logs.clone()), (EVENTS, events.clone())], Vec::new()).await;
        let erasure = erasure(Target::Workspace, logs.len() as i64, events.len() as i64);
        let tired: Arc<dyn Store> = Arc::new(Tired { behind: store.clone(), deletions: AtomicI64::new(deletions) });
        let done = erase(&tired, &erasure).await.is_ok();
        erase(&store, &erasure).await.unwrap();
        for run in ["run-0", "run-1"] {
            assert_eq!(rows(&store, run).await, (0, 0), "{run} after {deletions} deletions");
        }
        let begun = Part::Text(format!("clearing/{}", erasure.id));
        assert_eq!(count(&store, &ERASURES, vec![begun]).await, 0);
        if done {
            break;
        }
        broken_off += 1;
    }
    assert!(broken_off > 10, "{broken_off}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_goes_on_stays_listed_and_has_marks_of_its_own_alone() {
    let (_folder, store) = store();
    let logs: Vec<_> = lines(0, 1_500).collect();
    // Both begin in the same millisecond.
    let events = vec![Said::Event(0, RunEventKind::Started, None, None)];
    exercise(&store, &[(LOGS, logs), (EVENTS, events)], Vec::new()).await;
    assert_eq!(rows(&store, "run-0").await, (3, 2));
    // The event is beyond it.
    let of_run = || Target::Run("run-0".into());
    erase(&store, &erasure(of_run(), 1_500, 0)).await.unwrap();
    assert_eq!(rows(&store, "run-0").await, (1, 2), "what came later is listed");

    // A part that was begun anew, beside a mark of the one before.
    let mark = super::super::Mark { ordinal: 1_000, offset: 1_400, timestamp: Timestamp(START) };
    let share = tables::ShareKey { origin: Origin::Sink, partition: LOGS, epoch: 0 };
    let anew = batch(LOGS, &lines(0, 1_600).collect::<Vec<_>>(), 1_550, 1_600);
    let part = super::super::RunPart::first(LOGS, 0, &anew.records()[0]);
    let written = [
        tables::write_mark("w", "run-0", share, &mark),
        tables::write_part("w", "run-0", Origin::Sink, &part).unwrap(),
    ];
    store.write(written.into()).await.unwrap();
    erase(&store, &erasure(of_run(), 1_500, 0)).await.unwrap();
    let reader = RunReader::new(store.clone());
    assert_eq!(reader.mark_before("w", "run-0", LOGS, 0, 5_000).await.unwrap(), None);
    assert_eq!(reader.parts("w", "run-0").await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn marks_at_erased_entries_lead_nowhere_before_they_are_deleted() {
    let (_folder, store) = store();
    exercise(&store, &[(LOGS, lines(0, 2_500).collect())], Vec::new()).await;
    let reader = RunReader::new(store.clone());
    let find = async |reader: &RunReader, ordinal| {
        reader.mark_before("w", "run-0", LOGS, 0, ordinal).await.unwrap().map(|mark| mark.ordinal)
    };
    assert_eq!((find(&reader, 1_500).await, find(&reader, 2_400).await), (Some(1_000), Some(2_000)));
    write_erasure(&*store, &erasure(Target::Run("run-0".into()), 1_800, 0)).await.unwrap();
    let reader = reader.erasures(Erasures::follow(store.clone()));
    assert_eq!((find(&reader, 1_500).await, find(&reader, 2_400).await), (None, Some(2_000)));
    assert_eq!(reader.mark_after("w", "run-0", LOGS, 0, 500).await.unwrap(), None);
}

/// While its runs are being deleted: nobody waits for all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_page_of_an_erased_workspace_ends_though_nothing_is_shown() {
    let (_folder, store) = store();
    // The last three runs are beyond the erasure.
    let logs: Vec<_> = (0..1_003).map(|run| Said::Line(run, Level::Info)).collect();
    exercise(&store, &[(LOGS, logs)], Vec::new()).await;
    write_erasure(&*store, &erasure(Target::Workspace, 1_000, 0)).await.unwrap();
    let reader = RunReader::new(store.clone()).erasures(Erasures::follow(store.clone()));
    for listing in [RunListing::Card("card".into()), RunListing::Workspace] {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = reader.list("w", &listing, after.as_ref(), 2).await.unwrap();
            pages.push(page.runs.into_iter().map(|run| run.run_id).collect::<Vec<_>>());
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        // For the second page 400 rows were looked at, and for the third.
        let expected: [&[&str]; 4] = [&["run-1002", "run-1001"], &["run-1000"], &[], &[]];
        assert_eq!(pages, expected, "{listing:?}");
    }
}

/// What the sink says of a run's part, and the reader of the run: entries, and the offset of the first.
async fn counts(reader: &RunReader, run: &str) -> Vec<(u64, i64)> {
    let parts = reader.parts("w", run).await.unwrap();
    parts.iter().map(|part| (part.entries(), part.first)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_was_taken_before_an_erasure_was_known_is_counted_anew() {
    let (_folder, store) = store();
    // The first goes on at 60 to 69 and 80 to 89, the second only before it is known, the third begins then.
    let logs: Vec<_> = lines(0, 50).chain(lines(1, 10)).chain(lines(0, 10)).chain(lines(2, 10)).collect();
    let behind: Vec<_> = logs.iter().cloned().chain(lines(0, 10)).collect();
    exercise(&store, &[(LOGS, logs.clone())], Vec::new()).await;
    let erasure = erasure(Target::Workspace, 55, 0);
    write_erasure(&*store, &erasure).await.unwrap();
    let erasures = Erasures::follow(store.clone());
    let mut sink = RunsSink::new(store.clone(), RunsConfig::default()).erasures(erasures.clone());
    let held = sink.open(LOGS, 0, 0).await.unwrap();
    assert_eq!(held.high, logs.len() as i64);
    sink.take(&batch(LOGS, &behind, logs.len(), behind.len())).await.unwrap();
    sink.flush(Flush::Partition(LOGS)).await.unwrap();
    let reader = RunReader::new(store.clone()).erasures(erasures.clone());
    assert_eq!(counts(&reader, "run-0").await, [(10, 80)], "ten are missing");
    assert_eq!(counts(&reader, "run-1").await, []);

    // As often as may be: whoever does it may be killed.
    for _ in 0..2 {
        let view = erasures.view().await.unwrap();
        let mut anew = Anew::new(&store, &erasure, &view);
        for (from, to) in [(55, 65), (65, 90)] {
            anew.take(&batch(LOGS, &behind, from, to)).await.unwrap();
        }
        anew.write().await.unwrap();
        erase(&store, &erasure).await.unwrap();
        assert_eq!(counts(&reader, "run-0").await, [(20, 60)]);
        assert_eq!(counts(&reader, "run-1").await, [(5, 55)]);
        assert_eq!(counts(&reader, "run-2").await, [(10, 70)]);
    }
    // The sink goes on from there.
    let more: Vec<_> = behind.iter().cloned().chain(lines(1, 3)).collect();
    sink.take(&batch(LOGS, &more, behind.len(), more.len())).await.unwrap();
    sink.flush(Flush::Partition(LOGS)).await.unwrap();
    assert_eq!(counts(&reader, "run-1").await, [(8, 55)]);
}

/// What a sink holds in memory when something is erased, in a store from which that has been deleted by the time when it
/// writes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_was_erased_since_it_was_counted_is_not_written_again() {
    for restores in [false, true] {
        let (_folder, store) = store();
        let erasures = Erasures::follow(store.clone());
        let mut sink = RunsSink::new(store.clone(), RunsConfig::default()).erasures(erasures.clone());
        if restores {
            sink = sink.restoring();
        }
        let logs: Vec<_> = lines(0, 30).chain(lines(1, 10)).collect();
        sink.open(LOGS, 0, 0).await.unwrap();
        sink.take(&batch(LOGS, &logs, 0, 20)).await.unwrap();
        sink.flush(Flush::Partition(LOGS)).await.unwrap();
        sink.take(&batch(LOGS, &logs, 20, 35)).await.unwrap();
        assert_eq!(rows(&store, "run-0").await, (1, 2));
        let erasure = erasure(Target::Workspace, 32, 0);
        write_erasure(&*store, &erasure).await.unwrap();
        while erasures.view().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        erase(&store, &erasure).await.unwrap();
        sink.flush(Flush::Partition(LOGS)).await.unwrap();
        // What was never written is what tells who clears warm that there is something.
        let expected = if restores { (0, 0) } else { (1, 2) };
        assert_eq!((rows(&store, "run-0").await.0, rows(&store, "run-1").await), (0, expected));

        // It is begun anew, and of the part before nothing is left.
        sink.take(&batch(LOGS, &logs, 35, 40)).await.unwrap();
        sink.flush(Flush::Partition(LOGS)).await.unwrap();
        assert_eq!(rows(&store, "run-1").await, (1, expected.1 + 2));
        erase(&store, &erasure).await.unwrap();
        assert_eq!(rows(&store, "run-1").await, (1, 2));
        let parts = RunReader::new(store.clone()).parts("w", "run-1").await.unwrap();
        assert_eq!((parts.len(), parts[0].first, parts[0].entries()), (1, 35, 5));
    }
}
