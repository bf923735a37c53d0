//! The fields of an entry, as a query names them.

use std::fmt;

use agentworks_schemas::LogEntry;

use super::{Test, prefix_words};
use crate::tokens::{MAX_TOKEN, tokenize};

/// Where a query looks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The message, the component, and every value in `data`: where words without a field are looked for.
    Any,
    /// The line.
    Message,
    /// Which part of the source wrote it, as text.
    Component,
    /// Every value in `data`, whatever its name.
    AllData,
    /// The values at one path in `data`: names with dots between. Elements of arrays are values of the array's path, and a
    /// dot within a name is like one between two.
    Data(String),
    /// A field that is one word to the letter.
    Keyword(Keyword),
    /// The entry's own instant.
    Timestamp,
}

/// A field that isn't text: it is equal to what is looked for, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the entry's own")]
pub enum Keyword {
    Id,
    Card,
    Run,
    Agent,
    User,
    Provider,
    Model,
    Tags,
    Correlation,
    Trace,
    Span,
    Source,
    Level,
}

impl Keyword {
    /// All of them.
    pub const ALL: [Keyword; 13] = [
        Keyword::Id,
        Keyword::Card,
        Keyword::Run,
        Keyword::Agent,
        Keyword::User,
        Keyword::Provider,
        Keyword::Model,
        Keyword::Tags,
        Keyword::Correlation,
        Keyword::Trace,
        Keyword::Span,
        Keyword::Source,
        Keyword::Level,
    ];

    /// The shortest name in the language, which is the one in the index, too.
    pub fn name(self) -> &'static str {
        match self {
            Keyword::Id => "id",
            Keyword::Card => "card",
            Keyword::Run => "run",
            Keyword::Agent => "agent",
            Keyword::User => "user",
            Keyword::Provider => "provider",
            Keyword::Model => "model",
            Keyword::Tags => "tags",
            Keyword::Correlation => "correlation",
            Keyword::Trace => "trace",
            Keyword::Span => "span",
            Keyword::Source => "source",
            Keyword::Level => "level",
        }
    }

    /// The values that an entry has: of tags any number, of others one at most.
    pub fn values<'e>(self, entry: &'e LogEntry<'_>) -> impl Iterator<Item = &'e str> {
        let one = match self {
            Keyword::Id => Some(entry.id.as_str()),
            Keyword::Card => Some(entry.card_id.as_str()),
            Keyword::Run => Some(entry.run_id.as_str()),
            Keyword::Source => Some(entry.source.as_str()),
            Keyword::Level => Some(entry.level.as_str()),
            Keyword::Agent => entry.agent_id.as_deref(),
            Keyword::User => entry.user_id.as_deref(),
            Keyword::Provider => entry.provider.as_deref(),
            Keyword::Model => entry.model.as_deref(),
            Keyword::Correlation => entry.correlation_id.as_deref(),
            Keyword::Trace => entry.trace_id.as_deref(),
            Keyword::Span => entry.parent_span_id.as_deref(),
            Keyword::Tags => None,
        };
        let tags = entry.tags.as_ref().filter(|_| self == Keyword::Tags);
        one.into_iter().chain(tags.into_iter().flatten().map(|tag| tag.as_str()))
    }

    /// Whether every entry has one.
    pub fn is_required(self) -> bool {
        use Keyword::*;
        matches!(self, Id | Card | Run | Source | Level)
    }
}

/// Each name that the language knows, without `_` and in lower case, with its field; the first of a field is its own.
const NAMES: [(&str, Field); 32] = [
    ("message", Field::Message),
    ("msg", Field::Message),
    ("component", Field::Component),
    ("data", Field::AllData),
    ("timestamp", Field::Timestamp),
    ("time", Field::Timestamp),
    ("id", Field::Keyword(Keyword::Id)),
    ("card", Field::Keyword(Keyword::Card)),
    ("cardid", Field::Keyword(Keyword::Card)),
    ("run", Field::Keyword(Keyword::Run)),
    ("runid", Field::Keyword(Keyword::Run)),
    ("agent", Field::Keyword(Keyword::Agent)),
    ("agentid", Field::Keyword(Keyword::Agent)),
    ("user", Field::Keyword(Keyword::User)),
    ("userid", Field::Keyword(Keyword::User)),
    ("provider", Field::Keyword(Keyword::Provider)),
    ("providerid", Field::Keyword(Keyword::Provider)),
    ("model", Field::Keyword(Keyword::Model)),
    ("modelid", Field::Keyword(Keyword::Model)),
    ("tags", Field::Keyword(Keyword::Tags)),
    ("tag", Field::Keyword(Keyword::Tags)),
    ("correlation", Field::Keyword(Keyword::Correlation)),
    ("correlationid", Field::Keyword(Keyword::Correlation)),
    ("trace", Field::Keyword(Keyword::Trace)),
    ("traceid", Field::Keyword(Keyword::Trace)),
    ("span", Field::Keyword(Keyword::Span)),
    ("spanid", Field::Keyword(Keyword::Span)),
    ("parentspan", Field::Keyword(Keyword::Span)),
    ("parentspanid", Field::Keyword(Keyword::Span)),
    ("source", Field::Keyword(Keyword::Source)),
    ("level", Field::Keyword(Keyword::Level)),
    ("loglevel", Field::Keyword(Keyword::Level)),
];

impl Field {
    /// The field of this name: `card`, `cardId` and `card_id` are one; `data.PATH` is a path.
    ///
    /// # Errors
    /// In words, with the nearest name.
    pub fn named(name: &str) -> Result<Field, String> {
        if let Some(path) = name.strip_prefix("data.") {
            return match path.is_empty() {
                true => Err("`data.` needs the name of a value after the dot, like `data.http_status`".to_owned()),
                false => Ok(Field::Data(path.to_owned())),
            };
        }
        let plain: String = name.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).take(64).collect();
        if let Some((_, field)) = NAMES.iter().find(|(known, _)| *known == plain) {
            return Ok(field.clone());
        }
        if matches!(plain.as_str(), "workspace" | "workspaceid") {
            return Err("the workspace is that of the token; a query can't choose it".to_owned());
        }
        let name: String = name.chars().take(64).collect();
        // The names of time, which aren't fields.
        let times = ["since", "until", "after", "before"];
        let nearest = NAMES
            .iter()
            .map(|(known, _)| *known)
            .chain(times)
            .map(|known| (distance(&plain, known), known))
            .min()
            .filter(|(distance, known)| *distance <= 2.min(known.len() / 2));
        Err(match nearest {
            Some((_, known)) => format!("there is no field `{name}`; did you mean `{known}`?"),
            None => format!(
                "there is no field `{name}`; values of `data` are named `data.{name}`, and a text with a colon is put in quotes"
            ),
        })
    }

    /// Whether it is searched word by word.
    pub fn is_text(&self) -> bool {
        !matches!(self, Field::Keyword(_) | Field::Timestamp)
    }

    /// Whether it may be tested so; if not, why, and what to do.
    pub(crate) fn check(&self, test: &Test) -> Result<(), String> {
        match (self, test) {
            (_, Test::Exists) => Ok(()),
            (Field::Timestamp, Test::Times(ends)) => {
                let fits = |end: &std::ops::Bound<agentworks_schemas::Timestamp>| match end {
                    std::ops::Bound::Included(at) | std::ops::Bound::Excluded(at) => {
                        agentworks_schemas::Timestamp::RANGE.contains(&at.millis())
                    }
                    std::ops::Bound::Unbounded => true,
                };
                match fits(&ends.lower) && fits(&ends.upper) {
                    true => Ok(()),
                    false => Err("a time is from year 0 to year 9999".to_owned()),
                }
            }
            (Field::Timestamp, _) => {
                Err("`timestamp` takes times: `timestamp:>=2025-12-02T10:00:00Z`, `since:2h`".to_owned())
            }
            (_, Test::Times(_)) => Err(format!("`{self}` has no times; they are those of `timestamp`")),
            (Field::Data(_), Test::Numbers(_)) => Ok(()),
            (_, Test::Numbers(_)) => Err(format!(
                "`{self}` has no order; ranges are those of `timestamp`, `level` and numbers in `data.NAME`"
            )),
            (Field::Keyword(keyword), _) => keyword.check(test),
            (_, Test::Text(text)) => has_words(text),
            (_, Test::OneOf(texts)) => texts.iter().try_for_each(|text| has_words(text)),
            (_, Test::Prefix(prefix)) => match prefix_words(prefix) {
                (words, None) if words.is_empty() => has_words(prefix),
                _ => Ok(()),
            },
            (_, Test::Fuzzy(word, _)) => match tokenize(word).len() {
                1 => Ok(()),
                0 => has_words(word),
                _ => Err(format!(
                    "`{word}` is several words, and only one can be searched fuzzily: take them one by one"
                )),
            },
            (_, Test::Wildcard(pattern)) => {
                let separator = pattern.parts().iter().find_map(|part| match part {
                    super::Part::Is(character) if tokenize(character.encode_utf8(&mut [0; 4])).is_empty() => {
                        Some(*character)
                    }
                    _ => None,
                });
                match separator {
                    Some(character) => Err(format!(
                        "a pattern is of one word, and {character:?} is in none: take the words one by one"
                    )),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Keyword {
    fn check(self, test: &Test) -> Result<(), String> {
        let value = |value: &String| match self {
            Keyword::Level => value.parse::<agentworks_schemas::Level>().map(drop).map_err(|error| error.to_string()),
            Keyword::Source => value.parse::<agentworks_schemas::Source>().map(drop).map_err(|error| error.to_string()),
            _ => Ok(()),
        };
        match test {
            Test::Text(text) => value(text),
            Test::OneOf(texts) => texts.iter().try_for_each(value),
            Test::Fuzzy(word, _) if word.len() > MAX_TOKEN => Err(format!(
                "it has {} bytes, and a fuzzy word at most {MAX_TOKEN}: search for its beginning",
                word.len()
            )),
            _ => Ok(()),
        }
    }
}

fn has_words(text: &str) -> Result<(), String> {
    match tokenize(text).is_empty() {
        true => Err("there is neither letter nor digit in it, so that it is found nowhere".to_owned()),
        false => Ok(()),
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Any => f.write_str("*"),
            Field::Message => f.write_str("message"),
            Field::Component => f.write_str("component"),
            Field::AllData => f.write_str("data"),
            Field::Timestamp => f.write_str("timestamp"),
            Field::Keyword(keyword) => f.write_str(keyword.name()),
            Field::Data(path) => {
                f.write_str("data.")?;
                path.chars().try_for_each(|character| super::display::escaped(f, character, false))
            }
        }
    }
}

/// How many edits are between two short texts.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in right.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
