//! Taking a body apart into its lines.

use std::fmt;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserializer;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::answer::Refusal;

/// The lines of a body with their numbers from 1: of an array its elements, otherwise what newlines separate, without
/// those that are empty. At most `limit`, for each takes more memory than the two bytes that it may have.
pub(super) fn split<'a>(headers: &HeaderMap, body: &'a [u8], limit: usize) -> Result<Vec<(usize, &'a [u8])>, Refusal> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    let lines = match body.first() {
        None => Err(Refusal::InvalidBody("the body is empty".into())),
        Some(b'[') => elements(body, limit),
        Some(b'{') if is_json(headers) && serde_json::from_slice::<&RawValue>(body).is_ok() => Ok(vec![(1, body)]),
        Some(_) => {
            let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            Ok((1..).zip(lines).filter(|(_, line)| !line.is_empty()).take(limit + 1).collect())
        }
    }?;
    if lines.len() > limit { Err(Refusal::TooManyLines { limit }) } else { Ok(lines) }
}

/// The elements of an array, as far as to one more than `limit`.
fn elements(body: &[u8], limit: usize) -> Result<Vec<(usize, &[u8])>, Refusal> {
    struct Elements {
        limit: usize,
    }

    impl<'de> Visitor<'de> for Elements {
        type Value = Vec<(usize, &'de [u8])>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::new();
            while elements.len() <= self.limit {
                let Some(element) = array.next_element::<&RawValue>()? else { return Ok(elements) };
                elements.push((elements.len() + 1, element.get().as_bytes()));
            }
            while array.next_element::<IgnoredAny>()?.is_some() {}
            Ok(elements)
        }
    }

    let mut json = serde_json::Deserializer::from_slice(body);
    let elements = json.deserialize_seq(Elements { limit }).and_then(|elements| json.end().map(|()| elements));
    elements.map_err(|error| Refusal::InvalidBody(format!("the body is not a JSON array: {error}")))
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    fn lines(content_type: &'static str, body: &str) -> Vec<(usize, String)> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        let lines = split(&headers, body.as_bytes(), 10).unwrap();
        lines.into_iter().map(|(number, line)| (number, String::from_utf8_lossy(line).into())).collect()
    }

    #[test]
    fn newlines_separate_and_empty_lines_count_but_are_skipped() {
        let found = lines("application/x-ndjson", "\u{feff}{\"a\":1}\r\n\n  {\"b\":2}  \nnonsense\n\n");
        assert_eq!(found, [(1, "{\"a\":1}".into()), (3, "{\"b\":2}".into()), (4, "nonsense".into())]);
    }

    #[test]
    fn an_array_is_known_by_its_bracket() {
        let found = lines("text/plain", " [ {\"a\":\n1}, 7,\"x\" ] ");
        assert_eq!(found, [(1, "{\"a\":\n1}".into()), (2, "7".into()), (3, "\"x\"".into())]);
        assert_eq!(lines("application/json", "[]"), []);
    }

    #[test]
    fn json_may_be_one_object_over_several_lines_or_still_lines() {
        let pretty = "{\n  \"a\": 1\n}";
        assert_eq!(lines("application/json; charset=utf-8", pretty), [(1, pretty.into())]);
        assert_eq!(lines("application/json", "{}\n{}").len(), 2);
        assert_eq!(lines("application/x-ndjson", pretty).len(), 3);
    }

    #[test]
    fn nothing_and_half_an_array_are_refused() {
        for body in ["", " \n ", "[{\"a\":1}", "[1,]", "[1] 2"] {
            assert!(matches!(split(&HeaderMap::new(), body.as_bytes(), 10), Err(Refusal::InvalidBody(_))), "{body}");
        }
    }

    #[test]
    fn lines_are_limited_in_number() {
        for (body, limit) in [("1\n\n2\n3", 3), ("[1,2,3]", 3)] {
            assert_eq!(split(&HeaderMap::new(), body.as_bytes(), limit).unwrap().len(), 3);
            let refused = split(&HeaderMap::new(), body.as_bytes(), limit - 1);
            assert!(matches!(refused, Err(Refusal::TooManyLines { limit: 2 })), "{refused:?}");
        }
    }
}
