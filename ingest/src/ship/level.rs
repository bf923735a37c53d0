//! Telling the level of a line that does not say it in a field.

use agentworks_schemas::Level;

/// The level that a word means, in any case.
pub fn named(word: &str) -> Option<Level> {
    const NAMES: [(&str, Level); 32] = [
        ("trace", Level::Debug),
        ("trce", Level::Debug),
        ("verbose", Level::Debug),
        ("debug", Level::Debug),
        ("dbug", Level::Debug),
        ("dbg", Level::Debug),
        ("fine", Level::Debug),
        ("info", Level::Info),
        ("inf", Level::Info),
        ("information", Level::Info),
        ("informational", Level::Info),
        ("notice", Level::Info),
        ("note", Level::Info),
        ("help", Level::Info),
        ("warn", Level::Warn),
        ("warning", Level::Warn),
        ("wrn", Level::Warn),
        ("error", Level::Error),
        ("err", Level::Error),
        ("eror", Level::Error),
        ("fail", Level::Error),
        ("failed", Level::Error),
        ("failure", Level::Error),
        ("severe", Level::Error),
        ("fatal", Level::Fatal),
        ("ftl", Level::Fatal),
        ("critical", Level::Fatal),
        ("crit", Level::Fatal),
        ("alert", Level::Fatal),
        ("emerg", Level::Fatal),
        ("emergency", Level::Fatal),
        ("panic", Level::Fatal),
    ];
    NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, level)| *level)
}

/// The level that a number means, as pino and Bunyan count: 10 is trace, 60 fatal.
pub fn numbered(number: i64) -> Option<Level> {
    match number {
        10..=29 => Some(Level::Debug),
        30..=39 => Some(Level::Info),
        40..=49 => Some(Level::Warn),
        50..=59 => Some(Level::Error),
        60..=69 => Some(Level::Fatal),
        _ => None,
    }
}

/// So much of a line is looked at, in bytes.
const LOOKED_AT: usize = 256;

/// The level that a line of text shows in one of the usual ways; colours don't matter. In this order:
///
/// - systemd's `<3>` at the front, glog's `E0101 12:00:00`;
/// - a first word with a colon, as compilers and many tools write it: `error[E0521]:`, `warning:`, `fatal:`;
/// - `level=error`, `lvl=`, `severity=`, quoted or not;
/// - a word alone in brackets, `[warn]` or `(ERROR)`, `<Info>`, `|DEBUG|`;
/// - one in capitals before the sentence begins: `2025-12-02T10:15:30Z [main] ERROR message`;
/// - Python's and Rust's announcements of a crash.
///
/// `None` if there is nothing of that kind: words within a sentence say nothing of the line.
pub fn detect(line: &str) -> Option<Level> {
    let mut plain = [0; LOOKED_AT];
    let text = without_colours(line, &mut plain);
    let text = text.trim_start();
    priority(text)
        .or_else(|| glog(text))
        .or_else(|| first_word(text))
        .or_else(|| pair(text))
        .or_else(|| words(text))
        .or_else(|| crash(text))
}

/// Copies the beginning of a line without its ANSI escape sequences.
fn without_colours<'a>(line: &str, plain: &'a mut [u8; LOOKED_AT]) -> &'a str {
    let mut length = 0;
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        if byte == 0x1b {
            if rest.next() == Some(b'[') {
                // A control sequence ends with a letter or one of a few signs.
                rest.by_ref().find(|byte| (0x40..=0x7e).contains(byte));
            }
            continue;
        }
        if length == LOOKED_AT {
            break;
        }
        plain[length] = byte;
        length += 1;
    }
    match std::str::from_utf8(&plain[..length]) {
        Ok(text) => text,
        // The end may have been cut within a character.
        Err(error) => std::str::from_utf8(&plain[..error.valid_up_to()]).unwrap_or_default(),
    }
}

fn priority(text: &str) -> Option<Level> {
    match text.as_bytes() {
        [b'<', digit, b'>', ..] => match digit {
            b'0'..=b'2' => Some(Level::Fatal),
            b'3' => Some(Level::Error),
            b'4' => Some(Level::Warn),
            b'5' | b'6' => Some(Level::Info),
            b'7' => Some(Level::Debug),
            _ => None,
        },
        _ => None,
    }
}

fn glog(text: &str) -> Option<Level> {
    let (letter, rest) = text.as_bytes().split_first()?;
    let date = rest.len() > 7 && rest[..4].iter().all(u8::is_ascii_digit) && rest[4] == b' ';
    if !date || !rest[5].is_ascii_digit() {
        return None;
    }
    match letter {
        b'I' => Some(Level::Info),
        b'W' => Some(Level::Warn),
        b'E' => Some(Level::Error),
        b'F' => Some(Level::Fatal),
        _ => None,
    }
}

fn first_word(text: &str) -> Option<Level> {
    let end = text.find(|c: char| !c.is_ascii_alphabetic())?;
    let after = &text[end..];
    // A compiler's code may stand between the word and its colon.
    let after = match after.strip_prefix('[') {
        Some(code) => code.split_once(']')?.1,
        None => after,
    };
    after.starts_with(':').then(|| named(&text[..end])).flatten()
}

fn pair(text: &str) -> Option<Level> {
    for key in ["level=", "lvl=", "severity="] {
        let Some(at) = text.find(key) else { continue };
        if text[..at].ends_with(|c: char| c.is_ascii_alphanumeric()) {
            continue;
        }
        let value = text[at + key.len()..].trim_start_matches('"');
        let end = value.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(value.len());
        if let Some(level) = named(&value[..end]) {
            return Some(level);
        }
    }
    None
}

fn words(text: &str) -> Option<Level> {
    let mut prose = 0;
    // Date, time, thread and logger may stand before it.
    for word in text.split_ascii_whitespace().take(8) {
        let bare = word.trim_matches(|c: char| matches!(c, '[' | ']' | '(' | ')' | '<' | '>' | '|' | ':' | ',' | '-'));
        let bracketed = word.starts_with(['[', '(', '<', '|']) && word.contains([']', ')', '>', '|']);
        let capitals = bare.len() > 1 && bare.bytes().all(|byte| byte.is_ascii_uppercase());
        if (bracketed || capitals)
            && let Some(level) = named(bare)
        {
            return Some(level);
        }
        // Python's default is `WARNING:root:message`.
        if let Some((first, _)) = word.split_once(':')
            && first.len() > 1
            && first.bytes().all(|byte| byte.is_ascii_uppercase())
            && let Some(level) = named(first)
        {
            return Some(level);
        }
        // One word may be a name; two begin a sentence.
        let word = word.trim_end_matches([':', ';', ',', '.']);
        prose += usize::from(word.bytes().all(|byte| byte.is_ascii_alphabetic()));
        if prose == 2 {
            break;
        }
    }
    None
}

fn crash(text: &str) -> Option<Level> {
    let traceback = text.starts_with("Traceback (most recent call last)");
    let panicked = text.starts_with("thread '") && text.contains("panicked at");
    (traceback || panicked).then_some(Level::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_ways_are_understood() {
        for (line, level) in [
            ("<3>disk is full", Level::Error),
            ("<6>mounted", Level::Info),
            ("E0101 12:00:00.000000 1 main.go:1] oh no", Level::Error),
            ("I1122 08:00:00.000000 1 main.go:1] fine", Level::Info),
            ("error[E0521]: borrowed data escapes", Level::Error),
            ("error: could not compile `x`", Level::Error),
            ("warning: unused variable", Level::Warn),
            ("fatal: not a git repository", Level::Fatal),
            ("note: run with RUST_BACKTRACE=1", Level::Info),
            ("\x1b[1m\x1b[31merror\x1b[0m\x1b[1m: aborting\x1b[0m", Level::Error),
            ("\x1b[2m2025-12-02T10:15:30Z\x1b[0m \x1b[33m WARN\x1b[0m agentworks: slow", Level::Warn),
            ("ts=2025-12-02 level=error msg=\"x\"", Level::Error),
            ("time=\"now\" severity=\"Warning\" x", Level::Warn),
            ("lvl=dbug t=1", Level::Debug),
            ("[warn] something", Level::Warn),
            ("2025-12-02 10:15:30 [ERROR] something", Level::Error),
            ("2025-12-02 10:15:30,123 ERROR com.example.Main - something", Level::Error),
            ("10:15:30.123 [main] DEBUG com.example - x", Level::Debug),
            ("WARNING:root:deprecated", Level::Warn),
            ("CRITICAL:app:down", Level::Fatal),
            ("INFO  starting", Level::Info),
            ("   ERROR indented", Level::Error),
            ("fail: Microsoft.Hosting[0]", Level::Error),
            ("Traceback (most recent call last):", Level::Error),
            ("thread 'main' panicked at src/main.rs:1:1:", Level::Error),
        ] {
            assert_eq!(detect(line), Some(level), "{line}");
        }
    }

    #[test]
    fn words_within_a_sentence_say_nothing() {
        for line in [
            "",
            "no errors found",
            "an error occurred: never mind",
            "the next level=up",
            "sublevel=error",
            "I like it",
            "Error handling is documented elsewhere and INFO is not",
            "test result: ok. 3 passed; 0 failed; ERROR is the last word",
            "error",
            "[1/3] compiling",
            "<9>odd",
            "\x1b[",
            "日本語のメッセージ",
        ] {
            assert_eq!(detect(line), None, "{line}");
        }
    }

    #[test]
    fn a_line_that_is_cut_within_a_character_is_no_trouble() {
        let long = format!("ERROR {}", "ä".repeat(500));
        assert_eq!(detect(&long), Some(Level::Error));
        assert_eq!(detect(&format!("x{long}")), None);
    }

    #[test]
    fn pino_counts_by_tens() {
        let levels = [10, 20, 30, 40, 50, 60].map(numbered);
        let expected = [Level::Debug, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];
        assert_eq!(levels, expected.map(Some));
        assert_eq!((numbered(0), numbered(1000)), (None, None));
    }
}
