//! Strings that borrow from the bytes they were decoded from, where that is possible.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::ops::Deref;

use memchr::{memchr2, memchr2_iter};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::value::RawValue;

use crate::plain::is_plain_object;
use crate::surrogates::replace_lone;

/// A string: borrowed when decoded from contiguous bytes (Avro, or JSON without escapes), owned otherwise.
///
/// A newtype and not a plain [`Cow`], because serde borrows a `Cow<str>` only as a direct field, never inside an
/// `Option` or a `Vec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Text<'_> {
    /// The string itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same string, owning its bytes.
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Text(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text(Cow::Owned(text))
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// The beginning of a text, at most 64 characters: for messages about texts of any length.
pub(crate) fn excerpt(text: &str) -> &str {
    text.char_indices().nth(64).map_or(text, |(end, _)| &text[..end])
}

/// The most characters of a message that may repeat what somebody has sent.
const MAX_MESSAGE: usize = 200;

/// The beginning of a message, at most 200 characters: for messages that may repeat a text of any length. No more than
/// that is ever made of it.
pub fn cut(message: impl fmt::Display) -> String {
    beginning(message, MAX_MESSAGE)
}

/// What serde_json says of a text, without the place, for errors in a part of a text: at most 200 characters.
pub fn describe(error: &serde_json::Error) -> String {
    let place = place(error);
    // With room for the place, which comes last.
    let mut message = beginning(error, MAX_MESSAGE + place.len());
    match message.strip_suffix(&place).map(str::len) {
        Some(length) => message.truncate(length),
        None => message = cut(message),
    }
    message
}

/// The same with the place.
pub fn describe_at(error: &serde_json::Error) -> String {
    describe(error) + &place(error)
}

/// As serde_json itself writes it.
fn place(error: &serde_json::Error) -> String {
    match error.line() {
        0 => String::new(),
        line => format!(" at line {line} column {}", error.column()),
    }
}

fn beginning(message: impl fmt::Display, most: usize) -> String {
    struct Beginning {
        text: String,
        left: usize,
    }

    impl fmt::Write for Beginning {
        /// Fails where it is full, so that nothing more is written.
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let end = text.char_indices().nth(self.left).map_or(text.len(), |(end, _)| end);
            self.text.push_str(&text[..end]);
            self.left -= text[..end].chars().count();
            if end < text.len() { Err(fmt::Error) } else { Ok(()) }
        }
    }

    let mut beginning = Beginning { text: String::new(), left: most };
    // That it is full is no fault.
    let _ = write!(beginning, "{message}");
    beginning.text
}

/// How deep the brackets of a [`JsonObject`] may nest: less than the 128 at which many a JSON parser gives up, with room
/// for the messages that it is put in.
pub const MAX_DEPTH: usize = 100;

/// The structured data of an entry: the text of one JSON object, its tokens kept as they were written so that no number
/// loses digits.
///
/// It is one line without white space around it, nested at most [`MAX_DEPTH`] deep, and every string in it is Unicode:
/// half of a surrogate pair becomes U+FFFD. In Avro it is a string; in JSON it is the object itself, in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonObject<'a>(Cow<'a, str>);

/// The name of a struct by which serde_json knows that the text of its one field, of the same name, is JSON: that by which
/// its `RawValue` is written. To make one of a text that is known to be JSON would be to parse it.
const RAW: &str = "$serde_json::private::RawValue";

impl<'a> JsonObject<'a> {
    /// Why a text is none, in words.
    pub(crate) const EXPECTED: &'static str = "not a JSON object, or nested more than 100 deep";

    /// Takes the text of a JSON object; `None` if it isn't one, or nests too deep.
    pub fn parse(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        let text = text.into();
        if is_plain_object(&text) {
            return Some(JsonObject(text));
        }
        let text = match text {
            Cow::Borrowed(text) => Cow::Borrowed(serde_json::from_str::<&RawValue>(text).ok()?.get()),
            Cow::Owned(text) => owned(RawValue::from_string(text).ok()?),
        };
        Self::from_json(text)
    }

    /// The same of valid JSON without white space around it.
    fn from_json(text: Cow<'a, str>) -> Option<Self> {
        if !text.starts_with('{') || is_too_deep(&text) {
            return None;
        }
        let mut tidied = replace_lone(text.as_bytes());
        let breaks_line = |byte: u8| matches!(byte, b'\n' | b'\r');
        if memchr2(b'\n', b'\r', text.as_bytes()).is_some() {
            // Between tokens, for a string holds no bare control characters.
            let bytes = tidied.get_or_insert_with(|| text.as_bytes().to_vec());
            bytes.iter_mut().filter(|byte| breaks_line(**byte)).for_each(|byte| *byte = b' ');
        }
        match tidied {
            Some(bytes) => Some(JsonObject(owned(RawValue::from_string(String::from_utf8(bytes).ok()?).ok()?))),
            None => Some(JsonObject(text)),
        }
    }

    /// The object's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same object, owning its bytes.
    pub fn into_owned(self) -> JsonObject<'static> {
        JsonObject(Cow::Owned(self.0.into_owned()))
    }
}

/// Whether valid JSON nests deeper than [`MAX_DEPTH`].
fn is_too_deep(text: &str) -> bool {
    // Nearly all text ends here.
    if memchr2_iter(b'{', b'[', text.as_bytes()).nth(MAX_DEPTH).is_none() {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// The text of JSON that has been parsed.
fn owned(raw: Box<RawValue>) -> Cow<'static, str> {
    Cow::Owned(Box::<str>::from(raw).into())
}

impl Serialize for JsonObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut raw = serializer.serialize_struct(RAW, 1)?;
        raw.serialize_field(RAW, self.as_str())?;
        raw.end()
    }
}

impl<'de, 'a> Deserialize<'de> for JsonObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_json(owned(raw)).ok_or_else(|| D::Error::custom(Self::EXPECTED))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn objects_are_taken_and_nothing_else() {
        let text = |text: &str| JsonObject::parse(text.to_owned()).map(|object| object.as_str().to_owned());
        assert_eq!(text(r#" {"a": 1.50, "a": []}	"#).unwrap(), r#"{"a": 1.50, "a": []}"#);
        assert_eq!(text("{\"a\":\r\n1}").unwrap(), "{\"a\":  1}");
        for none in
            ["", " ", "[]", "null", "1", r#""{}""#, "{}{}", "{", "{,}", "{'a':1}", "{\"a\":\"\n\"}", "\u{feff}{}"]
        {
            assert_eq!(text(none), None, "{none:?}");
        }
    }

    #[test]
    fn objects_borrow_where_they_can() {
        let text = String::from(r#" {"a":1} "#);
        let object = JsonObject::parse(text.as_str()).unwrap();
        assert!(text.as_bytes().as_ptr_range().contains(&object.as_str().as_ptr()));
        assert_eq!(object.clone().into_owned(), object);
        assert_eq!(serde_json::to_string(&object).unwrap(), r#"{"a":1}"#);
        assert_eq!(serde_json::from_str::<JsonObject<'_>>(&text).unwrap(), object);
        assert!(serde_json::from_str::<JsonObject<'_>>("[]").unwrap_err().to_string().starts_with("not a JSON object"));
    }

    #[test]
    fn texts_borrow_where_they_can() {
        let json = r#"["plain","esc\naped"]"#;
        let texts: Vec<Text<'_>> = serde_json::from_str(json).unwrap();
        assert!(matches!(texts[0].0, Cow::Borrowed(_)) && matches!(texts[1].0, Cow::Owned(_)));
        assert_eq!(serde_json::to_string(&texts).unwrap(), json);
    }

    #[test]
    fn excerpts_end_between_characters() {
        assert_eq!(excerpt("short"), "short");
        assert_eq!(excerpt(&"ü".repeat(65)), "ü".repeat(64));
    }

    #[test]
    fn what_an_error_repeats_is_cut_and_its_place_is_not() {
        let of = |text: &str| serde_json::from_str::<u8>(text).unwrap_err();
        let short = of("\n \"a at line 1 column 7\"");
        assert_eq!(describe(&short), "invalid type: string \"a at line 1 column 7\", expected u8");
        assert_eq!(describe_at(&short), short.to_string());
        let long = of(&format!("\n\"{}\"", "\u{7f}".repeat(512 * 1024)));
        assert!(long.to_string().len() > 3 * 1024 * 1024);
        let said = describe(&long);
        assert!(said.starts_with("invalid type: string \"\\u{7f}\\u{7f}") && said.len() == 200, "{said}");
        assert_eq!(describe_at(&long), format!("{said} at line 2 column {}", long.column()));
        // Just as long as there is room for.
        let exact = of(&format!("\"{}\"", "ü".repeat(200 - "invalid type: string \"\", expected u8".len())));
        assert_eq!(describe_at(&exact), exact.to_string());
        assert_eq!(describe(&exact).chars().count(), 200);
        assert_eq!(cut("ü".repeat(300)), "ü".repeat(200));
    }
}
