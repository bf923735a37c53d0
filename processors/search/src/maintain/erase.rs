//! What was erased. From the erasure on, searches filter by it; here it is taken out of the splits.

use std::sync::Arc;

use agentworks_processors::erasure::{Erasure, Target};
use agentworks_schemas::Position;
use tantivy::Term;
use tantivy::schema::IndexRecordOption;
use tokio::task::spawn_blocking;

use super::{Damage, Maintainer};
use crate::error::SearchError;
use crate::exec::Positions;
use crate::schema::fields;
use crate::split::{LaneRange, Split, SplitMeta};

/// What has become of an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erased {
    /// Some of what it covers isn't published yet: ask again.
    NotYet,
    /// No split that is published has any of it, and so many had and were rewritten. The objects of those are deleted
    /// after a grace: see [`Grace::removed`](crate::manifest::Grace::removed).
    Done(usize),
}

impl Maintainer {
    /// Takes what an erasure covers out of all splits. It must be known to the erasures that this was made with.
    ///
    /// # Errors
    /// The store's or the local disk's, what was done before is done; or that a split that may have some of it is damaged,
    /// once all others are done.
    pub async fn erase(&self, erasure: &Erasure) -> Result<Erased, SearchError> {
        let state = self.manifest.refresh().await?;
        for (partition, epoch, next) in erasure.upto.iter() {
            // Where there is no position, nothing was ever indexed.
            if state.position(partition).is_some_and(|position| position < (epoch, next)) {
                return Ok(Erased::NotYet);
            }
        }
        let (mut rewritten, mut damage) = (0, Damage::default());
        loop {
            let state = self.manifest.refresh().await?;
            let mut affected = Vec::new();
            let may_have = |split: &&Arc<SplitMeta>| may_have(split, erasure) && !damage.has(&split.id);
            for split in state.splits.values().filter(may_have).cloned().collect::<Vec<_>>() {
                if damage.of(self.has(&split, erasure).await)?.unwrap_or_default() {
                    affected.push(split);
                }
            }
            if affected.is_empty() {
                damage.told()?;
                return Ok(Erased::Done(rewritten));
            }
            // Some may be merged by others meanwhile: what that makes is looked at again.
            rewritten += self.rewrite("erase", affected, &mut damage).await?;
        }
    }

    /// Whether a split has documents that the erasure covers.
    async fn has(&self, meta: &Arc<SplitMeta>, erasure: &Erasure) -> Result<bool, SearchError> {
        let split = self.cache.open(meta).await?;
        let erasure = erasure.clone();
        spawn_blocking(move || find(&split, &erasure)).await?
    }
}

/// Whether its meta tells that it has none.
fn may_have(split: &SplitMeta, erasure: &Erasure) -> bool {
    split.workspaces.contains_key(&erasure.workspace)
        && split.lanes.iter().any(|range| {
            let &LaneRange { partition, epoch, from: offset, .. } = range;
            erasure.covers(Position { partition, epoch, offset })
        })
}

fn find(split: &Split, erasure: &Erasure) -> Result<bool, SearchError> {
    use tantivy::{DocSet, TERMINATED};

    let term = match &erasure.target {
        Target::Workspace => Term::from_field_text(fields().workspace, &erasure.workspace),
        // Runs of other workspaces may be called the same: that costs a look at the owner.
        Target::Run(run) => Term::from_field_text(fields().run, run),
    };
    let workspace = Term::from_field_text(fields().workspace, &erasure.workspace);
    for segment in split.searcher().segment_readers() {
        let postings = |term: &Term| {
            let inverted = segment.inverted_index(term.field()).map_err(SearchError::from)?;
            inverted.read_postings(term, IndexRecordOption::Basic).map_err(SearchError::scratch("a split"))
        };
        let (Some(mut docs), Some(mut owned)) = (postings(&term)?, postings(&workspace)?) else { continue };
        let positions = Positions::of(segment)?;
        let mut doc = docs.doc();
        while doc != TERMINATED {
            let is_owned = owned.doc() == doc || owned.doc() < doc && owned.seek(doc) == doc;
            if is_owned && positions.get(doc).is_ok_and(|position| erasure.covers(position)) {
                return Ok(true);
            }
            doc = docs.advance();
        }
    }
    Ok(false)
}
