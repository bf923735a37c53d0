//! Making splits of others, and putting them in their place.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentworks_processors::erasure::View;
use agentworks_processors::lane::Retention;
use agentworks_schemas::Timestamp;
use tokio::task::spawn_blocking;
use tracing::info;

use super::{Damage, Maintainer};
use crate::error::SearchError;
use crate::manifest::Change;
use crate::split::{Found, Packed, Split, SplitMeta, object_name, rebuild};

/// What may stay of a split, whatever it is rewritten for.
#[derive(Clone, Default)]
pub(super) struct Keep {
    erased: Arc<View>,
    /// How long entries are kept, as of an instant.
    retention: Option<(Retention, Timestamp)>,
}

impl Keep {
    pub(super) fn keeps(&self, found: &Found<'_>) -> bool {
        let is_kept =
            |(retention, now): &(Retention, Timestamp)| found.record_time >= retention.bound(found.workspace, *now);
        self.retention.as_ref().is_none_or(is_kept) && !self.erased.hides(found.workspace, found.run, found.position)
    }
}

/// Entries that get a split of their own: those of one workspace, or of all but some.
#[derive(Clone, Debug)]
pub(super) enum Group {
    Own(String),
    Others(Vec<String>),
}

impl Group {
    fn has(&self, workspace: &str) -> bool {
        match self {
            Group::Own(own) => own == workspace,
            Group::Others(own) => own.iter().all(|own| own != workspace),
        }
    }
}

impl Maintainer {
    /// What may stay now.
    ///
    /// # Errors
    /// If what is erased can't be known: then nothing is written.
    pub(super) async fn keep(&self) -> Result<Keep, SearchError> {
        let erased = match &self.erasures {
            Some(erasures) => erasures.view().await?,
            None => Arc::default(),
        };
        let retention = self.config.retention.clone().map(|retention| (retention, Timestamp::now()));
        Ok(Keep { erased, retention })
    }

    /// Merges splits. Returns whether they were still there to be replaced.
    pub(super) async fn merge_splits(&self, splits: Vec<Arc<SplitMeta>>) -> Result<bool, SearchError> {
        let mut docs = BTreeMap::<&str, u64>::new();
        for (workspace, part) in splits.iter().flat_map(|split| &split.workspaces) {
            *docs.entry(workspace).or_default() += part.docs;
        }
        let is_large = |(name, docs): (&&str, &u64)| (*docs >= self.config.merge.own_docs).then(|| (*name).to_owned());
        let own: Vec<String> = docs.iter().filter_map(is_large).collect();
        let groups = own.iter().cloned().map(Group::Own).chain([Group::Others(own.clone())]).collect();
        self.replace("merge", splits, groups).await
    }

    /// Writes splits anew, each by itself, without what mustn't stay, but for those that are damaged. Returns how many were
    /// still there to be replaced.
    pub(super) async fn rewrite(
        &self,
        why: &str,
        splits: Vec<Arc<SplitMeta>>,
        damage: &mut Damage,
    ) -> Result<usize, SearchError> {
        let mut rewritten = 0;
        for split in splits {
            let replaced = damage.of(self.replace(why, vec![split], vec![Group::Others(Vec::new())]).await)?;
            rewritten += usize::from(replaced.unwrap_or_default());
        }
        Ok(rewritten)
    }

    /// Writes splits anew, grouped so. Returns whether they were still there to be replaced.
    pub(super) async fn replace(
        &self,
        why: &str,
        from: Vec<Arc<SplitMeta>>,
        groups: Vec<Group>,
    ) -> Result<bool, SearchError> {
        let keep = self.keep().await?;
        let mut open = Vec::with_capacity(from.len());
        for split in &from {
            open.push(self.cache.open(split).await?);
        }
        let scratch = self.config.scratch.clone();
        let made = spawn_blocking(move || make(&open, &groups, &keep, &scratch)).await??;
        self.put(why, made, &from).await
    }

    /// Uploads splits, and puts them in the place of others. Returns whether those were still there.
    pub(super) async fn put(
        &self,
        why: &str,
        made: Vec<(Packed, SplitMeta)>,
        from: &[Arc<SplitMeta>],
    ) -> Result<bool, SearchError> {
        // Somebody else may have been quicker; then nothing need be uploaded.
        let state = self.manifest.refresh().await?;
        if from.iter().any(|split| !state.splits.contains_key(&split.id)) {
            return Ok(false);
        }
        let objects = self.manifest.objects();
        for (packed, meta) in &made {
            objects.put_large(&object_name(&meta.id), packed.contents()?).await?;
        }
        let add: Vec<_> = made.iter().map(|(_, meta)| meta.clone()).collect();
        let remove = from.iter().map(|split| split.id.clone()).collect();
        let before: u64 = from.iter().map(|split| split.docs).sum();
        let after: u64 = add.iter().map(|split| split.docs).sum();
        let change = Change { add, remove, ..Change::new(why) };
        match self.manifest.publish(&change).await {
            Ok(_) => {
                // If this process stood still after uploading, they may have been taken for such that nobody needs.
                for (packed, meta) in &made {
                    let name = object_name(&meta.id);
                    if !self.manifest.has_object(&name).await? {
                        objects.put_large(&name, packed.contents()?).await?;
                    }
                }
                info!(why, splits = from.len(), docs = before, into = made.len(), docs_left = after, "splits replaced");
                Ok(true)
            }
            // Somebody else was quicker. What was uploaded is deleted as nothing names it.
            Err(SearchError::Gone(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn make(
    open: &[Split],
    groups: &[Group],
    keep: &Keep,
    scratch: &std::path::Path,
) -> Result<Vec<(Packed, SplitMeta)>, SearchError> {
    let tier = open.iter().map(|split| split.meta().tier).max().unwrap_or(0).saturating_add(1);
    let mut made = Vec::new();
    for group in groups {
        let lanes = open.iter().flat_map(|split| split.meta().lanes.iter().copied());
        let mut keeps = |found: &Found<'_>| group.has(found.workspace) && keep.keeps(found);
        let rebuilt = rebuild(open, lanes, tier, scratch, &mut keeps)?;
        made.extend(rebuilt.map(|(packed, mut meta)| {
            if let Group::Others(own) = group {
                meta.apart.extend(own.iter().cloned());
            }
            (packed, meta)
        }));
    }
    Ok(made)
}
