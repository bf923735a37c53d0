//! What finds the hits in an index: the seam between who knows which indexes there are and who knows how to search one.

use std::fmt;
use std::time::Instant;

use agentworks_query::{PartialAnswer, Scan, SearchRequest};
use agentworks_schemas::{Timestamp, codec::decode_entry_body};

use crate::error::SearchError;
use crate::exec::{Opened, Positions, SegmentPlan};

/// Finds the hits in an index.
pub trait Execute: Send + Sync + fmt::Debug {
    /// Answers for all documents in an index. It blocks, and gives up at the deadline.
    ///
    /// # Errors
    /// If the index can't be read, or the search is past a bound, its deadline among them.
    fn search(&self, index: &Opened, request: &SearchRequest, deadline: Instant) -> Result<PartialAnswer, SearchError>;

    /// What would be done with each segment of an index; nothing where that can't be told beforehand. It blocks.
    ///
    /// # Errors
    /// As [`Execute::search`].
    fn explain(
        &self,
        index: &Opened,
        request: &SearchRequest,
        deadline: Instant,
    ) -> Result<Vec<SegmentPlan>, SearchError> {
        let _ = (index, request, deadline);
        Ok(Vec::new())
    }
}

/// Looks at every stored entry: what all other executions are held to.
#[derive(Clone, Copy, Debug, Default)]
pub struct LookAtAll;

impl Execute for LookAtAll {
    fn search(&self, index: &Opened, request: &SearchRequest, deadline: Instant) -> Result<PartialAnswer, SearchError> {
        let mut scan = Scan::new(request)?;
        for (number, segment) in index.segment_readers().iter().enumerate() {
            let (positions, record_times) = (Positions::of(segment)?, segment.fast_fields().i64("record_time")?);
            let mut bodies = index.bodies(number as u32).scan().map_err(SearchError::scratch("a split"))?;
            for doc in 0..segment.max_doc() {
                if doc % 1024 == 0 && Instant::now() >= deadline {
                    return Err(SearchError::Deadline);
                }
                let Ok(position) = positions.get(doc) else { continue };
                if record_times.first(doc).is_some_and(|at| !request.keeps(Timestamp(at))) {
                    continue;
                }
                let body = bodies.get(doc).map_err(SearchError::scratch("a split"))?;
                let entry = decode_entry_body(body)
                    .map_err(|reject| SearchError::Entry { position, reason: reject.to_string() })?;
                scan.add(position, &entry, || body.to_vec());
            }
        }
        Ok(scan.finish())
    }
}
