//! A text to be found in messages, whatever the case of either.

use std::borrow::Cow;
use std::convert::Infallible;
use std::str::FromStr;

/// A text that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle {
    folded: String,
}

impl Needle {
    /// The same as `text` in any case.
    pub fn new(text: &str) -> Self {
        Needle { folded: fold(text).into_owned() }
    }

    /// Whether a message contains it.
    pub fn is_in(&self, message: &str) -> bool {
        if !message.is_ascii() {
            return self.is_in_folded(&fold(message));
        }
        let needle = self.folded.as_bytes();
        needle.is_empty() || message.as_bytes().windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle))
    }

    /// Whether a message that was folded by [`fold`] contains it.
    pub fn is_in_folded(&self, message: &str) -> bool {
        message.contains(&self.folded)
    }
}

impl FromStr for Needle {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Needle::new(text))
    }
}

/// A text in lower case: each character by itself, so that a part of a text is folded as it is within the whole.
pub fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(text.to_ascii_lowercase()),
            false => Cow::Borrowed(text),
        };
    }
    Cow::Owned(text.chars().flat_map(char::to_lowercase).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_matter() {
        for (text, message, is_in) in [
            ("error", "An ERROR occurred", true),
            ("ERROR", "an error occurred", true),
            ("errors", "an error occurred", false),
            ("", "", true),
            ("", "anything", true),
            ("x", "", false),
            ("ÉTÉ", "un été", true),
            ("été", "UN ÉTÉ", true),
            // A sigma at a word's end is like any other.
            ("ΟΔΟΣ", "οδοσα", true),
            ("plain", "ein PLAIN text mit ü", true),
            ("ü", "nothing of the kind", false),
        ] {
            let needle = Needle::new(text);
            assert_eq!(needle.is_in(message), is_in, "{text:?} in {message:?}");
            assert_eq!(needle.is_in_folded(&fold(message)), is_in, "{text:?} in folded {message:?}");
        }
    }
}
