//! The query: what is looked for, as a tree.
//!
//! Its text ([`fmt::Display`], in the language of [`crate::language`]) is its one form on every wire: what is read back is
//! the same tree, and has passed the same checks.

mod display;
mod field;
mod number;
mod pattern;

use std::ops::Bound;

use agentworks_schemas::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use field::{Field, Keyword};
pub use number::Number;
pub use pattern::{Part, Pattern};

use crate::tokens::tokenize;

/// How deep a query may nest.
pub const MAX_DEPTH: usize = 50;
/// How many clauses it may have; each member of a set counts, and a fuzzy word once more for every eight letters.
pub const MAX_CLAUSES: usize = 512;

/// What is looked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Every entry.
    All,
    /// Entries whose field is as the test says.
    Match(Field, Test),
    /// Entries that the query doesn't find.
    Not(Box<Query>),
    /// Entries that all find.
    And(Vec<Query>),
    /// Entries that any finds.
    Or(Vec<Query>),
    /// The same entries, this much more relevant.
    Boost(Box<Query>, f32),
}

/// What a field must be like.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// In text: these words, one after the other. In `data` also the number or truth value of that text. Of a keyword: the
    /// whole of it, to the letter.
    Text(String),
    /// Words of which the last may go on; a keyword that begins so.
    Prefix(String),
    /// One word, or a keyword, of this shape.
    Wildcard(Pattern),
    /// One word, or a keyword, that differs by at most so many letters.
    Fuzzy(String, Fuzziness),
    /// A number in a range.
    Numbers(Ends<Number>),
    /// An instant in a range.
    Times(Ends<Timestamp>),
    /// Any of these, each as [`Test::Text`].
    OneOf(Vec<String>),
    /// Anything at all.
    Exists,
}

/// By how many edits (a letter more, less, another one, or two neighbours exchanged) a word may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fuzziness {
    /// None: it is the word itself.
    Zero,
    /// One.
    One,
    /// Two.
    Two,
    /// By length, as Elasticsearch has it: none up to 2 letters, one up to 5, two above. Words with digits must be the same:
    /// numbers and ids that are near each other have nothing in common.
    Auto,
}

impl Fuzziness {
    /// How many edits there may be from this word.
    pub fn edits(self, word: &str) -> u8 {
        match self {
            Fuzziness::Zero => 0,
            Fuzziness::One => 1,
            Fuzziness::Two => 2,
            Fuzziness::Auto if word.chars().any(char::is_numeric) => 0,
            Fuzziness::Auto => match word.chars().count() {
                0..=2 => 0,
                3..=5 => 1,
                _ => 2,
            },
        }
    }
}

/// The two ends of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends<T> {
    /// The lower one.
    pub lower: Bound<T>,
    /// The upper one.
    pub upper: Bound<T>,
}

impl<T: PartialOrd> Ends<T> {
    /// Whether a value lies between them.
    pub fn contain(&self, value: &T) -> bool {
        let above = match &self.lower {
            Bound::Included(lower) => value >= lower,
            Bound::Excluded(lower) => value > lower,
            Bound::Unbounded => true,
        };
        above
            && match &self.upper {
                Bound::Included(upper) => value <= upper,
                Bound::Excluded(upper) => value < upper,
                Bound::Unbounded => true,
            }
    }
}

/// A query that can't be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It nests too deep.
    #[error("the query nests more than {MAX_DEPTH} deep; ask for less at once")]
    Depth,
    /// It has too many clauses.
    #[error("the query has more than {MAX_CLAUSES} clauses; ask for less at once")]
    Clauses,
    /// A field can't be tested so.
    #[error("{0}")]
    Test(String),
}

impl Query {
    /// Entries that all of `queries` find; of none, every entry.
    pub fn and(queries: impl IntoIterator<Item = Query>) -> Query {
        let mut all = Vec::new();
        for query in queries {
            match query {
                Query::And(nested) => all.extend(nested),
                other => all.push(other),
            }
        }
        match all.len() {
            0 => Query::All,
            1 => all.remove(0),
            _ => Query::And(all),
        }
    }

    /// Entries that any of `queries` finds; of none, no entry.
    pub fn or(queries: impl IntoIterator<Item = Query>) -> Query {
        let mut any = Vec::new();
        for query in queries {
            match query {
                Query::Or(nested) => any.extend(nested),
                other => any.push(other),
            }
        }
        match any.len() {
            0 => Query::negate(Query::All),
            1 => any.remove(0),
            _ => Query::Or(any),
        }
    }

    /// Entries that `query` doesn't find.
    pub fn negate(query: Query) -> Query {
        Query::Not(Box::new(query))
    }

    /// Entries whose keyword is `value`.
    pub fn keyword(keyword: Keyword, value: impl Into<String>) -> Query {
        Query::Match(Field::Keyword(keyword), Test::Text(value.into()))
    }

    /// Entries whose keyword is any of `values`.
    pub fn one_of(keyword: Keyword, values: impl IntoIterator<Item = impl Into<String>>) -> Query {
        let mut values: Vec<String> = values.into_iter().map(Into::into).collect();
        match values.len() {
            1 => Query::keyword(keyword, values.remove(0)),
            _ => Query::Match(Field::Keyword(keyword), Test::OneOf(values)),
        }
    }

    /// The same query, `factor` times as relevant.
    pub fn boost(self, factor: f32) -> Query {
        Query::Boost(Box::new(self), factor)
    }

    /// Whether the query may be asked: its size, and that each field can be tested so.
    pub fn check(&self) -> Result<(), QueryError> {
        let mut clauses = 0;
        self.check_within(MAX_DEPTH, &mut clauses)
    }

    fn check_within(&self, depth: usize, clauses: &mut usize) -> Result<(), QueryError> {
        let depth = depth.checked_sub(1).ok_or(QueryError::Depth)?;
        *clauses += match self {
            Query::Match(_, Test::OneOf(values)) => values.len().max(1),
            // An automaton takes memory by the length of its word.
            Query::Match(_, Test::Fuzzy(word, _)) => 1 + word.len() / 8,
            _ => 1,
        };
        if *clauses > MAX_CLAUSES {
            return Err(QueryError::Clauses);
        }
        match self {
            Query::All => Ok(()),
            Query::Match(field, test) => field.check(test).map_err(QueryError::Test),
            Query::Not(query) => query.check_within(depth, clauses),
            Query::Boost(query, factor) if (0.0..=1e6).contains(factor) => query.check_within(depth, clauses),
            Query::Boost(_, factor) => Err(QueryError::Test(format!("the boost {factor} is not from 0 to 1000000"))),
            Query::And(queries) | Query::Or(queries) => {
                queries.iter().try_for_each(|query| query.check_within(depth, clauses))
            }
        }
    }
}

/// What a prefix is in text: words that are whole, and the beginning of one more. None, if it ends with a separator.
pub fn prefix_words(prefix: &str) -> (Vec<String>, Option<String>) {
    let mut words = tokenize(prefix);
    let open = prefix.chars().next_back().is_some_and(|last| !tokenize(last.encode_utf8(&mut [0; 4])).is_empty());
    let last = if open { words.pop() } else { None };
    (words, last)
}

impl Serialize for Query {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Query {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The text of a tree holds no times that depend on a clock, and may be longer than what somebody types.
        crate::language::parse_written(&text).map_err(serde::de::Error::custom)
    }
}
