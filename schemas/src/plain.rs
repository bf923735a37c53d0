//! A quick look at JSON that is as most programs write it.

/// How deep brackets may nest in what is plain: a bit for each.
const MAX_DEPTH: u32 = 63;

/// Whether a text is a JSON object in the plainest form: no white space between tokens, no escapes in strings, and
/// brackets at most 63 deep.
///
/// Whatever passes is valid JSON. Of what doesn't nothing is said: a parser has to look at it. A parser, which can say what
/// is wrong, takes three times as long, and that was a third of what decoding a record cost.
pub(crate) fn is_plain_object(text: &str) -> bool {
    let mut rest = Rest { bytes: text.as_bytes() };
    rest.bytes.starts_with(b"{") && rest.value().is_some() && rest.bytes.is_empty()
}

/// What hasn't been looked at. Each of its functions goes past something, or answers `None` if it isn't there in this form.
struct Rest<'a> {
    bytes: &'a [u8],
}

impl Rest<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn skip(&mut self, expected: &[u8]) -> Option<()> {
        self.bytes = self.bytes.strip_prefix(expected)?;
        Some(())
    }

    /// A value with all that is in it.
    fn value(&mut self) -> Option<()> {
        // Of each bracket that is open whether it is an object's, the innermost in the lowest bit.
        let (mut objects, mut depth) = (0u64, 0);
        loop {
            match self.next()? {
                open @ (b'{' | b'[') => {
                    if depth == MAX_DEPTH {
                        return None;
                    }
                    depth += 1;
                    objects = objects << 1 | u64::from(open == b'{');
                    match (self.bytes.first()?, open) {
                        // It is closed below.
                        (b'}', b'{') | (b']', b'[') => {}
                        (_, b'{') => {
                            self.name()?;
                            continue;
                        }
                        _ => continue,
                    }
                }
                b'"' => self.string()?,
                b'-' => {
                    let first = self.next()?;
                    self.number(first)?;
                }
                first @ b'0'..=b'9' => self.number(first)?,
                b't' => self.skip(b"rue")?,
                b'f' => self.skip(b"alse")?,
                b'n' => self.skip(b"ull")?,
                _ => return None,
            }
            // What may come after a value.
            loop {
                if depth == 0 {
                    return Some(());
                }
                let is_object = objects & 1 == 1;
                match self.next()? {
                    b',' => {
                        if is_object {
                            self.name()?;
                        }
                        break;
                    }
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return None,
                }
                objects >>= 1;
                depth -= 1;
            }
        }
    }

    /// The name of a member, and the colon.
    fn name(&mut self) -> Option<()> {
        self.skip(b"\"")?;
        self.string()?;
        self.skip(b":")
    }

    /// A string, from behind its opening quotation mark.
    fn string(&mut self) -> Option<()> {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGHS: u64 = 0x8080_8080_8080_8080;
        // The highest bit of each byte of a word that is 0: exact up to the first one, and that is all that is asked for.
        let is_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        let (words, tail) = self.bytes.as_chunks::<8>();
        for (index, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let is_control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
            let ends =
                is_zero(word ^ (ONES * u64::from(b'"'))) | is_zero(word ^ (ONES * u64::from(b'\\'))) | is_control;
            if ends != 0 {
                self.bytes = &self.bytes[8 * index + ends.trailing_zeros() as usize / 8..];
                return self.skip(b"\"");
            }
        }
        let end = tail.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\'))?;
        self.bytes = &tail[end..];
        self.skip(b"\"")
    }

    /// A number, from behind its first digit.
    fn number(&mut self, first: u8) -> Option<()> {
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if let [b'.', rest @ ..] = self.bytes {
            self.bytes = rest;
            self.digit()?;
            self.digits();
        }
        if let [b'e' | b'E', rest @ ..] = self.bytes {
            self.bytes = rest.strip_prefix(b"+").or(rest.strip_prefix(b"-")).unwrap_or(rest);
            self.digit()?;
            self.digits();
        }
        Some(())
    }

    fn digit(&mut self) -> Option<()> {
        self.next()?.is_ascii_digit().then_some(())
    }

    fn digits(&mut self) {
        let end = self.bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.bytes.len());
        self.bytes = &self.bytes[end..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::is_plain_object;

    #[test]
    fn plain_objects_pass() {
        for plain in [
            "{}",
            r#"{"a":1}"#,
            r#"{"":[],"b":{}}"#,
            r#"{"a":[[],{},[1,-0,0.5,1e9,-1.25E-3,1e+2,12345678901234567890],"text",true,false,null]}"#,
            r#"{"é":"ünï","日本":"a longer text, of more than eight bytes…"}"#,
            "{\"del\":\"\u{7f}\"}",
        ] {
            assert!(is_plain_object(plain), "{plain}");
        }
        let nested = |depth: usize| format!("{}{}", r#"{"a":"#.repeat(depth) + "1", "}".repeat(depth));
        assert!(is_plain_object(&nested(63)) && !is_plain_object(&nested(64)));
    }

    #[test]
    fn all_else_is_left_to_a_parser() {
        for other in [
            "",
            "{",
            "}",
            "[]",
            "1",
            r#""a""#,
            "null",
            "{} ",
            " {}",
            "{}{}",
            r#"{"a": 1}"#,
            r#"{"a":1 }"#,
            r#"{"a\n":1}"#,
            r#"{"a":"\""}"#,
            "{\"a\":\"\n\"}",
            "{\"abcdefghijk\u{1f}\":1}",
            r#"{"a":01}"#,
            r#"{"a":-}"#,
            r#"{"a":1.}"#,
            r#"{"a":.5}"#,
            r#"{"a":1e}"#,
            r#"{"a":+1}"#,
            r#"{"a":tru}"#,
            r#"{"a":1,}"#,
            r#"{,"a":1}"#,
            r#"{"a"}"#,
            r#"{"a":[1,]}"#,
            r#"{"a":[}"#,
            r#"{"a":{]}"#,
            r#"{"a":]}"#,
            r#"{"a":1]"#,
            r#"{a:1}"#,
            r#"{"a":"b}"#,
            r#"{1:2}"#,
            r#"{"a":[1 2]}"#,
            r#"{"a":--1}"#,
            r#"{"a":1}}"#,
            "\u{feff}{}",
        ] {
            assert!(!is_plain_object(other), "{other}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[ -~é日]{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[a-zé]{0,12}", inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// With a byte of it replaced, put in or taken out, too.
        #[test]
        fn what_passes_is_valid(value in value(), at: prop::sample::Index, byte in 0..128u8, how in 0..4) {
            let mut text = json!({ "value": value }).to_string();
            let at = at.index(text.len());
            if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
                match how {
                    0 => text.replace_range(at..=at, char::from(byte).encode_utf8(&mut [0; 4])),
                    1 => text.insert(at, char::from(byte)),
                    2 => drop(text.remove(at)),
                    _ => {}
                }
            }
            // As a parser has it that goes past numbers without reading them: one may be too large for any type.
            let is_valid = text.starts_with('{') && serde_json::from_str::<&RawValue>(&text).is_ok();
            prop_assert!(is_valid || !is_plain_object(&text), "{text}");
            if how == 3 && !text.contains('\\') {
                prop_assert!(is_plain_object(&text), "{text}");
            }
        }
    }
}
