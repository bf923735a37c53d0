//! The grammar, by recursive descent.

use agentworks_schemas::{Level, Timestamp};

use super::error::ParseError;
use crate::ast::{Field, Fuzziness, Keyword, MAX_CLAUSES, MAX_DEPTH, Part, Pattern, Query, QueryError, Test};

/// What stands between two delimiters: its parts, with escapes resolved, and where it is.
pub(super) struct Word {
    pub(super) parts: Vec<Part>,
    pub(super) at: usize,
}

impl Word {
    /// The text, if there is no wildcard in it.
    pub(super) fn text(&self) -> Option<String> {
        self.parts.iter().map(|part| if let Part::Is(character) = part { Some(*character) } else { None }).collect()
    }
}

pub(super) struct Parser<'t> {
    pub(super) text: &'t str,
    pub(super) at: usize,
    pub(super) now: Option<Timestamp>,
    depth: usize,
    clauses: usize,
}

type Parsed<T> = Result<T, ParseError>;

impl<'t> Parser<'t> {
    pub(super) fn new(text: &'t str, now: Option<Timestamp>) -> Self {
        Parser { text, at: 0, now, depth: 0, clauses: 0 }
    }

    pub(super) fn parse(mut self, max: usize) -> Parsed<Query> {
        if self.text.len() > max {
            return Err(self.error(0, format!("the query has {} bytes; at most {max} are taken", self.text.len())));
        }
        self.skip_space();
        if self.rest().is_empty() {
            return Ok(Query::All);
        }
        let query = self.or(None)?;
        if !self.rest().is_empty() {
            // Only a closing bracket ends an expression early.
            return Err(self.error(self.at, "this closes nothing; put it in quotes if it is part of a word"));
        }
        query.check().map_err(|error| self.error(0, error.to_string()))?;
        Ok(query)
    }

    /// `a OR b OR c`; each in `field`, if one was named before the parentheses.
    fn or(&mut self, field: Option<&Field>) -> Parsed<Query> {
        let mut queries = vec![self.and(field)?];
        while self.eat_operator("OR", "||") {
            queries.push(self.and(field)?);
        }
        Ok(if queries.len() == 1 { queries.remove(0) } else { Query::or(queries) })
    }

    /// `a b AND c`.
    fn and(&mut self, field: Option<&Field>) -> Parsed<Query> {
        let mut queries = vec![self.not(field)?];
        loop {
            let more = self.eat_operator("AND", "&&");
            if !more
                && (self.rest().is_empty() || self.rest().starts_with([')', ']', '}']) || self.is_operator("OR", "||"))
            {
                break;
            }
            queries.push(self.not(field)?);
        }
        Ok(if queries.len() == 1 { queries.remove(0) } else { Query::and(queries) })
    }

    fn not(&mut self, field: Option<&Field>) -> Parsed<Query> {
        self.skip_space();
        if self.eat_operator("NOT", "!") || self.eat_sign('-') {
            self.deeper()?;
            let query = self.not(field)?;
            self.depth -= 1;
            return Ok(Query::negate(query));
        }
        self.eat_sign('+');
        let query = self.primary(field)?;
        let query = self.boosted(query)?;
        self.skip_space();
        Ok(query)
    }

    fn boosted(&mut self, query: Query) -> Parsed<Query> {
        let at = self.at;
        if !self.eat('^') {
            return Ok(query);
        }
        let number = self.rest();
        let number = &number[..number.find(|c: char| !matches!(c, '0'..='9' | '.')).unwrap_or(number.len())];
        self.at += number.len();
        match number.parse::<f32>() {
            Ok(factor) if (0.0..=1e6).contains(&factor) => Ok(query.boost(factor)),
            _ => Err(self.error(at, "a boost is a number from 0 to 1000000, like `timeout^2`")),
        }
    }

    fn primary(&mut self, field: Option<&Field>) -> Parsed<Query> {
        self.clause()?;
        match self.peek() {
            None => Err(self.error(self.at, "something to look for was expected here, and the query ends")),
            Some('(') => self.group(field),
            Some(')') => Err(self.error(self.at, "something to look for was expected before this parenthesis")),
            _ if self.is_operator("AND", "&&") || self.is_operator("OR", "||") => {
                Err(self
                    .error(self.at, "something to look for was expected before this operator; in quotes it is a word"))
            }
            _ => match field {
                Some(field) => self.value(field),
                None => self.clause_of_any(),
            },
        }
    }

    fn group(&mut self, field: Option<&Field>) -> Parsed<Query> {
        let open = self.at;
        self.deeper()?;
        self.eat('(');
        let query = self.or(field)?;
        if !self.eat(')') {
            return Err(match self.peek() {
                None => self.error(open, "this parenthesis is never closed"),
                Some(_) => self.error(self.at, "a closing parenthesis was expected here"),
            });
        }
        self.depth -= 1;
        Ok(query)
    }

    /// A clause without a field before it, or with one.
    fn clause_of_any(&mut self) -> Parsed<Query> {
        if self.rest().starts_with(['[', '{', ']', '}', '<', '>', '=', '^', '~', ':']) {
            let message =
                "a field was expected before this, like `data.http_status:>=500`; in quotes it is part of a text";
            return Err(self.error(self.at, message));
        }
        if self.peek() == Some('"') {
            return self.value(&Field::Any);
        }
        let start = self.at;
        let name = self.word(Some(':'))?;
        if !self.eat(':') {
            self.at = start;
            return self.value(&Field::Any);
        }
        let Some(name) = name.text() else {
            return Err(self.error(start, "the name of a field has no wildcards"));
        };
        if self.peek().is_none() {
            return Err(self.error(self.at, format!("a value was expected after `{name}:`")));
        }
        self.skip_space();
        if let Some(query) = self.time_words(&name)? {
            return Ok(query);
        }
        let field = Field::named(&name).map_err(|message| self.error(start, message))?;
        match self.peek() {
            Some('(') => self.group(Some(&field)),
            _ => self.value(&field),
        }
    }

    /// The test of a field.
    fn value(&mut self, field: &Field) -> Parsed<Query> {
        let at = self.at;
        let test = match self.peek() {
            None | Some(')' | ']' | '}') => {
                return Err(self.error(at, format!("a value of `{field}` was expected here")));
            }
            Some('[' | '{') => self.range(field)?,
            Some('<' | '>' | '=') => self.comparison(field)?,
            Some('"') => self.quoted_test(field)?,
            Some(_) if self.is_set() => self.set(field)?,
            Some(_) => self.word_test(field)?,
        };
        if (field, &test) == (&Field::Any, &Test::Exists) {
            return Ok(Query::All);
        }
        field.check(&test).map_err(|message| self.error(at, message))?;
        Ok(Query::Match(field.clone(), test))
    }

    fn quoted_test(&mut self, field: &Field) -> Parsed<Test> {
        let at = self.at;
        let text = self.quoted()?;
        match self.peek() {
            Some('*') => {
                self.at += 1;
                Ok(Test::Prefix(text))
            }
            Some('~') => {
                Err(self.error(self.at, "words in quotes are found as they are, one after the other: leave `~` out"))
            }
            _ => self.exact(field, text, at),
        }
    }

    fn word_test(&mut self, field: &Field) -> Parsed<Test> {
        let word = self.word(None)?;
        if word.parts.is_empty() {
            return Err(
                self.error(self.at, format!("a value of `{field}` was expected here; in quotes it may be anything"))
            );
        }
        if self.peek() == Some('~') {
            return self.fuzzy(&word);
        }
        if let Some(text) = word.text() {
            return self.exact(field, text, word.at);
        }
        let pattern = Pattern::new(word.parts);
        Ok(match pattern.parts() {
            [Part::Any] => Test::Exists,
            [start @ .., Part::Any] if start.iter().all(|part| matches!(part, Part::Is(_))) => {
                Test::Prefix(pattern.prefix())
            }
            _ => Test::Wildcard(pattern),
        })
    }

    fn fuzzy(&mut self, word: &Word) -> Parsed<Test> {
        let at = self.at;
        self.eat('~');
        let digits = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest().len());
        let fuzziness = match &self.rest()[..digits] {
            "" => Fuzziness::Auto,
            "0" => Fuzziness::Zero,
            "1" => Fuzziness::One,
            "2" => Fuzziness::Two,
            _ => {
                return Err(
                    self.error(at, "a word may differ by 1 or 2 letters: `timeout~1`, `timeout~2`, or `timeout~`")
                );
            }
        };
        self.at += digits;
        match word.text() {
            Some(text) => Ok(Test::Fuzzy(text, fuzziness)),
            None => Err(self.error(word.at, "a pattern can't be fuzzy, too: leave `~` or the wildcards out")),
        }
    }

    /// A value as it stands.
    pub(super) fn exact(&self, field: &Field, text: String, at: usize) -> Parsed<Test> {
        Ok(match field {
            Field::Timestamp => Test::Times(self.instant_or_day(&text, at)?),
            Field::Keyword(Keyword::Level | Keyword::Source) => Test::Text(text.to_lowercase()),
            _ => Test::Text(text),
        })
    }

    /// The level of this name.
    pub(super) fn level(&self, text: &str, at: usize) -> Parsed<Level> {
        text.to_lowercase()
            .parse()
            .map_err(|error: agentworks_schemas::entry::UnknownName| self.error(at, error.to_string()))
    }

    /// Up to the closing quote.
    pub(super) fn quoted(&mut self) -> Parsed<String> {
        let open = self.at;
        self.eat('"');
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(self.error(open, "this quote is never closed")),
                Some('"') => return Ok(text),
                Some('\\') => match self.next() {
                    Some(escaped) => text.push(escaped),
                    None => return Err(self.error(open, "this quote is never closed")),
                },
                Some(character) => text.push(character),
            }
        }
    }

    /// Up to a delimiter, or to `end`: a colon ends a field's name alone, and a comma the member of a set.
    pub(super) fn word(&mut self, end: Option<char>) -> Parsed<Word> {
        let at = self.at;
        let mut parts = Vec::new();
        while let Some(character) = self.peek() {
            match character {
                '(' | ')' | '[' | ']' | '{' | '}' | '"' | '^' | '~' => break,
                _ if end == Some(character) => break,
                _ if character.is_whitespace() => break,
                '\\' => {
                    let escape = self.at;
                    self.next();
                    match self.next() {
                        Some(escaped) => parts.push(Part::Is(escaped)),
                        None => return Err(self.error(escape, "a character was expected after the backslash")),
                    }
                    continue;
                }
                '*' => parts.push(Part::Any),
                '?' => parts.push(Part::One),
                _ => parts.push(Part::Is(character)),
            }
            self.next();
        }
        Ok(Word { parts, at })
    }

    /// One clause more.
    pub(super) fn clause(&mut self) -> Parsed<()> {
        self.clauses += 1;
        match self.clauses > MAX_CLAUSES {
            true => Err(self.error(self.at, QueryError::Clauses.to_string())),
            false => Ok(()),
        }
    }

    fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        match self.depth > MAX_DEPTH {
            true => Err(self.error(self.at, QueryError::Depth.to_string())),
            false => Ok(()),
        }
    }

    /// Whether an operator comes: its name as a word of its own, or its sign.
    fn is_operator(&self, name: &str, sign: &str) -> bool {
        if self.rest().starts_with(sign) {
            return true;
        }
        self.rest().strip_prefix(name).is_some_and(ends_word)
    }

    fn eat_operator(&mut self, name: &str, sign: &str) -> bool {
        let found = self.is_operator(name, sign);
        if found {
            self.at += if self.rest().starts_with(sign) { sign.len() } else { name.len() };
            self.skip_space();
        }
        found
    }

    /// A sign that stands right before what it is about.
    fn eat_sign(&mut self, sign: char) -> bool {
        let signed = self
            .rest()
            .strip_prefix(sign)
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(char::is_whitespace));
        signed && self.eat(sign)
    }

    pub(super) fn eat(&mut self, character: char) -> bool {
        let found = self.peek() == Some(character);
        if found {
            self.at += character.len_utf8();
        }
        found
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    pub(super) fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    pub(super) fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    pub(super) fn error(&self, at: usize, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, at, message)
    }
}

/// Whether what comes after a word ends it.
pub(super) fn ends_word(rest: &str) -> bool {
    rest.chars().next().is_none_or(|next| next.is_whitespace() || matches!(next, '(' | ')' | '"' | '[' | '{'))
}
