//! The seam to whoever finds entries.

use std::fmt;

use agentworks_query::{Answer, SearchRequest};
use agentworks_schemas::access::Later;
use agentworks_search::searcher::{SearchPlan, Searcher};

use super::SearchFault;

/// Finds entries.
pub trait Find: fmt::Debug + Send + Sync + 'static {
    /// Searches, and gives the page that was asked for.
    fn find(&self, request: SearchRequest) -> Later<'_, Result<Answer, SearchFault>>;

    /// What a search would do; `None` where that can't be told.
    fn plan(&self, request: SearchRequest) -> Later<'_, Result<Option<SearchPlan>, SearchFault>> {
        let _ = request;
        Box::pin(async { Ok(None) })
    }
}

impl Find for Searcher {
    fn find(&self, request: SearchRequest) -> Later<'_, Result<Answer, SearchFault>> {
        Box::pin(async move { self.search(request).await.map_err(SearchFault::from) })
    }

    fn plan(&self, request: SearchRequest) -> Later<'_, Result<Option<SearchPlan>, SearchFault>> {
        Box::pin(async move { Ok(Some(Searcher::plan(self, request).await?)) })
    }
}
