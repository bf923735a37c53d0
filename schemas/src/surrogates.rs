//! Escapes in JSON that are half a character.

use memchr::memchr;

/// JSON in which each escaped surrogate that stands alone (`\ud83d`, half of an emoji that was cut in the middle) is
/// `\ufffd` instead, the character that stands for a broken one; `None` if there is none.
///
/// JavaScript writes such halves and reads them; most else refuses the whole text for them.
pub(crate) fn replace_lone(json: &[u8]) -> Option<Vec<u8>> {
    // Nearly all text ends here: the first look is many times as fast as the second.
    if memchr(b'\\', json).is_none() || !json.windows(3).any(|window| window == br"\ud" || window == br"\uD") {
        return None;
    }
    let mut replaced = None;
    let mut at = 0;
    while let Some(found) = json[at..].iter().position(|byte| *byte == b'\\') {
        at += found;
        at += match (unit(&json[at..]), unit(json.get(at + 6..).unwrap_or_default())) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                replaced.get_or_insert_with(|| json.to_vec())[at..at + 6].copy_from_slice(br"\ufffd");
                6
            }
            // Any other escape; of `\u` the digits are passed over like text.
            _ => 2.min(json.len() - at),
        };
    }
    replaced
}

/// The UTF-16 unit that these bytes begin with the escape of.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(br"\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | (*digit as char).to_digit(16)? as u16))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::replace_lone;
    use proptest::prelude::*;

    #[test]
    fn only_lone_surrogates_are_replaced() {
        let replaced = |json: &str| replace_lone(json.as_bytes()).map(|json| String::from_utf8(json).unwrap());
        assert_eq!(replaced(r#"{"a":"\ud83d\ude00 \\ud83d \uD83D\uDE00 \u00e9"}"#), None);
        assert_eq!(replaced(r#""\ud83d""#).unwrap(), r#""\ufffd""#);
        assert_eq!(replaced(r#""\ude00\ud83d\ude00\ud83d""#).unwrap(), r#""\ufffd\ud83d\ude00\ufffd""#);
        assert_eq!(replaced(r#""\ud83d\ud83d\ude00\\\ud83d\n""#).unwrap(), r#""\ufffd\ud83d\ude00\\\ufffd\n""#);
        assert_eq!(replaced(r"\ud83"), None);
        assert_eq!(replaced(r"\ud83d\"), Some(r"\ufffd\".into()));
    }

    proptest! {
        #[test]
        fn all_escapes_become_readable(escapes in r#""(\\u(d[89a-f]|[0-9a-f]{2})[0-9a-f]{2}|\\[nrt\\/"]|[a-z])*""#) {
            let json = replace_lone(escapes.as_bytes()).unwrap_or_else(|| escapes.clone().into_bytes());
            prop_assert!(serde_json::from_slice::<String>(&json).is_ok());
            prop_assert_eq!(serde_json::from_str::<String>(&escapes).is_ok(), json == escapes.as_bytes());
        }
    }
}
