//! What isn't published yet, or was just now: answers beyond a version of the manifest.

use std::sync::Arc;
use std::time::Instant;

use agentworks_query::answer::Covered;
use agentworks_query::{PartialAnswer, Scan, SearchRequest};
use agentworks_schemas::Cursor;
use agentworks_schemas::codec::decode_entry_body;
use async_trait::async_trait;
use tokio::task::spawn_blocking;

use crate::error::SearchError;
use crate::execute::Execute;
use crate::indexer::{Live, Unit};
use crate::split::LaneRange;

/// Who can answer for what lies beyond the positions of a manifest.
#[async_trait]
pub trait Fresh: Send + Sync + std::fmt::Debug {
    /// Who it is, for messages.
    fn name(&self) -> String;

    /// Answers for what it holds from the positions in `beyond` on, and says which ranges that are: every entry in them
    /// was looked at, once, and no other.
    ///
    /// # Errors
    /// If it can't be asked, or the search is past a bound.
    async fn search(
        &self,
        request: Arc<SearchRequest>,
        beyond: Arc<Cursor>,
        deadline: Instant,
    ) -> Result<PartialAnswer, SearchError>;
}

/// The indexer in this process.
#[derive(Clone, Debug)]
pub struct LocalFresh {
    live: Live,
    execute: Arc<dyn Execute>,
}

impl LocalFresh {
    /// What answers for the indexer that `live` belongs to.
    pub fn new(live: Live, execute: Arc<dyn Execute>) -> Self {
        LocalFresh { live, execute }
    }
}

#[async_trait]
impl Fresh for LocalFresh {
    fn name(&self) -> String {
        "the indexer in this process".into()
    }

    async fn search(
        &self,
        request: Arc<SearchRequest>,
        beyond: Arc<Cursor>,
        deadline: Instant,
    ) -> Result<PartialAnswer, SearchError> {
        let (units, execute) = (self.live.units(), self.execute.clone());
        let search = move || {
            let mut answer = PartialAnswer::default();
            for unit in units.iter().filter(|unit| !unit.tainted && is_beyond(unit, &beyond)) {
                answer = answer.merge(search_unit(unit, &request, &*execute, deadline)?, &request);
            }
            Ok::<_, SearchError>(answer)
        };
        spawn_blocking(search).await?
    }
}

/// Whether all of a unit lies beyond the positions. A unit is published as a whole: of one that lies beyond in part, others
/// have published something, and then they answer for it.
fn is_beyond(unit: &Unit, beyond: &Cursor) -> bool {
    let lies_beyond =
        |range: &LaneRange| beyond.get(range.partition).is_none_or(|next| (range.epoch, range.from) >= next);
    !unit.lanes.is_empty() && unit.lanes.values().all(lies_beyond)
}

fn search_unit(
    unit: &Unit,
    request: &SearchRequest,
    execute: &dyn Execute,
    deadline: Instant,
) -> Result<PartialAnswer, SearchError> {
    let mut scan = Scan::new(request)?;
    for page in &unit.pages {
        if Instant::now() >= deadline {
            return Err(SearchError::Deadline);
        }
        for (taken, body) in page.entries().filter(|(taken, _)| request.keeps(taken.timestamp)) {
            let position = page.position(&taken);
            let entry = decode_entry_body(&body)
                .map_err(|reject| SearchError::Entry { position, reason: reject.to_string() })?;
            scan.add(position, &entry, || body.to_vec());
        }
    }
    let mut answer = scan.finish();
    if let Some(searcher) = &unit.searcher {
        answer = answer.merge(execute.search(searcher, request, deadline)?, request);
    }
    answer.covered = unit.lanes.values().map(covered).collect();
    Ok(answer)
}

pub(crate) fn covered(range: &LaneRange) -> Covered {
    Covered { partition: range.partition, epoch: range.epoch, from: range.from, to: range.to }
}
