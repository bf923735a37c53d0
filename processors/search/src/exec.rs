//! A search over the segments of one index.
//!
//! - [`compile`], [`patterns`]: the query as the library's, per segment, since what a pattern stands for differs from one
//!   to the next.
//! - [`terms`], [`lookups`], [`paths`], [`fixed`]: the dictionary of a field, what was looked up there, what is known of the
//!   paths of `data`, and sets of documents.
//! - [`required`]: what an index must have for anything to be found in it.
//! - [`segment`], [`columns`], [`top`]: going through what a segment has, counting, and keeping the first hits.
//! - [`opened`]: an index, with what need be opened once.
//! - [`explain`]: what would be done.
//!
//! All of it is synchronous and runs on one thread: call it on a pool of blocking ones. It ends by its deadline, whatever is
//! asked: at every few thousand documents or terms it looks at the clock.

mod columns;
mod compile;
mod error;
mod explain;
mod fixed;
mod lookups;
mod opened;
mod paths;
mod patterns;
mod required;
mod segment;
mod terms;
#[cfg(test)]
mod tests;
mod top;

use std::time::Instant;

use agentworks_query::answer::Hit;
use agentworks_query::{PartialAnswer, SearchRequest};
use tantivy::query::Scorer;
use tantivy::{COLLECT_BLOCK_BUFFER_LEN, DocId};

pub(crate) use columns::Positions;
pub use error::ExecError;
pub use explain::{SegmentPlan, explain};
pub use opened::Opened;
pub use required::Required;
pub(crate) use terms::END_OF_PATH;

use crate::error::SearchError;
use crate::execute::Execute;
use segment::Search;
use top::Candidate;

/// What a search may take beside its time.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How many words of the workspace's entries each pattern of a query may stand for, in one field of one segment. Of what
    /// comes after other words in a phrase, those of all workspaces in the segment count.
    pub expansions: usize,
    /// How many names `data` may have in a segment if all of them are searched.
    pub paths: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { expansions: 16_384, paths: 65_536 }
    }
}

/// Searches by the terms and columns of the index.
#[derive(Clone, Debug, Default)]
pub struct ByTerms {
    /// What each search may take.
    pub limits: Limits,
}

impl Execute for ByTerms {
    fn search(&self, index: &Opened, request: &SearchRequest, deadline: Instant) -> Result<PartialAnswer, SearchError> {
        Ok(search_index(index, request, &self.limits, deadline)?)
    }

    fn explain(
        &self,
        index: &Opened,
        request: &SearchRequest,
        deadline: Instant,
    ) -> Result<Vec<SegmentPlan>, SearchError> {
        Ok(explain(index, request, &self.limits, deadline)?)
    }
}

/// How many hits' bodies are read before it is looked how much they are.
const FETCHED: usize = 128;

/// How many blocks of documents are gone through before the clock is looked at.
const BLOCKS_A_LOOK: usize = 32;

/// When a search must have ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// Whether there is still time.
    fn check(&self) -> Result<(), ExecError> {
        match Instant::now() < self.0 {
            true => Ok(()),
            false => Err(ExecError::Deadline),
        }
    }
}

/// Calls `with` for the documents that a scorer finds, a block at a time, and looks at the clock now and then.
fn each_block(scorer: &mut dyn Scorer, deadline: Deadline, mut with: impl FnMut(&[DocId])) -> Result<(), ExecError> {
    let mut docs = [0; COLLECT_BLOCK_BUFFER_LEN];
    for block in 1.. {
        let len = scorer.fill_buffer(&mut docs);
        with(&docs[..len]);
        if len < docs.len() {
            break;
        }
        if block % BLOCKS_A_LOOK == 0 {
            deadline.check()?;
        }
    }
    Ok(())
}

/// Searches an index. Its hits, counts and costs are those of all of its segments; what they cover is the caller's to say.
///
/// # Errors
/// If it may not be asked, asks for too much, is not done by `deadline`, or the index is damaged.
pub fn search_index(
    index: &Opened,
    request: &SearchRequest,
    limits: &Limits,
    deadline: Instant,
) -> Result<PartialAnswer, ExecError> {
    request.check()?;
    let mut search = Search::new(index, request, limits, Deadline(deadline))?;
    search.run()?;
    let Search { mut found, top, facets, .. } = search;
    for (facet, counts) in request.wanted.facets.iter().zip(facets) {
        found.facets.insert(facet.field, counts.finish());
    }
    let begun = Instant::now();
    for part in top.into_sorted().chunks(FETCHED) {
        fetch(index, part, &mut found, deadline)?;
        // No page has more, or may have.
        if found.cost.bytes as usize >= request.window_bytes() {
            break;
        }
    }
    found.cost.fetching += micros(begun);
    Ok(found)
}

/// Adds hits with their bodies.
fn fetch(index: &Opened, top: &[Candidate], found: &mut PartialAnswer, deadline: Instant) -> Result<(), ExecError> {
    let mut bodies = vec![Vec::new(); top.len()];
    // Those of one block after each other: it is unpacked once.
    let place = |candidate: &Candidate| {
        let (segment, doc) = (candidate.address.segment_ord, candidate.address.doc_id);
        (segment, index.bodies(segment).place(doc))
    };
    let mut by_place: Vec<_> = top.iter().map(place).zip(&mut bodies).collect();
    by_place.sort_unstable_by_key(|(place, _)| *place);
    for hits in by_place.chunk_by_mut(|((one, _), _), ((other, _), _)| one == other) {
        let mut bodies = index.bodies(hits[0].0.0).reader()?;
        for ((_, place), hit) in hits {
            Deadline(deadline).check()?;
            **hit = bodies.at(*place)?.to_vec();
            found.cost.bytes += hit.len() as u64;
        }
    }
    found.hits.extend(top.iter().zip(bodies).map(|(candidate, body)| Hit { key: candidate.key, body }));
    Ok(())
}

fn micros(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}
