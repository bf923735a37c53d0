//! The values of an entry's `data`, one after the other, as they are searched.
//!
//! Each value that is neither object nor array nor null is a *leaf*, and its *path* is the names on the way to it with dots
//! between; an element of an array has the array's path. A name with a NUL in it is left out with all below it, for the
//! index ends its paths with one. Strings are text, whatever they look like; of a number that no double can hold
//! there is no leaf. If a name comes twice in one object, both values count.

use std::ops::Range;

use crate::ast::Number;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leaf<'a> {
    /// A text.
    Text(&'a str),
    /// A number.
    Number(Number),
    /// A truth value.
    Bool(bool),
}

/// Buffers that are used again from one entry to the next.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    path: String,
    text: String,
}

/// Calls `with` for each leaf of an object, by its order in the text.
///
/// The text is that of a [`JsonObject`](agentworks_schemas::text::JsonObject), thus known to be JSON and nested at most 100
/// deep; of a text that isn't, the leaves before the fault are told.
pub fn for_each_leaf<'a>(object: &'a str, buffers: &'a mut Buffers, mut with: impl FnMut(&str, Leaf<'_>)) {
    buffers.path.clear();
    let mut scanner = Scanner { json: object.as_bytes(), text: object, at: 0, names: 0, buffers };
    // What stops it is a fault, and that there is none has been seen to.
    let _ = scanner.value(0, true, &mut with);
}

/// It isn't JSON.
struct Fault;

struct Scanner<'a, 'b> {
    json: &'a [u8],
    text: &'a str,
    at: usize,
    /// How many names the path has.
    names: usize,
    buffers: &'b mut Buffers,
}

/// More than any entry's data nests.
const MAX_DEPTH: usize = 128;

impl Scanner<'_, '_> {
    /// Passes a value; its leaves are told if it is `seen`.
    fn value(&mut self, depth: usize, seen: bool, with: &mut impl FnMut(&str, Leaf<'_>)) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault);
        }
        match self.token()? {
            b'{' => self.object(depth, seen, with),
            b'[' => self.array(depth, seen, with),
            b'"' => {
                let (raw, escaped) = self.string()?;
                if seen {
                    let text = match escaped {
                        false => &self.text[raw],
                        true => {
                            unescape(&self.text[raw], &mut self.buffers.text);
                            &self.buffers.text
                        }
                    };
                    with(&self.buffers.path, Leaf::Text(text));
                }
                Ok(())
            }
            _ => self.word(seen, with),
        }
    }

    fn object(&mut self, depth: usize, seen: bool, with: &mut impl FnMut(&str, Leaf<'_>)) -> Result<(), Fault> {
        self.at += 1;
        loop {
            match self.token()? {
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                b',' => self.at += 1,
                b'"' => {
                    let (raw, escaped) = self.string()?;
                    let len = self.buffers.path.len();
                    if self.names > 0 {
                        self.buffers.path.push('.');
                    }
                    match escaped {
                        false => self.buffers.path.push_str(&self.text[raw]),
                        true => {
                            unescape(&self.text[raw], &mut self.buffers.text);
                            self.buffers.path.push_str(&self.buffers.text);
                        }
                    }
                    let seen = seen && !self.buffers.path[len..].contains('\0');
                    if self.token()? != b':' {
                        return Err(Fault);
                    }
                    self.at += 1;
                    self.names += 1;
                    self.value(depth + 1, seen, with)?;
                    self.names -= 1;
                    self.buffers.path.truncate(len);
                }
                _ => return Err(Fault),
            }
        }
    }

    fn array(&mut self, depth: usize, seen: bool, with: &mut impl FnMut(&str, Leaf<'_>)) -> Result<(), Fault> {
        self.at += 1;
        loop {
            match self.token()? {
                b']' => {
                    self.at += 1;
                    return Ok(());
                }
                b',' => self.at += 1,
                _ => self.value(depth + 1, seen, with)?,
            }
        }
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self, seen: bool, with: &mut impl FnMut(&str, Leaf<'_>)) -> Result<(), Fault> {
        let rest = &self.text[self.at..];
        let end = rest.find([',', '}', ']', ' ', '\t', '\n', '\r']).unwrap_or(rest.len());
        if end == 0 {
            return Err(Fault);
        }
        self.at += end;
        let leaf = match &rest[..end] {
            "null" => None,
            "true" => Some(Leaf::Bool(true)),
            "false" => Some(Leaf::Bool(false)),
            number => Number::parse(number).map(Leaf::Number),
        };
        if let Some(leaf) = leaf.filter(|_| seen) {
            with(&self.buffers.path, leaf);
        }
        Ok(())
    }

    /// Passes a string: what is between its quotes, and whether escapes are in it.
    fn string(&mut self) -> Result<(Range<usize>, bool), Fault> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.json.get(self.at).ok_or(Fault)? {
                b'"' => {
                    self.at += 1;
                    return Ok((start..self.at - 1, escaped));
                }
                b'\\' => {
                    escaped = true;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
    }

    /// The next byte that is no white space.
    fn token(&mut self) -> Result<u8, Fault> {
        while let Some(byte) = self.json.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Ok(*byte);
            }
            self.at += 1;
        }
        Err(Fault)
    }
}

/// Writes what a string with escapes says into `text`.
fn unescape(raw: &str, text: &mut String) {
    text.clear();
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = rest[at + 1..].chars().next().unwrap_or('\\');
        rest = rest.get(at + 1 + escape.len_utf8()..).unwrap_or_default();
        match escape {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'u' => {
                let high = unit(rest);
                rest = rest.get(4..).unwrap_or_default();
                let low = rest.strip_prefix("\\u").map_or(0, unit);
                let pair = match (high, low) {
                    (0xd800..=0xdbff, 0xdc00..=0xdfff) => {
                        rest = &rest[6..];
                        0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                    }
                    _ => high,
                };
                text.push(char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            other => text.push(other),
        }
    }
    text.push_str(rest);
}

/// The unit that four hexadecimal digits are.
fn unit(digits: &str) -> u32 {
    digits.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0xfffd)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn leaves(json: &str) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for_each_leaf(json, &mut Buffers::default(), |path, leaf| all.push((path.to_owned(), format!("{leaf:?}"))));
        all
    }

    /// The same by way of a tree.
    fn expected(path: Option<&str>, value: &Value, all: &mut Vec<(String, String)>) {
        let leaf = match value {
            Value::Null => return,
            Value::Bool(bool) => Leaf::Bool(*bool),
            Value::Number(number) => Leaf::Number(Number::parse(&number.to_string()).unwrap()),
            Value::String(text) => Leaf::Text(text),
            Value::Array(values) => return values.iter().for_each(|value| expected(path, value, all)),
            Value::Object(map) => {
                return map.iter().filter(|(name, _)| !name.contains('\0')).for_each(|(name, value)| {
                    let path = path.map_or(name.clone(), |path| format!("{path}.{name}"));
                    expected(Some(&path), value, all);
                });
            }
        };
        all.push((path.unwrap_or_default().to_owned(), format!("{leaf:?}")));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        let name = "[a-c.\u{0}é\"]{0,3}";
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(name, inner, 0..4)
                    .prop_map(|map| Value::from(serde_json::Map::from_iter(map))),
            ]
        })
    }

    proptest! {
        #[test]
        fn leaves_are_those_of_the_tree(value in json(), pretty in any::<bool>()) {
            let object = serde_json::json!({ "x": value });
            let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) };
            let mut all = Vec::new();
            expected(None, &object, &mut all);
            prop_assert_eq!(leaves(&text.unwrap()), all);
        }

        #[test]
        fn any_text_ends(text in "[\\[\\]{}\",:\\\\u0-9a-e ]{0,40}|.*") {
            leaves(&text);
        }
    }

    #[test]
    fn what_a_tree_would_lose() {
        let json = r#"{"a":1,"a":2,"b":1e400,"c":18446744073709551616,"d":"\ud83d\ude00\ud83dx\u00e9","e.f":{"g":[1.0,[true]]}}"#;
        let texts: Vec<String> = leaves(json).into_iter().map(|(path, leaf)| format!("{path} {leaf}")).collect();
        assert_eq!(
            texts,
            [
                "a Number(I64(1))",
                "a Number(I64(2))",
                "c Number(F64(1.8446744073709552e19))",
                "d Text(\"😀\u{fffd}xé\")",
                "e.f.g Number(I64(1))",
                "e.f.g Bool(true)",
            ]
        );
    }
}
