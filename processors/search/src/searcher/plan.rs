//! What a search would do, split by split.

use std::sync::Arc;
use std::time::Instant;

use agentworks_query::SearchRequest;
use agentworks_schemas::Timestamp;
use serde::Serialize;

use super::Searcher;
use crate::error::SearchError;
use crate::exec::{Opened, Required, SegmentPlan};
use crate::execute::Execute;
use crate::split::{SplitId, SplitMeta, Times, WorkspaceMeta};

/// How many splits are told of.
const MAX_SPLITS: usize = 32;

/// What a search would do with the splits of a version of the manifest. What isn't in any yet is asked of the indexers and
/// the log besides.
///
/// Estimates count documents of all workspaces: this is for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchPlan {
    /// The version.
    pub version: u64,
    /// How many splits have entries of the workspace, but none in the range of time.
    pub out_of_range: usize,
    /// The splits that would be searched, in their order, but for those that turn out not to be needed; the first 32.
    pub splits: Vec<SplitPlan>,
    /// How many more there are.
    pub more: usize,
}

/// What a search would do with a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SplitPlan {
    /// Which.
    pub split: SplitId,
    /// How many entries of the workspace are in it.
    pub documents: u64,
    /// The first and the last of their times.
    pub first: Timestamp,
    /// See `first`.
    pub last: Timestamp,
    /// Why it need not be opened.
    pub pruned: Option<&'static str>,
    /// What would be done with its segments.
    pub segments: Vec<SegmentPlan>,
}

impl Searcher {
    /// What a search would do, and about how much it would find where, without searching.
    ///
    /// # Errors
    /// As [`Searcher::search`].
    pub async fn plan(&self, request: SearchRequest) -> Result<SearchPlan, SearchError> {
        let (request, deadline) = self.begin(request).await?;
        let planning = self.plan_at_a_version(request, deadline);
        tokio::time::timeout_at(deadline.into(), planning).await.map_err(|_| SearchError::Deadline)?
    }

    async fn plan_at_a_version(
        &self,
        request: Arc<SearchRequest>,
        deadline: Instant,
    ) -> Result<SearchPlan, SearchError> {
        let state = self.shared.manifest.refresh().await?;
        let chosen = self.chosen(&state, &request);
        let all = state.splits_of(&request.workspace, None).count();
        let mut plan = SearchPlan {
            version: state.version,
            out_of_range: all - chosen.len(),
            splits: Vec::new(),
            more: chosen.len().saturating_sub(MAX_SPLITS),
        };
        let required = Required::of(&request);
        for meta in chosen.into_iter().take(MAX_SPLITS) {
            plan.splits.push(self.plan_split(meta, request.clone(), &required, deadline).await?);
        }
        Ok(plan)
    }

    async fn plan_split(
        &self,
        meta: Arc<SplitMeta>,
        request: Arc<SearchRequest>,
        required: &Required,
        deadline: Instant,
    ) -> Result<SplitPlan, SearchError> {
        let WorkspaceMeta { docs: documents, times: Times { first, last }, .. } = &meta.workspaces[&request.workspace];
        let (split, documents, first, last) = (meta.id.clone(), *documents, *first, *last);
        if !self.shared.cache.may_have(&meta, required).await {
            let pruned = Some("its filter lacks a word, card or id that is required");
            return Ok(SplitPlan { split, documents, first, last, pruned, segments: Vec::new() });
        }
        let explain = move |execute: &dyn Execute, index: &Opened| execute.explain(index, &request, deadline);
        let segments = self.with_split(&meta, true, explain).await?;
        Ok(SplitPlan { split, documents, first, last, pruned: None, segments })
    }
}
