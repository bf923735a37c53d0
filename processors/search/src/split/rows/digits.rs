//! What is written in hexadecimal digits: UUIDs, and other runs of them.

use super::{MIN_DIGITS, Span, UUID_TEXT};

/// What a digit is worth, by its letter; 255 if it is none in lower case.
pub(super) const DIGITS: [u8; 256] = {
    let (mut digits, mut value) = ([255; 256], 0);
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

/// Appends what digits say; whether they are digits. If not, some may have been appended.
pub(super) fn unhex(digits: &[u8], out: &mut Vec<u8>) -> bool {
    let (pairs, rest) = digits.as_chunks::<2>();
    let mut all = 0;
    out.extend(pairs.iter().map(|pair| {
        let (high, low) = (DIGITS[usize::from(pair[0])], DIGITS[usize::from(pair[1])]);
        all |= high | low;
        high << 4 | low
    }));
    all < 16 && rest.is_empty()
}

/// The first run of enough pairs of digits from `from` on. What is decimal is none: it is more often alike than random.
pub(super) fn digits(text: &[u8], mut from: usize) -> Option<Span> {
    let is = |at: usize| text.get(at).is_some_and(|letter| DIGITS[usize::from(*letter)] < 16);
    while from + MIN_DIGITS <= text.len() {
        // If this one isn't, there is no run that begins before it.
        let (mut start, mut end) = (from + MIN_DIGITS - 1, from + MIN_DIGITS);
        from = end;
        if !is(start) {
            continue;
        }
        while start + MIN_DIGITS > from && is(start - 1) {
            start -= 1;
        }
        while end - start < 510 && is(end) {
            end += 1;
        }
        let run = Span { start, end: end - (end - start) % 2 };
        if run.end - start >= MIN_DIGITS && text[start..run.end].iter().any(|letter| *letter > b'9') {
            return Some(run);
        }
        from = end;
    }
    None
}

const HEX_PAIRS: [[u8; 2]; 256] = {
    let (mut pairs, mut byte) = ([[0; 2]; 256], 0);
    while byte < 256 {
        pairs[byte] = [b"0123456789abcdef"[byte >> 4], b"0123456789abcdef"[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Appends pairs of digits.
pub(super) fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(bytes.iter().flat_map(|byte| HEX_PAIRS[usize::from(*byte)]));
}

/// A UUID of a text, if the text is as UUIDs are written.
pub(super) fn uuid(text: &[u8]) -> Option<u128> {
    let text: &[u8; UUID_TEXT] = text.try_into().ok()?;
    let (mut number, mut all) = (0u128, 0);
    for (at, letter) in text.iter().enumerate() {
        if let 8 | 13 | 18 | 23 = at {
            all |= if *letter == b'-' { 0 } else { 255 };
        } else {
            let digit = DIGITS[usize::from(*letter)];
            all |= digit;
            number = number << 4 | u128::from(digit & 15);
        }
    }
    (all < 16).then_some(number)
}

pub(super) fn uuid_text(uuid: u128) -> [u8; UUID_TEXT] {
    let (bytes, mut text, mut at) = (uuid.to_be_bytes(), [b'-'; UUID_TEXT], 0);
    for (number, byte) in bytes.iter().enumerate() {
        if let 4 | 6 | 8 | 10 = number {
            at += 1;
        }
        text[at..at + 2].copy_from_slice(&HEX_PAIRS[usize::from(*byte)]);
        at += 2;
    }
    text
}

/// The 74 bits of a UUIDv7 that are random, and its time; `None` if it is none.
pub(super) fn v7(uuid: u128) -> Option<(u128, i64)> {
    let is = uuid >> 76 & 15 == 7 && uuid >> 62 & 3 == 2;
    is.then_some(((uuid >> 64 & 0xfff) << 62 | uuid & ((1 << 62) - 1), (uuid >> 80) as i64))
}

pub(super) fn from_v7(random: u128, time: i64) -> u128 {
    let time = (time as u128 & ((1 << 48) - 1)) << 80;
    time | 7 << 76 | (random >> 62 & 0xfff) << 64 | 2 << 62 | random & ((1 << 62) - 1)
}
