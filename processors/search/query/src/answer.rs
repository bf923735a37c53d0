//! What a searcher answers, and how the answers of its parts become one.

mod facets;
mod hit;

use std::collections::BTreeMap;

use agentworks_schemas::{Level, Source, TopicPartition};
use serde::{Deserialize, Serialize};

pub use facets::{FacetCounts, FacetField, MAX_VALUES, Tally, whole};
pub(crate) use hit::cut;
pub use hit::{Hit, PAGE_BYTES, SortKey, WINDOW_BYTES};

use crate::request::{After, SearchRequest};

/// A range of a partition whose records were looked at: `from`, and all up to but without `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Covered {
    /// Of which partition.
    pub partition: TopicPartition,
    /// In which epoch.
    pub epoch: u32,
    /// The first offset.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
}

/// What it cost to find an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// Splits that were opened.
    pub splits: u64,
    /// Segments that were searched.
    pub segments: u64,
    /// Segments that couldn't hold a hit, and were not.
    pub pruned: u64,
    /// Documents in the segments that were searched, or evaluated one by one.
    pub documents: u64,
    /// Documents that were visited, since the query found them.
    pub visited: u64,
    /// Bytes of the hits' bodies that were read.
    pub bytes: u64,
    /// Time to make the query ready, in microseconds.
    pub planning: u64,
    /// Time to find and count, in microseconds.
    pub searching: u64,
    /// Time to read the hits, in microseconds.
    pub fetching: u64,
}

/// What one part of the data answers. Merging is exact, and doesn't depend on the order of the parts.
///
/// The parts must not overlap: what two of them hold is counted twice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartialAnswer {
    /// The first hits, in the order asked for, as many as [`SearchRequest::window`] at most, and no more than a page of
    /// [`PAGE_BYTES`] can have, or [`WINDOW_BYTES`] if it begins at an offset.
    pub hits: Vec<Hit>,
    /// How many entries there are in all; 0 if nothing was to be counted.
    pub count: u64,
    /// How many by level, as [`Level::ALL`] has them.
    pub levels: [u64; Level::ALL.len()],
    /// How many by source, as [`Source::ALL`] has them.
    pub sources: [u64; Source::ALL.len()],
    /// How many by bucket: by its first instant, in milliseconds. Empty ones are left out.
    pub timeline: BTreeMap<i64, u64>,
    /// How many by the values of fields.
    pub facets: BTreeMap<FacetField, FacetCounts>,
    /// What was looked at, sorted, none beside another.
    pub covered: Vec<Covered>,
    /// What could not be looked at, in words; empty if the answer is whole.
    pub incomplete: Vec<String>,
    /// What it cost.
    pub cost: Cost,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// One page of hits; all else is as in the partial answer.
    pub found: PartialAnswer,
    /// Where the next page begins; `None` if there is none.
    pub next: Option<After>,
}

impl PartialAnswer {
    /// The answer of both parts.
    pub fn merge(mut self, other: PartialAnswer, request: &SearchRequest) -> PartialAnswer {
        self.hits = hit::merge(self.hits, other.hits, request.sort, request.window());
        cut(&mut self.hits, request.window_bytes());
        self.count += other.count;
        add(&mut self.levels, &other.levels);
        add(&mut self.sources, &other.sources);
        for (bucket, count) in other.timeline {
            *self.timeline.entry(bucket).or_default() += count;
        }
        for (field, counts) in other.facets {
            self.facets.entry(field).or_default().add(counts);
        }
        self.covered.extend(other.covered);
        self.covered = joined(self.covered);
        self.incomplete.extend(other.incomplete);
        self.incomplete.sort();
        self.incomplete.dedup();
        self.cost.add(&other.cost);
        self
    }

    /// Whether only hits that come before the last one matter.
    pub fn is_full(&self, request: &SearchRequest) -> bool {
        self.hits.len() >= request.window() || self.body_bytes() >= request.window_bytes()
    }

    /// The bytes of the hits' bodies.
    pub fn body_bytes(&self) -> usize {
        self.hits.iter().map(|hit| hit.body.len()).sum()
    }

    /// The page that was asked for, or what of it takes [`PAGE_BYTES`].
    pub fn finish(mut self, request: &SearchRequest) -> Answer {
        let skipped = request.offset.min(self.hits.len());
        self.hits.drain(..skipped);
        self.hits.truncate(request.limit);
        cut(&mut self.hits, PAGE_BYTES);
        let is_full = self.hits.len() == request.limit || self.body_bytes() >= PAGE_BYTES;
        let last = self.hits.last().filter(|_| is_full);
        let next = last.map(|hit| After { sort: request.sort, key: hit.key });
        Answer { found: self, next }
    }
}

impl Cost {
    /// Adds what another part cost.
    pub fn add(&mut self, other: &Cost) {
        self.splits += other.splits;
        self.segments += other.segments;
        self.pruned += other.pruned;
        self.documents += other.documents;
        self.visited += other.visited;
        self.bytes += other.bytes;
        self.planning += other.planning;
        self.searching += other.searching;
        self.fetching += other.fetching;
    }
}

fn add(counts: &mut [u64], others: &[u64]) {
    counts.iter_mut().zip(others).for_each(|(count, other)| *count += other);
}

/// The same ranges, sorted, those that touch or overlap made one.
fn joined(mut ranges: Vec<Covered>) -> Vec<Covered> {
    ranges.retain(|range| range.from < range.to);
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let touch = (last.partition, last.epoch) == (next.partition, next.epoch) && next.from <= last.to;
        if touch {
            last.to = last.to.max(next.to);
        }
        touch
    });
    ranges
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::{Position, Timestamp, Topic};
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::ast::Query;
    use crate::request::{Order, Sort, SortBy};

    fn position(offset: i64) -> Position {
        Position { partition: TopicPartition::new(Topic::AgentLogs, (offset % 3) as i32), epoch: 0, offset }
    }

    /// What a part is made of: hits by timestamp and score, a count, a timeline, ranges that are covered.
    type Made = (Vec<(i64, u8)>, u64, BTreeMap<i64, u64>, Vec<(i32, i64, i64)>);

    /// Parts with hits at positions of their own.
    fn parts() -> impl Strategy<Value = Vec<PartialAnswer>> {
        let hit = (0..4i64, 0..3u8);
        let part =
            (vec(hit, 0..6), 0..9u64, btree_map(0..5i64, 1..9u64, 0..4), vec((0..3i32, 0..20i64, 0..9i64), 0..3));
        vec(part, 1..5).prop_map(|parts| {
            let mut offset = 0;
            let mut part = |(hits, count, timeline, covered): Made| {
                let hits = hits.into_iter().map(|(timestamp, score)| {
                    offset += 1;
                    let key =
                        SortKey { score: score.into(), timestamp: Timestamp(timestamp), position: position(offset) };
                    Hit { key, body: vec![offset as u8] }
                });
                let mut facets = BTreeMap::new();
                let counts = timeline.iter().map(|(value, count)| (value.to_string(), *count));
                facets.insert(FacetField::Card, FacetCounts::new(counts, 3));
                PartialAnswer {
                    hits: hits.collect(),
                    count,
                    levels: [count, 0, 1, 2, 3],
                    timeline: timeline.clone(),
                    facets,
                    covered: joined(
                        covered
                            .into_iter()
                            .map(|(p, from, len)| Covered {
                                partition: TopicPartition::new(Topic::AgentLogs, p),
                                epoch: 0,
                                from,
                                to: from + len,
                            })
                            .collect(),
                    ),
                    ..PartialAnswer::default()
                }
            };
            parts.into_iter().map(&mut part).collect()
        })
    }

    fn sorts() -> impl Strategy<Value = Sort> {
        (any::<bool>(), any::<bool>()).prop_map(|(relevance, desc)| Sort {
            by: if relevance { SortBy::Relevance } else { SortBy::Timestamp },
            order: if desc { Order::Desc } else { Order::Asc },
        })
    }

    proptest! {
        #[test]
        fn merging_is_exact_and_of_any_order(parts in parts(), sort in sorts(), limit in 0..8usize, turn in 0..5usize) {
            let request = SearchRequest { sort, limit, ..SearchRequest::new("w", Query::All) };
            // Each part gives its first hits in order, as searchers do.
            let parts: Vec<_> = parts.into_iter().map(|mut part| {
                part.hits = hit::merge(part.hits, Vec::new(), sort, limit);
                part
            }).collect();
            let from_left = parts.iter().cloned().reduce(|a, b| a.merge(b, &request)).unwrap();
            let from_right = parts.iter().rev().cloned().reduce(|a, b| b.merge(a, &request)).unwrap();
            let mut turned = parts.clone();
            turned.rotate_left(turn % parts.len());
            let turned = turned.into_iter().reduce(|a, b| b.merge(a, &request)).unwrap();
            let mut all: Vec<Hit> = parts.iter().flat_map(|part| part.hits.clone()).collect();
            all.sort_by(|a, b| a.key.compare(&b.key, sort));
            all.truncate(limit);
            prop_assert_eq!(&from_left.hits, &all);
            prop_assert_eq!(from_left.count, parts.iter().map(|part| part.count).sum::<u64>());
            prop_assert_eq!(&from_left, &from_right);
            prop_assert_eq!(&from_left, &turned);
            let json = serde_json::to_string(&from_left).unwrap();
            prop_assert_eq!(serde_json::from_str::<PartialAnswer>(&json).unwrap(), from_left);
        }
    }

    #[test]
    fn a_page_says_where_the_next_begins() {
        let hit = |offset| Hit {
            key: SortKey { score: 0.0, timestamp: Timestamp(5), position: position(offset) },
            body: Vec::new(),
        };
        let found = PartialAnswer { hits: vec![hit(3), hit(2), hit(1)], ..PartialAnswer::default() };
        let page = |offset, limit| {
            let request = SearchRequest { offset, limit, ..SearchRequest::new("w", Query::All) };
            let answer = found.clone().finish(&request);
            let offsets: Vec<i64> = answer.found.hits.iter().map(|hit| hit.key.position.offset).collect();
            (offsets, answer.next.map(|after| after.key.position.offset))
        };
        assert_eq!(page(0, 2), (vec![3, 2], Some(2)));
        assert_eq!(page(1, 2), (vec![2, 1], Some(1)));
        assert_eq!(page(2, 2), (vec![1], None));
        assert_eq!(page(9, 2), (vec![], None));
        assert_eq!(page(0, 0), (vec![], None));
    }

    /// However large the entries are: a page ends early, and the next one goes on after it.
    #[test]
    fn pages_are_bounded_in_bytes() {
        let part = |from: i64| {
            let hit = |n: i64| {
                let key = SortKey { score: 0.0, timestamp: Timestamp(100 - n), position: position(n) };
                Hit { key, body: vec![n as u8; PAGE_BYTES / 3] }
            };
            PartialAnswer { hits: (0..40).map(|n| hit(2 * n + from)).collect(), ..PartialAnswer::default() }
        };
        let request = SearchRequest { limit: 60, ..SearchRequest::new("w", Query::All) };
        let merged = part(0).merge(part(1), &request);
        assert!(merged.is_full(&request));
        let page = merged.finish(&request);
        let offsets = |hits: &[Hit]| hits.iter().map(|hit| hit.key.position.offset).collect::<Vec<_>>();
        assert_eq!(offsets(&page.found.hits), [0, 1, 2, 3]);
        assert_eq!(page.next.unwrap().key.position.offset, 3);
        // What comes before an offset takes no more either, which whoever asks is told.
        let request = SearchRequest { offset: 10, ..request };
        let merged = part(0).merge(part(1), &request);
        assert!(merged.body_bytes() >= WINDOW_BYTES && merged.body_bytes() < WINDOW_BYTES + PAGE_BYTES);
    }
}
