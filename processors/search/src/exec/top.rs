//! The first hits.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use agentworks_query::answer::SortKey;
use agentworks_query::request::Sort;
use agentworks_schemas::Timestamp;
use tantivy::DocAddress;

/// A document that may be among the hits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) key: SortKey,
    pub(super) address: DocAddress,
    sort: Sort,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.compare(&other.key, self.sort)
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

/// The first hits of those that were shown to it: as many as asked for.
#[derive(Debug)]
pub(super) struct Top {
    window: usize,
    sort: Sort,
    /// The last of them on top.
    heap: BinaryHeap<Candidate>,
}

impl Top {
    pub(super) fn new(window: usize, sort: Sort) -> Self {
        Top { window, sort, heap: BinaryHeap::with_capacity(window.min(1024)) }
    }

    /// What a hit must come before; `None` as long as any is taken.
    pub(super) fn last(&self) -> Option<&SortKey> {
        match self.heap.len() < self.window {
            true => None,
            false => self.heap.peek().map(|candidate| &candidate.key),
        }
    }

    /// Whether no hit is wanted at all.
    pub(super) fn is_empty_window(&self) -> bool {
        self.window == 0
    }

    /// Whether a hit of this instant can be among the first by time.
    pub(super) fn may_take(&self, timestamp: Timestamp) -> bool {
        use agentworks_query::request::Order;
        match (self.last(), self.sort.order) {
            _ if self.is_empty_window() => false,
            (None, _) => true,
            (Some(last), Order::Desc) => timestamp >= last.timestamp,
            (Some(last), Order::Asc) => timestamp <= last.timestamp,
        }
    }

    pub(super) fn take(&mut self, key: SortKey, address: DocAddress) {
        let candidate = Candidate { key, address, sort: self.sort };
        if self.heap.len() < self.window {
            self.heap.push(candidate);
        } else if let Some(mut last) = self.heap.peek_mut()
            && candidate < *last
        {
            *last = candidate;
        }
    }

    /// The hits in their order.
    pub(super) fn into_sorted(self) -> Vec<Candidate> {
        self.heap.into_sorted_vec()
    }
}
