//! Answering a search by looking at each entry: for those that no index has yet.

use std::cmp::Ordering;

use agentworks_schemas::{LogEntry, Position};

use crate::answer::{Hit, PAGE_BYTES, PartialAnswer, SortKey, Tally, cut};
use crate::evaluate::Evaluator;
use crate::request::{RequestError, SearchRequest, SortBy, bucket};

/// A search over entries that are shown to it one by one.
#[derive(Debug)]
pub struct Scan<'r> {
    request: &'r SearchRequest,
    evaluator: Evaluator,
    found: PartialAnswer,
    /// The bytes of bodies that were kept since it was looked how many there are.
    bytes: usize,
    facets: Vec<Tally>,
}

impl<'r> Scan<'r> {
    /// Begins a search.
    ///
    /// # Errors
    /// If it may not be asked.
    pub fn new(request: &'r SearchRequest) -> Result<Self, RequestError> {
        request.check()?;
        let evaluator = Evaluator::new(&request.query)?;
        let facets = request.wanted.facets.iter().map(|_| Tally::default()).collect();
        Ok(Scan { request, evaluator, found: PartialAnswer::default(), bytes: 0, facets })
    }

    /// Looks at an entry. Its body is asked for only if it is among the hits.
    pub fn add(&mut self, position: Position, entry: &LogEntry<'_>, body: impl FnOnce() -> Vec<u8>) {
        self.found.cost.documents += 1;
        let request = self.request;
        if !request.admits(position, entry) {
            return;
        }
        let score = match request.sort.by {
            SortBy::Timestamp => self.evaluator.matches(entry).then_some(0.0),
            SortBy::Relevance => self.evaluator.score(entry),
        };
        let Some(score) = score else { return };
        self.found.cost.visited += 1;
        self.count(entry);
        let key = SortKey { score, timestamp: entry.timestamp, position };
        if request.is_after_cursor(&key) {
            self.keep(key, body);
        }
    }

    fn count(&mut self, entry: &LogEntry<'_>) {
        let wanted = &self.request.wanted;
        if wanted.is_any() {
            self.found.count += 1;
        }
        if wanted.distributions {
            self.found.levels[entry.level as usize] += 1;
            self.found.sources[entry.source as usize] += 1;
        }
        if let Some(interval) = wanted.timeline {
            *self.found.timeline.entry(bucket(entry.timestamp, interval).millis()).or_default() += 1;
        }
        for (facet, counts) in wanted.facets.iter().zip(&mut self.facets) {
            let Some(value) = facet.field.of(entry) else { continue };
            counts.add(value, 1);
        }
    }

    fn keep(&mut self, key: SortKey, body: impl FnOnce() -> Vec<u8>) {
        let (hits, window) = (&mut self.found.hits, self.request.window());
        let before = |hit: &Hit| hit.key.compare(&key, self.request.sort) == Ordering::Less;
        // Nearly always it comes last of all, or is too late.
        if hits.len() == window && hits.last().is_none_or(before) {
            return;
        }
        let (at, body) = (hits.partition_point(before), body());
        self.bytes += body.len();
        hits.insert(at, Hit { key, body });
        hits.truncate(window);
        if self.bytes >= 2 * PAGE_BYTES {
            cut(hits, self.request.window_bytes());
            self.bytes = self.found.body_bytes();
        }
    }

    /// The answer.
    pub fn finish(mut self) -> PartialAnswer {
        cut(&mut self.found.hits, self.request.window_bytes());
        for (facet, counts) in self.request.wanted.facets.iter().zip(self.facets) {
            self.found.facets.insert(facet.field, counts.finish());
        }
        self.found
    }
}

#[cfg(test)]
mod tests;
