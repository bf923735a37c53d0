#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use agentworks_objects::faulty::{Fault, FaultyStore, Operation as Call};

use super::*;
use crate::claims::Claim;
use crate::files::{FileFormat, FileWriter};
use crate::rows::{Place, RowBuilder};
use crate::schema::{Column, ENTRIES, Kind};
use crate::testing::{NOON, entry, folder, lane};

async fn table(objects: &Objects) -> Table {
    Table::open(objects, &ENTRIES).await.unwrap()
}

/// A file with the entries `from..to` of lane 0.
async fn file(table: &Table, from: i64, to: i64) -> NewFile {
    let mut rows = RowBuilder::new(table.spec());
    for offset in from..to {
        let mut body = Vec::new();
        agentworks_schemas::codec::encode_entry_body(&entry(lane(0), offset), &mut body);
        let time = agentworks_schemas::Timestamp(NOON + offset);
        rows.record(Place { partition: lane(0), epoch: 0, offset, time }, &body).unwrap();
    }
    let mut writer = FileWriter::new(table, FileFormat { zstd_level: 1 }).unwrap();
    writer.write(&rows.build().unwrap()).unwrap();
    let claim = Claim { rows: (to - from) as u64, ..Claim::new(lane(0), 0, from, to) };
    writer.finish(20_424, &[claim]).unwrap().upload(table).await.unwrap()
}

fn change(name: &str, from: Option<i64>, to: i64, add: Vec<NewFile>) -> Change {
    let moves = vec![Move { name: name.into(), from, to }];
    Change { operation: Operation::Append, add, remove: Vec::new(), moves, record: Vec::new() }
}

async fn recorded(table: &Table, name: &str) -> Option<i64> {
    table.version().await.unwrap().recorded(table, vec![name.into()]).await.unwrap()[0]
}

async fn rows(table: &Table) -> u64 {
    table.version().await.unwrap().files(table).await.unwrap().iter().map(|file| file.rows).sum()
}

#[test]
fn folders_are_given_as_they_are_or_refused() {
    for folder in ["archive/entries", "home/a b/entries", "v/1.2_x/entries"] {
        assert!(url_of(&Path::from(folder)).is_ok(), "{folder}");
    }
    let error = url_of(&Path::from("a#b/entries")).unwrap_err();
    assert!(error.to_string().contains("letters, digits"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_positions_are_published_together_and_read_back() {
    let (_folder, objects) = folder();
    let table = table(&objects).await;
    let added = file(&table, 0, 100).await;
    table.commit(change("a", None, 100, vec![added.clone()])).await.unwrap();
    let again = Table::open(&objects, &ENTRIES).await.unwrap();
    assert_eq!(recorded(&again, "a").await, Some(100));
    let files = again.version().await.unwrap().files(&again).await.unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!((&*files[0].path, files[0].rows, &*files[0].date), (&*added.path, 100, "2025-12-02"));
    let bounds = &files[0].bounds;
    assert!(bounds.may_have("run_id", "run-3") && !bounds.may_have("run_id", "run-9"));
    assert!(bounds.may_meet("offset", 99, 200) && !bounds.may_meet("offset", 100, 200));
    // The same again is found to be there.
    let version = again.version().await.unwrap().number();
    table.commit(change("a", None, 100, vec![added])).await.unwrap();
    assert_eq!((again.version().await.unwrap().number(), rows(&again).await), (version, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_is_told_where_the_lane_stands() {
    let (_folder, objects) = folder();
    let (zombie, heir) = (table(&objects).await, table(&objects).await);
    heir.commit(change("a", None, 10, Vec::new())).await.unwrap();
    heir.commit(change("a", Some(10), 30, Vec::new())).await.unwrap();
    let late = file(&zombie, 10, 20).await;
    for (from, to) in [(Some(10), 20), (None, 5), (Some(40), 50)] {
        let error = zombie.commit(change("a", from, to, vec![late.clone()])).await.unwrap_err();
        let CommitError::Moved(found) = error else { panic!("{error:?}") };
        assert_eq!(found, [("a".to_owned(), Some(30))]);
    }
    assert_eq!((recorded(&zombie, "a").await, rows(&heir).await), (Some(30), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_writers_lose_nothing_and_write_nothing_twice() {
    const WRITERS: i64 = 6;
    const COMMITS: i64 = 8;
    let (_folder, objects) = folder();
    table(&objects).await;
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let objects = objects.clone();
        tasks.push(tokio::spawn(async move {
            let (table, name) = (table(&objects).await, format!("lane-{writer}"));
            for step in 0..COMMITS {
                let added = file(&table, step, step + 1).await;
                let from = (step > 0).then_some(step);
                table.commit(change(&name, from, step + 1, vec![added])).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let table = table(&objects).await;
    for writer in 0..WRITERS {
        assert_eq!(recorded(&table, &format!("lane-{writer}")).await, Some(COMMITS));
    }
    assert_eq!(rows(&table).await, (WRITERS * COMMITS) as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_write_one_lane_each_step_is_done_once() {
    let (_folder, objects) = folder();
    table(&objects).await;
    let done = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let (objects, done) = (objects.clone(), done.clone());
        tasks.push(tokio::spawn(async move {
            let table = table(&objects).await;
            while let at @ (None | Some(..20)) = recorded(&table, "a").await {
                let from = at.unwrap_or(0);
                let added = file(&table, from, from + 1).await;
                // Steps of different length, so that an equal end doesn't hide who made it.
                match table.commit(change("a", at, from + 1, vec![added])).await {
                    Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                    Err(CommitError::Moved(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let table = table(&objects).await;
    assert_eq!((recorded(&table, "a").await, rows(&table).await), (Some(20), 20));
}

/// The log's files fail in one of two ways, some of the time: what got through must be counted once.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_got_lost_is_made_good() {
    for fault in [Fault::Unasked, Fault::Unanswered] {
        let (_folder, objects) = folder();
        let plain = table(&objects).await;
        let mut store = None;
        let faulty = objects.through(|behind| {
            let faulty = FaultyStore::new(behind);
            store = Some(faulty.clone());
            Arc::new(faulty)
        });
        let table = table(&faulty).await;
        for step in 0..6 {
            let added = file(&table, step, step + 1).await;
            let mut fails = 1 + step % 3;
            store.as_ref().unwrap().fail(move |call, path| {
                let hit = call == Call::Put && path.as_ref().contains("_delta_log") && fails > 0;
                fails -= i64::from(hit);
                hit.then_some(fault)
            });
            let from = (step > 0).then_some(step);
            table.commit(change("a", from, step + 1, vec![added])).await.unwrap();
            store.as_ref().unwrap().heal();
        }
        assert_eq!((recorded(&plain, "a").await, rows(&plain).await), (Some(6), 6), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_replaced_only_while_they_are_there() {
    let (_folder, objects) = folder();
    let table = table(&objects).await;
    let (first, second) = (file(&table, 0, 10).await, file(&table, 10, 20).await);
    table.commit(change("a", None, 20, vec![first.clone(), second.clone()])).await.unwrap();
    let merged = Change {
        operation: Operation::Rewrite,
        add: vec![file(&table, 0, 20).await],
        remove: vec![first.path.clone(), second.path.clone()],
        moves: Vec::new(),
        record: Vec::new(),
    };
    table.commit(merged.clone()).await.unwrap();
    assert_eq!((rows(&table).await, recorded(&table, "a").await), (20, Some(20)));
    let version = table.version().await.unwrap().number();
    table.commit(merged).await.expect("it is there already");
    assert_eq!(table.version().await.unwrap().number(), version);
    let late = Change {
        operation: Operation::Delete,
        add: vec![file(&table, 0, 9).await],
        remove: vec![first.path.clone()],
        moves: Vec::new(),
        record: Vec::new(),
    };
    assert!(matches!(table.commit(late).await.unwrap_err(), CommitError::Gone(paths) if paths == [first.path]));
    assert_eq!(rows(&table).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_and_checksums_come_by_themselves() {
    let (folder, objects) = folder();
    let writer = table(&objects).await;
    for step in 0..=(CHECKPOINT_EVERY as i64) {
        writer.commit(change("a", (step > 0).then_some(step), step + 1, Vec::new())).await.unwrap();
    }
    let log = folder.path().join("archive/entries/_delta_log");
    let names: Vec<_> = std::fs::read_dir(log).unwrap().map(|file| file.unwrap().file_name()).collect();
    let count = |end: &str| names.iter().filter(|name| name.to_string_lossy().ends_with(end)).count();
    assert!(count(".checkpoint.parquet") >= 1 && count(".crc") >= 2, "{names:?}");
    assert_eq!(recorded(&table(&objects).await, "a").await, Some(CHECKPOINT_EVERY as i64 + 1));
}

static WIDER: TableSpec = {
    const COLUMNS: [Column; 3] = [("workspace_id", Kind::Text), ("novelty", Kind::Long), (DATE, Kind::Date)];
    TableSpec { name: "entries", columns: &COLUMNS, indexed: &["workspace_id"], order: &[], bloomed: &[], summed: &[] }
};
static OTHER: TableSpec = {
    const COLUMNS: [Column; 2] = [("workspace_id", Kind::Long), (DATE, Kind::Date)];
    TableSpec { name: "entries", columns: &COLUMNS, indexed: &["workspace_id"], order: &[], bloomed: &[], summed: &[] }
};

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_and_never_changed() {
    let (_folder, objects) = folder();
    let before = table(&objects).await;
    before.commit(change("a", None, 10, vec![file(&before, 0, 10).await])).await.unwrap();
    Table::open(&objects, &WIDER).await.unwrap();
    let error = Table::open(&objects, &OTHER).await.unwrap_err();
    assert!(matches!(&error, ArchiveError::Refused(text) if text.contains("another folder")), "{error}");
    // Whoever knows nothing of the new column goes on writing.
    before.commit(change("a", Some(10), 20, vec![file(&before, 10, 20).await])).await.unwrap();
    assert_eq!(rows(&table(&objects).await).await, 20);
}
