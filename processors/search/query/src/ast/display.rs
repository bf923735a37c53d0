//! The query as text of its own language.

use std::fmt::{self, Formatter, Write};
use std::ops::Bound;

use super::{Ends, Field, Fuzziness, Query, Test};
use crate::language::is_plain;

impl fmt::Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Query::All => f.write_char('*'),
            Query::Match(field, test) => {
                if *field != Field::Any {
                    write!(f, "{field}:")?;
                }
                write_test(f, test)
            }
            Query::Not(query) => {
                f.write_str("NOT ")?;
                operand(f, query, matches!(**query, Query::Not(_)))
            }
            Query::And(queries) => joined(f, queries, " AND "),
            Query::Or(queries) => joined(f, queries, " OR "),
            Query::Boost(query, factor) => {
                operand(f, query, false)?;
                write!(f, "^{factor}")
            }
        }
    }
}

fn joined(f: &mut Formatter<'_>, queries: &[Query], with: &str) -> fmt::Result {
    for (index, query) in queries.iter().enumerate() {
        if index > 0 {
            f.write_str(with)?;
        }
        operand(f, query, matches!(query, Query::Not(_) | Query::Boost(..)))?;
    }
    Ok(())
}

/// A query within another: in parentheses, unless it is one clause or `bare`.
fn operand(f: &mut Formatter<'_>, query: &Query, bare: bool) -> fmt::Result {
    match query {
        Query::All | Query::Match(..) => write!(f, "{query}"),
        _ if bare => write!(f, "{query}"),
        _ => write!(f, "({query})"),
    }
}

fn write_test(f: &mut Formatter<'_>, test: &Test) -> fmt::Result {
    match test {
        Test::Text(text) => write_text(f, text),
        Test::Prefix(prefix) => {
            write_quoted(f, prefix)?;
            f.write_char('*')
        }
        Test::Wildcard(pattern) => write!(f, "{pattern}"),
        Test::Fuzzy(word, fuzziness) => {
            for (index, character) in word.chars().enumerate() {
                escaped(f, character, index == 0)?;
            }
            f.write_str(match fuzziness {
                Fuzziness::Zero => "~0",
                Fuzziness::One => "~1",
                Fuzziness::Two => "~2",
                Fuzziness::Auto => "~",
            })
        }
        Test::Numbers(ends) => write_ends(f, ends),
        Test::Times(ends) => write_ends(f, ends),
        Test::OneOf(texts) => {
            f.write_str("IN [")?;
            for (index, text) in texts.iter().enumerate() {
                if index > 0 {
                    f.write_char(' ')?;
                }
                write_text(f, text)?;
            }
            f.write_char(']')
        }
        Test::Exists => f.write_char('*'),
    }
}

fn write_ends<T: fmt::Display>(f: &mut Formatter<'_>, ends: &Ends<T>) -> fmt::Result {
    let (open, lower) = match &ends.lower {
        Bound::Included(lower) => ('[', Some(lower)),
        Bound::Excluded(lower) => ('{', Some(lower)),
        Bound::Unbounded => ('[', None),
    };
    let (close, upper) = match &ends.upper {
        Bound::Included(upper) => (']', Some(upper)),
        Bound::Excluded(upper) => ('}', Some(upper)),
        Bound::Unbounded => (']', None),
    };
    match (lower, upper) {
        (Some(lower), None) => write!(f, ">{}{lower}", if open == '[' { "=" } else { "" }),
        (None, Some(upper)) => write!(f, "<{}{upper}", if close == ']' { "=" } else { "" }),
        (None, None) => f.write_str("[* TO *]"),
        (Some(lower), Some(upper)) => write!(f, "{open}{lower} TO {upper}{close}"),
    }
}

fn write_text(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    match is_plain(text) {
        true => f.write_str(text),
        false => write_quoted(f, text),
    }
}

fn write_quoted(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(character)?;
    }
    f.write_char('"')
}

/// A character of a word, escaped where it may mean something else; the `first` one always, unless it is a letter or digit
/// of which no operator begins.
pub(super) fn escaped(f: &mut Formatter<'_>, character: char, first: bool) -> fmt::Result {
    let operator = first && matches!(character, 'A' | 'O' | 'N' | 'T' | 'I');
    if operator || !(character.is_alphanumeric() || matches!(character, '_' | '.') || character == '-' && !first) {
        f.write_char('\\')?;
    }
    f.write_char(character)
}
