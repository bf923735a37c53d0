//! What a line says beside its text.

use std::borrow::Cow;
use std::fmt;

use agentworks_schemas::text::JsonObject;
use agentworks_schemas::{Level, Timestamp};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::level;
use super::lines::{Extent, Line};

/// A line, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed<'a> {
    /// The level, where the line shows one.
    pub level: Option<Level>,
    /// The text of the entry.
    pub message: Cow<'a, str>,
    /// The line's own JSON object, or notes on how the line was treated.
    pub data: Option<JsonObject<'a>>,
    /// When it was written, if the line says so in a field.
    pub timestamp: Option<Timestamp>,
}

/// Understands a line.
///
/// **A whole line that is a JSON object** becomes the entry's `data` as it is. The message is its `message` or `msg` (the
/// line itself, if it has neither), the level its `level`, `severity`, `lvl` or `log.level` (a name, or a number as pino
/// counts), the time its `timestamp`, `time`, `ts` or `@timestamp` (RFC 3339, or seconds, milliseconds, microseconds or
/// nanoseconds since 1970, told apart by their size).
///
/// **Any other line** becomes the message as it is, colours included. Bytes that are not UTF-8 are replaced. `data` notes
/// what was done, if anything: `{"invalidUtf8":true}`, `{"part":2}` and at the last one `{"part":3,"parts":3}`,
/// `{"cut":true,"originalBytes":12345}`, `{"overwritten":7}`.
pub fn parse<'a>(line: &Line<'a>) -> Parsed<'a> {
    let message = String::from_utf8_lossy(line.bytes);
    if let (Extent::Whole, Cow::Borrowed(text)) = (line.extent, &message)
        && text.trim_start().starts_with('{')
        && let Some(parsed) = object(text)
    {
        return parsed;
    }
    let level = level::detect(&message);
    let data = notes(line, matches!(message, Cow::Owned(_)));
    Parsed { level, message, data, timestamp: None }
}

fn notes(line: &Line<'_>, invalid: bool) -> Option<JsonObject<'static>> {
    let mut notes = serde_json::Map::new();
    match line.extent {
        Extent::Whole | Extent::Refused { .. } => {}
        Extent::Part { number, last } => {
            notes.insert("part".into(), number.into());
            if last {
                notes.insert("parts".into(), number.into());
            }
        }
        Extent::Cut { length } => {
            notes.insert("cut".into(), true.into());
            notes.insert("originalBytes".into(), length.into());
        }
    }
    if line.overwritten > 0 {
        notes.insert("overwritten".into(), line.overwritten.into());
    }
    if invalid {
        notes.insert("invalidUtf8".into(), true.into());
    }
    if notes.is_empty() { None } else { JsonObject::parse(serde_json::Value::from(notes).to_string()) }
}

fn object(text: &str) -> Option<Parsed<'_>> {
    let data = JsonObject::parse(text)?;
    let fields = serde_json::Deserializer::from_str(text).deserialize_map(FieldsVisitor).ok()?;
    Some(Parsed {
        level: fields.level,
        message: fields.message.map_or(Cow::Borrowed(text), |(_, message)| message),
        data: Some(data),
        timestamp: fields.timestamp,
    })
}

/// What is looked for in a JSON object.
#[derive(Default)]
struct Fields<'a> {
    level: Option<Level>,
    /// With the rank of its name, since `message` goes before `msg`.
    message: Option<(u8, Cow<'a, str>)>,
    timestamp: Option<Timestamp>,
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                "level" | "severity" | "lvl" | "log.level" => {
                    let level = level_of(map.next_value()?);
                    fields.level = fields.level.or(level);
                }
                "message" | "msg" => {
                    let rank = u8::from(key == "msg");
                    let message = text_of(map.next_value()?);
                    if fields.message.as_ref().is_none_or(|(known, _)| rank < *known) {
                        fields.message = Some((rank, message));
                    }
                }
                "timestamp" | "time" | "ts" | "@timestamp" => {
                    let timestamp = timestamp_of(map.next_value()?);
                    fields.timestamp = fields.timestamp.or(timestamp);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(fields)
    }
}

/// A string's content; of anything else, its JSON.
fn text_of(value: &RawValue) -> Cow<'_, str> {
    match serde_json::from_str::<&str>(value.get()) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => match serde_json::from_str::<String>(value.get()) {
            Ok(text) => Cow::Owned(text),
            Err(_) => Cow::Borrowed(value.get()),
        },
    }
}

fn level_of(value: &RawValue) -> Option<Level> {
    match value.get().parse::<i64>() {
        Ok(number) => level::numbered(number),
        Err(_) => level::named(&text_of(value)),
    }
}

fn timestamp_of(value: &RawValue) -> Option<Timestamp> {
    let millis = match value.get().parse::<f64>() {
        Ok(number) => {
            // Each unit's range for the years 1973 to 5138 lies between the others'.
            let millis = match number.abs() {
                0.0..1e11 => number * 1e3,
                1e11..1e14 => number,
                1e14..1e17 => number / 1e3,
                _ => number / 1e6,
            };
            millis as i64
        }
        Err(_) => text_of(value).parse::<Timestamp>().ok()?.millis(),
    };
    Timestamp::RANGE.contains(&millis).then_some(Timestamp(millis))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn line(bytes: &[u8]) -> Line<'_> {
        Line { bytes, extent: Extent::Whole, overwritten: 0, end: None }
    }

    fn data(parsed: &Parsed<'_>) -> String {
        parsed.data.as_ref().map(|data| data.as_str().to_owned()).unwrap_or_default()
    }

    #[test]
    fn text_stays_as_it_is() {
        let parsed = parse(&line(b"\x1b[31mERROR\x1b[0m no such \0 file"));
        assert_eq!(parsed.message, "\x1b[31mERROR\x1b[0m no such \0 file");
        assert_eq!((parsed.level, parsed.data, parsed.timestamp), (Some(Level::Error), None, None));
    }

    #[test]
    fn an_object_becomes_the_data_and_gives_what_it_knows() {
        let text = r#"{"level":50,"time":1764670530123,"pid":1,"msg":"it \"broke\"","big":12345678901234567890123}"#;
        let parsed = parse(&line(text.as_bytes()));
        assert_eq!((parsed.level, parsed.timestamp), (Some(Level::Error), Some(Timestamp(1_764_670_530_123))));
        assert_eq!((parsed.message.as_ref(), data(&parsed).as_str()), ("it \"broke\"", text));

        let parsed =
            parse(&line(br#" {"msg":"b","severity":"WARNING","@timestamp":"2025-12-02T10:15:30.123Z","message":"a"}"#));
        assert_eq!((parsed.level, parsed.message.as_ref()), (Some(Level::Warn), "a"));
        assert_eq!(parsed.timestamp.unwrap().to_string(), "2025-12-02T10:15:30.123Z");

        let text = r#"{"level":"nonsense","ts":"yesterday","message":{"a":1}}"#;
        let parsed = parse(&line(text.as_bytes()));
        assert_eq!((parsed.level, parsed.timestamp, parsed.message.as_ref()), (None, None, r#"{"a":1}"#));

        let parsed = parse(&line(br#"{"a":1}"#));
        assert_eq!(parsed.message, r#"{"a":1}"#, "without a message, the line is the message");
    }

    #[test]
    fn times_are_told_apart_by_their_size() {
        for number in ["1764670530.123", "1764670530123", "1764670530123456", "1764670530123456789"] {
            let text = format!("{{\"ts\":{number}}}");
            assert_eq!(parse(&line(text.as_bytes())).timestamp, Some(Timestamp(1_764_670_530_123)), "{number}");
        }
        assert_eq!(parse(&line(br#"{"ts":1e300}"#)).timestamp, None);
    }

    #[test]
    fn what_only_looks_like_an_object_is_text() {
        for text in ["{not json", "{}}", "[1]", "{\"a\":1} trailing", "{"] {
            let parsed = parse(&line(text.as_bytes()));
            assert_eq!((parsed.message.as_ref(), parsed.data), (text, None));
        }
    }

    #[test]
    fn what_was_done_to_a_line_is_noted() {
        let parsed = parse(&line(b"caf\xe9"));
        assert_eq!((parsed.message.as_ref(), data(&parsed).as_str()), ("caf\u{fffd}", r#"{"invalidUtf8":true}"#));
        let part = |number, last| Line { extent: Extent::Part { number, last }, ..line(b"{\"a\":1}") };
        assert_eq!(data(&parse(&part(2, false))), r#"{"part":2}"#);
        assert_eq!(data(&parse(&part(3, true))), r#"{"part":3,"parts":3}"#);
        let cut = Line { extent: Extent::Cut { length: 99 }, overwritten: 2, ..line(b"x") };
        assert_eq!(data(&parse(&cut)), r#"{"cut":true,"originalBytes":99,"overwritten":2}"#);
    }
}
