//! Whatever is flushed, killed and redelivered: a run's parts equal a recount of the log.

#![allow(clippy::unwrap_used, reason = "tests")]

mod erased;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::{Batch, BatchBuilder};
use agentworks_schemas::codec::{Framing, Schemas, encode_entry, encode_event};
use agentworks_schemas::protocol::RunStatus;
use agentworks_schemas::{Level, LogEntry, RunEvent, RunEventKind, Source, Timestamp, Topic, TopicPartition};
use agentworks_store::{EmbeddedStore, Store};
use proptest::prelude::*;
use tempfile::TempDir;

use super::tables::{self, Origin};
use super::{Inference, RunListing, RunReader, RunsConfig, RunsSink, SILENCE, fold_parts};
use crate::sink::faulty::FaultyStore;
use crate::sink::{Flush, Sink};

const START: i64 = 1_764_000_000_000;

/// A record of the log: of which run, and what.
#[derive(Clone, Debug)]
enum Said {
    Line(usize, Level),
    Event(usize, RunEventKind, Option<u32>, Option<u32>),
}

#[derive(Clone, Debug)]
enum Step {
    Take(usize),
    /// Takes, but a part isn't found after so many that are; then once more.
    TakeTwice(usize, usize),
    Flush(Flush),
    /// Flushes, and so many writes fail after some of their rows.
    Fail(Vec<u64>),
    /// As `Fail`, and then begins anew where the positions say.
    Crash(Vec<u64>),
}

/// Seen a minute after the log began.
fn soon() -> Inference {
    Inference { now: Timestamp(START + 60_000), silence: SILENCE }
}

const LOGS: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };
const EVENTS: TopicPartition = TopicPartition { topic: Topic::RunEvents, partition: 0 };

fn payload(offset: i64, said: &Said) -> Vec<u8> {
    let mut payload = Vec::new();
    let timestamp = Timestamp(START + offset);
    match said {
        Said::Line(run, level) => {
            let entry = LogEntry {
                id: format!("e{offset}").into(),
                run_id: format!("run-{run}").into(),
                card_id: "card".into(),
                workspace_id: "w".into(),
                timestamp,
                sequence: offset,
                level: *level,
                source: Source::Agent,
                component: "test".into(),
                message: "a line".into(),
                data: None,
                agent_id: Some(format!("agent-of-{run}").into()),
                provider: None,
                model: None,
                user_id: None,
                tags: None,
                correlation_id: None,
                parent_span_id: None,
                trace_id: None,
            };
            encode_entry(&entry, Framing::Avro, &mut payload);
        }
        Said::Event(run, kind, cost, tokens) => {
            let event = RunEvent {
                id: format!("v{offset}").into(),
                run_id: format!("run-{run}").into(),
                card_id: "card".into(),
                workspace_id: "w".into(),
                timestamp,
                kind: *kind,
                agent_id: None,
                provider: None,
                model: None,
                user_id: None,
                // Sums of small halves are exact.
                cost: cost.map(|cost| f64::from(cost) / 2.0),
                input_tokens: tokens.map(i64::from),
                output_tokens: tokens.map(i64::from),
                exit_code: None,
                reason: None,
                trace_id: None,
            };
            encode_event(&event, Framing::Avro, &mut payload);
        }
    }
    payload
}

fn batch(partition: TopicPartition, log: &[Said], from: usize, to: usize) -> Batch {
    let mut builder = BatchBuilder::new(partition, 0, from as i64);
    for (offset, said) in log.iter().enumerate().take(to).skip(from) {
        let offset = offset as i64;
        let timestamp = Timestamp(START + offset);
        builder.push_raw(offset, timestamp, Some(b"card"), Some(&payload(offset, said)), Vec::new());
    }
    let batch = builder.build(Schemas::builtin());
    assert!(batch.rejects().is_empty(), "{:?}", batch.rejects());
    batch
}

fn store() -> (TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(folder.path().join("store")).unwrap());
    (folder, store)
}

fn sink(store: &Arc<dyn Store>) -> RunsSink {
    // Everything is always due, and hardly anything stays in memory.
    let config = RunsConfig { max_age: Duration::ZERO, max_age_of_status: Duration::ZERO, cached_parts: 2 };
    RunsSink::new(store.clone(), config)
}

fn level() -> impl Strategy<Value = Level> {
    prop::sample::select(Level::ALL.to_vec())
}

fn said() -> impl Strategy<Value = Said> {
    (0..4_usize, level()).prop_map(|(run, level)| Said::Line(run, level))
}

fn event() -> impl Strategy<Value = Said> {
    use RunEventKind::{Cancelled, Completed, Failed, Started, Usage};
    let kinds = prop::sample::select(vec![Started, Usage, Completed, Failed, Cancelled]);
    let amount = || prop::option::of(0..1000_u32);
    (0..4_usize, kinds, amount(), amount()).prop_map(|(run, kind, cost, tokens)| Said::Event(run, kind, cost, tokens))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let masks = || prop::collection::vec(any::<u64>(), 0..4);
    let step = prop_oneof![
        4 => (1..9_usize).prop_map(Step::Take),
        2 => (1..9_usize, 0..4_usize).prop_map(|(count, found)| Step::TakeTwice(count, found)),
        2 => Just(Step::Flush(Flush::Due)),
        1 => Just(Step::Flush(Flush::Free(1))),
        1 => prop::sample::select(vec![LOGS, EVENTS]).prop_map(|partition| Step::Flush(Flush::Partition(partition))),
        1 => masks().prop_map(Step::Fail),
        1 => masks().prop_map(Step::Crash),
    ];
    prop::collection::vec(step, 1..30)
}

async fn exercise(store: &Arc<dyn Store>, logs: &[(TopicPartition, Vec<Said>)], steps: Vec<Step>) {
    let whole: Vec<_> = logs.iter().map(|(partition, log)| (*partition, log.as_slice(), 0)).collect();
    exercise_from(store, sink, &whole, steps).await;
}

/// The same with a sink of this kind, to which each log begins at an offset.
async fn exercise_from(
    store: &Arc<dyn Store>,
    sink_of: fn(&Arc<dyn Store>) -> RunsSink,
    logs: &[(TopicPartition, &[Said], usize)],
    steps: Vec<Step>,
) {
    let faulty = FaultyStore::new(store.clone());
    let store: Arc<dyn Store> = faulty.clone();
    let mut sink = sink_of(&store);
    let mut next = Vec::new();
    for (partition, _, start) in logs {
        next.push(sink.open(*partition, 0, *start as i64).await.unwrap().high as usize);
    }
    let finish = [Step::Take(usize::MAX), Step::Flush(Flush::Partition(LOGS)), Step::Flush(Flush::Partition(EVENTS))];
    for step in steps.into_iter().chain(finish) {
        match step {
            Step::Take(count) => {
                for ((partition, log, _), next) in logs.iter().zip(&mut next) {
                    let to = next.saturating_add(count).min(log.len());
                    if *next < to {
                        sink.take(&batch(*partition, log, *next, to)).await.unwrap();
                        *next = to;
                    }
                }
            }
            Step::TakeTwice(count, found) => {
                for ((partition, log, _), next) in logs.iter().zip(&mut next) {
                    let to = next.saturating_add(count).min(log.len());
                    if *next < to {
                        let batch = batch(*partition, log, *next, to);
                        faulty.fail_get(found);
                        let first = sink.take(&batch).await;
                        faulty.mend();
                        if first.is_err_and(|error| error.is_transient()) {
                            sink.take(&batch).await.unwrap();
                        }
                        *next = to;
                    }
                }
            }
            Step::Flush(what) => drop(sink.flush(what).await.unwrap()),
            Step::Fail(masks) => {
                faulty.fail(masks);
                let _ = sink.flush(Flush::Due).await;
                faulty.mend();
            }
            Step::Crash(masks) => {
                faulty.fail(masks);
                let _ = sink.flush(Flush::Due).await;
                faulty.mend();
                sink = sink_of(&store);
                for ((partition, _, start), next) in logs.iter().zip(&mut next) {
                    *next = sink.open(*partition, 0, *start as i64).await.unwrap().high as usize;
                }
            }
        }
    }
}

async fn check(store: &Arc<dyn Store>, log: &[Said], events: &[Said]) {
    let reader = RunReader::new(store.clone());
    let mut seen = 0;
    for run in 0..4_usize {
        let lines: Vec<Level> = log
            .iter()
            .filter_map(|said| match said {
                Said::Line(of, level) if *of == run => Some(*level),
                _ => None,
            })
            .collect();
        let of_run: Vec<_> = events
            .iter()
            .filter_map(|said| match said {
                Said::Event(of, kind, cost, tokens) if *of == run => Some((*kind, *cost, *tokens)),
                _ => None,
            })
            .collect();
        let parts = reader.parts("w", &format!("run-{run}")).await.unwrap();
        let Some(summary) = fold_parts(&format!("run-{run}"), &parts, soon()) else {
            assert!(lines.is_empty() && of_run.is_empty(), "run {run} is missing");
            continue;
        };
        seen += 1;
        let count = |levels: &[Level]| lines.iter().filter(|level| levels.contains(level)).count() as u64;
        assert_eq!(summary.log_count, lines.len() as u64);
        assert_eq!(summary.error_count, count(&[Level::Error, Level::Fatal]));
        assert_eq!(summary.warning_count, count(&[Level::Warn]));
        let costs: Vec<_> = of_run.iter().filter_map(|(_, cost, _)| *cost).collect();
        let cost = (!costs.is_empty()).then(|| costs.iter().map(|cost| f64::from(*cost) / 2.0).sum::<f64>());
        assert_eq!(summary.cost, cost);
        let tokens: Vec<_> = of_run.iter().filter_map(|(.., tokens)| *tokens).collect();
        assert_eq!(summary.tokens_used, (!tokens.is_empty()).then(|| tokens.iter().map(|n| i64::from(*n) * 2).sum()));
        let last = of_run.iter().map(|(kind, ..)| *kind).rfind(|kind| *kind != RunEventKind::Usage);
        let status = match last {
            Some(RunEventKind::Completed) => RunStatus::Completed,
            Some(RunEventKind::Failed) => RunStatus::Failed,
            Some(RunEventKind::Cancelled) => RunStatus::Cancelled,
            _ => RunStatus::Running,
        };
        assert_eq!((summary.status, summary.inferred), (status, last.is_none()));
        assert_eq!(summary.agent_id.is_empty(), lines.is_empty());
    }
    for listing in [RunListing::Card("card".into()), RunListing::Workspace] {
        let (mut page, mut listed) = (None, Vec::new());
        loop {
            let shown = reader.list("w", &listing, page.as_ref(), 2).await.unwrap();
            listed.extend(shown.runs.into_iter().map(|run| run.run_id));
            match shown.next {
                Some(next) => page = Some(next),
                None => break,
            }
        }
        listed.sort();
        assert_eq!(listed.len(), seen, "{listed:?}");
        listed.dedup();
        assert_eq!(listed.len(), seen, "a run is listed twice");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn parts_equal_a_recount(
        log in prop::collection::vec(said(), 0..60),
        events in prop::collection::vec(event(), 0..20),
        steps in steps(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let (_folder, store) = store();
            exercise(&store, &[(LOGS, log.clone()), (EVENTS, events.clone())], steps).await;
            check(&store, &log, &events).await;
        });
    }

    /// What the sink counts from where it began, and what is restored of what lay before, are what it would have counted.
    #[test]
    fn a_store_that_was_lost_is_restored(
        log in prop::collection::vec(said(), 0..60),
        events in prop::collection::vec(event(), 0..20),
        cuts in (0.0..=1.0, 0.0..=1.0),
        steps in [steps(), steps()],
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (_folder, never_lost) = store();
        let (_folder, lost) = store();
        runtime.block_on(async {
            exercise(&never_lost, &[(LOGS, log.clone()), (EVENTS, events.clone())], Vec::new()).await;
            let cut = [(log.len() as f64 * cuts.0) as usize, (events.len() as f64 * cuts.1) as usize];
            let [first, second] = steps;
            let since = [(LOGS, log.as_slice(), cut[0]), (EVENTS, events.as_slice(), cut[1])];
            exercise_from(&lost, sink, &since, first).await;
            let before = [(LOGS, &log[..cut[0]], 0), (EVENTS, &events[..cut[1]], 0)];
            exercise_from(&lost, |store| sink(store).restoring(), &before, second).await;
            check(&lost, &log, &events).await;
            for run in 0..4_usize {
                let run = format!("run-{run}");
                let mut parts = Vec::new();
                for store in [&lost, &never_lost] {
                    let mut of_run = RunReader::new(store.clone()).parts("w", &run).await.unwrap();
                    // Each counts its marks from where it began.
                    of_run.iter_mut().for_each(|part| part.marked = 0);
                    parts.push(of_run);
                }
                assert_eq!(parts[0], parts[1]);
            }
            let restored = RunReader::new(lost.clone()).restored_to(LOGS).await.unwrap().unwrap();
            assert_eq!(restored.high as usize, cut[0]);
        });
    }
}

proptest! {
    #[test]
    fn a_sum_of_money_survives(cents in prop::collection::vec(0..1_000_000_u32, 1..50)) {
        let events: Vec<_> = cents.iter().map(|_| Said::Event(0, RunEventKind::Usage, Some(1), None)).collect();
        let batch = batch(EVENTS, &events, 0, 1);
        let mut part = super::RunPart::first(EVENTS, 0, &batch.records()[0]);
        part.cost = Some(cents.iter().map(|cent| f64::from(*cent) / 1e7).sum());
        let row = tables::write_part("w", "run-0", Origin::Sink, &part).unwrap();
        prop_assert_eq!(tables::read_part("run-0", &row.payload).unwrap(), part);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn marks_stand_every_thousand_entries_whatever_was_redelivered() {
    let (_folder, store) = store();
    let log: Vec<_> = (0..3500).map(|_| Said::Line(0, Level::Info)).collect();
    let mut steps = Vec::new();
    for _ in 0..10 {
        steps.extend([Step::Take(333), Step::Flush(Flush::Due), Step::Take(50), Step::Crash(Vec::new())]);
    }
    exercise(&store, &[(LOGS, log)], steps).await;
    let reader = RunReader::new(store);
    for (ordinal, mark) in [(0, None), (999, None), (1000, Some(1000)), (1999, Some(1000)), (9999, Some(3000))] {
        let found = reader.mark_before("w", "run-0", LOGS, 0, ordinal).await.unwrap();
        assert_eq!(found.map(|mark| (mark.ordinal, mark.offset)), mark.map(|at| (at, at as i64)), "before {ordinal}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn marks_of_what_was_restored_and_of_what_came_since_count_from_the_runs_beginning() {
    let (_folder, store) = store();
    let log: Vec<_> = (0..5500).map(|_| Said::Line(0, Level::Info)).collect();
    exercise_from(&store, sink, &[(LOGS, &log, 2700)], Vec::new()).await;
    exercise_from(&store, |store| sink(store).restoring(), &[(LOGS, &log[..2700], 0)], Vec::new()).await;
    let reader = RunReader::new(store);
    let before = [
        (999, None),
        (1000, Some(1000)),
        (2699, Some(2000)),
        (2700, Some(2000)),
        (3700, Some(3700)),
        (9999, Some(4700)),
    ];
    for (ordinal, mark) in before {
        let found = reader.mark_before("w", "run-0", LOGS, 0, ordinal).await.unwrap();
        assert_eq!(found.map(|mark| (mark.ordinal, mark.offset)), mark.map(|at| (at, at as i64)), "before {ordinal}");
    }
    let after =
        [(0, Some(1000)), (1000, Some(2000)), (2000, Some(3700)), (2700, Some(3700)), (3700, Some(4700)), (4700, None)];
    for (ordinal, mark) in after {
        let found = reader.mark_after("w", "run-0", LOGS, 0, ordinal).await.unwrap();
        assert_eq!(found.map(|mark| (mark.ordinal, mark.offset)), mark.map(|at| (at, at as i64)), "after {ordinal}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn entries_after_the_end_are_counted_and_reopen_nothing() {
    let (_folder, store) = store();
    let events = vec![
        Said::Event(0, RunEventKind::Started, None, None),
        Said::Event(0, RunEventKind::Failed, None, None),
        Said::Event(0, RunEventKind::Usage, Some(3), None),
    ];
    let log: Vec<_> = (0..10).map(|_| Said::Line(0, Level::Error)).collect();
    exercise(&store, &[(EVENTS, events)], Vec::new()).await;
    exercise(&store, &[(LOGS, log)], Vec::new()).await;
    let parts = RunReader::new(store).parts("w", "run-0").await.unwrap();
    let summary = fold_parts("run-0", &parts, soon()).unwrap();
    assert_eq!((summary.status, summary.log_count, summary.error_count), (RunStatus::Failed, 10, 10));
    assert_eq!((summary.duration, summary.cost, summary.inferred), (Some(1), Some(1.5), false));
}

#[test]
fn a_run_that_nobody_ended_is_over_when_it_has_long_been_silent() {
    let log: Vec<_> = (0..10).map(|_| Said::Line(0, Level::Info)).collect();
    let of = |partition, said: &[Said]| {
        let batch = batch(partition, said, 0, said.len());
        let mut part = super::RunPart::first(partition, 0, &batch.records()[0]);
        batch.records().iter().for_each(|record| part.apply(record));
        part
    };
    let lines = of(LOGS, &log);
    let last = lines.recorded.1;
    let after = |millis: i64| Inference { now: Timestamp(last.millis() + millis), silence: Duration::from_secs(60) };

    let running = fold_parts("run-0", std::slice::from_ref(&lines), after(59_999)).unwrap();
    assert_eq!((running.status, running.inferred, running.end_time), (RunStatus::Running, true, None));
    let over = fold_parts("run-0", std::slice::from_ref(&lines), after(60_000)).unwrap();
    assert_eq!((over.status, over.inferred, over.end_time), (RunStatus::Completed, true, Some(lines.time.1)));
    assert_eq!((over.duration, over.log_count), (Some(9), 10));
    assert!(over.reason.unwrap().starts_with("no event ended it; silent since 20"));

    // It began by an event, and was killed.
    let began = of(EVENTS, &[Said::Event(0, RunEventKind::Started, None, None)]);
    let killed = fold_parts("run-0", &[lines.clone(), began], after(60_000)).unwrap();
    assert_eq!((killed.status, killed.inferred), (RunStatus::Completed, true));
    // What was ended explicitly is as the event says.
    let ended = of(EVENTS, &[Said::Event(0, RunEventKind::Failed, None, None)]);
    let failed = fold_parts("run-0", &[lines, ended], after(60_000)).unwrap();
    assert_eq!((failed.status, failed.inferred, failed.reason), (RunStatus::Failed, false, None));
}
