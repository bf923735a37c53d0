//! What is stored of a run: what a newer version has written, what can't be read, and what is long.

use agentworks_store::{Key, Scan, Write};
use bytes::Bytes;

use super::*;
use crate::runs::part::{CUT, LifecycleKind, MAX_REASON};
use crate::runs::tables::{self, PARTS};

/// A run's end, for this reason.
fn failed(run: usize, reason: &str) -> RunEvent<'static> {
    RunEvent {
        id: "an id".into(),
        run_id: format!("run-{run}").into(),
        card_id: "card".into(),
        workspace_id: "w".into(),
        timestamp: Timestamp(START),
        kind: RunEventKind::Failed,
        agent_id: None,
        provider: None,
        model: None,
        user_id: None,
        cost: None,
        input_tokens: None,
        output_tokens: None,
        exit_code: Some(1),
        reason: Some(reason.to_owned().into()),
        trace_id: None,
    }
}

fn events(from: i64, events: &[RunEvent<'_>]) -> Batch {
    let mut builder = BatchBuilder::new(EVENTS, 0, from);
    for (offset, event) in (from..).zip(events) {
        let mut payload = Vec::new();
        encode_event(event, Framing::Avro, &mut payload);
        builder.push_raw(offset, Timestamp(START + offset), Some(b"card"), Some(&payload), Vec::new());
    }
    builder.build(Schemas::builtin())
}

/// Writes something else into the row of a run's part.
async fn rewrite(store: &Arc<dyn Store>, run: &str, change: impl Fn(String) -> String) {
    let partition = vec!["w".into(), run.into()];
    let rows = store.scan(Scan::partition(&PARTS, partition.clone())).await.unwrap();
    let row = rows.into_iter().next().unwrap();
    let payload = change(String::from_utf8(row.payload.to_vec()).unwrap());
    let key = Key { partition, clustering: row.clustering };
    let stats = Bytes::new();
    let write = Write { table: &PARTS, key, version: row.version, expires: None, stats, payload: payload.into() };
    store.write(vec![write]).await.unwrap();
}

#[tokio::test]
async fn what_a_newer_version_has_written_is_kept_as_far_as_it_is_known() {
    let (_folder, store) = store();
    exercise(&store, &[(EVENTS, vec![Said::Event(0, RunEventKind::Failed, Some(1), None)])], Vec::new()).await;
    rewrite(&store, "run-0", |json| {
        let json = json.replacen('{', r#"{"mood":{"of":["the day"]},"#, 1);
        assert!(json.contains(r#""kind":"failed""#), "{json}");
        json.replace(r#""kind":"failed""#, r#""kind":"paused","until":7"#)
    })
    .await;
    let log =
        vec![Said::Event(0, RunEventKind::Failed, Some(1), None), Said::Event(0, RunEventKind::Usage, Some(2), None)];
    exercise(&store, &[(EVENTS, log)], Vec::new()).await;
    let parts = RunReader::new(store).parts("w", "run-0").await.unwrap();
    assert_eq!(parts[0].lifecycle.as_ref().unwrap().kind, LifecycleKind::Newer("paused".into()));
    let summary = fold_parts("run-0", &parts, soon()).unwrap();
    assert_eq!((summary.status, summary.cost), (RunStatus::Running, Some(1.5)));
}

#[tokio::test]
async fn a_row_that_cannot_be_read_fails_its_partition_alone_and_says_what_to_do() {
    let (_folder, store) = store();
    exercise(&store, &[(EVENTS, vec![Said::Event(0, RunEventKind::Started, None, None)])], Vec::new()).await;
    rewrite(&store, "run-0", |_| r#"{"partition":"#.to_owned()).await;
    let mut sink = sink(&store);
    sink.open(LOGS, 0, 0).await.unwrap();
    let high = sink.open(EVENTS, 0, 0).await.unwrap().high;
    let error = sink.take(&events(high, &[failed(1, "?"), failed(0, "?")])).await.unwrap_err().to_string();
    assert!(error.contains("the part of run run-0") && error.contains("in workspace w"), "{error}");
    assert!(error.contains("run_parts") && error.contains("docs/operations.md"), "{error}");
    sink.close(EVENTS);
    sink.take(&batch(LOGS, &[Said::Line(0, Level::Info)], 0, 1)).await.unwrap();
    assert_eq!(sink.flush(Flush::Partition(LOGS)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn reasons_have_a_bound_and_memory_is_what_there_is() {
    let (_folder, store) = store();
    let config = RunsConfig { max_age: Duration::from_secs(3600), max_age_of_status: Duration::ZERO, cached_parts: 50 };
    let mut sink = RunsSink::new(store.clone(), config);
    sink.open(EVENTS, 0, 0).await.unwrap();
    let long = "é".repeat(MAX_REASON);
    let failures: Vec<_> = (0..40).map(|run| failed(run, &long)).collect();
    sink.take(&events(0, &failures)).await.unwrap();
    assert!((40 * MAX_REASON..40 * (MAX_REASON + 1024)).contains(&sink.pending()), "{}", sink.pending());
    sink.flush(Flush::Due).await.unwrap();
    assert_eq!(sink.pending(), 0);
    assert!(sink.remembered() < 40, "long ones are fewer: {}", sink.remembered());
    let part = &RunReader::new(store).parts("w", "run-7").await.unwrap()[0];
    let reason = part.lifecycle.as_ref().unwrap().reason.as_ref().unwrap();
    assert!((MAX_REASON - 4..=MAX_REASON).contains(&reason.len()) && reason.ends_with(CUT), "{}", reason.len());
    assert!(long.starts_with(reason.trim_end_matches(CUT)));
    let row = tables::write_part("w", "run-7", Origin::Sink, part).unwrap();
    assert!(row.payload.len() < MAX_REASON + 1024);
    sink.close(EVENTS);
    assert_eq!(sink.remembered(), 0);
}

#[test]
fn a_cost_beyond_all_numbers_is_the_greatest() {
    let costly = |cost| RunEvent { cost: Some(cost), ..failed(0, "?") };
    let batch = events(0, &[costly(1e308), costly(1e308), costly(1.0)]);
    assert!(batch.rejects().is_empty(), "{:?}", batch.rejects());
    let mut part = super::super::RunPart::first(EVENTS, 0, &batch.records()[0]);
    batch.records().iter().for_each(|record| part.apply(record));
    assert_eq!(part.cost, Some(f64::MAX));
    let row = tables::write_part("w", "run-0", Origin::Sink, &part).unwrap();
    assert_eq!(tables::read_part("run-0", &row.payload).unwrap(), part);
    assert_eq!(part.clone().followed_by(part.clone()).cost, Some(f64::MAX));
    assert_eq!(fold_parts("run-0", &[part.clone(), part], soon()).unwrap().cost, Some(f64::MAX));
}
