//! Whether a query finds an entry, without an index: of entries that no index has yet, and to hold the index to it.
//!
//! It means exactly what the index means: the same tokens, the same leaves of `data`, the same comparisons.
//!
//! A *score* is the sum of the boosts of the clauses that find the entry, of those that are not under a `NOT`; a word that is
//! only near the one that was asked for counts [`NEAR`], a range of time nothing. It knows no frequencies, and neither does
//! the index: those differ from one part of it to the next, and tell what other workspaces write. So an entry has the same
//! score wherever it lies, and pages neither lose nor repeat one that moves meanwhile.

mod cache;
mod clause;

use agentworks_schemas::LogEntry;

use crate::ast::{Fuzziness, Query, QueryError, Test};
use cache::Cache;
use clause::Clause;

/// The longest value of a keyword that is found, in bytes: the index's longest term.
pub const MAX_KEYWORD: usize = 65_530;

/// What a word counts that is only near the one that was asked for.
pub const NEAR: f32 = 0.5;

/// What a clause counts under a boost: a multiple of 1/32, at most 256. So sums of all that a query may have, halves of them
/// included, are exact, in whatever order they are added up.
pub fn weight(boost: f32) -> f32 {
    const GRAIN: f32 = 32.0;
    (boost * GRAIN).round().clamp(0.0, 256.0 * GRAIN) / GRAIN
}

/// A query made ready. It keeps buffers, so that it allocates little for an entry.
#[derive(Debug)]
pub struct Evaluator {
    node: Node,
    cache: Cache,
}

#[derive(Debug)]
enum Node {
    All,
    /// A clause, and what it counts.
    Clause(Clause, f32),
    /// Words near one, that word, and what it counts.
    Near(Clause, Clause, f32),
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
}

impl Evaluator {
    /// Makes a query ready.
    ///
    /// # Errors
    /// If it may not be asked.
    pub fn new(query: &Query) -> Result<Self, QueryError> {
        query.check()?;
        Ok(Evaluator { node: Node::new(query, 1.0), cache: Cache::default() })
    }

    /// Whether the query finds the entry.
    pub fn matches(&mut self, entry: &LogEntry<'_>) -> bool {
        self.cache.begin();
        self.node.matches(entry, &mut self.cache)
    }

    /// How well the entry fits; `None` if the query doesn't find it.
    pub fn score(&mut self, entry: &LogEntry<'_>) -> Option<f32> {
        self.cache.begin();
        let found = self.node.matches(entry, &mut self.cache);
        found.then(|| self.node.score(entry, &mut self.cache))
    }
}

/// Of a test of words near one, that for the word itself; `None` of all others.
pub fn exactly(test: &Test) -> Option<Test> {
    match test {
        Test::Fuzzy(_, Fuzziness::Zero) => None,
        Test::Fuzzy(word, _) => Some(Test::Fuzzy(word.clone(), Fuzziness::Zero)),
        _ => None,
    }
}

impl Node {
    /// A query under a boost.
    fn new(query: &Query, boost: f32) -> Node {
        match query {
            Query::All => Node::All,
            Query::Match(field, test) => match (Clause::new(field, test), exactly(test)) {
                (None, _) => Node::All,
                (Some(near), Some(exact)) => {
                    Clause::new(field, &exact).map_or(Node::All, |exact| Node::Near(near, exact, weight(boost)))
                }
                (Some(clause), None) => Node::Clause(clause, weight(boost)),
            },
            Query::Not(query) => Node::Not(Box::new(Node::new(query, boost))),
            Query::And(queries) => Node::And(queries.iter().map(|query| Node::new(query, boost)).collect()),
            Query::Or(queries) => Node::Or(queries.iter().map(|query| Node::new(query, boost)).collect()),
            Query::Boost(query, factor) => Node::new(query, boost * factor),
        }
    }

    fn matches(&self, entry: &LogEntry<'_>, cache: &mut Cache) -> bool {
        match self {
            Node::All => true,
            Node::Clause(clause, _) | Node::Near(clause, ..) => clause.matches(entry, cache),
            Node::Not(node) => !node.matches(entry, cache),
            Node::And(nodes) => nodes.iter().all(|node| node.matches(entry, cache)),
            Node::Or(nodes) => nodes.iter().any(|node| node.matches(entry, cache)),
        }
    }

    fn score(&self, entry: &LogEntry<'_>, cache: &mut Cache) -> f32 {
        match self {
            Node::All | Node::Not(_) | Node::Clause(Clause::Times(_), _) => 0.0,
            Node::Near(near, ..) if !near.matches(entry, cache) => 0.0,
            Node::Near(_, exact, weight) => {
                if exact.matches(entry, cache) {
                    *weight
                } else {
                    weight * NEAR
                }
            }
            Node::Clause(clause, weight) => {
                if clause.matches(entry, cache) {
                    *weight
                } else {
                    0.0
                }
            }
            // Of what must all fit nothing counts if not all does.
            Node::And(_) if !self.matches(entry, cache) => 0.0,
            Node::And(nodes) | Node::Or(nodes) => nodes.iter().map(|node| node.score(entry, cache)).sum(),
        }
    }
}

#[cfg(test)]
mod tests;
