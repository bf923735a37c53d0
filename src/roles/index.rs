//! The search index: the sink that makes it, looking after its splits, and searching it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::SeekPool;
use agentworks_objects::Objects;
use agentworks_processors::erasure::Erasures;
use agentworks_processors::reader::LogReader;
use agentworks_processors::sink::Sink;
use agentworks_search::cache::{CacheConfig, SplitCache};
use agentworks_search::exec::ByTerms;
use agentworks_search::execute::Execute;
use agentworks_search::fresh::{Fresh, LocalFresh};
use agentworks_search::indexer::{IndexerConfig, Live, clear, indexer};
use agentworks_search::maintain::{MaintainConfig, Maintainer, MergePolicy};
use agentworks_search::manifest::{Grace, Manifest};
use agentworks_search::searcher::{LogTail, Searcher, SearcherConfig, SeekTail};
use anyhow::{Context, bail};
use prometheus_client::registry::Registry;
use tokio::time::sleep;
use tracing::warn;

use super::erasing::ErasedFromIndex;
use crate::config;
use crate::lock;

/// Where splits are made when they are looked after, in the folder for splits in the making.
const MAINTAIN: &str = "maintain";
/// Where the index lies among the objects.
const PREFIX: &str = "search";

/// The splits, and where they are at hand in this process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Splits {
    manifest: Manifest,
    cache: SplitCache,
    /// For splits in the making.
    scratch: PathBuf,
    /// Held as long as somebody writes there.
    lock: Option<Arc<File>>,
}

/// Which splits there are among `objects`.
pub(super) fn manifest(objects: &Objects) -> Manifest {
    Manifest::new(objects.child(PREFIX))
}

impl Splits {
    /// The splits among `objects`, with what `role` needs of local files.
    pub(crate) fn open(config: &config::Search, objects: &Objects, role: &str) -> anyhow::Result<Self> {
        let objects = objects.child(PREFIX);
        let folder = config.folder.join(role);
        let cache = CacheConfig { bytes: config.cache.0 as u64, ..CacheConfig::new(folder.join("splits")) };
        let cache = SplitCache::new(objects.clone(), cache).context("cannot use search.folder")?;
        Ok(Splits { manifest: Manifest::new(objects), cache, scratch: folder.join("making"), lock: None })
    }

    /// Which there are.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Takes the local folder for this process alone, and removes what looking after splits has left there when it was
    /// killed.
    ///
    /// # Errors
    /// If the folder can't be used, or another process does.
    pub(crate) fn take_folder(&mut self) -> anyhow::Result<()> {
        let Some(held) = lock::take(&self.scratch).context("cannot use search.folder")? else {
            bail!("another process makes splits in {}: give each a search.folder of its own", self.scratch.display());
        };
        self.lock = Some(Arc::new(held));
        let scratch = self.scratch.join(MAINTAIN);
        if scratch.is_dir() {
            clear(&scratch).context("cannot use search.folder")?;
        }
        Ok(())
    }

    /// What looks after them.
    ///
    /// # Errors
    /// If the local folder can't be used.
    pub(crate) fn maintainer(&self, config: &config::Search, erasures: Erasures) -> anyhow::Result<Maintainer> {
        let scratch = self.scratch.join(MAINTAIN);
        std::fs::create_dir_all(&scratch).context("cannot use search.folder")?;
        // Spread, so that not all processes begin with the same merges at once.
        let settle = config.settle.0.mul_f64(rand::random_range(1.0..1.5));
        let merge = MergePolicy { settle, ..MergePolicy::default() };
        let keeping = MaintainConfig { merge, retention: Some(config.retention()), ..MaintainConfig::new(scratch) };
        Ok(Maintainer::new(self.manifest.clone(), self.cache.clone(), keeping, Some(erasures)))
    }

    /// What takes erased entries out of them.
    ///
    /// # Errors
    /// As [`Splits::maintainer`].
    pub(crate) fn erased(&self, config: &config::Search, erasures: Erasures) -> anyhow::Result<ErasedFromIndex> {
        Ok(ErasedFromIndex { maintainer: self.maintainer(config, erasures)?, grace: Grace::default().removed })
    }

    /// What searches them, and the log beyond them.
    pub(crate) fn searcher(&self, config: &config::Search, reader: &LogReader, seek: SeekPool) -> Searcher {
        let searching = SearcherConfig {
            deadline: config.deadline.0,
            tail: config.tail,
            retention: Some(config.retention()),
            ..SearcherConfig::default()
        };
        let (manifest, cache) = (self.manifest.clone(), self.cache.clone());
        let tail: Arc<dyn LogTail> = Arc::new(SeekTail::new(seek).with_lanes_of(reader.clone()));
        Searcher::new(manifest, cache, executor(), Some(reader.erasures().clone()), Some(tail), searching)
    }
}

/// What finds the hits in an index.
fn executor() -> Arc<dyn Execute> {
    Arc::new(ByTerms::default())
}

/// The index, as this process makes it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Index {
    splits: Splits,
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
        let mut splits = Splits::open(config, objects, "process")?;
        splits.take_folder()?;
        let making = IndexerConfig {
            age: config.split_age.0,
            split_bytes: config.split_bytes.0 as u64,
            ..IndexerConfig::new(&splits.scratch)
        };
        let (sink, live) =
            indexer(making, splits.manifest.clone(), registry).context("cannot make the search index")?;
        let maintainer = splits.maintainer(config, erasures)?;
        Ok((sink, Index { splits, live, maintainer, interval: config.maintain.0 }))
    }

    /// The splits.
    pub(crate) fn splits(&self) -> &Splits {
        &self.splits
    }

    /// What answers for what isn't published yet.
    pub(crate) fn fresh(&self) -> Arc<dyn Fresh> {
        Arc::new(LocalFresh::new(self.live.clone(), executor()))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_process_alone_makes_splits_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::folder(&folder.path().join("objects")).unwrap();
        let config = config::Search { folder: folder.path().join("search"), ..config::Search::default() };
        let open = || Splits::open(&config, &objects, "process").unwrap();
        let mut first = open();
        first.take_folder().unwrap();
        let refused = open().take_folder().unwrap_err().to_string();
        assert!(refused.contains("give each a search.folder of its own"), "{refused}");
        drop(first);
        open().take_folder().unwrap();
    }
}
