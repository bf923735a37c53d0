//! The seam to whoever finds entries.

use std::fmt;

use agentworks_query::{Answer, SearchRequest};
use agentworks_schemas::access::Later;
use agentworks_search::searcher::Searcher;

use super::SearchFault;

/// Finds entries.
pub trait Find: fmt::Debug + Send + Sync + 'static {
    /// Searches, and gives the page that was asked for.
    fn find(&self, request: SearchRequest) -> Later<'_, Result<Answer, SearchFault>>;
}

impl Find for Searcher {
    fn find(&self, request: SearchRequest) -> Later<'_, Result<Answer, SearchFault>> {
        Box::pin(async move { self.search(request).await.map_err(SearchFault::from) })
    }
}
