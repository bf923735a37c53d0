//! Topics that were made again with fewer partitions: what lay in those that they have lost is erased with everything else.

use std::path::Path;

use agentworks_archive::{Archive, ArchiveConfig, ArchiveSink, MaintainConfig, Maintenance};
use agentworks_ingest::producer::Producer;
use agentworks_kafka::{KafkaSettings, SeekPool, SeekRequest, Watermarks};
use agentworks_objects::Objects;
use agentworks_processors::epochs::adopt::{Adopter, Choices};
use agentworks_processors::erasure::{Clearing, EraseError, Eraser, Target, Tier};
use agentworks_processors::hot::{HotConfig, HotSink};
use agentworks_processors::reader::LogReader;
use agentworks_processors::runs::{RunsConfig, RunsSink};
use agentworks_processors::sink::{Flush, Sink};
use agentworks_processors::warm::{WarmConfig, WarmSink};
use agentworks_query::{SearchRequest, language};
use agentworks_schemas::topics::partition_of;
use agentworks_schemas::{Timestamp, Topic, TopicPartition};
use agentworks_search::cache::{CacheConfig, SplitCache};
use agentworks_search::exec::ByTerms;
use agentworks_search::indexer::{IndexerConfig, indexer};
use agentworks_search::manifest::Manifest;
use agentworks_search::searcher::{Searcher, SearcherConfig};
use agentworks_store::{EmbeddedStore, Store};
use prometheus_client::registry::Registry;

use super::*;
use crate::support::Scratch;
use crate::support::records::{create_topics, make_again, produce};

/// How many partitions the topics have at first; then they have one.
const PARTITIONS: i32 = 2;
/// How many entries a run has, and it has an event.
const LINES: usize = 20;

/// All that sinks fill, which are run by hand.
struct Places {
    settings: KafkaSettings,
    store: Arc<dyn Store>,
    archive: Archive,
    manifest: Manifest,
}

impl Places {
    /// Has all sinks take what the log has.
    async fn fill(&self, epoch: u32, partitions: i32, making: &Path) {
        let (store, registry) = (&self.store, &mut Registry::default());
        let config = IndexerConfig::new(making.join(format!("making-{epoch}")));
        let (search, _) = indexer(config, self.manifest.clone(), registry).unwrap();
        let sinks: [Box<dyn Sink>; 5] = [
            Box::new(HotSink::new(store.clone(), HotConfig::default(), registry).unwrap()),
            Box::new(WarmSink::new(store.clone(), WarmConfig::default(), registry).unwrap()),
            Box::new(RunsSink::new(store.clone(), RunsConfig::default())),
            Box::new(ArchiveSink::new(self.archive.clone(), ArchiveConfig::default(), registry).unwrap()),
            search,
        ];
        let seek = SeekPool::new(self.settings.clone(), 2);
        for mut sink in sinks {
            let lanes =
                sink.topics().iter().flat_map(|topic| (0..partitions).map(move |n| TopicPartition::new(*topic, n)));
            for partition in lanes {
                // A topic that was just made isn't known everywhere.
                let marks = eventually(PATIENCE, async || seek.watermarks(partition).await.ok()).await;
                let Watermarks { low, high: to } = marks;
                let from = sink.open(partition, epoch, low).await.unwrap().high;
                let mut batches = seek.read(SeekRequest { partition, epoch, from, to, key: None });
                while let Some(batch) = batches.recv().await {
                    sink.take(&batch.unwrap()).await.unwrap();
                }
                sink.flush(Flush::Partition(partition)).await.unwrap();
            }
        }
    }

    fn reader(&self) -> LogReader {
        LogReader::new(self.store.clone(), SeekPool::new(self.settings.clone(), 2))
    }
}

/// A card in each partition.
fn cards() -> Vec<String> {
    let in_lane = |lane: i32| {
        let mut names = (0..).map(|number| format!("card-{number}"));
        names.find(|card| partition_of(card.as_bytes(), PARTITIONS) == lane).unwrap()
    };
    (0..PARTITIONS).map(in_lane).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lay_in_partitions_that_the_topics_have_lost_is_found_by_nobody() {
    let (bootstrap, folder) = (kafka().await.bootstrap(), Scratch::new("erase"));
    let topics = create_topics(&bootstrap, &unique_prefix(), PARTITIONS).await;
    let objects = Objects::folder(&folder.path().join("objects")).unwrap();
    let places = Places {
        settings: KafkaSettings::new(bootstrap.clone(), topics.clone()),
        store: Arc::new(EmbeddedStore::open(folder.path().join("store")).unwrap()),
        archive: Archive::open(&objects.child("archive")).await.unwrap(),
        manifest: Manifest::new(objects.clone()),
    };
    // Their ids are known from now on.
    Adopter::new(&places.reader()).unwrap().reports().await.unwrap();
    let producer = Producer::builder(&bootstrap).topics(topics.clone()).linger(Duration::from_millis(1));
    let producer = producer.build().unwrap();
    for workspace in ["acme", "other"] {
        for card in cards() {
            let run = producer.run(workspace, &card, &card);
            run.started().send().await.unwrap().await.unwrap();
            write(&run, lines("line")).await;
        }
    }
    producer.close(Duration::from_secs(10)).await.unwrap();
    places.fill(0, PARTITIONS, folder.path()).await;

    // Nobody can say how far to erase in logs that nothing is taken of.
    for topic in Topic::ALL {
        make_again(&places.settings, topic, 1).await;
    }
    let reader = places.reader();
    let eraser = Eraser::new(reader.clone());
    let erase = async || eraser.erase("acme", Target::Workspace, "tests").await;
    let refused = async || match erase().await {
        Err(EraseError::OtherLog(reason)) => Some(reason),
        _ => None,
    };
    let reason = eventually(PATIENCE, refused).await;
    assert!(reason.contains("agentworks topics adopt"), "{reason}");
    assert_eq!(eraser.receipts("acme").await.unwrap(), []);
    let adopter = Adopter::new(&reader).unwrap();
    for topic in Topic::ALL {
        eventually(PATIENCE, async || adopter.adopt(topic, Choices::default()).await.ok()).await;
    }
    places.fill(1, 1, folder.path()).await;

    let cache = SplitCache::new(objects, CacheConfig::new(folder.path().join("splits"))).unwrap();
    let erasures = Some(reader.erasures().clone());
    let execute = Arc::new(ByTerms::default());
    let searcher = Searcher::new(places.manifest.clone(), cache, execute, erasures, None, SearcherConfig::default());
    let found = async |workspace: &str| {
        let query = language::parse("*", Timestamp(0)).unwrap();
        let request = SearchRequest { limit: 1_000, ..SearchRequest::new(workspace, query) };
        searcher.search(request).await.unwrap().found.hits.len()
    };
    let counted = async |runs: &RunReader, workspace: &str| {
        let mut entries = 0;
        for card in cards() {
            let parts = runs.parts(workspace, &card).await.unwrap();
            entries += parts.iter().map(|part| part.entries()).sum::<u64>() as usize;
        }
        entries
    };
    let both = 2 * LINES;
    for workspace in ["acme", "other"] {
        assert_eq!((found(workspace).await, counted(reader.runs(), workspace).await), (both, both));
    }

    let receipt = eventually(PATIENCE, async || erase().await.ok()).await;
    for (workspace, left) in [("acme", 0), ("other", both)] {
        assert_eq!((found(workspace).await, counted(reader.runs(), workspace).await), (left, left), "{workspace}");
    }
    assert_eq!(reader.cards("acme", 10, &|_| true).await.unwrap(), []);
    let keeper = Maintenance::new(places.archive.clone(), MaintainConfig::default()).unwrap();
    assert!(keeper.has_passed(&receipt.erasure).await.unwrap());
    let mut clearing = Clearing::default();
    keeper.erase(&receipt.erasure, &mut clearing).await.unwrap();
    assert_eq!(clearing.rows as usize, both + 2, "{clearing:?}");

    let clears = tokio::spawn(eraser.clone().work());
    let receipt = eventually(PATIENCE, async || {
        let receipt = eraser.receipt("acme", &receipt.erasure.id).await.unwrap().unwrap();
        let is_cleared = |tier| receipt.tiers.iter().any(|state| state.tier == tier && state.cleared.is_some());
        [Tier::Hot, Tier::Warm, Tier::Runs].into_iter().all(is_cleared).then_some(receipt)
    })
    .await;
    clears.abort();
    let stored = RunReader::new(places.store.clone());
    assert_eq!((counted(&stored, "acme").await, counted(&stored, "other").await), (0, both));
    // Blocks that no position tells of any more are there until they expire.
    for state in receipt.tiers.iter().filter(|state| [Tier::Hot, Tier::Warm].contains(&state.tier)) {
        assert!(state.gone_by > state.cleared, "{state:?}");
    }

    // What comes later is something else.
    let card = cards().remove(0);
    let line = format!(r#"{{"id":"1","runId":"{card}","cardId":"{card}","workspaceId":"acme","message":"later"}}"#);
    produce(&bootstrap, &topics.name(Topic::AgentLogs), [(card, line)]).await;
    places.fill(1, 1, folder.path()).await;
    eventually(PATIENCE, async || (found("acme").await == 1).then_some(())).await;
    assert_eq!(counted(reader.runs(), "acme").await, 1);
}
