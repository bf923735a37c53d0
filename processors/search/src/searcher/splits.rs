//! Searching splits.

use std::sync::Arc;
use std::time::Instant;

use agentworks_query::request::{Order, SortBy};
use agentworks_query::{PartialAnswer, SearchRequest};
use agentworks_schemas::Timestamp;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::spawn_blocking;

use super::{Damage, Searcher};
use crate::error::SearchError;
use crate::exec::Opened;
use crate::execute::Execute;
use crate::manifest::State;
use crate::split::{SplitMeta, Times};

impl Searcher {
    /// Answers for all splits of a version.
    pub(super) async fn splits(
        &self,
        state: &State,
        request: &Arc<SearchRequest>,
        damage: Damage,
        deadline: Instant,
    ) -> Result<PartialAnswer, SearchError> {
        let splits = self.chosen(state, request);
        let own = |split: &Arc<SplitMeta>| split.workspaces[&request.workspace].times;
        let may_end = request.sort.by == SortBy::Timestamp && !request.wanted.is_any();
        let mut answer = PartialAnswer::default();
        for wave in splits.chunks(self.shared.config.concurrency.max(1)) {
            if may_end && answer.is_full(request) {
                let Some(worst) = answer.hits.last().map(|hit| hit.key.timestamp) else { break };
                let is_beyond = |split: &Arc<SplitMeta>| match request.sort.order {
                    Order::Desc => own(split).last < worst,
                    Order::Asc => own(split).first > worst,
                };
                // The others come after this one.
                if is_beyond(&wave[0]) {
                    answer.cost.pruned += 1;
                    break;
                }
            }
            let searches = stream::iter(wave.iter().cloned()).map(|split| async move {
                match self.split(split, request.clone(), deadline).await {
                    Err(error @ SearchError::Split { .. }) if damage == Damage::IsTold => {
                        tracing::error!(%error, "a split is left out of a search");
                        Ok(PartialAnswer { incomplete: vec![error.to_string()], ..PartialAnswer::default() })
                    }
                    result => result,
                }
            });
            let answers: Vec<_> = searches.buffer_unordered(wave.len()).try_collect().await?;
            answer = answers.into_iter().fold(answer, |all, one| all.merge(one, request));
        }
        Ok(answer)
    }

    /// The splits of a version that have entries of the workspace in the range of time; those that can have the first hits
    /// come first.
    pub(super) fn chosen(&self, state: &State, request: &SearchRequest) -> Vec<Arc<SplitMeta>> {
        let (from, to) = request.times();
        let (first, last) = (from.unwrap_or(Timestamp(i64::MIN)), to.unwrap_or(Timestamp(i64::MAX)));
        if first > last {
            return Vec::new();
        }
        let of_time = state.splits_of(&request.workspace, Some(Times { first, last }));
        // All that it has of the workspace may have expired.
        let is_kept = |split: &&Arc<SplitMeta>| request.keeps(split.workspaces[&request.workspace].record_times.last);
        let mut splits: Vec<_> = of_time.filter(is_kept).cloned().collect();
        let own = |split: &Arc<SplitMeta>| split.workspaces[&request.workspace].times;
        match request.sort.order {
            Order::Desc => splits.sort_by_key(|split| std::cmp::Reverse(own(split).last)),
            Order::Asc => splits.sort_by_key(|split| own(split).first),
        }
        splits
    }

    async fn split(
        &self,
        meta: Arc<SplitMeta>,
        request: Arc<SearchRequest>,
        deadline: Instant,
    ) -> Result<PartialAnswer, SearchError> {
        let search = move |execute: &dyn Execute, index: &Opened| execute.search(index, &request, deadline);
        let mut answer = self.with_split(&meta, search).await?;
        answer.cost.splits += 1;
        Ok(answer)
    }

    /// Opens a split, and does something with its index that blocks, when there is a turn for it: those who wait for a
    /// download take nobody's.
    pub(super) async fn with_split<T: Send + 'static>(
        &self,
        meta: &Arc<SplitMeta>,
        work: impl FnOnce(&dyn Execute, &Opened) -> Result<T, SearchError> + Send + 'static,
    ) -> Result<T, SearchError> {
        let split = self.shared.cache.open(meta).await?;
        let permits = self.shared.permits.clone();
        let permit = permits.acquire_owned().await.map_err(|error| SearchError::Abandoned(error.to_string()))?;
        let execute = self.shared.execute.clone();
        let work = move || {
            let _permit = permit;
            work(&*execute, split.searcher())
        };
        spawn_blocking(work).await?
    }
}
