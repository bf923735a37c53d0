//! The query language: one box, in the grammar that people know from Lucene and Quickwit.
//!
//! ```text
//! level:error AND component:"tool runner" AND data.http_status:>=500 NOT "rate limit" since:2h
//! ```
//!
//! | | |
//! |---|---|
//! | `timeout` | a word, in message, component or any value of `data` |
//! | `"rate limit"`, `rate-limit` | words one after the other |
//! | `a b`, `a AND b`, `a && b` | both: terms that just stand beside each other must *all* be found |
//! | `a OR b`, `a \|\| b` | either; `AND` binds closer: `a OR b c` is `a OR (b AND c)` |
//! | `NOT a`, `-a`, `!a` | not; binds closest. `+a` is `a` |
//! | `(a OR b) c` | parentheses, up to [`MAX_DEPTH`](crate::ast::MAX_DEPTH) deep |
//! | `card:x`, `cardId:x`, `card_id:x` | a field: `message`, `component`, `data` and `data.PATH` are text; `id card run agent user provider model tags correlation trace span source level` are words to the letter |
//! | `level:(error OR fatal)`, `level:IN [error fatal]`, `level:>=warn` | several values of a field |
//! | `data.http_status:>=500`, `data.ms:[10 TO 20}`, `data.ms:[* TO 9]` | numbers; a curly bracket leaves its end out |
//! | `since:2h`, `after:1d12h`, `until:2025-12-02T10:00:00Z`, `before:2025-12-02`, `timestamp:[now-2d TO now-1d]` | times; `since` and `until` include the instant. A day is its first instant, in UTC; `timestamp:2025-12-02` is all of it |
//! | `tim*`, `"rate lim"*`, `t?me*ut` | beginnings and patterns |
//! | `timeot~`, `timeot~1` | near words: see [`Fuzziness`] |
//! | `agent:*`, `data.error:*` | has a value |
//! | `timeout^2` | counts twice as much for the relevance |
//! | `\` | takes its meaning from the character after it |
//!
//! Operators are in upper case. Nothing of a query is guessed: what can't be read is an error that says where, what was
//! expected and what to do.

mod error;
mod parser;
#[cfg(test)]
mod tests;
mod value;

use agentworks_schemas::Timestamp;

pub use error::ParseError;

#[allow(unused_imports, reason = "named in the documentation")]
use crate::ast::Fuzziness;
use crate::ast::Query;
use parser::Parser;

/// The longest query, in bytes.
pub const MAX_LENGTH: usize = 8 * 1024;

/// The longest text of a query that a machine wrote, in bytes.
const MAX_WRITTEN: usize = 1024 * 1024;

/// Reads a query. Times like `since:2h` are told from `now`. An empty one finds everything.
pub fn parse(text: &str, now: Timestamp) -> Result<Query, ParseError> {
    Parser::new(text, Some(now)).parse(MAX_LENGTH)
}

/// Reads what `Query`'s `Display` wrote.
pub(crate) fn parse_written(text: &str) -> Result<Query, ParseError> {
    Parser::new(text, None).parse(MAX_WRITTEN)
}

/// Whether a text may stand without quotes where a value is expected.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['-', '.'])
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && !matches!(text, "AND" | "OR" | "NOT" | "TO" | "IN")
}
