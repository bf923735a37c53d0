//! What has expired.

use std::sync::Arc;

use agentworks_schemas::Timestamp;

use super::{Damage, Maintainer};
use crate::error::SearchError;
use crate::manifest::Change;
use crate::split::SplitMeta;

/// A split is rewritten when one in so many of its entries has expired: sooner, and entries are written again and again.
const SHARE: u64 = 4;

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
            let is_old = |name: &String, last: Timestamp| last < retention.bound(name, now);
            let old = split.workspaces.iter().filter(|(name, part)| is_old(name, part.record_times.last));
            old.map(|(_, part)| part.docs).sum()
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
