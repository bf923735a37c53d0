//! Making splits again from the log, or from what has kept it: such that are damaged or missing, or that an older version
//! wrote.

use std::sync::Arc;

use agentworks_kafka::Batch;
use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::Maintainer;
use crate::error::SearchError;
use crate::indexer::{IndexerConfig, Making, Page};
use crate::split::{Found, LaneRange, Split, SplitId, SplitMeta, Times, WorkspaceMeta, rebuild};

/// Where the log is read, or what was kept of it.
#[async_trait]
pub trait LogSource: Send + Sync + std::fmt::Debug {
    /// Reads a range of a lane. Batches come in order and tile the range; an error ends them.
    async fn read(&self, range: LaneRange) -> mpsc::Receiver<Result<Arc<Batch>, SearchError>>;
}

/// What was made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reindexed {
    /// The split that was replaced.
    pub split: SplitId,
    /// Entries that it had, and that its place has now. Fewer, if some were erased or have expired since.
    pub docs: (u64, u64),
}

impl Maintainer {
    /// Makes splits again from the log: those named, or all with entries whose record timestamps lie in a span.
    ///
    /// # Errors
    /// If a named one isn't there, or the log doesn't have all that a split had; the store's and the local disk's. What was
    /// done before is done.
    pub async fn reindex(
        &self,
        log: &dyn LogSource,
        named: &[SplitId],
        times: Option<Times>,
    ) -> Result<Vec<Reindexed>, SearchError> {
        let state = self.manifest.refresh().await?;
        let missing: Vec<_> = named.iter().filter(|id| !state.splits.contains_key(id)).cloned().collect();
        if !missing.is_empty() {
            return Err(SearchError::Gone(missing));
        }
        let is_wanted = |split: &&Arc<SplitMeta>| {
            let in_span = || times.is_some_and(|times| split.record_times().is_some_and(|own| own.overlap(times)));
            named.contains(&split.id) || in_span()
        };
        let mut done = Vec::new();
        for split in state.splits.values().filter(is_wanted) {
            // Somebody may merge it meanwhile, if it could be read.
            if let Some(docs) = self.reindex_split(log, split).await? {
                done.push(Reindexed { split: split.id.clone(), docs: (split.docs, docs) });
            }
        }
        Ok(done)
    }

    /// Those of some splits that are missing or damaged, and what is wrong with each.
    ///
    /// # Errors
    /// The store's and the local disk's.
    pub async fn damaged(&self, splits: &[Arc<SplitMeta>]) -> Result<Vec<(Arc<SplitMeta>, String)>, SearchError> {
        let mut damaged = Vec::new();
        for split in splits {
            match self.cache.open(split).await {
                Ok(_) => {}
                Err(SearchError::Split { reason, .. }) => damaged.push((split.clone(), reason)),
                Err(error) => return Err(error),
            }
        }
        Ok(damaged)
    }

    async fn reindex_split(&self, log: &dyn LogSource, split: &Arc<SplitMeta>) -> Result<Option<u64>, SearchError> {
        let keep = self.keep().await?;
        let config = IndexerConfig::new(&self.config.scratch);
        let (mut making, mut pages, chunk) = (Making::new(&config), Vec::new(), config.chunk());
        for range in &split.lanes {
            let mut batches = log.read(*range).await;
            let mut next = range.from;
            while let Some(batch) = batches.recv().await {
                let batch = batch?;
                next = batch.to;
                pages.push(Arc::new(Page::copy(&batch, batch.from)));
                if !chunk
                    .is_full(pages.iter().map(|page| page.len()).sum(), pages.iter().map(|page| page.memory()).sum())
                {
                    continue;
                }
                let full = std::mem::take(&mut pages);
                let index = move || {
                    making.index(&full)?;
                    if making.is_segment_full() {
                        making.end_segment()?;
                    }
                    Ok::<_, SearchError>(making)
                };
                making = spawn_blocking(index).await??;
            }
            if next < range.to {
                let reason = format!(
                    "can't be made again: {range} could be read up to {next}, and beyond that is neither in the log nor in an archive"
                );
                return Err(SearchError::split(&split.id, reason));
            }
        }
        let (meta, scratch) = (split.clone(), self.config.scratch.clone());
        let make = move || {
            making.index(&pages)?;
            let Some((contents, _)) = making.seal()? else { return Ok(None) };
            let mut workspaces = contents.workspaces;
            for (name, workspace) in &mut workspaces {
                if let Some(before) = meta.workspaces.get(name) {
                    workspace.lanes.clone_from(&before.lanes);
                }
            }
            let (lanes, mut apart) = (meta.lanes.clone(), meta.apart.clone());
            // Of these the log may have nothing left: it was erased, and the archive is read.
            let has_others = |(_, own): &(&String, &WorkspaceMeta)| !own.lanes.is_empty();
            apart.extend(meta.workspaces.iter().filter(has_others).map(|(name, _)| name.clone()));
            apart.retain(|name| !workspaces.contains_key(name));
            let all = contents.packed.meta(contents.docs, meta.tier, lanes, workspaces, apart);
            let all = Split::open(Arc::new(all), contents.packed.path())?;
            rebuild(&[all], meta.lanes.iter().copied(), meta.tier, &scratch, &mut |found: &Found<'_>| {
                // The same ranges may lie in other splits, too: with entries of other workspaces, or of this one.
                let own = meta.ranges_of(found.workspace);
                meta.workspaces.contains_key(found.workspace)
                    && own.iter().any(|range| range.contains(found.position))
                    && keep.keeps(found)
            })
        };
        let made: Vec<_> = spawn_blocking(make).await??.into_iter().collect();
        let docs = made.iter().map(|(_, meta)| meta.docs).sum();
        Ok(self.put("reindex", made, std::slice::from_ref(split)).await?.then_some(docs))
    }
}
