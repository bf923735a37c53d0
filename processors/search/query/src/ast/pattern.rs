//! Wildcards.

use std::fmt;

use crate::tokens::fold;

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// This character.
    Is(char),
    /// Any one character: `?`.
    One,
    /// Any characters, or none: `*`.
    Any,
}

/// A word with wildcards. Of several `*` that follow each other one is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

impl Pattern {
    /// A pattern of these parts.
    pub fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        let mut pattern = Pattern::default();
        parts.into_iter().for_each(|part| pattern.push(part));
        pattern
    }

    fn push(&mut self, part: Part) {
        if part != Part::Any || self.0.last() != Some(&Part::Any) {
            self.0.push(part);
        }
    }

    /// Its parts.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// Whether anything is of this shape.
    pub fn is_any(&self) -> bool {
        self.0 == [Part::Any]
    }

    /// What all that is of this shape begins with.
    pub fn prefix(&self) -> String {
        self.0.iter().map_while(|part| if let Part::Is(character) = part { Some(*character) } else { None }).collect()
    }

    /// The pattern for tokens: its characters made like theirs.
    pub fn folded(&self) -> Pattern {
        let mut folded = Pattern::default();
        for part in &self.0 {
            match part {
                Part::Is(character) => {
                    fold(character.encode_utf8(&mut [0; 4]))
                        .chars()
                        .for_each(|character| folded.push(Part::Is(character)));
                }
                wild => folded.push(*wild),
            }
        }
        folded
    }

    /// Whether the whole of `text` is of this shape. Takes at most as many steps as text and pattern have characters,
    /// multiplied.
    pub fn matches(&self, text: &str) -> bool {
        let mut rest = text.chars();
        let mut at = 0;
        // Where to go on if the characters after the last `*` don't fit: it takes one more.
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let part = self.0.get(at);
            if part == Some(&Part::Any) {
                at += 1;
                retry = Some((at, rest.clone()));
                continue;
            }
            let mut after = rest.clone();
            match (part, after.next()) {
                (None, None) => return true,
                (Some(Part::One), Some(_)) => (rest, at) = (after, at + 1),
                (Some(Part::Is(wanted)), Some(character)) if *wanted == character => (rest, at) = (after, at + 1),
                _ => match &mut retry {
                    Some((star, from)) => {
                        if from.next().is_none() {
                            return false;
                        }
                        (at, rest) = (*star, from.clone());
                    }
                    None => return false,
                },
            }
        }
    }
}

/// In the language: characters that mean something there are escaped.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for (index, part) in self.0.iter().enumerate() {
            match part {
                Part::Is(character) => super::display::escaped(f, *character, index == 0)?,
                Part::One => f.write_char('?')?,
                Part::Any => f.write_char('*')?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text.chars().map(|character| match character {
            '*' => Part::Any,
            '?' => Part::One,
            other => Part::Is(other),
        }))
    }

    /// The same by recursion: slow, and plainly right.
    fn matches(parts: &[Part], text: &[char]) -> bool {
        match parts {
            [] => text.is_empty(),
            [Part::Any, rest @ ..] => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
            [Part::One, rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
            [Part::Is(wanted), rest @ ..] => text.first() == Some(wanted) && matches(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn patterns_match_what_they_say(shape in "[ab?*é]{0,8}", text in "[abé]{0,8}") {
            let pattern = pattern(&shape);
            let text_chars: Vec<char> = text.chars().collect();
            prop_assert_eq!(pattern.matches(&text), matches(pattern.parts(), &text_chars), "{} {}", shape, text);
        }
    }

    #[test]
    fn hostile_patterns_take_no_time() {
        let shape: String = "a*".repeat(2000) + "b";
        assert!(!pattern(&shape).matches(&"a".repeat(20_000)));
        assert!(pattern("**").is_any() && pattern("ab?*").prefix() == "ab");
        assert_eq!(pattern("Éa?").folded(), pattern("éa?"));
    }
}
