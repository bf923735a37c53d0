//! What an erasure leaves, also where it is interrupted.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentworks_objects::faulty::{Fault, FaultyStore, Operation as Call};
use agentworks_processors::erasure::{Clearing, Erasure, Target};
use agentworks_schemas::Cursor;

use super::*;

/// All of a workspace, up to an offset.
fn workspace(name: &str, upto: i64) -> Erasure {
    let upto: Cursor = [lane(0), lane(1), EVENTS].into_iter().map(|lane| (lane, 0, upto)).collect();
    Erasure::new(name, Target::Workspace, upto, "tests")
}

async fn cleared(keeper: &Maintenance, erasure: &Erasure) -> Clearing {
    let mut clearing = Clearing::default();
    keeper.erase(erasure, &mut clearing).await.unwrap();
    clearing
}

/// The files of all tables.
async fn names(archive: &Archive) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for table in [&archive.entries, &archive.events, &archive.runs] {
        let files = table.version().await.unwrap().files(table).await.unwrap();
        names.extend(files.into_iter().map(|file| format!("{}/{}", table.spec().name, file.path)));
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_is_in_no_file_and_in_no_sum() {
    let (folder, objects) = folder();
    let archive = filled(&objects, 4).await;
    let keeper = keeper(&archive, MaintainConfig::default());
    keeper.roll_up().await.unwrap();
    let sum = async || keeper.workspaces().await.unwrap().into_values().map(|stats| stats.entries).sum::<u64>();
    let rows = archive.entries.version().await.unwrap().files(&archive.entries).await.unwrap();
    assert_eq!(sum().await, rows.iter().map(|file| file.rows).sum::<u64>());
    let before = offsets(&archive, "ws-0", "card-0").await;
    let upto: Cursor = [lane(0), lane(1), EVENTS].into_iter().map(|lane| (lane, 0, 100)).collect();
    let run = Erasure::new("ws-0", Target::Run("run-4".into()), upto.clone(), "tests");
    let named = names(&archive).await;
    let clearing = cleared(&keeper, &run).await;
    assert!(clearing.rows > 0 && clearing.replaced.files == clearing.replaced.names.len() as u64, "{clearing:?}");
    let gone: BTreeSet<_> = named.difference(&names(&archive).await).cloned().collect();
    assert_eq!(clearing.replaced.names.iter().cloned().collect::<BTreeSet<_>>(), gone);
    assert!(
        gone.iter().any(|name| name.starts_with("entries/date=")) && gone.iter().any(|name| name.starts_with("runs/"))
    );
    let hidden = |offset: &i64| offset % 7 == 4 && *offset < 100;
    let expected: Vec<_> = before.iter().copied().filter(|offset| !hidden(offset)).collect();
    assert_eq!(offsets(&archive, "ws-0", "card-0").await, expected);
    assert_eq!(cleared(&keeper, &run).await, Clearing::default());
    let rows = archive.entries.version().await.unwrap().files(&archive.entries).await.unwrap();
    assert_eq!(sum().await, rows.iter().map(|file| file.rows).sum::<u64>());
    whole(&keeper).await;
    let upto: Cursor = [lane(0), lane(1), EVENTS].into_iter().map(|lane| (lane, 0, 10_000)).collect();
    cleared(&keeper, &Erasure::new("ws-0", Target::Workspace, upto, "tests")).await;
    assert!(offsets(&archive, "ws-0", "card-0").await.is_empty());
    assert!(!offsets(&archive, "ws-1", "card-0").await.is_empty());
    assert!(!keeper.workspaces().await.unwrap().contains_key("ws-0"));
    whole(&keeper).await;
    // The old files are there for a while, and then they aren't.
    assert_eq!(keeper.vacuum().await.unwrap(), []);
    let on_disk = || {
        let folders = std::fs::read_dir(folder.path().join("archive/entries")).unwrap().map(|day| day.unwrap().path());
        let days = folders.filter(|day| day.file_name().unwrap().to_string_lossy().starts_with("date="));
        days.map(|day| std::fs::read_dir(day).unwrap().count()).sum::<usize>()
    };
    let current = archive.entries.version().await.unwrap().files(&archive.entries).await.unwrap().len();
    assert!(on_disk() > current);
    let later = Timestamp::now().millis() + 1000;
    let would = vacuum::vacuum(&archive.entries, later, false).await.unwrap();
    assert!(
        !would.is_empty() && would[0].path.starts_with("entries/date=2025-12-02/") && would[0].bytes > 0,
        "{would:?}"
    );
    assert_eq!(vacuum::vacuum(&archive.entries, later, true).await.unwrap(), would);
    assert_eq!(on_disk(), current);
    whole(&keeper).await;
}

/// Upkeep that has looked at a day before its files were rewritten makes its runs afterwards, of the old files; and whoever
/// rewrote them is killed before he makes them of the new ones.
#[tokio::test(flavor = "multi_thread")]
async fn runs_of_before_are_made_again_by_the_next_try() {
    for was_rolled_up in [false, true] {
        let (_folder, plain) = folder();
        let archive = filled(&plain, 8).await;
        let upkeep = keeper(&archive, MaintainConfig::default());
        if was_rolled_up {
            upkeep.roll_up().await.unwrap();
            fill(&archive, &[lane(0), lane(1), EVENTS], 400, 450, NOON + DAY).await;
        }
        let late = upkeep.days().await.unwrap();
        // Nothing can be written to the runs' folder.
        let objects = plain.through(|behind| {
            let faulty = FaultyStore::new(behind);
            let hits = |call, path: &str| call == Call::Put && path.contains("runs/") && path.ends_with(".parquet");
            faulty.fail(move |call, path| hits(call, path.as_ref()).then_some(Fault::Unasked));
            Arc::new(faulty)
        });
        let erasure = workspace("ws-0", 10_000);
        let killed = keeper(&Archive::open(&objects).await.unwrap(), MaintainConfig::default());
        let mut clearing = Clearing::default();
        assert!(killed.erase(&erasure, &mut clearing).await.unwrap_err().is_transient());
        assert!(clearing.rows > 0 && clearing.replaced.files > 0, "what was done is told");

        for day in late.iter().filter(|day| day.is_stale()) {
            assert!(upkeep.roll_up_day(day).await.unwrap().is_some());
        }
        assert!(upkeep.workspaces().await.unwrap().contains_key("ws-0"));
        let clearing = cleared(&keeper(&archive, MaintainConfig::default()), &erasure).await;
        assert_eq!(clearing.rows, 0);
        assert!(clearing.replaced.names.iter().all(|name| name.starts_with("runs/")), "{clearing:?}");
        let left = upkeep.workspaces().await.unwrap();
        assert!(!left.contains_key("ws-0") && left.contains_key("ws-1"), "{left:?}");
        // Who is later still fails, for the days have been made since he looked.
        for day in late {
            assert_eq!(upkeep.roll_up_day(&day).await.unwrap(), None);
        }
        assert!(!upkeep.workspaces().await.unwrap().contains_key("ws-0"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runs_of_what_came_later_stay() {
    let (_folder, objects) = folder();
    let archive = filled(&objects, 4).await;
    let keeper = keeper(&archive, MaintainConfig::default());
    keeper.roll_up().await.unwrap();
    let before = keeper.workspaces().await.unwrap()["ws-0"].entries;
    cleared(&keeper, &workspace("ws-0", 100)).await;
    let after = keeper.workspaces().await.unwrap()["ws-0"].entries;
    assert!(after > 0 && after < before, "{after} of {before}");
    assert_eq!(cleared(&keeper, &workspace("ws-0", 100)).await, Clearing::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_keeps_an_erasure_from_being_done_and_no_other_file() {
    let (folder, objects) = folder();
    let archive = filled(&objects, 8).await;
    let path = archive.entries.version().await.unwrap().files(&archive.entries).await.unwrap().remove(0).path;
    let path = folder.path().join("archive/entries").join(path);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let erasure = workspace("ws-0", 10_000);
    let mut clearing = Clearing::default();
    let error = keeper(&archive, MaintainConfig::default()).erase(&erasure, &mut clearing).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Corrupt(_)), "{error}");
    // Seven of entries, and eight of events.
    assert_eq!(clearing.replaced.files, 15, "{clearing:?}");
    std::fs::write(&path, &bytes).unwrap();
    let keeper = keeper(&archive, MaintainConfig::default());
    assert_eq!(cleared(&keeper, &erasure).await.replaced.files, 1);
    assert!(offsets(&archive, "ws-0", "card-0").await.is_empty());
    whole(&keeper).await;
}
