//! Those that merge, sum up and delete are killed at each of their writes, one after the other.

use std::fs;
use std::path::Path;
use std::time::Instant;

use agentworks_archive::{Archive, ArchiveConfig, ArchiveSink};
use agentworks_kafka::BatchBuilder;
use agentworks_objects::Objects;
use agentworks_processors::sink::{Flush, Sink};
use agentworks_schemas::codec::{Framing, Schemas, encode_entry, encode_event};
use agentworks_schemas::{Level, LogEntry, RunEvent, RunEventKind, Source, Timestamp, Topic, TopicPartition};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::check::{age, data, engines, keeper, only_current, vacuum};
use super::member::{Dies, Order, keep, launch};
use super::{COMES, is_chaos};
use crate::failpoint::Side;
use crate::support::Scratch;
use crate::world::{PATIENCE, alone};

/// 2025-12-02, at noon.
const NOON: i64 = 1_764_676_800_000;
const DAY: i64 = 86_400_000;
const STEPS: i64 = 8;
const STEP: i64 = 40;
/// So many steps are merged while engines read.
const MERGED: i64 = 4 * STEPS;

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
        message: format!("line {offset}").into(),
        data: None,
        agent_id: None,
        provider: None,
        model: None,
        user_id: None,
        tags: None,
        correlation_id: None,
        parent_span_id: None,
        trace_id: None,
    }
}

fn event(offset: i64) -> RunEvent<'static> {
    RunEvent {
        id: format!("event-{offset}").into(),
        run_id: format!("run-{}", offset % 9).into(),
        card_id: "card".into(),
        workspace_id: "ws".into(),
        timestamp: Timestamp(NOON),
        kind: RunEventKind::Usage,
        agent_id: None,
        provider: None,
        model: None,
        user_id: None,
        cost: Some(0.5),
        input_tokens: None,
        output_tokens: None,
        exit_code: None,
        reason: None,
        trace_id: None,
    }
}

const LANES: [TopicPartition; 2] = [
    TopicPartition { topic: Topic::AgentLogs, partition: 0 },
    TopicPartition { topic: Topic::RunEvents, partition: 0 },
];

/// Writes the records of a step: a file in each table, of a day that is over.
async fn write(sink: &mut ArchiveSink, step: i64) {
    for lane in LANES {
        let mut builder = BatchBuilder::new(lane, 0, step * STEP);
        for offset in step * STEP..(step + 1) * STEP {
            let mut payload = Vec::new();
            match lane.topic {
                Topic::RunEvents => encode_event(&event(offset), Framing::Avro, &mut payload),
                _ => encode_entry(&entry(offset), Framing::Avro, &mut payload),
            }
            let at = Timestamp(NOON + step / (STEPS / 2) * DAY + offset);
            builder.push_raw(offset, at, Some(b"card"), Some(&payload), Vec::new());
        }
        sink.take(&builder.build(Schemas::builtin())).await.unwrap();
    }
    sink.flush(Flush::Free(1)).await.unwrap();
}

async fn sink(objects: &Objects) -> ArchiveSink {
    let archive = Archive::open(objects).await.unwrap();
    let mut sink = ArchiveSink::new(archive, ArchiveConfig::default(), &mut Registry::default()).unwrap();
    for lane in LANES {
        sink.open(lane, 0, 0).await.unwrap();
    }
    sink
}

/// Small files of two days that are over, and files that nobody published.
async fn fill(folder: &Path) {
    let mut sink = sink(&Objects::folder(folder).unwrap()).await;
    for step in 0..STEPS {
        write(&mut sink, step).await;
    }
    for name in ["one", "two"] {
        fs::write(folder.join(format!("entries/date=2025-12-02/{name}.parquet")), "nobody's").unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// That all is there: every row, once.
async fn whole(objects: &Objects) -> u64 {
    let verified = keeper(objects).await.verify().await.unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    let stats = keeper(objects).await.stats().await.unwrap();
    assert_eq!(stats[0].rows + stats[1].rows, (2 * STEPS * STEP) as u64);
    stats[0].files + stats[1].files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_while_it_keeps_loses_nothing_and_takes_nothing_from_readers() {
    let _alone = alone().await;
    let scratch = Scratch::new("archive-keeping");
    let template = scratch.path().join("template");
    fill(&template).await;
    age(&template);
    let seen = |table: &Path| {
        let mut seen = engines(&table.join("entries"), "ws", "run-4");
        seen.iter_mut().for_each(|seen| drop(seen.as_object_mut().unwrap().remove("engine")));
        assert!(seen.iter().all(|other| *other == seen[0]), "{seen:?}");
        seen.remove(0)
    };
    let before = seen(&template);
    let held = data(&template);
    let orphans = |path: &Path| ["one.parquet", "two.parquet"].contains(&path.file_name().unwrap().to_str().unwrap());
    let mut died = 0;
    for nth in 1.. {
        let sides = if is_chaos() { Side::ALL.to_vec() } else { vec![Side::ALL[nth as usize % 3]] };
        let mut is_done = false;
        for side in sides {
            let folder = scratch.path().join(format!("{nth}-{side:?}"));
            copy(&template, &folder);
            // Copies are new; what readers hold is old, and is kept all the same while its removal is young.
            age(&folder);
            let order = Order { log: None, objects: folder.clone(), dies: Some(Dies { path: None, nth, side }) };
            let told = launch(&order).ended(COMES).await.expect("it ends");
            is_done = told.is_none();
            println!("  {}", told.as_deref().unwrap_or("it did all that there is to do"));
            died += usize::from(!is_done);
            let objects = Objects::folder(&folder).unwrap();
            whole(&objects).await;
            for path in held.iter().filter(|path| !orphans(path)) {
                let path = folder.join(path.strip_prefix(&template).unwrap());
                assert!(path.exists(), "{} was deleted under its readers", path.display());
            }
            if nth % 4 == 0 || is_done {
                assert_eq!(seen(&folder), before);
            }
            // The next one does what is left, and in time all goes that isn't needed.
            keep(&objects).await.unwrap();
            assert_eq!(whole(&objects).await, 4);
            age(&folder);
            vacuum(&objects).await;
            only_current(&objects, &folder).await;
            whole(&objects).await;
            fs::remove_dir_all(folder).unwrap();
        }
        if is_done {
            break;
        }
    }
    assert!(died >= 8, "{died}");
}

/// Any snapshot has the log up to some offset, each once, whatever is added and merged while it is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_see_each_row_once_while_files_are_added_and_merged() {
    let scratch = Scratch::new("archive-merged");
    let objects = Objects::folder(scratch.path()).unwrap();
    let mut sink = sink(&objects).await;
    write(&mut sink, 0).await;
    let table = scratch.path().join("entries");
    let reading = spawn_blocking(move || {
        let (mut reads, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        while reads.last() != Some(&(MERGED * STEP)) {
            assert!(Instant::now() < deadline, "{reads:?}");
            for seen in engines(&table, "ws", "run-4") {
                let rows = seen["rows"].as_i64().unwrap();
                assert_eq!(seen["offsets"].as_i64(), Some(rows * (rows - 1) / 2), "{rows}");
                // Asked for after the rest: of the same snapshot or a later one.
                let found = seen["lines"].as_array().unwrap().len();
                let lines: Vec<_> = (0..).step_by(9).take(found).map(|at| format!("line {}", at + 4)).collect();
                assert_eq!(seen["lines"], json!(lines), "{rows}");
                assert!(found >= (0..rows).filter(|at| at % 9 == 4).count(), "{found} of {rows}");
                reads.push(rows);
            }
        }
        reads
    });
    let mut merges = 0_i64;
    for step in 1..MERGED {
        write(&mut sink, step).await;
        let files = async || keeper(&objects).await.stats().await.unwrap()[0].files;
        let before = files().await;
        keep(&objects).await.unwrap();
        merges += i64::from(files().await < before);
    }
    let reads = reading.await.unwrap();
    println!("archive: {merges} merges; rows that engines saw: {reads:?}");
    assert!(merges >= STEPS, "{merges}");
    assert!(reads.windows(2).any(|pair| pair[0] < pair[1]), "{reads:?}");
}
