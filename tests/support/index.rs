//! The search index of a stack: its sink in a group of its own, and a searcher over it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::{KafkaSettings, SeekPool};
use agentworks_objects::Objects;
use agentworks_processors::erasure::Erasures;
use agentworks_processors::reader::LogReader;
use agentworks_processors::runtime::{Runtime, RuntimeConfig, RuntimeHandle};
use agentworks_search::cache::{CacheConfig, SplitCache};
use agentworks_search::exec::ByTerms;
use agentworks_search::fresh::LocalFresh;
use agentworks_search::indexer::{IndexerConfig, indexer};
use agentworks_search::manifest::Manifest;
use agentworks_search::searcher::{Searcher, SearcherConfig, SeekTail};
use agentworks_store::Store;
use prometheus_client::registry::Registry;

/// The index, being filled.
pub struct Index {
    pub searcher: Searcher,
    pub runtime: RuntimeHandle,
}

impl Index {
    /// Fills one in a folder. Splits are published soon, so that what is found comes from them and from what isn't published yet.
    pub fn start(
        settings: &KafkaSettings,
        prefix: &str,
        store: &Arc<dyn Store>,
        erasures: Erasures,
        folder: &Path,
        registry: &mut Registry,
    ) -> Index {
        let objects = Objects::folder(&folder.join("objects")).unwrap();
        let manifest = Manifest::new(objects.clone());
        let config = IndexerConfig { age: Duration::from_millis(1500), ..IndexerConfig::new(folder.join("making")) };
        let (sink, live) = indexer(config, manifest.clone(), registry).unwrap();
        let config = RuntimeConfig {
            dead_letters: false,
            ..RuntimeConfig::new(settings.clone(), format!("{prefix}search"), store.clone(), vec![sink])
        };
        let runtime = Runtime::start(config).unwrap();
        let cache = SplitCache::new(objects, CacheConfig::new(folder.join("splits"))).unwrap();
        let pool = SeekPool::new(settings.clone(), 2);
        let tail = SeekTail::new(pool.clone()).with_lanes_of(LogReader::new(store.clone(), pool));
        let execute = Arc::new(ByTerms::default());
        let searcher = Searcher::new(
            manifest,
            cache,
            execute.clone(),
            Some(erasures),
            Some(Arc::new(tail)),
            SearcherConfig::default(),
        );
        searcher.set_fresh(vec![Arc::new(LocalFresh::new(live, execute))]);
        Index { searcher, runtime }
    }
}
