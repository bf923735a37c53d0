//! Texts that can do nothing to a terminal.
//!
//! Whoever writes a log line doesn't own the terminal that shows it. Escape sequences that could move its cursor, set its
//! title, answer in its user's name or write to its clipboard are taken out; colours (SGR) stay where they are wanted;
//! other control characters, and those that turn the direction of a line round, become visible signs.

use std::borrow::Cow;
use std::ops::RangeInclusive;

/// What a text keeps of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    /// Colours.
    pub(crate) colours: bool,
    /// Line breaks, each followed by this; else they become visible signs.
    pub(crate) breaks: Option<&'static str>,
}

impl Keep {
    /// Nothing: for names.
    pub(crate) const NOTHING: Keep = Keep { colours: false, breaks: None };
}

/// JSON in one line that means the same and can do nothing to a terminal: JSON itself escapes only what is below a space.
pub(crate) fn plain_json(json: &str) -> Cow<'_, str> {
    // Between its tokens, that is.
    let is_bare = |c: char| is_special(c) && !matches!(c, '\0'..='\x1f');
    if !json.contains(is_bare) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        match character {
            // All of them lie in the plane that four digits name.
            character if is_bare(character) => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            character => out.push(character),
        }
    }
    Cow::Owned(out)
}

/// The text as it may be shown. Tabs stay.
pub(crate) fn plain(text: &str, keep: Keep) -> Cow<'_, str> {
    if !text.chars().any(is_special) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut coloured = false;
    let mut rest = text;
    while let Some(at) = rest.find(is_special) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(sequence) = sequence(rest) {
            if keep.colours && is_colour(sequence) {
                out.push_str(sequence);
                coloured = true;
            }
            rest = &rest[sequence.len()..];
            continue;
        }
        let mut chars = rest.chars();
        let Some(character) = chars.next() else { break };
        rest = chars.as_str();
        match (character, keep.breaks) {
            // A line break of two characters is one.
            ('\r', _) if rest.starts_with('\n') => {}
            ('\n', Some(indent)) => {
                out.push('\n');
                out.push_str(indent);
            }
            (character, _) => out.push(sign(character)),
        }
    }
    out.push_str(rest);
    if coloured {
        out.push_str("\x1b[0m");
    }
    Cow::Owned(out)
}

fn is_special(character: char) -> bool {
    match character {
        '\t' => false,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' => true,
        // Embeddings, overrides and isolates of direction; separators of lines and paragraphs.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' => true,
        _ => false,
    }
}

/// Unicode has a picture for each control character of ASCII.
fn sign(character: char) -> char {
    match character {
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{fffd}'),
        '\x7f' => '\u{2421}',
        _ => '\u{fffd}',
    }
}

/// The escape sequence that a text begins with (ECMA-48), up to its end or the text's; `None` if it begins with none.
fn sequence(text: &str) -> Option<&str> {
    let (body, introducer) = match text.strip_prefix('\x1b') {
        Some(body) => (body, body.chars().next()?),
        // The same in one character.
        None => match text.chars().next()? {
            c1 @ '\u{80}'..='\u{9f}' => (text, char::from_u32(u32::from(c1) - 0x40)?),
            _ => return None,
        },
    };
    let head = text.len() - body.len() + body.chars().next()?.len_utf8();
    let length = match introducer {
        '[' => head + finished(&text[head..], ' '..='?', '@'..='~')?,
        ']' | 'P' | 'X' | '^' | '_' => head + string(&text[head..]),
        // Designations of character sets, and their like.
        ' '..='/' => head + finished(&text[head..], ' '..='/', '0'..='~')?,
        '0'..='~' => head,
        _ => return None,
    };
    Some(&text[..length])
}

/// The length of any number of `middle` characters and a `last` one; an unfinished sequence is none.
fn finished(text: &str, middle: RangeInclusive<char>, last: RangeInclusive<char>) -> Option<usize> {
    let end = text.find(|character| !middle.contains(&character))?;
    text[end..].starts_with(|character| last.contains(&character)).then_some(end + 1)
}

/// A control string up to its terminator, or all of the text if that is missing.
fn string(text: &str) -> usize {
    let bell = text.find('\x07').map(|at| at + 1);
    let escape = text.find("\x1b\\").map(|at| at + 2);
    let c1 = text.find('\u{9c}').map(|at| at + '\u{9c}'.len_utf8());
    [bell, escape, c1].into_iter().flatten().min().unwrap_or(text.len())
}

fn is_colour(sequence: &str) -> bool {
    let inside = sequence.strip_prefix("\x1b[").and_then(|rest| rest.strip_suffix('m'));
    inside.is_some_and(|inside| inside.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLOURS: Keep = Keep { colours: true, breaks: None };

    #[test]
    fn json_stays_json_and_what_it_says() {
        let value = serde_json::json!({"message": "a\u{9b}31m\u{202e}\u{7f} \u{e9}\n"});
        let text = value.to_string();
        let shown = plain_json(&text);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).ok(), Some(value));
        assert!(!shown.contains(is_special) && shown.contains("\\u009b31m\\u202e\\u007f \u{e9}"), "{shown}");
        assert!(matches!(plain_json("{\"a\":1}"), Cow::Borrowed(_)));
    }

    #[test]
    fn ordinary_text_is_not_touched() {
        let text = "tabs\tstay, so do é, 漢字, 🙂 and \u{200f}marks";
        assert!(matches!(plain(text, Keep::NOTHING), Cow::Borrowed(same) if same == text));
    }

    #[test]
    fn colours_stay_only_where_they_are_wanted_and_end_with_the_line() {
        let text = "\x1b[1;31mred\x1b[m plain \x1b[38:5:208mx";
        assert_eq!(plain(text, Keep::NOTHING), "red plain x");
        assert_eq!(plain(text, COLOURS), "\x1b[1;31mred\x1b[m plain \x1b[38:5:208mx\x1b[0m");
    }

    #[test]
    fn sequences_that_act_on_a_terminal_are_taken_out() {
        let acting = [
            "\x1b[2J\x1b[H",            // clears the screen
            "\x1b]0;title\x07",         // sets the title
            "\x1b]52;c;ZXZpbA==\x1b\\", // writes to the clipboard
            "\x1b]8;;file:///x\x1b\\",  // makes a link
            "\x1b[6n\x1b[c",            // makes the terminal type
            "\x1bP$q\"p\x1b\\",         // the same
            "\x1bc",                    // resets it
            "\x1b(0",                   // changes the character set
            "\u{9b}2J",                 // clears the screen in one byte less
            "\u{9d}0;title\u{9c}",      // and sets the title
            "\x1b[?1049h",              // the other screen
            "\x1b[>4;1m",               // looks like a colour, but isn't
        ];
        for sequence in acting {
            assert_eq!(plain(&format!("a{sequence}b"), COLOURS), "ab", "{sequence:?}");
        }
    }

    #[test]
    fn nothing_special_ever_comes_out_but_colours() {
        let pieces =
            ["\x1b", "[", "]", "2", "J", "m", ";", "\x07", "\u{9b}", "\u{9c}", "P", "\\", "é", "\n", "\0", "("];
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    for d in pieces {
                        let text = format!("{a}{b}{c}{d}");
                        let shown = plain(&text, Keep::NOTHING);
                        assert!(!shown.chars().any(is_special), "{text:?} became {shown:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(plain("a\0b\x08c\x7fd\re", Keep::NOTHING), "a␀b␈c␡d␍e");
        assert_eq!(plain("lone \x1b", Keep::NOTHING), "lone ␛");
        assert_eq!(plain("x\u{202e}y\u{2066}z", Keep::NOTHING), "x\u{fffd}y\u{fffd}z");
    }

    #[test]
    fn a_line_break_cannot_pass_for_a_line() {
        assert_eq!(plain("a\r\nb\nc", Keep { colours: false, breaks: Some("  | ") }), "a\n  | b\n  | c");
        assert_eq!(plain("a\nb", Keep::NOTHING), "a␊b");
    }
}
