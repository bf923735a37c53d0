//! Searching: from what a client asks to what the index answers.
//!
//! What limits a search to what its bearer may see (the workspace, and the token's cards) is put beside the query from the
//! token's claims, and nothing in a query can lift it. How much a search may ask is bounded here: hits of a page, bytes of an
//! answer, searches of a workspace at once; the searcher bounds the rest, its time first of all.
//!
//! - [`find`]: the seam to whoever finds.
//! - [`fault`]: why a search has no answer.
//! - [`popular`]: which queries a workspace asks most.
//! - [`analytics`]: a card's, or a workspace's, logs over time.
//! - [`timeline`]: how many buckets those may have.
//! - `turns`: how many searches go on.

pub(crate) mod analytics;
pub mod fault;
pub mod find;
pub(crate) mod popular;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod timeline;
mod turns;

use std::sync::Arc;
use std::time::Instant;

use agentworks_query::request::{After, Facet, SearchRequest, from_protocol, interval_for, positioned, to_protocol};
use agentworks_query::{Answer, Query};
use agentworks_schemas::Timestamp;
use agentworks_schemas::access::Claims;
use agentworks_schemas::protocol::{LogSearchQuery, LogSearchResult, PositionedEntry};
use agentworks_search::searcher::SearchPlan;

pub use fault::SearchFault;
pub use find::Find;
use popular::Popular;
use turns::Turns;

/// The most hits on a page.
pub(crate) const MAX_LIMIT: usize = 1000;

/// The limits of searches on a gateway.
#[derive(Clone, Debug)]
pub struct SearchConfig {
    /// How many searches a workspace may have going on at once. One more is told to wait.
    pub max_searches: usize,
    /// Whether queries are remembered, in memory alone, to tell which a workspace asks most.
    pub popular: bool,
}

impl Default for SearchConfig {
    fn default() -> Self {
        SearchConfig { max_searches: 16, popular: true }
    }
}

/// Searches for those who hold tokens. Clones are one.
#[derive(Clone, Debug)]
pub struct Search {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    find: Box<dyn Find>,
    config: SearchConfig,
    turns: Turns,
    popular: Popular,
}

/// A search as a client asks it: the query, and what stands beside it in its form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asking {
    pub(crate) query: LogSearchQuery,
    /// What every hit must be like, too.
    pub(crate) also: Option<Query>,
    /// Further bounds of time, either alone.
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    pub(crate) facets: Vec<Facet>,
    /// The timeline's interval in milliseconds, if it isn't to fit the range.
    pub(crate) interval: Option<i64>,
    /// Not to be remembered among the popular ones.
    pub(crate) forget: bool,
}

/// What a search has found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) query: LogSearchQuery,
    pub(crate) request: SearchRequest,
    pub(crate) answer: Answer,
    /// From when to when the buckets of its timeline are all told, if since some time.
    pub(crate) range: Option<timeline::Range>,
    /// How long it took, in milliseconds.
    pub(crate) time: u64,
}

impl Search {
    /// Searches by `find`, a searcher.
    pub fn new(find: impl Find, config: SearchConfig) -> Self {
        let turns = Turns::new(config.max_searches);
        Search { shared: Arc::new(Shared { find: Box::new(find), config, turns, popular: Popular::default() }) }
    }

    /// Searches what the bearer of these claims may see.
    pub(crate) async fn find(&self, asking: Asking, claims: &Claims) -> Result<Found, SearchFault> {
        let now = Timestamp::now();
        let mut request = asking.request(claims, now)?;
        let began = Instant::now();
        let mut answer = self.ask(request.clone()).await?;
        let time = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.shared.config.popular && !asking.forget {
            self.shared.popular.note(claims, &asking.query, now);
        }
        let (counts, range) = (&mut answer.found.timeline, range(&request, now));
        match (asking.interval, &mut request.wanted.timeline) {
            (Some(chosen), _) => timeline::check_found(counts, range, chosen)?,
            (None, Some(interval)) => *interval = timeline::fit(counts, range, *interval),
            (None, None) => {}
        }
        Ok(Found { query: asking.query, request, answer, range, time })
    }

    /// Searches, in its turn among the others of the workspace.
    pub(crate) async fn ask(&self, request: SearchRequest) -> Result<Answer, SearchFault> {
        let _turn = self.shared.turns.take(&request.workspace)?;
        self.shared.find.find(request).await
    }

    /// What a search would do, in its turn.
    pub(crate) async fn plan(&self, request: SearchRequest) -> Result<Option<SearchPlan>, SearchFault> {
        let _turn = self.shared.turns.take(&request.workspace)?;
        self.shared.find.plan(request).await
    }

    /// Whether popular queries are kept, and those of the ones who see what the bearer sees.
    pub(crate) fn popular(&self, claims: &Claims, limit: usize) -> (bool, Vec<popular::PopularQuery>) {
        (self.shared.config.popular, self.shared.popular.top(claims, Timestamp::now(), limit))
    }
}

impl Asking {
    /// The search that is asked, limited to what the bearer may see.
    pub(crate) fn request(&self, claims: &Claims, now: Timestamp) -> Result<SearchRequest, SearchFault> {
        if let Some(limit) = self.query.limit.filter(|limit| *limit > MAX_LIMIT) {
            let message = format!("limit: {limit} is more than {MAX_LIMIT}; go on with the cursor of the last page");
            return Err(SearchFault::Invalid(message));
        }
        let mut request = from_protocol(&self.query, &claims.workspace, claims.cards.clone(), now)?;
        let queries = [std::mem::replace(&mut request.query, Query::All)].into_iter().chain(self.also.clone());
        request.query = Query::and(queries.filter(|query| *query != Query::All));
        request.from = request.from.max(self.since);
        request.to = [request.to, self.until].into_iter().flatten().min();
        let (from, to) = request.times();
        let to = to.or(from.map(|_| now));
        request.wanted.timeline = match (self.interval, request.wanted.count) {
            (None, true) => Some(interval_for(from, to)),
            (None, false) => None,
            (Some(interval), true) => Some(timeline::checked(interval, from, to)?),
            (Some(_), false) => {
                let message = "interval: without counts there is no timeline; leave one of them out";
                return Err(SearchFault::Invalid(message.to_owned()));
            }
        };
        request.wanted.facets.clone_from(&self.facets);
        request.check().map_err(|error| SearchFault::Invalid(error.to_string()))?;
        Ok(request)
    }
}

/// The range that a search is asked to count: an open end is now.
fn range(request: &SearchRequest, now: Timestamp) -> Option<timeline::Range> {
    let (from, to) = request.times();
    from.map(|from| (from.0, to.unwrap_or(now).0))
}

impl Found {
    /// Shortens the page until its entries have no more bytes than this, but to one entry at least. What is left out is on the
    /// next page.
    pub(crate) fn fit(&mut self, max: usize) {
        let mut bytes = 0;
        let hits = &mut self.answer.found.hits;
        let kept = hits.iter().take_while(|hit| {
            // JSON of an entry is a little larger than its Avro.
            bytes += 512 + hit.body.len() * 5 / 4;
            bytes <= max
        });
        let kept = kept.count().max(1);
        if kept < hits.len() {
            hits.truncate(kept);
            self.answer.next = hits.last().map(|hit| After { sort: self.request.sort, key: hit.key });
        }
    }

    /// The answer in the protocol's form.
    pub(crate) fn result(&self) -> Result<LogSearchResult<'_>, SearchFault> {
        to_protocol(&self.answer, &self.request, self.query.clone(), self.time).map_err(|reject| {
            tracing::error!(%reject, "a hit can't be decoded");
            SearchFault::Failed
        })
    }
}

/// The hits of an answer, each with its position.
pub(crate) fn entries(answer: &Answer) -> Result<Vec<PositionedEntry<'_>>, SearchFault> {
    answer.found.hits.iter().map(positioned).collect::<Result<_, _>>().map_err(|reject| {
        tracing::error!(%reject, "a hit can't be decoded");
        SearchFault::Failed
    })
}
