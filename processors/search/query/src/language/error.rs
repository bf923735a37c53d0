//! A query that can't be read.

use std::fmt;

/// Why a query can't be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    message: String,
    position: usize,
    line: String,
    caret: usize,
}

/// How much of the query is shown on each side of the fault, in characters.
const SHOWN: usize = 40;

impl ParseError {
    pub(super) fn new(text: &str, at: usize, message: impl Into<String>) -> Self {
        let position = text[..at].chars().count();
        let first = position.saturating_sub(SHOWN);
        let line = text.chars().skip(first).take(2 * SHOWN);
        // On one line, whatever is in it.
        let line = line.map(|c| if c.is_control() { ' ' } else { c }).collect();
        ParseError { message: message.into(), position, line, caret: position - first }
    }

    /// What is wrong and what was expected.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where: how many characters of the query come before.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Two lines for people: the query around the fault, and a caret below it.
    pub fn excerpt(&self) -> String {
        format!("{}\n{:caret$}^", self.line, "", caret = self.caret)
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at character {}: {}\n{}", self.position + 1, self.message, self.excerpt())
    }
}

impl std::error::Error for ParseError {}
