#![allow(clippy::unwrap_used)]

use agentworks_kafka::{KafkaSettings, SeekPool};
use agentworks_schemas::{Cursor, Topics};
use agentworks_store::{EmbeddedStore, Store};
use parking_lot::Mutex;

use super::*;
use crate::erasure::Replaced;

/// A tier that fails for some erasures, after it has replaced something.
#[derive(Debug)]
struct Failing {
    tier: Tier,
    /// By id.
    fails: Mutex<HashSet<String>>,
}

impl Failing {
    fn new(tier: Tier, fails: &[&Erasure]) -> Arc<Self> {
        let fails = fails.iter().map(|erasure| erasure.id.clone()).collect();
        Arc::new(Failing { tier, fails: Mutex::new(fails) })
    }
}

#[async_trait]
impl Clear for Failing {
    fn tier(&self) -> Tier {
        self.tier
    }

    async fn clear(&self, erasure: &Erasure, clearing: &mut Clearing) -> Result<Option<Timestamp>, SinkError> {
        clearing.replaced(10, format!("file-{}", clearing.replaced.files));
        match self.fails.lock().contains(&erasure.id) {
            true => Err(SinkError::Corrupt("a file is damaged".into())),
            false => Ok(Some(Timestamp(5))),
        }
    }
}

/// An erasure that was made a while ago, of which only what lies elsewhere has yet to be cleared.
async fn made(store: &dyn Store, workspace: &str) -> Erasure {
    let at = Timestamp(Timestamp::now().millis() - 60_000);
    let erasure = Erasure { at, ..Erasure::new(workspace, Target::Workspace, Cursor::default(), "tests") };
    journal::write(store, &erasure).await.unwrap();
    for tier in Tier::ALL.into_iter().chain([Tier::Search, Tier::Archive]) {
        let cleared = Tier::ALL.contains(&tier).then_some(at);
        let note = "a note".to_owned();
        let state = TierState { tier, unreadable_since: at, gone_by: cleared, cleared, rows: 0, replaced: None, note };
        receipt::write(store, &erasure, &state).await.unwrap();
    }
    erasure
}

#[tokio::test]
async fn each_erasure_is_tried_and_each_tier_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(&folder).unwrap());
    let erasures = [made(&*store, "a").await, made(&*store, "b").await, made(&*store, "c").await];
    // Nobody is there, and nobody is asked.
    let seek = SeekPool::new(KafkaSettings::new("127.0.0.1:1", Topics::default()), 1);
    let (search, archive) =
        (Failing::new(Tier::Search, &[&erasures[1]]), Failing::new(Tier::Archive, &[&erasures[0], &erasures[1]]));
    let elsewhere: [Arc<dyn Clear>; 2] = [search.clone(), archive.clone()];
    let eraser = Eraser::new(LogReader::new(store.clone(), seek)).with(elsewhere);
    let mut progress = Progress::default();
    // All have been known for long enough.
    let since = Instant::now().checked_sub(LEASE + GRACE).unwrap();
    progress.known_since.extend(erasures.iter().map(|erasure| (erasure.id.clone(), since)));
    let failures = eraser.round(&mut progress).await.unwrap();
    let mut failed: Vec<_> = failures.into_iter().map(|failure| (failure.erasure, failure.tier)).collect();
    failed.sort();
    let id = |index: usize| erasures[index].id.clone();
    let mut expected = vec![(id(0), Some(Tier::Archive)), (id(1), Some(Tier::Archive)), (id(1), Some(Tier::Search))];
    expected.sort();
    assert_eq!(failed, expected);
    let state = async |index: usize, tier| {
        let receipt = receipt::read(&*store, &erasures[index]).await.unwrap();
        receipt.tiers.into_iter().find(|state| state.tier == tier).unwrap()
    };
    for (index, tier, is_cleared) in [
        (0, Tier::Search, true),
        (0, Tier::Archive, false),
        (1, Tier::Search, false),
        (1, Tier::Archive, false),
        (2, Tier::Search, true),
        (2, Tier::Archive, true),
    ] {
        let state = state(index, tier).await;
        assert_eq!((state.cleared.is_some(), state.replaced.is_some()), (is_cleared, is_cleared), "{index} {tier}");
    }

    // What is damaged is left alone for a while; of what was done when it was tried before, the receipt says so.
    assert!(eraser.round(&mut progress).await.unwrap().is_empty());
    assert!(state(0, Tier::Archive).await.cleared.is_none());
    archive.fails.lock().clear();
    search.fails.lock().clear();
    for begun in progress.begun.values_mut() {
        assert_eq!(begun.paused.take().map(|(pause, _)| pause), Some(PAUSES.0));
    }
    assert!(eraser.round(&mut progress).await.unwrap().is_empty());
    let cleared = state(0, Tier::Archive).await;
    let names = vec!["file-0".to_owned(), "file-1".to_owned()];
    assert_eq!((cleared.rows, cleared.replaced), (20, Some(Replaced { files: 2, names })));
    assert!(progress.begun.is_empty());
    assert!(eraser.round(&mut progress).await.unwrap().is_empty());
    assert_eq!(progress.settled.len(), 3);
}
