#![allow(clippy::unwrap_used)]

use agentworks_processors::reader::{ReadFilter, Scope};
use agentworks_schemas::{Level, Topic};

use super::*;
use crate::testing::{DAY, NOON, entry, fill, folder, lane};

fn card(workspace: &str, card: &str) -> Scope {
    Scope::Card { workspace: workspace.into(), card: card.into() }
}

fn run(workspace: &str, run: &str, card: &str) -> Scope {
    Scope::Run { workspace: workspace.into(), run: run.into(), card: card.into() }
}

fn expected(scope: &Scope, from: i64, to: i64) -> Vec<i64> {
    (from..to).filter(|offset| offset % 11 != 10 && scope.holds(&entry(lane(0), *offset))).collect()
}

fn offsets(entries: &[StoredEntry]) -> Vec<i64> {
    entries.iter().map(|entry| entry.position.offset).collect()
}

fn range<'a>(scope: &'a Scope, filter: &'a ReadFilter, from: i64, to: i64) -> ColdRange<'a> {
    ColdRange { scope, filter, partition: lane(0), epoch: 0, from, to }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_and_a_run_are_read_from_both_ends_however_they_lie() {
    let (_folder, objects) = folder();
    let archive = Archive::open(&objects).await.unwrap();
    let lanes = [lane(0), lane(1), TopicPartition::new(Topic::SystemLogs, 0)];
    // Three files, on two days.
    for (from, to, time) in [(0, 200, NOON), (200, 350, NOON), (350, 500, NOON + DAY)] {
        fill(&archive, &lanes, from, to, time).await;
    }
    let reader = ArchiveReader::new(&archive);
    let held = reader.held(lane(0), "ws-0").await.unwrap().unwrap();
    assert_eq!((held.low, held.high, held.epoch), (0, 500, 0));
    assert_eq!(reader.held(lane(7), "ws-0").await.unwrap(), None);
    let all = ReadFilter::default();
    for scope in [card("ws-0", "card-1"), run("ws-1", "run-5", "card-2"), run("ws-0", "run-0", "card-0")] {
        for (from, to) in [(0, 500), (30, 470), (190, 210), (200, 350), (349, 351), (100, 100)] {
            let expected = expected(&scope, from, to);
            for limit in [1, 5, 1000] {
                let range = range(&scope, &all, from, to);
                let (first, last) = (expected.len().min(limit), expected.len().saturating_sub(limit));
                let forward = reader.forward(&range, limit).await.unwrap();
                assert_eq!(offsets(&forward), expected[..first], "{scope:?} {from}..{to} by {limit}");
                let backward = reader.backward(&range, limit).await.unwrap();
                assert_eq!(offsets(&backward), expected[last..], "{scope:?} {from}..{to} by {limit}");
                for stored in forward {
                    assert_eq!(stored.entry, entry(lane(0), stored.position.offset));
                    let day = if stored.position.offset < 350 { 0 } else { DAY };
                    assert_eq!(stored.timestamp.millis(), NOON + day + stored.position.offset);
                }
            }
        }
    }
    let nobody = card("ws-7", "card-1");
    assert!(reader.forward(&range(&nobody, &all, 0, 500), 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_passes_over_rows_before_they_are_read() {
    let (_folder, objects) = folder();
    let archive = Archive::open(&objects).await.unwrap();
    fill(&archive, &[lane(0)], 0, 300, NOON).await;
    let reader = ArchiveReader::new(&archive);
    let scope = card("ws-0", "card-0");
    let filter = ReadFilter { levels: Some(vec![Level::Error]), ..ReadFilter::default() };
    let found = reader.forward(&range(&scope, &filter, 0, 300), 1000).await.unwrap();
    let expected: Vec<_> = expected(&scope, 0, 300).into_iter().filter(|offset| offset % 5 == 3).collect();
    assert_eq!(offsets(&found), expected);
    let filter = ReadFilter { components: Some(vec!["nothing".into()]), ..ReadFilter::default() };
    assert!(reader.forward(&range(&scope, &filter, 0, 300), 10).await.unwrap().is_empty());
}

/// What happens to a file, and what must then be told; reading must never give other entries than were written.
#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_and_never_read() {
    let (folder, objects) = folder();
    let archive = Archive::open(&objects).await.unwrap();
    fill(&archive, &[lane(0)], 0, 2000, NOON).await;
    let version = archive.entries.version().await.unwrap();
    let file = version.files(&archive.entries).await.unwrap().remove(0);
    let path = folder.path().join("archive/entries").join(&file.path);
    let whole = std::fs::read(&path).unwrap();
    let scope = card("ws-0", "card-0");
    let all = ReadFilter::default();
    let read = async || ArchiveReader::new(&archive).forward(&range(&scope, &all, 0, 2000), 5000).await;
    let good = read().await.unwrap();
    let mut flips = 0;
    for at in (4..whole.len()).step_by(whole.len() / 150) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, &flipped).unwrap();
        match read().await {
            Ok(entries) => assert_eq!(entries, good, "bit {at}"),
            Err(ArchiveError::Corrupt(text)) => {
                flips += 1;
                assert!(text.contains(&file.path) || text.contains("agent-logs"), "{text}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(flips > 20, "{flips}");
    for length in [0, 3, 8, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = read().await.unwrap_err();
        assert!(matches!(error, ArchiveError::Corrupt(_)), "{length}: {error:?}");
    }
    // A footer that says it is as long as can be, or whose length lies outside of the file.
    for length in [u32::MAX, 0, 7, i32::MAX as u32] {
        let mut forged = whole.clone();
        let end = forged.len() - 8;
        forged[end..end + 4].copy_from_slice(&length.to_le_bytes());
        std::fs::write(&path, &forged).unwrap();
        let error = read().await.unwrap_err();
        assert!(matches!(error, ArchiveError::Corrupt(_)), "{length}: {error:?}");
    }
    std::fs::remove_file(&path).unwrap();
    let error = read().await.unwrap_err();
    assert!(matches!(&error, ArchiveError::Corrupt(text) if text.contains("missing")), "{error:?}");
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(read().await.unwrap(), good);
}
