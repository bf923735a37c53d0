//! What a damaged file keeps from being done, and what it doesn't.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;
use crate::table::ActiveFile;

async fn files(table: &Table) -> Vec<ActiveFile> {
    table.version().await.unwrap().files(table).await.unwrap()
}

/// Truncates the first file of entries, which is of the first day; returns its path.
async fn damage(folder: &Path, archive: &Archive) -> String {
    let path = files(&archive.entries).await.remove(0).path;
    let file = std::fs::OpenOptions::new().write(true).open(folder.join("archive/entries").join(&path)).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn all_else_is_kept() {
    let (folder, objects) = folder();
    let archive = filled(&objects, 8).await;
    let path = damage(folder.path(), &archive).await;
    // Written by somebody who was killed before he published it.
    let unneeded = folder.path().join("archive/entries/date=2025-12-02/unneeded.parquet");
    let long_ago = SystemTime::now() - Duration::from_secs(30 * 86_400);
    std::fs::File::create(&unneeded).unwrap().set_modified(long_ago).unwrap();
    let keeper = self::keeper(&archive, MaintainConfig::default());
    let error = keeper.round().await.unwrap_err();
    assert!(matches!(&error, ArchiveError::Corrupt(text) if text.contains(&path)), "{error:?}");
    let count = async |table, date: &str| files(table).await.iter().filter(|file| file.date == date).count();
    let entries = (count(&archive.entries, "2025-12-02").await, count(&archive.entries, "2025-12-03").await);
    assert_eq!(entries, (2, 1), "the damaged one, and the others in one");
    assert_eq!(files(&archive.events).await.len(), 2);
    let runs = (count(&archive.runs, "2025-12-02").await, count(&archive.runs, "2025-12-03").await);
    assert_eq!(runs, (0, 1));
    assert!(!unneeded.exists());
    // Where it lay among others to be merged, and where its day was to be rolled up.
    assert_eq!(keeper.damaged.get(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_no_longer_goes_from_all_other_files() {
    let (folder, objects) = folder();
    let archive = filled(&objects, 8).await;
    let path = damage(folder.path(), &archive).await;
    let days = (Timestamp::now().millis().div_euclid(DAY) - (NOON + DAY).div_euclid(DAY)) as u32;
    let retention = [("ws-1".to_owned(), days)].into();
    let keeper = self::keeper(&archive, MaintainConfig { retention, ..MaintainConfig::default() });
    let error = keeper.retain().await.unwrap_err();
    assert!(matches!(&error, ArchiveError::Corrupt(text) if text.contains(&path)), "{error:?}");
    for file in files(&archive.entries).await.iter().filter(|file| file.date == "2025-12-02") {
        assert_eq!(file.bounds.may_have("workspace_id", "ws-1"), file.path == path, "{file:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_no_damage() {
    use agentworks_objects::faulty::{Fault, FaultyStore, Operation};
    let (_folder, plain) = folder();
    filled(&plain, 4).await;
    let objects = plain.through(|behind| {
        let faulty = FaultyStore::new(behind);
        faulty.fail(|call, path| {
            (call == Operation::Get && path.as_ref().ends_with(".parquet")).then_some(Fault::Unasked)
        });
        Arc::new(faulty)
    });
    let archive = Archive::open(&objects).await.unwrap();
    let keeper = self::keeper(&archive, MaintainConfig::default());
    assert!(keeper.round().await.unwrap_err().is_transient());
    assert_eq!(keeper.damaged.get(), 0);
}

/// A day that was made is not looked at again, and one that has changed is.
#[tokio::test(flavor = "multi_thread")]
async fn days_are_stale_by_their_files() {
    let (_folder, objects) = folder();
    let archive = filled(&objects, 8).await;
    let keeper = self::keeper(&archive, MaintainConfig::default());
    let stale = async || {
        let days = keeper.days().await.unwrap().into_iter();
        days.filter(|day| day.is_stale()).map(|day| day.date).collect::<Vec<_>>()
    };
    assert_eq!(stale().await, ["2025-12-02", "2025-12-03"]);
    assert_eq!(keeper.roll_up().await.unwrap(), Changed { removed: 0, added: 2, rows: 0 });
    assert_eq!((stale().await, keeper.roll_up().await.unwrap()), (Vec::new(), Changed::default()));
    fill(&archive, &[lane(0)], 400, 450, NOON + DAY).await;
    assert_eq!(stale().await, ["2025-12-03"]);
    assert_eq!(keeper.roll_up().await.unwrap(), Changed { removed: 1, added: 1, rows: 0 });
}
