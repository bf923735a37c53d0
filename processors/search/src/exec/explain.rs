//! What a search would do.

use std::time::Instant;

use agentworks_query::SearchRequest;
use serde::Serialize;
use tantivy::query::EnableScoring;

use super::compile::Plan;
use super::segment::Search;
use super::{Deadline, ExecError, Limits, Opened};

/// What would be done with a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentPlan {
    /// Its name.
    pub segment: String,
    /// How many documents it has.
    pub documents: u32,
    /// Why it need not be searched.
    pub pruned: Option<&'static str>,
    /// About how many documents the query finds in it.
    pub estimate: u32,
    /// The clauses, as the index's library has them; patterns are the documents that they stand for.
    pub clauses: String,
}

/// How long the clauses of a segment are told.
const MAX_CLAUSES: usize = 4096;

/// What a search would do with each segment of an index, in the order in which they would be searched.
///
/// # Errors
/// As for the search itself.
pub fn explain(
    index: &Opened,
    request: &SearchRequest,
    limits: &Limits,
    deadline: Instant,
) -> Result<Vec<SegmentPlan>, ExecError> {
    request.check()?;
    let search = Search::new(index, request, limits, Deadline(deadline))?;
    let mut plans = Vec::new();
    for segment in search.segments()? {
        let mut told = SegmentPlan {
            segment: segment.reader.segment_id().short_uuid_string(),
            documents: segment.reader.num_docs(),
            pruned: None,
            estimate: 0,
            clauses: String::new(),
        };
        if search.is_outside(&segment) {
            told.pruned = Some("all of its entries are out of the range of time");
            plans.push(told);
            continue;
        }
        match search.plan(&segment)? {
            Plan::None => told.pruned = Some("a word, card or workspace is not in it"),
            Plan::All => {
                told.estimate = told.documents;
                told.clauses = "all".into();
            }
            plan => {
                if let Some(query) = plan.into_query() {
                    let weight = query.weight(EnableScoring::disabled_from_searcher(index))?;
                    told.estimate = weight.scorer(segment.reader, 1.0)?.size_hint();
                    told.clauses = format!("{query:?}").chars().take(MAX_CLAUSES).collect();
                }
            }
        }
        plans.push(told);
    }
    Ok(plans)
}
