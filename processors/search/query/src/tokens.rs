//! How text is cut into tokens: the same for what an entry says and for what is looked for.
//!
//! A *word* is a run of letters and digits; all else separates (`_`, `-`, `.`, `/`, `:`, white space …). Of a word
//! - letters alone are cut where the case says that a new part begins: `ToolRunner`, `HTTPServer` are two tokens each;
//! - a number with a unit is two tokens: `182ms`, `5GB`. What may be hexadecimal (`12ab`) is not taken for one;
//! - all else stays whole: `550e8400`, `E1042`, `v2beta1`.
//!
//! Scripts that are written without spaces (Chinese, Japanese kana, Thai, Lao, Khmer, Burmese) give one token a character,
//! so that phrases find their words. Tokens are in lower case; Arabic ones are without tatweel and vowel marks, their alefs
//! are one, and digits of other scripts are `0` to `9` (see [`fold`]). Each token has a position of its own, one after the
//! other: there is never both a word and its parts. A token is cut after [`MAX_TOKEN`] bytes.

mod fold;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use fold::fold;
use fold::{Class, class};

/// The longest token, in bytes; of a longer one the rest is dropped.
pub const MAX_TOKEN: usize = 64;

/// What a word is made of, and thus how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Letters alone: cut where the case changes.
    Letters,
    /// Digits, then letters that begin here: two tokens.
    Unit(usize),
    /// One token.
    Whole,
}

/// The tokens of a text, one after the other.
///
/// It lends no tokens but writes each into a buffer of the caller's, so that nothing is allocated for one.
#[derive(Clone, Debug)]
pub struct Tokens<'t> {
    text: &'t str,
    /// Where the rest of the current word begins; all before is done.
    at: usize,
    /// Where the current word ends; `at` if there is none.
    end: usize,
    shape: Shape,
    /// Whether the current word is of ASCII without upper case, as most are: its tokens are what stands there.
    is_plain: bool,
}

impl<'t> Tokens<'t> {
    /// The tokens of `text`.
    pub fn new(text: &'t str) -> Self {
        Tokens { text, at: 0, end: 0, shape: Shape::Whole, is_plain: false }
    }

    /// Writes the next token into `token`, whatever was there, and returns which bytes of the text it was made of; `None`
    /// at the end.
    pub fn next_into(&mut self, token: &mut String) -> Option<Range<usize>> {
        loop {
            if self.at == self.end && !self.find_word() {
                return None;
            }
            let part = self.at..self.part_end();
            self.at = part.end;
            token.clear();
            match self.is_plain {
                true => token.push_str(&self.text[part.start..part.end.min(part.start + MAX_TOKEN)]),
                false => fold::push(token, &self.text[part.clone()], MAX_TOKEN),
            }
            // Nothing may be left, of a tatweel that stands alone.
            if !token.is_empty() {
                return Some(part);
            }
        }
    }

    /// Goes to the next word; false if there is none.
    fn find_word(&mut self) -> bool {
        let bytes = self.text.as_bytes();
        let mut at = self.end;
        let (start, first) = loop {
            let Some((class, len)) = next_class(self.text, bytes, at) else {
                self.at = bytes.len();
                self.end = self.at;
                return false;
            };
            // A mark or a joiner continues a word, it begins none.
            if !matches!(class, Class::Separator | Class::Mark) {
                break (at, class);
            }
            at += len;
        };
        (self.at, self.end, self.shape, self.is_plain) = (start, start, Shape::Whole, false);
        if first == Class::Single {
            self.end = start + next_class(self.text, bytes, start).map_or(0, |(_, len)| len);
            return true;
        }
        let (mut digits, mut letters, mut upper, mut ascii) = (false, false, false, true);
        // Where letters began after digits, as long as that is all there is.
        let mut unit = None;
        let mut is_unit = first == Class::Digit;
        at = start;
        while let Some((class, len)) = next_class(self.text, bytes, at) {
            match class {
                // Nearly all are.
                Class::Lower if !digits && len == 1 => {
                    letters = true;
                    at += 1;
                    continue;
                }
                Class::Separator | Class::Single => break,
                Class::Mark => {}
                Class::Digit => {
                    digits = true;
                    is_unit &= !letters;
                }
                Class::Lower | Class::Upper | Class::Letter => {
                    if digits && !letters {
                        unit = Some(at);
                    }
                    letters = true;
                    upper |= class == Class::Upper;
                }
            }
            ascii &= len == 1;
            at += len;
        }
        (self.end, self.is_plain) = (at, ascii && !upper);
        self.shape = match unit {
            _ if !digits && upper => Shape::Letters,
            Some(unit) if is_unit && !is_hex(&self.text[start..at]) => Shape::Unit(unit),
            _ => Shape::Whole,
        };
        true
    }

    /// Where the part of the word that begins at `at` ends.
    fn part_end(&self) -> usize {
        match self.shape {
            Shape::Whole => self.end,
            Shape::Unit(unit) if self.at < unit => unit,
            Shape::Unit(_) => self.end,
            Shape::Letters => self.case_end(),
        }
    }

    /// Where the case says that the next part begins: at an upper-case letter after one of lower case, and at the last of
    /// several upper-case letters if one of lower case follows.
    fn case_end(&self) -> usize {
        let bytes = self.text.as_bytes();
        let (mut last, mut last_at) = (Class::Separator, self.at);
        // Whether the letter before the last was upper-case, too.
        let mut run = false;
        let mut at = self.at;
        while at < self.end {
            let Some((class, len)) = next_class(self.text, bytes, at) else { break };
            if class != Class::Mark {
                match (last, class) {
                    (Class::Lower, Class::Upper) => return at,
                    (Class::Upper, Class::Lower) if run => return last_at,
                    _ => {}
                }
                run = last == Class::Upper;
                (last, last_at) = (class, at);
            }
            at += len;
        }
        self.end
    }
}

/// Whether all letters of a word are hexadecimal digits, but for the x of `0x`.
fn is_hex(word: &str) -> bool {
    let letters = word.strip_prefix("0x").unwrap_or(word).chars();
    let is_letter = |letter: &char| matches!(class(*letter), Class::Lower | Class::Upper | Class::Letter);
    letters.filter(is_letter).all(|letter| letter.is_ascii_hexdigit())
}

/// Calls `with` for each token of `text`, its bytes in the text and its position.
pub fn for_each(text: &str, mut with: impl FnMut(&str, Range<usize>, u32)) {
    let mut tokens = Tokens::new(text);
    let mut token = String::with_capacity(MAX_TOKEN);
    let mut position = 0;
    while let Some(bytes) = tokens.next_into(&mut token) {
        with(&token, bytes, position);
        position += 1;
    }
}

/// The tokens of a text, each as a string: for what is looked for.
pub fn tokenize(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for_each(text, |token, _, _| all.push(token.to_owned()));
    all
}

/// The class and length in bytes of the character at `at`.
#[inline]
fn next_class(text: &str, bytes: &[u8], at: usize) -> Option<(Class, usize)> {
    let byte = *bytes.get(at)?;
    if byte < 0x80 {
        return Some((fold::ASCII[byte as usize], 1));
    }
    let character = text[at..].chars().next()?;
    Some((class(character), character.len_utf8()))
}
