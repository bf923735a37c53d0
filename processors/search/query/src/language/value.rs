//! Ranges, sets and times.

use std::ops::Bound;

use agentworks_schemas::{Level, Timestamp};

use super::error::ParseError;
use super::parser::{Parser, ends_word};
use crate::ast::{Ends, Field, Keyword, Number, Query, Test};

type Parsed<T> = Result<T, ParseError>;

/// Milliseconds of a day.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// An end of a range: its text and where it stands; `None` for `*`.
type End = Option<(String, usize)>;

impl Parser<'_> {
    /// `[a TO b]`, `{a TO b}` and mixed.
    pub(super) fn range(&mut self, field: &Field) -> Parsed<Test> {
        let open = self.at;
        let lower_in = self.eat('[') || !self.eat('{');
        let lower = self.end(field)?;
        self.skip_space();
        if !self.rest().strip_prefix("TO").is_some_and(ends_word) {
            return Err(
                self.error(self.at, "`TO` was expected here: a range is like `[1 TO 5]`, a set like `IN [a b]`")
            );
        }
        self.at += 2;
        let upper = self.end(field)?;
        self.skip_space();
        let upper_in = match self.peek() {
            Some(']') => true,
            Some('}') => false,
            None => return Err(self.error(open, "this range is never closed")),
            Some(_) => return Err(self.error(self.at, "`]` or `}` was expected here")),
        };
        self.at += 1;
        self.ends(field, (lower, lower_in), (upper, upper_in))
    }

    /// `>=a`, `>a`, `<a`, `<=a`, `=a`.
    pub(super) fn comparison(&mut self, field: &Field) -> Parsed<Test> {
        let sign = ["<=", ">=", "<", ">", "="].into_iter().find(|sign| self.rest().starts_with(sign)).unwrap_or("=");
        self.at += sign.len();
        let at = self.at;
        let Some(value) = self.end(field)? else {
            return Err(self.error(at, "a value was expected here"));
        };
        match sign {
            "=" => self.exact(field, value.0, value.1),
            ">=" | ">" => self.ends(field, (Some(value), sign == ">="), (None, true)),
            _ => self.ends(field, (None, true), (Some(value), sign == "<=")),
        }
    }

    fn end(&mut self, field: &Field) -> Parsed<End> {
        self.skip_space();
        let at = self.at;
        if self.peek() == Some('"') {
            return Ok(Some((self.quoted()?, at)));
        }
        let word = self.word(None)?;
        match word.text() {
            Some(text) if !text.is_empty() => Ok(Some((text, at))),
            None if word.parts.len() == 1 && word.parts[0] == crate::ast::Part::Any => Ok(None),
            Some(_) => Err(self.error(at, format!("a value of `{field}` was expected here"))),
            None => Err(self.error(at, "an end of a range has no wildcards; `*` alone is for no end")),
        }
    }

    fn ends(&self, field: &Field, lower: (End, bool), upper: (End, bool)) -> Parsed<Test> {
        match field {
            Field::Timestamp => Ok(Test::Times(bounds(lower, upper, |(text, at)| self.instant(&text, at))?)),
            Field::Keyword(Keyword::Level) => {
                let ends = bounds(lower, upper, |(text, at)| self.level(&text, at))?;
                let levels = Level::ALL.into_iter().filter(|level| ends.contain(level));
                let levels: Vec<_> = levels.map(|level| level.as_str().to_owned()).collect();
                match levels.is_empty() {
                    true => Err(self.error(self.at, "no level is in this range; they go from debug to fatal")),
                    false => Ok(Test::OneOf(levels)),
                }
            }
            Field::Data(_) => Ok(Test::Numbers(bounds(lower, upper, |(text, at)| {
                Number::parse(&text).ok_or_else(|| {
                    self.error(at, format!("{text:?} is not a number; ranges over `data` are those of numbers"))
                })
            })?)),
            _ => {
                let message = "it has no order; ranges are those of `timestamp`, `level` and numbers in `data.NAME`";
                Err(self.error(self.at, format!("this is a range of `{field}`, and {message}")))
            }
        }
    }

    /// Whether `IN [` comes.
    pub(super) fn is_set(&self) -> bool {
        self.rest().strip_prefix("IN").is_some_and(|rest| rest.trim_start().starts_with('['))
    }

    /// `IN [a b, "c d"]`.
    pub(super) fn set(&mut self, field: &Field) -> Parsed<Test> {
        let open = self.at;
        self.at += 2;
        self.skip_space();
        self.eat('[');
        let mut texts = Vec::new();
        loop {
            self.skip_space();
            let at = self.at;
            match self.peek() {
                None => return Err(self.error(open, "this set is never closed")),
                Some(']') => {
                    self.at += 1;
                    break;
                }
                Some(',') => {
                    self.at += 1;
                    continue;
                }
                _ => {}
            }
            self.clause()?;
            let text = match self.peek() {
                Some('"') => self.quoted()?,
                // A comma ends a member, but may be within one in quotes, or after a backslash.
                _ => match self.word(Some(','))?.text() {
                    Some(text) => text,
                    None => return Err(self.error(at, "the members of a set have no wildcards; use `(a* OR b*)`")),
                },
            };
            if self.at == at {
                return Err(self.error(at, "a member of the set or `]` was expected here"));
            }
            match self.exact(field, text, at)? {
                Test::Text(text) => texts.push(text),
                _ => return Err(self.error(at, format!("`{field}` has no sets; use a range"))),
            }
        }
        match texts.is_empty() {
            true => Err(self.error(open, "the set is empty, so that nothing is in it")),
            false => Ok(Test::OneOf(texts)),
        }
    }

    /// `since:2h` and its like; `None` if `name` is none of them.
    pub(super) fn time_words(&mut self, name: &str) -> Parsed<Option<Query>> {
        let name = name.to_lowercase();
        if !matches!(name.as_str(), "since" | "until" | "after" | "before") {
            return Ok(None);
        }
        let Some((text, at)) = self.end(&Field::Timestamp)? else {
            return Err(
                self.error(self.at, format!("a time was expected after `{name}:`, like `2h` or 2025-12-02T10:00:00Z"))
            );
        };
        let instant = match duration(&text) {
            Some(millis) => self.ago(millis, at)?,
            None => self.instant(&text, at)?,
        };
        let (lower, upper) = match name.as_str() {
            "since" => (Bound::Included(instant), Bound::Unbounded),
            "after" => (Bound::Excluded(instant), Bound::Unbounded),
            "until" => (Bound::Unbounded, Bound::Included(instant)),
            _ => (Bound::Unbounded, Bound::Excluded(instant)),
        };
        Ok(Some(Query::Match(Field::Timestamp, Test::Times(Ends { lower, upper }))))
    }

    /// The instant, or the whole of the day.
    pub(super) fn instant_or_day(&self, text: &str, at: usize) -> Parsed<Ends<Timestamp>> {
        let first = self.instant(text, at)?;
        Ok(match day(text) {
            Some(_) => Ends { lower: Bound::Included(first), upper: Bound::Excluded(Timestamp(first.0 + DAY)) },
            None => Ends { lower: Bound::Included(first), upper: Bound::Included(first) },
        })
    }

    /// An instant: in RFC 3339, a day, `now`, `now-2h`.
    fn instant(&self, text: &str, at: usize) -> Parsed<Timestamp> {
        if let Some(ago) = text.strip_prefix("now") {
            let millis = if ago.is_empty() { Some(0) } else { ago.strip_prefix('-').and_then(duration) };
            if let Some(millis) = millis {
                return self.ago(millis, at);
            }
        }
        if let Some(instant) = day(text).or_else(|| text.parse().ok())
            && Timestamp::RANGE.contains(&instant.millis())
        {
            return Ok(instant);
        }
        let text: String = text.chars().take(64).collect();
        let expected =
            "`2025-12-02T10:15:30Z`, `2025-12-02`, `now`, `now-2h`; after `since:` and its like also `2h`, `1d12h`";
        Err(self.error(at, format!("{text:?} is not a time; times are like {expected}")))
    }

    fn ago(&self, millis: i64, at: usize) -> Parsed<Timestamp> {
        let Some(now) = self.now else {
            return Err(self.error(at, "a time that depends on the clock was expected to be resolved before"));
        };
        Ok(Timestamp(now.0.saturating_sub(millis).clamp(*Timestamp::RANGE.start(), *Timestamp::RANGE.end())))
    }
}

fn bounds<T>(lower: (End, bool), upper: (End, bool), value: impl Fn((String, usize)) -> Parsed<T>) -> Parsed<Ends<T>> {
    let bound = |(end, included): (End, bool)| {
        Ok(match end {
            None => Bound::Unbounded,
            Some(end) if included => Bound::Included(value(end)?),
            Some(end) => Bound::Excluded(value(end)?),
        })
    };
    Ok(Ends { lower: bound(lower)?, upper: bound(upper)? })
}

/// The first instant of a day like `2025-12-02`, in UTC.
fn day(text: &str) -> Option<Timestamp> {
    match text.len() == 10 && text.is_ascii() {
        true => format!("{text}T00:00:00Z").parse().ok(),
        false => None,
    }
}

/// A duration like `90s`, `2h`, `1d12h`, in milliseconds.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0i64;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match &rest[..letters] {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60 * 1000,
            "h" => 60 * 60 * 1000,
            "d" => DAY,
            "w" => 7 * DAY,
            _ => return None,
        };
        total = total.checked_add(count.checked_mul(unit)?)?;
        rest = &rest[letters..];
        if rest.is_empty() {
            return Some(total);
        }
    }
}
