//! What has expired.

use std::sync::Arc;

use agentworks_schemas::Timestamp;

use super::{Damage, Maintainer};
use crate::error::SearchError;
use crate::manifest::Change;
use crate::split::{SplitMeta, WorkspaceMeta};

/// A split is rewritten when one in so many of its entries has expired: sooner, and entries are written again and again.
const SHARE: u64 = 4;

/// How many of a workspace's entries are from before `bound`, about: as if they came evenly. All are only if that is certain.
fn expired_of(part: &WorkspaceMeta, bound: Timestamp) -> u64 {
    let (first, last, bound) = (part.record_times.first.millis(), part.record_times.last.millis(), bound.millis());
    let (before, all) = (i128::from(bound) - i128::from(first), i128::from(last) - i128::from(first) + 1);
    match bound > last {
        true => part.docs,
        false => u64::try_from(i128::from(part.docs) * before.max(0) / all).unwrap_or(part.docs),
    }
}

impl Maintainer {
    /// Drops splits of which everything has expired, and rewrites those of which a good part has. Returns how many. No
    /// search finds what has expired, written or not: see [`SearchRequest::kept_from`](agentworks_query::SearchRequest).
    ///
    /// # Errors
    /// The store's or the local disk's; or that a split is damaged, once the others are done.
    pub async fn expire(&self) -> Result<usize, SearchError> {
        let Some(retention) = &self.config.retention else { return Ok(0) };
        let now = Timestamp::now();
        let state = self.manifest.refresh().await?;
        let expired = |split: &Arc<SplitMeta>| -> u64 {
            let old = |(name, part): (&String, &WorkspaceMeta)| expired_of(part, retention.bound(name, now));
            split.workspaces.iter().map(old).sum()
        };
        let mine = state.splits.values().filter(|split| (self.config.is_mine)(&split.id));
        let (gone, rest): (Vec<_>, Vec<_>) = mine.partition(|split| expired(split) >= split.docs);
        if !gone.is_empty() {
            let remove = gone.iter().map(|split| split.id.clone()).collect();
            match self.manifest.publish(&Change { remove, ..Change::new("expire") }).await {
                // If some are gone, the next round finds the others.
                Ok(_) | Err(SearchError::Gone(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let mixed = rest.into_iter().filter(|split| expired(split) * SHARE >= split.docs).cloned().collect();
        let mut damage = Damage::default();
        let rewritten = self.rewrite("expire", mixed, &mut damage).await?;
        damage.told()?;
        Ok(gone.len() + rewritten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_expired_is_estimated_by_time() {
        let mut part = WorkspaceMeta::of(Timestamp(0), Timestamp(1000));
        part.add(Timestamp(0), Timestamp(1999));
        part.docs = 100;
        for (bound, expected) in [(0, 0), (1000, 0), (1250, 25), (1999, 99), (2000, 100), (i64::MAX, 100)] {
            assert_eq!(expired_of(&part, Timestamp(bound)), expected, "{bound}");
        }
    }
}
