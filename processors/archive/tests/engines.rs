//! What the archive writes is read alike by engines that know nothing of it.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use agentworks_archive::{Archive, ArchiveConfig, ArchiveSink, MaintainConfig, Maintenance};
use agentworks_kafka::BatchBuilder;
use agentworks_objects::Objects;
use agentworks_processors::erasure::{Erasure, Target};
use agentworks_processors::sink::{Flush, Sink};
use agentworks_schemas::codec::{Framing, Schemas, encode_entry};
use agentworks_schemas::{Cursor, Level, LogEntry, Source, Timestamp, Topic, TopicPartition};
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

/// What each engine says of the table, which must be the same.
fn ask(folder: &Path) -> Value {
    let python = std::env::var("AGENTWORKS_PYTHON");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = python.unwrap_or_else(|_| root.join(".tools/venv/bin/python").display().to_string());
    let script = root.join("tests/python/archive.py");
    let output = Command::new(python).arg(script).arg(folder).args(["ws", "run-4"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> =
        output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
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
    keeper.erase(&Erasure::new("ws", Target::Run("run-4".into()), upto, "tests")).await.unwrap();
    assert_eq!(ask(&entries), expected(all().filter(|offset| *offset >= 1000 || offset % 9 != 4)));
    assert_eq!(keeper.verify().await.unwrap().problems, Vec::<String>::new());
}
