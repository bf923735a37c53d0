//! The searcher: answers over all splits and what isn't in any yet.
//!
//! It has no state but what it has read: the manifest, open splits, the erasures. It reads a version of the manifest,
//! searches the splits that can have hits, asks the indexers for what they hold beyond the version's positions, and looks
//! at the log itself for what no indexer answers for. What it could not look at, the answer says.
//!
//! - `tail`: the log beyond what anybody has indexed.
//! - `ends`: where the log ends.
//! - `beyond`: asking indexers and the log, so that each range is looked at once.
//! - `splits`: searching splits; `plan`: what that would be.

mod beyond;
mod ends;
mod plan;
mod splits;
mod tail;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_processors::erasure::{Erasures, Target};
use agentworks_processors::lane::Retention;
use agentworks_query::answer::{Answer, WINDOW_BYTES};
use agentworks_query::request::Hidden;
use agentworks_query::{PartialAnswer, SearchRequest};
use agentworks_schemas::{Cursor, Timestamp};
use parking_lot::RwLock;
use tokio::sync::Semaphore;

use ends::Ends;
pub use plan::{SearchPlan, SplitPlan};
pub use tail::{Lanes, LogTail, SeekTail};

use crate::cache::SplitCache;
use crate::error::SearchError;
use crate::exec::ExecError;
use crate::execute::Execute;
use crate::fresh::Fresh;
use crate::manifest::{Manifest, State};

/// How searches are made.
#[derive(Clone, Debug)]
pub struct SearcherConfig {
    /// How long a search may take.
    pub deadline: Duration,
    /// How many indexes are searched at once, by all searches together.
    pub concurrency: usize,
    /// How long a manifest that was read is good: what was published since is asked of the indexers.
    pub manifest_age: Duration,
    /// How old the log's end may be that is known. What was in the log so long ago is found: an indexer that answers must
    /// have it, or the log is read. So one that is behind, or doesn't know yet that it has lost a lane, hides nothing.
    pub end_age: Duration,
    /// How many records of the log a search looks at itself, at most.
    pub tail: u64,
    /// How long entries are found, by their record timestamps; `None` as long as they are there.
    pub retention: Option<Retention>,
}

impl Default for SearcherConfig {
    fn default() -> Self {
        let concurrency = std::thread::available_parallelism().map_or(2, usize::from);
        SearcherConfig {
            deadline: Duration::from_secs(10),
            concurrency,
            manifest_age: Duration::from_secs(1),
            end_age: Duration::from_millis(500),
            tail: 200_000,
            retention: None,
        }
    }
}

/// Searches. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Searcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    manifest: Manifest,
    cache: SplitCache,
    execute: Arc<dyn Execute>,
    erasures: Option<Erasures>,
    tail: Option<Arc<dyn LogTail>>,
    fresh: RwLock<Vec<Arc<dyn Fresh>>>,
    ends: Ends,
    permits: Arc<Semaphore>,
    config: SearcherConfig,
}

impl Searcher {
    /// A searcher of the splits in `manifest`, which are opened through `cache` and searched by `execute`. What `erasures`
    /// hide isn't found. `tail` is where the log is read, if it can be.
    pub fn new(
        manifest: Manifest,
        cache: SplitCache,
        execute: Arc<dyn Execute>,
        erasures: Option<Erasures>,
        tail: Option<Arc<dyn LogTail>>,
        config: SearcherConfig,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(config.concurrency.max(1)));
        let (fresh, ends) = (RwLock::default(), Ends::default());
        let shared = Shared { manifest, cache, execute, erasures, tail, fresh, ends, permits, config };
        Searcher { shared: Arc::new(shared) }
    }

    /// From now on these indexers are asked for what isn't published.
    pub fn set_fresh(&self, fresh: Vec<Arc<dyn Fresh>>) {
        *self.shared.fresh.write() = fresh;
    }

    /// Searches, and gives the page that was asked for.
    ///
    /// # Errors
    /// If the request can't be asked, or is past a bound; the store's.
    pub async fn search(&self, request: SearchRequest) -> Result<Answer, SearchError> {
        let answer = self.partial(request.clone()).await?;
        Ok(answer.finish(&request))
    }

    /// Searches, and gives all hits up to the end of the page.
    ///
    /// # Errors
    /// As [`Searcher::search`].
    pub async fn partial(&self, request: SearchRequest) -> Result<PartialAnswer, SearchError> {
        request.check()?;
        let deadline = Instant::now() + self.shared.config.deadline;
        let search = async {
            let mut erased = self.erased(&request.workspace).await?;
            loop {
                let answer = self.search_at_a_version(self.without(&request, &erased), deadline).await?;
                // Whoever has erased something meanwhile was told that it isn't shown any more.
                let now = self.erased(&request.workspace).await?;
                if now == erased {
                    return Ok(answer);
                }
                erased = now;
            }
        };
        // Splits look at the deadline themselves; what waits for the store doesn't.
        tokio::time::timeout_at(deadline.into(), search).await.map_err(|_| SearchError::Deadline)?
    }

    /// A request that may be asked, without what is erased or has expired, and until when it must be answered.
    async fn begin(&self, request: SearchRequest) -> Result<(Arc<SearchRequest>, Instant), SearchError> {
        request.check()?;
        let erased = self.erased(&request.workspace).await?;
        Ok((self.without(&request, &erased), Instant::now() + self.shared.config.deadline))
    }

    /// A request without what is erased or has expired.
    fn without(&self, request: &SearchRequest, erased: &[Hidden]) -> Arc<SearchRequest> {
        let mut request = request.clone();
        request.hidden.extend_from_slice(erased);
        if let Some(retention) = &self.shared.config.retention {
            request.kept_from = Some(retention.bound(&request.workspace, Timestamp::now()));
        }
        Arc::new(request)
    }

    /// What is erased in a workspace now.
    async fn erased(&self, workspace: &str) -> Result<Vec<Hidden>, SearchError> {
        let Some(erasures) = &self.shared.erasures else { return Ok(Vec::new()) };
        let view = erasures.view().await?;
        let hidden = view.of(workspace).iter().map(|erasure| Hidden {
            run: match &erasure.target {
                Target::Workspace => None,
                Target::Run(run) => Some(run.clone()),
            },
            before: erasure.upto.clone(),
        });
        Ok(hidden.collect())
    }

    async fn search_at_a_version(
        &self,
        request: Arc<SearchRequest>,
        deadline: Instant,
    ) -> Result<PartialAnswer, SearchError> {
        let manifest = &self.shared.manifest;
        let mut state = manifest.recent(self.shared.config.manifest_age).await?;
        let mut damage = Damage::MayBePast;
        loop {
            let beyond = self.beyond(&state, &request, deadline);
            let splits = self.splits(&state, &request, damage, deadline);
            // What is asked of others goes out first.
            match futures_util::try_join!(beyond, splits) {
                Ok((beyond, splits)) => {
                    let mut answer = splits.merge(beyond, &request);
                    if request.offset > 0 && answer.body_bytes() >= WINDOW_BYTES {
                        return Err(ExecError::Bytes { max: WINDOW_BYTES }.into());
                    }
                    // Also where there is nothing at all that could have counted.
                    for facet in &request.wanted.facets {
                        answer.facets.entry(facet.field).or_default();
                    }
                    return Ok(answer);
                }
                Err(SearchError::Split { id, .. }) => {
                    // It may have been replaced since, and deleted.
                    state = manifest.refresh().await?;
                    if state.splits.contains_key(&id) {
                        damage = Damage::IsTold;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// What becomes of a split that is missing or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    /// The search ends with it: a newer version may not have the split any more.
    MayBePast,
    /// The others are searched, and the answer tells of it.
    IsTold,
}

/// The positions of all lanes at a version.
fn positions(state: &State) -> Cursor {
    state.lanes.iter().map(|(partition, lane)| (*partition, lane.epoch, lane.high)).collect()
}
