//! What the archive writes is read alike by engines that know nothing of it.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use agentworks_archive::{Archive, ArchiveConfig, ArchiveSink, MaintainConfig, Maintenance};
use agentworks_kafka::BatchBuilder;
use agentworks_objects::Objects;
use agentworks_processors::erasure::{Clearing, Erasure, Target};
use agentworks_processors::sink::{Flush, Sink};
use agentworks_schemas::codec::{Framing, Schemas, encode_entry, encode_event};
use agentworks_schemas::text::JsonObject;
use agentworks_schemas::{Cursor, Level, LogEntry, RunEvent, RunEventKind, Source, Timestamp, Topic, TopicPartition};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

/// 2025-12-02, at noon.
const NOON: i64 = 1_764_676_800_000;
const LANE: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 3 };

fn entry(offset: i64) -> LogEntry<'static> {
    LogEntry {
        id: format!("{offset}").into(),
        run_id: format!("run-{}", offset % 9).into(),
        card_id: "card".into(),
        workspace_id: "ws".into(),
        timestamp: Timestamp(NOON),
        sequence: offset,
        level: Level::ALL[(offset % 5) as usize],
        source: Source::Agent,
        component: "c".into(),
        message: format!("line {offset}: äöü \"quoted\" \u{1F980}").into(),
        data: None,
        agent_id: None,
        provider: None,
        model: None,
        user_id: None,
        tags: Some(vec!["x".into()]),
        correlation_id: None,
        parent_span_id: None,
        trace_id: None,
    }
}

/// The lines of JSON that a script prints.
fn run(script: &str, args: &[&Path]) -> Vec<Value> {
    let python = std::env::var("AGENTWORKS_PYTHON");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = python.unwrap_or_else(|_| root.join(".tools/venv/bin/python").display().to_string());
    let output = Command::new(python).arg(root.join("tests/python").join(script)).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// What each engine says of the table, which must be the same.
fn ask(folder: &Path) -> Value {
    let lines = run("archive.py", &[folder, Path::new("ws"), Path::new("run-4")]);
    let mut seen = lines.iter().map(|line| {
        let mut line = line.clone();
        (line.as_object_mut().unwrap().remove("engine").unwrap(), line)
    });
    let (_, first) = seen.next().unwrap();
    let mut engines = 1;
    for (engine, line) in seen {
        assert_eq!(line, first, "{engine}");
        engines += 1;
    }
    assert_eq!(engines, 3);
    first
}

/// What they should say if these offsets are there.
fn expected(offsets: impl Iterator<Item = i64>) -> Value {
    let offsets: Vec<_> = offsets.collect();
    let entries: Vec<_> = offsets.iter().map(|offset| entry(*offset)).collect();
    let runs: std::collections::BTreeSet<_> = entries.iter().map(|entry| entry.run_id.as_str()).collect();
    let count = |level: &Level| entries.iter().filter(|entry| entry.level == *level).count();
    let levels: serde_json::Map<_, _> =
        Level::ALL.iter().map(|level| (level.to_string(), json!(count(level)))).collect();
    let lines: Vec<_> =
        entries.iter().filter(|entry| entry.run_id == "run-4").map(|entry| entry.message.as_str()).collect();
    json!({
        "rows": entries.len(),
        "offsets": offsets.iter().sum::<i64>(),
        "levels": levels,
        "runs": runs.len(),
        "lines": lines,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_agree_on_what_was_written_merged_and_erased() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open(&Objects::folder(folder.path()).unwrap()).await.unwrap();
    let mut sink = ArchiveSink::new(archive.clone(), ArchiveConfig::default(), &mut Registry::default()).unwrap();
    sink.open(LANE, 0, 0).await.unwrap();
    // More than a hundred commits, so that engines read a checkpoint; some have no rows.
    for step in 0..110 {
        let mut builder = BatchBuilder::new(LANE, 0, step * 20);
        for offset in (step * 20..step * 20 + 20).filter(|_| step % 10 != 9) {
            let mut payload = Vec::new();
            encode_entry(&entry(offset), Framing::Avro, &mut payload);
            builder.push_raw(offset, Timestamp(NOON + step * 3_600_000), Some(b"card"), Some(&payload), Vec::new());
        }
        builder.cover(step * 20 + 20);
        sink.take(&builder.build(Schemas::builtin())).await.unwrap();
        sink.flush(Flush::Free(1)).await.unwrap();
    }
    let entries = folder.path().join("entries");
    let all = || (0..2200).filter(|offset| offset / 20 % 10 != 9);
    assert_eq!(ask(&entries), expected(all()));
    let keeper = Maintenance::new(archive, MaintainConfig::default()).unwrap();
    assert!(keeper.compact().await.unwrap().removed > 100);
    assert_eq!(ask(&entries), expected(all()));
    let upto: Cursor = [(LANE, 0, 1000)].into_iter().collect();
    let erasure = Erasure::new("ws", Target::Run("run-4".into()), upto, "tests");
    keeper.erase(&erasure, &mut Clearing::default()).await.unwrap();
    assert_eq!(ask(&entries), expected(all().filter(|offset| *offset >= 1000 || offset % 9 != 4)));
    assert_eq!(keeper.verify().await.unwrap().problems, Vec::<String>::new());
}

const EVENTS: TopicPartition = TopicPartition { topic: Topic::RunEvents, partition: 3 };
const COMPONENTS: [&str; 3] = ["planner", "tools", "completions"];
const MODELS: [&str; 2] = ["dear", "cheap"];

/// What the model of this event cost.
fn cost(offset: i64) -> f64 {
    [0.5, 0.125][(offset % 2) as usize]
}

fn usage(offset: i64) -> RunEvent<'static> {
    RunEvent {
        id: format!("{offset}").into(),
        run_id: format!("run-{}", offset % 9).into(),
        card_id: "card".into(),
        workspace_id: "ws".into(),
        timestamp: Timestamp(NOON),
        kind: if offset % 5 == 4 { RunEventKind::Started } else { RunEventKind::Usage },
        agent_id: None,
        provider: None,
        model: Some(MODELS[(offset % 2) as usize].into()),
        user_id: None,
        cost: (offset % 5 != 4).then(|| cost(offset)),
        input_tokens: (offset % 5 != 4).then_some(100),
        output_tokens: (offset % 5 != 4).then_some(offset),
        exit_code: None,
        reason: None,
        trace_id: None,
    }
}

/// A line of a component; every other one of the tools says how long a call took.
fn analysed(offset: i64) -> LogEntry<'static> {
    let component = COMPONENTS[(offset % 3) as usize];
    let took = json!({"tool": format!("tool-{}", offset % 4), "durationMs": offset % 100}).to_string();
    let data = match (component, offset % 2) {
        ("tools", 0) => JsonObject::parse(took),
        ("tools", _) => JsonObject::parse("{\"tool\":\"tool-9\"}".to_owned()),
        _ => None,
    };
    LogEntry { component: component.into(), data, ..entry(offset) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_analyses_are_right() {
    const COUNT: i64 = 1200;
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open(&Objects::folder(folder.path()).unwrap()).await.unwrap();
    let mut sink = ArchiveSink::new(archive, ArchiveConfig::default(), &mut Registry::default()).unwrap();
    // A day and the next.
    let day = |offset: i64| if offset < COUNT / 3 { "2025-12-02" } else { "2025-12-03" };
    let time = |offset: i64| Timestamp(NOON + if day(offset).ends_with("02") { 0 } else { 86_400_000 });
    for lane in [LANE, EVENTS] {
        sink.open(lane, 0, 0).await.unwrap();
        let mut builder = BatchBuilder::new(lane, 0, 0);
        for offset in 0..COUNT {
            let mut payload = Vec::new();
            match lane {
                EVENTS => encode_event(&usage(offset), Framing::Avro, &mut payload),
                _ => encode_entry(&analysed(offset), Framing::Avro, &mut payload),
            }
            builder.push_raw(offset, time(offset), Some(b"card"), Some(&payload), Vec::new());
        }
        sink.take(&builder.build(Schemas::builtin())).await.unwrap();
    }
    sink.flush(Flush::Free(1)).await.unwrap();

    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/archive.md");
    let mut found = run("analyses.py", &[&document, folder.path()]);
    let engines: Vec<_> =
        found.iter_mut().map(|found| found.as_object_mut().unwrap().remove("engine").unwrap()).collect();
    println!("{engines:?}");
    assert!(engines.starts_with(&[json!("duckdb"), json!("polars")]));
    assert!(found.iter().all(|other| *other == found[0]), "{found:?}");
    let mut errors = std::collections::BTreeMap::<_, (i64, i64)>::new();
    for offset in 0..COUNT {
        let entry = analysed(offset);
        let (count, failed) = errors.entry((day(offset), entry.component.to_string())).or_default();
        *count += 1;
        *failed += i64::from(matches!(entry.level, Level::Error | Level::Fatal));
    }
    let shown = |rate: f64| (rate * 1e6).round() / 1e6;
    let errors: Vec<_> = errors
        .into_iter()
        .map(|((day, component), (count, failed))| json!([day, component, count, shown(failed as f64 / count as f64)]))
        .collect();
    assert_eq!(found[0]["errors"], json!(errors));
    let costs = MODELS.map(|model| {
        let of_model = (0..COUNT).filter(|offset| offset % 5 != 4 && MODELS[(offset % 2) as usize] == model);
        let (cost, tokens) =
            of_model.map(|offset| (cost(offset), 100 + offset)).fold((0.0, 0), |(a, b), (c, d)| (a + c, b + d));
        json!([model, cost, tokens])
    });
    assert_eq!(found[0]["costs"], json!(costs));
    let tools = found[0]["tools"].as_array().unwrap();
    let calls: i64 = tools.iter().map(|tool| tool[1].as_i64().unwrap()).sum();
    assert_eq!(calls, (0..COUNT).filter(|offset| offset % 6 == 4).count() as i64);
    assert!(tools.is_sorted_by(|a, b| a[2].as_f64() >= b[2].as_f64()), "{tools:?}");
}
