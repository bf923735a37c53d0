//! Whether a query finds an entry, without an index: of entries that no index has yet, and to hold the index to it.
//!
//! It means exactly what the index means: the same tokens, the same leaves of `data`, the same comparisons.
//!
//! A *score* here is the sum of the boosts of the clauses that find the entry, of those that are not under a `NOT`. It knows
//! no frequencies, as the index does: entries that are not in the index yet are among the others by how much of the
//! query they fit, not by how rare its words are.

mod cache;
mod clause;

use agentworks_schemas::LogEntry;

use crate::ast::{Query, QueryError};
use cache::Cache;
use clause::Clause;

/// The longest value of a keyword that is found, in bytes: the index's longest term.
pub const MAX_KEYWORD: usize = 65_530;

/// A query made ready. It keeps buffers, so that it allocates little for an entry.
#[derive(Debug)]
pub struct Evaluator {
    node: Node,
    cache: Cache,
}

#[derive(Debug)]
enum Node {
    All,
    Clause(Clause),
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Boost(Box<Node>, f32),
}

impl Evaluator {
    /// Makes a query ready.
    ///
    /// # Errors
    /// If it may not be asked.
    pub fn new(query: &Query) -> Result<Self, QueryError> {
        query.check()?;
        Ok(Evaluator { node: Node::new(query), cache: Cache::default() })
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

impl Node {
    fn new(query: &Query) -> Node {
        match query {
            Query::All => Node::All,
            Query::Match(field, test) => Clause::new(field, test).map_or(Node::All, Node::Clause),
            Query::Not(query) => Node::Not(Box::new(Node::new(query))),
            Query::And(queries) => Node::And(queries.iter().map(Node::new).collect()),
            Query::Or(queries) => Node::Or(queries.iter().map(Node::new).collect()),
            Query::Boost(query, factor) => Node::Boost(Box::new(Node::new(query)), *factor),
        }
    }

    fn matches(&self, entry: &LogEntry<'_>, cache: &mut Cache) -> bool {
        match self {
            Node::All => true,
            Node::Clause(clause) => clause.matches(entry, cache),
            Node::Not(node) => !node.matches(entry, cache),
            Node::And(nodes) => nodes.iter().all(|node| node.matches(entry, cache)),
            Node::Or(nodes) => nodes.iter().any(|node| node.matches(entry, cache)),
            Node::Boost(node, _) => node.matches(entry, cache),
        }
    }

    fn score(&self, entry: &LogEntry<'_>, cache: &mut Cache) -> f32 {
        match self {
            Node::All | Node::Not(_) => 0.0,
            Node::Clause(clause) => f32::from(u8::from(clause.matches(entry, cache))),
            Node::And(nodes) | Node::Or(nodes) => nodes.iter().map(|node| node.score(entry, cache)).sum(),
            Node::Boost(node, factor) => node.score(entry, cache) * factor,
        }
    }
}

#[cfg(test)]
mod tests;
