//! The search index that this process makes: its sink, looking after the splits, and its lease.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentworks_objects::Objects;
use agentworks_processors::erasure::Erasures;
use agentworks_processors::sink::Sink;
use agentworks_search::cache::{CacheConfig, SplitCache};
use agentworks_search::indexer::{IndexerConfig, Live, indexer};
use agentworks_search::maintain::{MaintainConfig, Maintainer};
use agentworks_search::manifest::Manifest;
use anyhow::Context;
use prometheus_client::registry::Registry;
use tokio::time::sleep;
use tracing::warn;

use crate::config;

/// Where the index lies among the objects.
pub(crate) const PREFIX: &str = "search";

/// The index, as this process makes it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Index {
    live: Live,
    maintainer: Maintainer,
    interval: Duration,
}

impl Index {
    /// The sink that fills the index, and what goes with it.
    pub(crate) fn start(
        config: &config::Search,
        objects: &Objects,
        erasures: Erasures,
        registry: &mut Registry,
    ) -> anyhow::Result<(Box<dyn Sink>, Self)> {
        let (manifest, cache) = open(config, objects)?;
        let scratch = config.folder.join("making");
        let making = IndexerConfig {
            age: config.split_age.0,
            split_bytes: config.split_bytes.0 as u64,
            ..IndexerConfig::new(&scratch)
        };
        let (sink, live) = indexer(making, manifest.clone(), registry).context("cannot make the search index")?;
        let keeping = MaintainConfig { retention: Some(config.retention()), ..MaintainConfig::new(scratch) };
        let maintainer = Maintainer::new(manifest, cache, keeping, Some(erasures));
        Ok((sink, Index { live, maintainer, interval: config.maintain.0 }))
    }

    /// What isn't published yet.
    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    /// Merges splits and lets them expire, for as long as the process lives.
    pub(crate) async fn maintain(self) {
        loop {
            sleep(self.interval.mul_f64(rand::random_range(0.8..1.2))).await;
            if let Err(error) = self.maintainer.round().await {
                warn!(%error, "looking after the search index will be tried again");
            }
        }
    }
}

/// The manifest, and the splits at hand.
pub(crate) fn open(config: &config::Search, objects: &Objects) -> anyhow::Result<(Manifest, SplitCache)> {
    let objects = objects.child(PREFIX);
    let folder = config.folder.join("splits");
    let cache = CacheConfig { bytes: config.cache.0 as u64, ..CacheConfig::new(folder) };
    let cache = SplitCache::new(objects.clone(), cache).context("cannot use search.folder")?;
    Ok((Manifest::new(objects), cache))
}
