#![allow(clippy::unwrap_used)]

mod damaged;
mod erased;
mod flipped;

use agentworks_objects::Objects;
use agentworks_processors::reader::{ColdRange, ReadFilter, Scope};
use agentworks_schemas::{Topic, TopicPartition};

use super::*;
use crate::read::ArchiveReader;
use crate::table::Version;
use crate::testing::{DAY, NOON, fill, folder, lane};

const EVENTS: TopicPartition = TopicPartition { topic: Topic::RunEvents, partition: 0 };

fn keeper(archive: &Archive, config: MaintainConfig) -> Maintenance {
    Maintenance::new(archive.clone(), config).unwrap()
}

async fn filled(objects: &Objects, steps: i64) -> Archive {
    let archive = Archive::open(objects).await.unwrap();
    for step in 0..steps {
        let time = NOON + step / 4 * DAY;
        fill(&archive, &[lane(0), lane(1), EVENTS], step * 50, step * 50 + 50, time).await;
    }
    archive
}

/// All that is whole: rows and files.
async fn whole(keeper: &Maintenance) -> (u64, u64) {
    let verified = keeper.verify().await.unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    (verified.rows, verified.files)
}

async fn offsets(archive: &Archive, workspace: &str, card: &str) -> Vec<i64> {
    let scope = Scope::Card { workspace: workspace.into(), card: card.into() };
    let filter = ReadFilter::default();
    let range = ColdRange { scope: &scope, filter: &filter, partition: lane(0), epoch: 0, from: 0, to: 10_000 };
    let entries = ArchiveReader::new(archive).forward(&range, 10_000).await.unwrap();
    entries.iter().map(|entry| entry.position.offset).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_are_merged_by_day_and_give_the_same() {
    let (_folder, objects) = folder();
    let archive = filled(&objects, 8).await;
    let keeper = self::keeper(&archive, MaintainConfig::default());
    let (rows, files) = whole(&keeper).await;
    let before = offsets(&archive, "ws-0", "card-0").await;
    assert_eq!(files, 16);
    let changed = keeper.compact().await.unwrap();
    assert_eq!(changed, Changed { removed: 16, added: 4, rows: 0 });
    assert_eq!(whole(&keeper).await, (rows, 4));
    assert_eq!(offsets(&archive, "ws-0", "card-0").await, before);
    assert_eq!(keeper.compact().await.unwrap(), Changed::default());
    let stats = keeper.stats().await.unwrap();
    assert_eq!(stats[0].days, Some(("2025-12-02".into(), "2025-12-03".into())));
    assert_eq!(stats.iter().map(|stats| stats.rows).sum::<u64>(), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merging_into_several_files_spreads_the_workspaces() {
    let (_folder, objects) = folder();
    let archive = filled(&objects, 4).await;
    let before = offsets(&archive, "ws-1", "card-1").await;
    let keeper = self::keeper(&archive, MaintainConfig { target_file: 10_000, ..MaintainConfig::default() });
    let rows = whole(&keeper).await.0;
    keeper.compact().await.unwrap();
    let files = archive.entries.version().await.unwrap().files(&archive.entries).await.unwrap();
    assert!(files.len() > 1, "{files:?}");
    assert!(files.iter().any(|file| !file.bounds.may_have("workspace_id", "ws-1")), "{files:?}");
    assert_eq!((whole(&keeper).await.0, offsets(&archive, "ws-1", "card-1").await), (rows, before));
    // What is spread already stays.
    assert_eq!(keeper.compact().await.unwrap(), Changed::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_merges_at_once_merges_once() {
    let (_folder, objects) = folder();
    let archive = filled(&objects, 4).await;
    let rows = whole(&keeper(&archive, MaintainConfig::default())).await.0;
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let keeper = keeper(&Archive::open(&objects).await.unwrap(), MaintainConfig::default());
        tasks.push(tokio::spawn(async move { (keeper.compact().await.unwrap(), keeper.roll_up().await.unwrap()) }));
    }
    // And somebody writes meanwhile.
    fill(&archive, &[lane(0)], 200, 250, NOON).await;
    let (mut merged, mut rolled) = (Changed::default(), Changed::default());
    for task in tasks {
        let (compacted, rolled_up) = task.await.unwrap();
        merged += compacted;
        rolled += rolled_up;
    }
    assert!(merged.added >= 2 && rolled.added >= 1, "{merged:?} {rolled:?}");
    let keeper = keeper(&archive, MaintainConfig::default());
    assert!(whole(&keeper).await.0 > rows);
    keeper.roll_up().await.unwrap();
    assert_eq!(archive.runs.version().await.unwrap().files(&archive.runs).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_is_kept_for_days_loses_the_rest_and_readers_know() {
    let (_folder, objects) = folder();
    let archive = filled(&objects, 8).await;
    // The first day is too old by one, the second is the first that is kept.
    let days = (Timestamp::now().millis().div_euclid(DAY) - (NOON + DAY).div_euclid(DAY)) as u32;
    let retention = [("ws-1".to_owned(), days)].into();
    let keeper = self::keeper(&archive, MaintainConfig { retention, ..MaintainConfig::default() });
    let kept = offsets(&archive, "ws-0", "card-0").await;
    let changed = keeper.retain().await.unwrap();
    assert!(changed.rows > 0);
    assert_eq!(offsets(&archive, "ws-0", "card-0").await, kept);
    let left = offsets(&archive, "ws-1", "card-0").await;
    assert!(!left.is_empty() && left.iter().all(|offset| *offset >= 200), "{left:?}");
    let reader = ArchiveReader::new(&archive);
    let low = async |workspace| reader.held(lane(0), 0, workspace).await.unwrap().unwrap().low;
    assert_eq!((low("ws-0").await, low("ws-1").await), (0, 200));
    assert_eq!(keeper.retain().await.unwrap(), Changed::default());
    whole(&keeper).await;
}

/// Two keepers, one of which looked at the table a day before the other and is late.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_late_takes_back_nothing_that_another_has_raised() {
    let (_folder, objects) = folder();
    let archive = filled(&objects, 12).await;
    let [late, other] = [(); 2].map(|()| self::keeper(&archive, MaintainConfig::default()));
    let retain = async |keeper: &Maintenance, version: &Version, first: &str| {
        let (table, footers) = keeper.logs()[0];
        let mut passed = damage::PassedOver::default();
        keeper.retain_from((table, version), footers, "ws-1", first, &mut passed).await.unwrap()
    };
    let before = archive.entries.version().await.unwrap();
    assert_eq!(retain(&other, &before, "2025-12-04").await.removed, 8);
    assert_eq!(retain(&late, &before, "2025-12-03").await, Changed::default());
    let reader = ArchiveReader::new(&archive);
    assert_eq!(reader.held(lane(0), 0, "ws-1").await.unwrap().unwrap().low, 400);
    assert!(offsets(&archive, "ws-1", "card-0").await.iter().all(|offset| *offset >= 400));
    // Who comes to the same at the same time goes on with it.
    assert_eq!(retain(&late, &before, "2025-12-04").await, Changed::default());
    assert_eq!(retain(&late, &archive.entries.version().await.unwrap(), "2025-12-05").await.removed, 4);
    whole(&late).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_an_overlap_and_a_foreign_row_are_found() {
    let (folder, objects) = folder();
    let archive = filled(&objects, 3).await;
    let keeper = self::keeper(&archive, MaintainConfig::default());
    let files = archive.entries.version().await.unwrap().files(&archive.entries).await.unwrap();
    let path = |index: usize| folder.path().join("archive/entries").join(&files[index].path);
    let (first, second) = (std::fs::read(path(0)).unwrap(), std::fs::read(path(1)).unwrap());
    std::fs::write(path(0), &second).unwrap();
    let problems = self::keeper(&archive, MaintainConfig::default()).verify().await.unwrap().problems;
    assert!(!problems.is_empty());
    std::fs::write(path(0), &first).unwrap();
    whole(&keeper).await;
    // A file that goes from the log without its rows coming back.
    let change = crate::table::Change {
        operation: crate::table::Operation::Delete,
        add: Vec::new(),
        remove: vec![files[1].path.clone()],
        moves: Vec::new(),
        record: Vec::new(),
    };
    archive.entries.commit(change).await.unwrap();
    let problems = keeper.verify().await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("is in no file")), "{problems:?}");
}
