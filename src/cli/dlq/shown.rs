//! How a letter is told.

use std::fmt::Write;

use agentworks_kafka::dead_letter::read::Letter;
use agentworks_schemas::dead_letter::DeadLetter;
use serde::Serialize;

use crate::cli::client::plain::{Keep, plain};

/// A letter as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'a> {
    /// Where it lies in the dead-letter topic.
    position: String,
    /// Where it comes from, as its redriven copy names it.
    origin: String,
    #[serde(flatten)]
    letter: DeadLetter<'a>,
    /// What is missing of the original.
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<&'a str>,
    /// Whether it has been produced again.
    redriven: bool,
}

impl<'a> Shown<'a> {
    pub(super) fn new(letter: &'a Letter, redriven: bool) -> Self {
        let key = letter.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        Shown {
            position: letter.position.to_string(),
            origin: letter.origin.to_string(),
            letter: DeadLetter {
                topic: letter.origin.topic.as_str().into(),
                partition: letter.origin.partition,
                epoch: letter.origin.epoch.into(),
                offset: letter.origin.offset,
                timestamp: letter.timestamp,
                code: letter.code.as_str().into(),
                reason: letter.reason.as_str().into(),
                key: key.map(Into::into),
                length: i64::try_from(letter.length).unwrap_or(i64::MAX),
            },
            cut: letter.cut.as_deref(),
            redriven,
        }
    }
}

/// A text in one line that can do nothing to a terminal.
pub(super) fn safe(text: &str) -> String {
    plain(text, Keep::NOTHING).into_owned()
}

/// Bytes as text that can do nothing to a terminal, or as hex if they are none.
pub(super) fn bytes(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.lines().map(safe).collect::<Vec<_>>().join("\n"),
        Err(_) => hex_dump(bytes),
    }
}

/// One line of bytes: text, or hex.
pub(super) fn short(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => safe(text),
        Err(_) => format!("0x{}", hex(bytes)),
    }
}

/// Two digits a byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Lines of an offset, 16 bytes in hex, and what of them is printable ASCII.
fn hex_dump(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).enumerate().map(|(index, chunk)| {
        let digits: Vec<_> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let printable = chunk.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        });
        format!("{:08x}  {:<47}  |{}|", index * 16, digits.join(" "), printable.collect::<String>())
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_dumped() {
        let dumped = bytes(b"\xffABCDEFGHIJKLMNOPQR");
        let lines: Vec<_> = dumped.lines().collect();
        assert_eq!(lines[0], "00000000  ff 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f  |.ABCDEFGHIJKLMNO|");
        assert_eq!(lines[1], format!("00000010  {:<47}  |PQR|", "50 51 52"));
        assert_eq!(short(b"\xff\x01"), "0xff01");
    }

    #[test]
    fn text_can_do_nothing_to_a_terminal() {
        assert_eq!(bytes(b"{\n}"), "{\n}");
        assert!(!bytes(b"\x1b[31mred").contains('\x1b') && !short(b"a\x1b]0;title\x07").contains('\x1b'));
    }
}
