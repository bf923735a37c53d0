//! Characters: what they are to the tokenizer, and how they are made alike.

/// What a character is to the tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Ends a word.
    Separator,
    /// A letter of lower case.
    Lower,
    /// A letter of upper case.
    Upper,
    /// A letter that has no case.
    Letter,
    Digit,
    /// Belongs to the word that it is in, and begins none: accents, vowel signs, joiners.
    Mark,
    /// A word by itself, in a script without spaces.
    Single,
}

/// The classes of ASCII.
pub(super) const ASCII: [Class; 128] = {
    let mut classes = [Class::Separator; 128];
    let mut byte = 0;
    while byte < 128 {
        if (byte as u8).is_ascii_lowercase() {
            classes[byte] = Class::Lower;
        } else if (byte as u8).is_ascii_uppercase() {
            classes[byte] = Class::Upper;
        } else if (byte as u8).is_ascii_digit() {
            classes[byte] = Class::Digit;
        }
        byte += 1;
    }
    classes
};

/// The class of any character.
pub(super) fn class(character: char) -> Class {
    match character {
        '\0'..='\x7f' => ASCII[character as usize],
        // Accents by themselves; the viramas of India's scripts, of which Unicode doesn't say that they are letters; Arabic
        // tatweel, vowel marks and signs of recitation; joiners and soft hyphens.
        '\u{300}'..='\u{36f}'
        | '\u{94d}'
        | '\u{9cd}'
        | '\u{a4d}'
        | '\u{acd}'
        | '\u{b4d}'
        | '\u{bcd}'
        | '\u{c4d}'
        | '\u{ccd}'
        | '\u{d4d}'
        | '\u{dca}'
        | '\u{ad}'
        | '\u{200c}'
        | '\u{200d}' => Class::Mark,
        _ if is_dropped(character) => Class::Mark,
        _ if is_single(character) => Class::Single,
        _ if character.is_lowercase() => Class::Lower,
        _ if character.is_uppercase() => Class::Upper,
        _ if character.is_alphabetic() => Class::Letter,
        _ if character.is_numeric() => Class::Digit,
        _ => Class::Separator,
    }
}

/// Whether a character is left out of tokens.
fn is_dropped(character: char) -> bool {
    matches!(character,
        '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6dc}' | '\u{6df}'..='\u{6e4}'
        | '\u{6e7}' | '\u{6e8}' | '\u{6ea}'..='\u{6ed}' | '\u{ad}' | '\u{200c}' | '\u{200d}')
}

/// Whether a character is of a script that is written without spaces, and more than punctuation.
fn is_single(character: char) -> bool {
    match character {
        '\u{4e00}'..='\u{9fff}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}'
        | '\u{3005}'..='\u{3007}' => true,
        // Kana (half as wide, too), Thai and Lao, Burmese, Khmer: with their vowel and tone signs.
        '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{ff66}'..='\u{ff9d}' => character.is_alphabetic(),
        '\u{e01}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' => {
            character.is_alphabetic() || matches!(character, '\u{e47}'..='\u{e4e}' | '\u{ec8}'..='\u{ecd}')
        }
        _ => false,
    }
}

/// Makes a character like those that mean the same: lower case, bare Arabic, ASCII digits and letters of full width.
/// Calls `with` for each character that results: none, one, or a few.
fn fold_char(character: char, mut with: impl FnMut(char)) {
    match character {
        // Alef with madda, with hamza above or below, and wasla.
        '\u{622}' | '\u{623}' | '\u{625}' | '\u{671}' => with('\u{627}'),
        '\u{660}'..='\u{669}' => with(digit(character, 0x660)),
        '\u{6f0}'..='\u{6f9}' => with(digit(character, 0x6f0)),
        '\u{ff10}'..='\u{ff19}' => with(digit(character, 0xff10)),
        '\u{ff21}'..='\u{ff3a}' => with(char::from((u32::from(character) - 0xff21) as u8 + b'a')),
        '\u{ff41}'..='\u{ff5a}' => with(char::from((u32::from(character) - 0xff41) as u8 + b'a')),
        _ if is_dropped(character) => {}
        _ => character.to_lowercase().for_each(with),
    }
}

fn digit(character: char, zero: u32) -> char {
    char::from((u32::from(character) - zero) as u8 + b'0')
}

/// The text with each character made like those that mean the same; nothing is cut. A pattern that is looked for goes
/// through it.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    push(&mut folded, text, usize::MAX);
    folded
}

/// Appends the folded `part`, until `token` has `max` bytes.
#[inline]
pub(super) fn push(token: &mut String, part: &str, max: usize) {
    if part.is_ascii() {
        let start = token.len();
        let room = max.saturating_sub(start).min(part.len());
        token.push_str(&part[..room]);
        token[start..].make_ascii_lowercase();
        return;
    }
    for character in part.chars() {
        let mut full = false;
        fold_char(character, |folded| {
            full = full || token.len() + folded.len_utf8() > max;
            if !full {
                token.push(folded);
            }
        });
        if full {
            return;
        }
    }
}
