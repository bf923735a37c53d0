//! Searching splits.

use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use agentworks_query::request::{Order, SortBy};
use agentworks_query::{PartialAnswer, SearchRequest};
use agentworks_schemas::Timestamp;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{block_in_place, spawn_blocking};

use super::{Damage, Searcher};
use crate::error::SearchError;
use crate::exec::{Opened, Required};
use crate::execute::Execute;
use crate::manifest::State;
use crate::split::{SplitMeta, Times};

/// How many splits are asked ahead at most, and how many of them at once.
const AHEAD: usize = 64;
/// See [`AHEAD`].
const ASKED: usize = 16;

impl Searcher {
    /// Answers for all splits of a version.
    pub(super) async fn splits(
        &self,
        state: &State,
        request: &Arc<SearchRequest>,
        damage: Damage,
        deadline: Instant,
    ) -> Result<PartialAnswer, SearchError> {
        let (chosen, required) = (self.chosen(state, request), Required::of(request));
        let concurrency = self.shared.config.concurrency.max(1);
        let mut answer = PartialAnswer::default();
        // Filters are asked ahead, of twice as many splits each time: a page may be full with the first.
        let (mut rest, mut ahead) = (&chosen[..], concurrency);
        'all: while let Some(first) = rest.first() {
            // All others come after it.
            if is_done(&answer, request, first) {
                answer.cost.pruned += 1;
                break;
            }
            let (next, others) = rest.split_at(ahead.min(rest.len()));
            let worthy = self.worth_opening(next, &required).await;
            answer.cost.pruned += (next.len() - worthy.len()) as u64;
            for wave in worthy.chunks(concurrency) {
                if is_done(&answer, request, &wave[0]) {
                    answer.cost.pruned += 1;
                    break 'all;
                }
                answer = self.wave(wave, request, damage, deadline, answer).await?;
            }
            (rest, ahead) = (others, if ahead < AHEAD { 2 * ahead } else { ahead });
        }
        Ok(answer)
    }

    /// Adds the answers of some splits, which are searched at once, to an answer.
    async fn wave(
        &self,
        wave: &[Arc<SplitMeta>],
        request: &Arc<SearchRequest>,
        damage: Damage,
        deadline: Instant,
        answer: PartialAnswer,
    ) -> Result<PartialAnswer, SearchError> {
        let searches = stream::iter(wave.iter().cloned()).map(|split| async move {
            match self.split(split, request.clone(), wave.len() == 1, deadline).await {
                Err(error @ SearchError::Split { .. }) if damage == Damage::IsTold => {
                    tracing::error!(%error, "a split is left out of a search");
                    Ok(PartialAnswer { incomplete: vec![error.to_string()], ..PartialAnswer::default() })
                }
                result => result,
            }
        });
        // As they come: what waits for the others has its bodies with it.
        searches.buffer_unordered(wave.len()).try_fold(answer, |all, one| ready(Ok(all.merge(one, request)))).await
    }

    /// Those of some splits that aren't known to lack what a search requires: others needn't be downloaded.
    async fn worth_opening(&self, splits: &[Arc<SplitMeta>], required: &Required) -> Vec<Arc<SplitMeta>> {
        let asked = stream::iter(splits.to_vec()).map(|split| async move {
            let may_have = self.shared.cache.may_have(&split, required).await;
            may_have.then_some(split)
        });
        asked.buffered(ASKED).filter_map(ready).collect().await
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
        is_alone: bool,
        deadline: Instant,
    ) -> Result<PartialAnswer, SearchError> {
        let search = move |execute: &dyn Execute, index: &Opened| execute.search(index, &request, deadline);
        let mut answer = self.with_split(&meta, is_alone, search).await?;
        answer.cost.splits += 1;
        Ok(answer)
    }

    /// Opens a split, and does something with its index that blocks, when there is a turn for it: those who wait for a
    /// download take nobody's. If it `is_alone`, nothing else of the search is waiting to be done.
    pub(super) async fn with_split<T: Send + 'static>(
        &self,
        meta: &Arc<SplitMeta>,
        is_alone: bool,
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
        // To wake another thread, and be woken by it, takes as long as a small search.
        if is_alone && Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
            #[allow(clippy::disallowed_methods, reason = "it is looked whether there are other threads")]
            let done = block_in_place(|| catch_unwind(AssertUnwindSafe(work)));
            return done.unwrap_or_else(|_| Err(SearchError::Abandoned("a search has panicked".into())));
        }
        spawn_blocking(work).await?
    }
}

/// Whether the answer is full of hits that come before all that a split can have.
fn is_done(answer: &PartialAnswer, request: &SearchRequest, split: &SplitMeta) -> bool {
    let may_end = request.sort.by == SortBy::Timestamp && !request.wanted.is_any();
    if !may_end || !answer.is_full(request) {
        return false;
    }
    let own = split.workspaces[&request.workspace].times;
    answer.hits.last().is_none_or(|worst| match request.sort.order {
        Order::Desc => own.last < worst.key.timestamp,
        Order::Asc => own.first > worst.key.timestamp,
    })
}
