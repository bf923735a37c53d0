#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agentworks_objects::Objects;
use agentworks_processors::erasure::{Clearing, ERASURES, Erasure, Target};
use agentworks_processors::reader::{ColdRange, ReadFilter, Scope};
use agentworks_schemas::{Cursor, Timestamp, Topic, TopicPartition};
use agentworks_store::{EmbeddedStore, Key, Store, Write};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::log::Batches;
use super::*;
use crate::maintain::MaintainConfig;
use crate::read::ArchiveReader;
use crate::testing::{DAY, NOON, batch_of, fill, folder, lane};
use crate::{Archive, Verified};

const EVENTS: TopicPartition = TopicPartition { topic: Topic::RunEvents, partition: 0 };
const STEP: i64 = 50;

/// A log that has what [`filled`] wrote, from an offset on.
struct Remembered {
    from: i64,
    to: i64,
}

/// The record timestamp of an offset; none of those that hold no record.
fn time(offset: i64) -> Option<i64> {
    (offset % 11 != 10).then_some(NOON + offset / STEP / 4 * DAY + offset)
}

#[async_trait]
impl Log for Remembered {
    async fn lanes(&self) -> Result<Vec<LogLane>, ArchiveError> {
        let lane = |partition| LogLane { partition, epoch: 0, from: self.from, to: self.to };
        Ok([lane(crate::testing::lane(0)), lane(crate::testing::lane(1)), lane(EVENTS)].into())
    }

    fn read(&self, partition: TopicPartition, _: u32, from: i64, to: i64) -> Batches {
        let (sender, batches) = mpsc::channel(100);
        for begin in (from..to).step_by(30) {
            let batch = batch_of(partition, begin, (begin + 30).min(to), time);
            sender.try_send(Ok(Arc::new(batch))).unwrap();
        }
        batches
    }
}

async fn filled(objects: &Objects, steps: i64) -> (Archive, Remembered) {
    let archive = Archive::open(objects).await.unwrap();
    for step in 0..steps {
        let begin = NOON + step / 4 * DAY;
        fill(&archive, &[lane(0), lane(1), EVENTS], step * STEP, (step + 1) * STEP, begin).await;
    }
    (archive, Remembered { from: 0, to: steps * STEP })
}

/// Somebody who has seen nothing of the archive yet.
fn keeper(archive: &Archive) -> Maintenance {
    Maintenance::new(archive.clone(), MaintainConfig::default()).unwrap()
}

fn store(folder: &tempfile::TempDir) -> Arc<dyn Store> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("store-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    Arc::new(EmbeddedStore::open(folder.path().join(name)).unwrap())
}

fn nothing_erased(folder: &tempfile::TempDir) -> Erasures {
    Erasures::follow(store(folder))
}

/// Writes an erasure down, as the eraser does.
async fn journal(store: &dyn Store, erasure: &Erasure) {
    let write = Write {
        table: &ERASURES,
        key: Key { partition: vec!["journal".into()], clustering: vec![erasure.id.as_str().into()] },
        version: 0,
        expires: None,
        stats: bytes::Bytes::new(),
        payload: serde_json::to_vec(erasure).unwrap().into(),
    };
    store.write(vec![write]).await.unwrap();
}

async fn verify(archive: &Archive) -> Verified {
    keeper(archive).verify().await.unwrap()
}

/// How many entries and events there are, and that all is whole.
async fn whole(archive: &Archive) -> u64 {
    assert_eq!(verify(archive).await.problems, Vec::<String>::new());
    let stats = keeper(archive).stats().await.unwrap();
    stats[0].rows + stats[1].rows
}

async fn read(archive: &Archive, workspace: &str) -> Result<Vec<i64>, ArchiveError> {
    let scope = Scope::Card { workspace: workspace.into(), card: "card-0".into() };
    let filter = ReadFilter::default();
    let range = ColdRange { scope: &scope, filter: &filter, partition: lane(0), epoch: 0, from: 0, to: 10_000 };
    let entries = ArchiveReader::new(archive).forward(&range, 10_000).await?;
    Ok(entries.iter().map(|entry| entry.position.offset).collect())
}

async fn files(table: &Table) -> Vec<String> {
    let files = table.version().await.unwrap().files(table).await.unwrap();
    files.into_iter().map(|file| file.path).collect()
}

fn on_disk(folder: &Path, path: &str) -> PathBuf {
    folder.join("archive/entries").join(path)
}

/// A way to damage a file.
type Way = fn(&Path);

const WAYS: [(&str, Way); 5] = [
    ("a flipped bit among the rows", |path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[100] ^= 4;
        fs::write(path, bytes).unwrap();
    }),
    ("a flipped bit in the footer", |path| {
        let mut bytes = fs::read(path).unwrap();
        let at = bytes.len() - 100;
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    }),
    ("truncated", |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }),
    ("a forged footer", |path| {
        let mut bytes = fs::read(path).unwrap();
        let end = bytes.len() - 8;
        bytes[end..end + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        fs::write(path, bytes).unwrap();
    }),
    ("gone", |path| fs::remove_file(path).unwrap()),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_found_named_and_restored() {
    let (folder, objects) = folder();
    let (archive, log) = filled(&objects, 6).await;
    let rows = whole(&archive).await;
    let before = read(&archive, "ws-0").await.unwrap();
    for (index, (way, damage)) in WAYS.into_iter().enumerate() {
        let path = files(&archive.entries).await.remove(index % 6);
        damage(&on_disk(folder.path(), &path));
        let verified = verify(&archive).await;
        assert_eq!(verified.damaged, [format!("entries/{path}")], "{way}");
        assert!(verified.problems[0].contains(&path), "{way}: {verified:?}");
        let error = read(&archive, "ws-0").await.unwrap_err();
        assert!(matches!(&error, ArchiveError::Corrupt(text) if text.contains(&path)), "{way}: {error:?}");

        let version = archive.entries.version().await.unwrap().number();
        let would = keeper(&archive).rebuild(&log, &nothing_erased(&folder), true).await.unwrap();
        assert_eq!(archive.entries.version().await.unwrap().number(), version);
        let done = keeper(&archive).rebuild(&log, &nothing_erased(&folder), false).await.unwrap();
        assert_eq!((done.len(), done[0].table, &done[0].replaced[0].path), (1, "entries", &path), "{way}: {done:?}");
        assert_eq!((&would[0].ranges, would[0].rows_before), (&done[0].ranges, done[0].rows), "{way}: {done:?}");
        assert_eq!(done[0].ranges.len(), 2, "{way}: {done:?}");
        assert_eq!(whole(&archive).await, rows, "{way}");
        assert_eq!(read(&archive, "ws-0").await.unwrap(), before, "{way}");
        let again = keeper(&archive).rebuild(&log, &nothing_erased(&folder), false).await.unwrap();
        assert_eq!(again, [], "{way}");
    }
    // All of it, and what no file of the table's log has any more.
    for path in files(&archive.entries).await {
        fs::remove_file(on_disk(folder.path(), &path)).unwrap();
    }
    let change = Change {
        operation: Operation::Delete,
        add: Vec::new(),
        remove: vec![files(&archive.events).await.remove(2)],
        moves: Vec::new(),
        record: Vec::new(),
    };
    archive.events.commit(change).await.unwrap();
    let done = keeper(&archive).rebuild(&log, &nothing_erased(&folder), false).await.unwrap();
    assert_eq!((done.len(), done[0].rows, done[0].rows_before), (2, rows / 3 * 2, rows / 3 * 2), "{done:?}");
    assert_eq!(whole(&archive).await, rows);
    let dates = archive.entries.version().await.unwrap().files(&archive.entries).await.unwrap();
    let dates: BTreeSet<_> = dates.into_iter().map(|file| file.date).collect();
    assert_eq!(dates.into_iter().collect::<Vec<_>>(), ["2025-12-02", "2025-12-03"]);
    assert_eq!(read(&archive, "ws-0").await.unwrap(), before);
}

/// As another engine's `DELETE FROM` leaves a table.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_any_files_is_not_whole_and_is_restored() {
    let (folder, objects) = folder();
    let (archive, log) = filled(&objects, 6).await;
    let rows = whole(&archive).await;
    for table in archive.logs() {
        let change = Change {
            operation: Operation::Delete,
            add: Vec::new(),
            remove: files(table).await,
            moves: Vec::new(),
            record: Vec::new(),
        };
        table.commit(change).await.unwrap();
    }
    let verified = verify(&archive).await;
    assert_eq!((verified.files, verified.lanes), (0, 3));
    let holes: Vec<_> = [lane(0), lane(1), EVENTS].map(|lane| format!("{lane}/0 0..300 is in no file")).into();
    assert_eq!(verified.problems, holes);
    let done = keeper(&archive).rebuild(&log, &nothing_erased(&folder), false).await.unwrap();
    assert_eq!(done.iter().map(|table| table.rows).sum::<u64>(), rows, "{done:?}");
    assert_eq!(whole(&archive).await, rows);
}

/// Readers pass over files by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_lies_beyond_what_the_log_says_is_damaged_and_restored() {
    for (said, forged) in [
        (r#"\"offset\":49"#, r#"\"offset\":40"#),
        (r#"\"run_id\":\"run-6\""#, r#"\"run_id\":\"run-5\""#),
        (r#"\"record_time\":\"2025-12-02T12:00:00.049Z\""#, r#"\"record_time\":\"2025-12-02T12:00:00.040Z\""#),
    ] {
        let (folder, objects) = folder();
        let (archive, log) = filled(&objects, 1).await;
        let (rows, path) = (whole(&archive).await, files(&archive.entries).await.remove(0));
        drop(archive);
        for commit in fs::read_dir(folder.path().join("archive/entries/_delta_log")).unwrap() {
            let commit = commit.unwrap().path();
            if commit.extension().is_some_and(|extension| extension == "json") {
                let text = fs::read_to_string(&commit).unwrap();
                fs::write(&commit, text.replace(said, forged)).unwrap();
            }
        }
        let archive = Archive::open(&objects).await.unwrap();
        let verified = verify(&archive).await;
        assert_eq!(verified.damaged, [format!("entries/{path}")], "{forged}: {verified:?}");
        let done = keeper(&archive).rebuild(&log, &nothing_erased(&folder), false).await.unwrap();
        assert_eq!((done.len(), &done[0].replaced[0].path), (1, &path), "{forged}: {done:?}");
        assert_eq!(whole(&archive).await, rows, "{forged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_spread_range_is_restored_with_the_others() {
    let (folder, objects) = folder();
    let (archive, log) = filled(&objects, 4).await;
    let config = MaintainConfig { target_file: 20_000, ..MaintainConfig::default() };
    Maintenance::new(archive.clone(), config).unwrap().compact().await.unwrap();
    let before = (whole(&archive).await, read(&archive, "ws-1").await.unwrap());
    for damage in [WAYS[0].1, WAYS[2].1] {
        let spread = files(&archive.entries).await;
        damage(&on_disk(folder.path(), spread.last().unwrap()));
        let done = keeper(&archive).rebuild(&log, &nothing_erased(&folder), false).await.unwrap();
        assert_eq!(done[0].replaced.len(), spread.len(), "{done:?}");
        assert_eq!(done[0].replaced.iter().filter(|file| file.reason.is_some()).count(), 1, "{done:?}");
        assert_eq!(whole(&archive).await, before.0);
        assert_eq!(read(&archive, "ws-1").await.unwrap(), before.1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_no_longer_has_is_told_and_nothing_is_changed() {
    let (folder, objects) = folder();
    let (archive, log) = filled(&objects, 4).await;
    let path = files(&archive.entries).await.remove(0);
    fs::remove_file(on_disk(folder.path(), &path)).unwrap();
    let version = archive.entries.version().await.unwrap().number();
    for (log, told) in
        [(Remembered { from: 190, ..log }, "it has 190..200"), (Remembered { from: 0, to: 10 }, "has 0..10")]
    {
        let error = keeper(&archive).rebuild(&log, &nothing_erased(&folder), false).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Refused(_)), "{error:?}");
        let error = error.to_string();
        assert!(error.contains(told) && error.contains(&path) && error.contains("agent-logs[0], epoch 0: "), "{error}");
    }
    assert_eq!(archive.entries.version().await.unwrap().number(), version);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_or_is_kept_no_longer_does_not_come_back() {
    let (folder, objects) = folder();
    let (archive, log) = filled(&objects, 8).await;
    let upto: Cursor = [lane(0), lane(1), EVENTS].into_iter().map(|lane| (lane, 0, 400)).collect();
    let erasure = Erasure::new("ws-0", Target::Run("run-4".into()), upto, "tests");
    let store = store(&folder);
    journal(&*store, &erasure).await;
    let days = (Timestamp::now().millis().div_euclid(DAY) - (NOON + DAY).div_euclid(DAY)) as u32;
    let config = MaintainConfig { retention: [("ws-1".to_owned(), days)].into(), ..MaintainConfig::default() };
    let keeper = Maintenance::new(archive.clone(), config).unwrap();
    keeper.erase(&erasure, &mut Clearing::default()).await.unwrap();
    keeper.retain().await.unwrap();
    let before = (whole(&archive).await, read(&archive, "ws-0").await.unwrap(), read(&archive, "ws-1").await.unwrap());
    for path in files(&archive.entries).await {
        WAYS[2].1(&on_disk(folder.path(), &path));
    }
    let done = keeper.rebuild(&log, &Erasures::follow(store), false).await.unwrap();
    assert_eq!(done[0].rows, done[0].rows_before, "{done:?}");
    let after = (whole(&archive).await, read(&archive, "ws-0").await.unwrap(), read(&archive, "ws-1").await.unwrap());
    assert_eq!(after, before);
    assert_eq!(keeper.retain().await.unwrap(), crate::Changed::default());
}

/// A log during whose first readings something is erased each time, from beginning to end.
struct Erasing {
    log: Remembered,
    archive: Archive,
    erasures: Erasures,
    store: Arc<dyn Store>,
    left: Mutex<Vec<Erasure>>,
}

#[async_trait]
impl Log for Erasing {
    async fn lanes(&self) -> Result<Vec<LogLane>, ArchiveError> {
        self.log.lanes().await
    }

    fn read(&self, partition: TopicPartition, epoch: u32, from: i64, to: i64) -> Batches {
        let mut behind = self.log.read(partition, epoch, from, to);
        // Once a try.
        let erasure = if partition == lane(0) { self.left.lock().pop() } else { None };
        let Some(erasure) = erasure else { return behind };
        let (sender, batches) = mpsc::channel(100);
        let (archive, erasures, store) = (self.archive.clone(), self.erasures.clone(), self.store.clone());
        tokio::spawn(async move {
            journal(&*store, &erasure).await;
            while !erasures.view().await.unwrap().iter().any(|known| known.id == erasure.id) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // The file that is damaged keeps it from being done, and nothing else.
            keeper(&archive).erase(&erasure, &mut Clearing::default()).await.unwrap_err();
            while let Some(batch) = behind.recv().await {
                sender.send(batch).await.unwrap();
            }
        });
        batches
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_while_it_is_restored_does_not_come_back() {
    let upto: Cursor = [lane(0), lane(1), EVENTS].into_iter().map(|lane| (lane, 0, 400)).collect();
    for (tries, is_done) in [(1, true), (TRIES, false)] {
        let (folder, objects) = folder();
        let (archive, log) = filled(&objects, 4).await;
        WAYS[2].1(&on_disk(folder.path(), &files(&archive.entries).await.remove(0)));
        let store = store(&folder);
        let erasures = Erasures::follow(store.clone());
        let run = |number| Erasure::new("ws-0", Target::Run(format!("run-{number}")), upto.clone(), "tests");
        let left = Mutex::new((0..tries).map(run).collect::<Vec<_>>());
        let log = Erasing { log, archive: archive.clone(), erasures: erasures.clone(), store, left };
        match keeper(&archive).rebuild(&log, &erasures, false).await {
            Ok(done) => assert!(is_done && done.len() == 1, "{done:?}"),
            Err(error) => assert!(!is_done && matches!(error, ArchiveError::Unavailable(_)), "{error}"),
        }
        assert!(log.left.lock().is_empty());
        if is_done {
            let found = read(&archive, "ws-0").await.unwrap();
            assert!(!found.is_empty() && found.iter().all(|offset| offset % 7 != 0), "{found:?}");
            whole(&archive).await;
        }
    }
}

/// A damaged file may take longer to restore than until an erasure is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_tried_again_disturbs_nobody_who_restores() {
    let (folder, objects) = folder();
    let (archive, _) = filled(&objects, 4).await;
    WAYS[2].1(&on_disk(folder.path(), &files(&archive.entries).await.remove(0)));
    let upto: Cursor = [lane(0), lane(1), EVENTS].into_iter().map(|lane| (lane, 0, 400)).collect();
    let erasure = Erasure::new("ws-0", Target::Run("run-4".into()), upto, "tests");
    let mark = async || {
        let version = archive.entries.version().await.unwrap();
        version.recorded(&archive.entries, vec![MARK.to_owned()]).await.unwrap()[0]
    };
    let (keeper, before) = (keeper(&archive), mark().await);
    keeper.erase(&erasure, &mut Clearing::default()).await.unwrap_err();
    let first = mark().await;
    assert!(before.is_none() && first.is_some());
    keeper.erase(&erasure, &mut Clearing::default()).await.unwrap_err();
    assert_eq!(mark().await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_made_anew_from_what_the_archive_has() {
    let (folder, objects) = folder();
    let (archive, _) = filled(&objects, 8).await;
    keeper(&archive).roll_up().await.unwrap();
    let sums = keeper(&archive).workspaces().await.unwrap();
    let path = files(&archive.runs).await.remove(1);
    WAYS[2].1(&folder.path().join("archive/runs").join(&path));
    assert_eq!(verify(&archive).await.damaged, [format!("runs/{path}")]);
    let changed = keeper(&archive).rebuild_runs(false).await.unwrap();
    assert_eq!((changed.removed, changed.added), (1, 1));
    assert_eq!(verify(&archive).await.problems, Vec::<String>::new());
    assert_eq!(keeper(&archive).workspaces().await.unwrap(), sums);
    assert_eq!(keeper(&archive).rebuild_runs(false).await.unwrap(), crate::Changed::default());
    assert_eq!(keeper(&archive).rebuild_runs(true).await.unwrap().added, 2);
    assert_eq!(keeper(&archive).workspaces().await.unwrap(), sums);
}
