//! One clause of a query, made ready.

use std::ops::Range;

use agentworks_schemas::{LogEntry, Timestamp};
use levenshtein_automata::{DFA, Distance};

use super::MAX_KEYWORD;
use super::cache::{Cache, Value, Words};
use crate::ast::{Ends, Field, Keyword, Number, Pattern, Test, prefix_words};
use crate::near::automaton;
use crate::tokens::tokenize;

/// Words that are near one.
pub(super) struct Near(DFA);

impl Near {
    fn new(word: &str, edits: u8) -> Near {
        Near(automaton(word, edits))
    }

    fn is(&self, word: &str) -> bool {
        matches!(self.0.eval(word), Distance::Exact(_))
    }
}

impl std::fmt::Debug for Near {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Near")
    }
}

/// A text to be equal to: its words, and what else it may be in `data`.
#[derive(Debug)]
pub(super) struct Equal {
    words: Vec<String>,
    number: Option<Number>,
    truth: Option<bool>,
}

#[derive(Debug)]
pub(super) enum WordTest {
    Equal(Vec<Equal>),
    Prefix(Vec<String>, Option<String>),
    Wildcard(Pattern),
    Near(Near),
    Numbers(Ends<Number>),
    Exists,
}

#[derive(Debug)]
pub(super) enum KeywordTest {
    Equal(Vec<String>),
    Prefix(String),
    Wildcard(Pattern),
    Near(Near),
    Exists,
}

#[derive(Debug)]
pub(super) enum Clause {
    Words(Field, WordTest),
    Keyword(Keyword, KeywordTest),
    Times(Ends<Timestamp>),
}

impl Clause {
    /// A clause that passed its check; `None` if every entry fits.
    pub(super) fn new(field: &Field, test: &Test) -> Option<Clause> {
        match (field, test) {
            (Field::Any | Field::Message | Field::Component | Field::Timestamp, Test::Exists) => None,
            (Field::Keyword(keyword), Test::Exists) if keyword.is_required() => None,
            (Field::Keyword(keyword), test) => Some(Clause::Keyword(*keyword, KeywordTest::new(test)?)),
            (_, Test::Times(ends)) => Some(Clause::Times(*ends)),
            (field, test) => Some(Clause::Words(field.clone(), WordTest::new(test)?)),
        }
    }

    pub(super) fn matches(&self, entry: &LogEntry<'_>, cache: &mut Cache) -> bool {
        match self {
            Clause::Times(ends) => ends.contain(&entry.timestamp),
            Clause::Keyword(keyword, test) => keyword.values(entry).any(|value| test.is(value)),
            Clause::Words(field, test) => {
                let text = |(words, range): (&Words, Range<usize>)| test.is_in(words, range);
                match field {
                    Field::Message => text(cache.message(entry)),
                    Field::Component => text(cache.component(entry)),
                    Field::AllData => cache.any_leaf(entry, |words, _, value| test.is(words, value)),
                    Field::Data(wanted) => {
                        let below = matches!(test, WordTest::Exists);
                        cache
                            .any_leaf(entry, |words, path, value| is_path(path, wanted, below) && test.is(words, value))
                    }
                    Field::Any | Field::Keyword(_) | Field::Timestamp => {
                        text(cache.message(entry))
                            || text(cache.component(entry))
                            || cache.any_leaf(entry, |words, _, value| test.is(words, value))
                    }
                }
            }
        }
    }
}

/// Whether a leaf's path is the one that is wanted, or lies below it.
fn is_path(path: &str, wanted: &str, below: bool) -> bool {
    path.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || below && rest.starts_with('.'))
}

impl WordTest {
    fn new(test: &Test) -> Option<WordTest> {
        Some(match test {
            Test::Text(text) => WordTest::Equal(vec![Equal::new(text)]),
            Test::OneOf(texts) => WordTest::Equal(texts.iter().map(|text| Equal::new(text)).collect()),
            Test::Prefix(prefix) => {
                let (words, last) = prefix_words(prefix);
                WordTest::Prefix(words, last)
            }
            Test::Wildcard(pattern) => WordTest::Wildcard(pattern.folded()),
            Test::Fuzzy(word, fuzziness) => {
                let word = tokenize(word).pop().unwrap_or_default();
                match fuzziness.edits(&word) {
                    0 => WordTest::Equal(vec![Equal { words: vec![word], number: None, truth: None }]),
                    edits => WordTest::Near(Near::new(&word, edits)),
                }
            }
            Test::Numbers(ends) => WordTest::Numbers(*ends),
            Test::Exists => WordTest::Exists,
            Test::Times(_) => return None,
        })
    }

    /// Whether a value of `data` is so.
    fn is(&self, words: &Words, value: &Value) -> bool {
        match (self, value) {
            (_, Value::Words(range)) => self.is_in(words, range.clone()),
            (WordTest::Exists, _) => true,
            (WordTest::Numbers(ends), Value::Number(number)) => ends.contain(number),
            (WordTest::Equal(texts), Value::Number(number)) => texts.iter().any(|text| text.number == Some(*number)),
            (WordTest::Equal(texts), Value::Bool(truth)) => texts.iter().any(|text| text.truth == Some(*truth)),
            _ => false,
        }
    }

    /// Whether it is so anywhere in these words.
    fn is_in(&self, words: &Words, range: Range<usize>) -> bool {
        let mut each = range.clone();
        match self {
            WordTest::Equal(texts) => texts.iter().any(|text| has_phrase(words, range.clone(), &text.words, None)),
            WordTest::Prefix(first, last) => has_phrase(words, range, first, last.as_deref()),
            WordTest::Wildcard(pattern) => each.any(|index| pattern.matches(words.get(index))),
            WordTest::Near(near) => each.any(|index| near.is(words.get(index))),
            WordTest::Numbers(_) => false,
            WordTest::Exists => !range.is_empty(),
        }
    }
}

/// Whether these words are there one after the other, and then, if asked for, one that begins with `last`.
fn has_phrase(words: &Words, range: Range<usize>, first: &[String], last: Option<&str>) -> bool {
    let len = first.len() + usize::from(last.is_some());
    len > 0
        && range.len() >= len
        && (range.start..=range.end - len).any(|at| {
            first.iter().enumerate().all(|(index, word)| words.get(at + index) == word)
                && last.is_none_or(|last| words.get(at + len - 1).starts_with(last))
        })
}

impl Equal {
    fn new(text: &str) -> Equal {
        Equal { words: tokenize(text), number: Number::parse(text), truth: text.parse().ok() }
    }
}

impl KeywordTest {
    fn new(test: &Test) -> Option<KeywordTest> {
        Some(match test {
            Test::Text(text) => KeywordTest::Equal(vec![text.clone()]),
            Test::OneOf(texts) => KeywordTest::Equal(texts.clone()),
            Test::Prefix(prefix) => KeywordTest::Prefix(prefix.clone()),
            Test::Wildcard(pattern) => KeywordTest::Wildcard(pattern.clone()),
            Test::Fuzzy(word, fuzziness) => match fuzziness.edits(word) {
                0 => KeywordTest::Equal(vec![word.clone()]),
                edits => KeywordTest::Near(Near::new(word, edits)),
            },
            Test::Exists => KeywordTest::Exists,
            Test::Numbers(_) | Test::Times(_) => return None,
        })
    }

    fn is(&self, value: &str) -> bool {
        value.len() <= MAX_KEYWORD
            && match self {
                KeywordTest::Equal(texts) => texts.iter().any(|text| text == value),
                KeywordTest::Prefix(prefix) => value.starts_with(prefix),
                KeywordTest::Wildcard(pattern) => pattern.matches(value),
                KeywordTest::Near(near) => near.is(value),
                KeywordTest::Exists => true,
            }
    }
}
