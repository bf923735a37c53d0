//! Keys: parts in the order of their table's columns.

use crate::table::Kind;

/// One part of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// For a column of [`Kind::Text`](crate::Kind::Text).
    Text(String),
    /// For a column of [`Kind::Int`](crate::Kind::Int).
    Int(i64),
}

impl From<&str> for Part {
    fn from(text: &str) -> Self {
        Part::Text(text.to_owned())
    }
}

impl From<String> for Part {
    fn from(text: String) -> Self {
        Part::Text(text)
    }
}

impl From<i64> for Part {
    fn from(number: i64) -> Self {
        Part::Int(number)
    }
}

impl Part {
    /// Whether it fits a column of `kind`.
    pub fn is(&self, kind: Kind) -> bool {
        matches!((self, kind), (Part::Text(_), Kind::Text) | (Part::Int(_), Kind::Int))
    }
}

/// A row's whole key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// One part per partition column.
    pub partition: Vec<Part>,
    /// One part per clustering column.
    pub clustering: Vec<Part>,
}
