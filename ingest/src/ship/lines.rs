//! Cutting a stream of bytes into lines, in bounded memory.

use std::str::FromStr;

/// What becomes of a line that is longer than the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LongLines {
    /// It is shipped in several entries.
    #[default]
    Split,
    /// Its beginning is shipped; the entry says how long it was.
    Cut,
    /// It is not shipped.
    Refuse,
}

impl FromStr for LongLines {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "split" => Ok(LongLines::Split),
            "cut" => Ok(LongLines::Cut),
            "refuse" => Ok(LongLines::Refuse),
            _ => Err(format!("{text:?} is none of split, cut, refuse")),
        }
    }
}

/// How much of a line is in a [`Line`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// One part of several, by its number from 1. How many there are is known at the last one only, since the line is not
    /// held in memory.
    Part {
        /// Which part.
        number: u32,
        /// Whether no other follows.
        last: bool,
    },
    /// The beginning of a line that has so many bytes.
    Cut {
        /// The whole length.
        length: u64,
    },
    /// Nothing, of a line that has so many bytes.
    Refused {
        /// The whole length.
        length: u64,
    },
}

/// A line, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its bytes, without the end of the line.
    pub bytes: &'a [u8],
    /// How much of the line that is.
    pub extent: Extent,
    /// How often the line was begun anew by a carriage return, as progress bars do.
    pub overwritten: u32,
    /// How many bytes of the stream end with this line; `None` for a part that is not the last.
    pub end: Option<u64>,
}

/// Cuts a stream into lines.
///
/// - A line ends with `\n`; `\r\n` counts as one end. Empty lines are lines. What follows the last `\n` is a line when the
///   stream ends.
/// - Of text between other carriage returns the last piece wins that is not empty, as on a terminal, where each overwrites
///   the one before. How many were overwritten is counted.
/// - A line beyond the limit is treated as [`LongLines`] says. Parts end between characters.
#[derive(Debug)]
pub struct Splitter {
    limit: usize,
    policy: LongLines,
    /// The current line, or what is left of it; never more than the limit.
    partial: Vec<u8>,
    /// So many bytes of it were handed out and go before the next ones come.
    handed_out: usize,
    /// How many parts of the current line were handed out.
    parts: u32,
    /// The bytes of the current line, also those that are not kept.
    length: u64,
    overwritten: u32,
    /// The last byte was a carriage return.
    returned: bool,
    offset: u64,
}

impl Splitter {
    /// The longest line, or part of one, that the log takes with certainty, in bytes.
    pub const LIMIT: usize = 256 * 1024;

    /// A splitter for a stream of which `offset` bytes were read before.
    pub fn new(limit: usize, policy: LongLines, offset: u64) -> Self {
        Splitter {
            // Room for the longest character.
            limit: limit.max(4),
            policy,
            partial: Vec::new(),
            handed_out: 0,
            parts: 0,
            length: 0,
            overwritten: 0,
            returned: false,
            offset,
        }
    }

    /// The next line of `input`, which is consumed as far as needed; `None` when it is consumed whole.
    pub fn next<'a>(&'a mut self, input: &mut &[u8]) -> Option<Line<'a>> {
        self.forget_handed_out();
        while !input.is_empty() {
            let text = input.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(input.len());
            if text > 0 {
                if self.returned && self.parts == 0 {
                    self.overwrite();
                }
                self.returned = false;
                if self.partial.len() == self.limit && self.policy == LongLines::Split {
                    return Some(self.part());
                }
                let kept = text.min(self.limit - self.partial.len());
                self.partial.extend_from_slice(&input[..kept]);
                let consumed = if self.policy == LongLines::Split { kept } else { text };
                self.length += consumed as u64;
                self.consume(input, consumed);
                continue;
            }
            let end = input[0];
            self.consume(input, 1);
            if end == b'\n' {
                return Some(self.line());
            }
            self.returned = true;
        }
        None
    }

    /// The last line, at the end of the stream, if it did not end with `\n`.
    pub fn finish(&mut self) -> Option<Line<'_>> {
        self.forget_handed_out();
        (!self.partial.is_empty()).then(|| self.line())
    }

    /// Whether a line has begun and not ended.
    pub fn is_within_line(&self) -> bool {
        self.partial.len() > self.handed_out
    }

    fn consume(&mut self, input: &mut &[u8], count: usize) {
        *input = &input[count..];
        self.offset += count as u64;
    }

    fn forget_handed_out(&mut self) {
        self.partial.drain(..self.handed_out);
        self.handed_out = 0;
    }

    fn overwrite(&mut self) {
        if !self.partial.is_empty() {
            self.partial.clear();
            self.length = 0;
            self.overwritten += 1;
        }
    }

    fn part(&mut self) -> Line<'_> {
        self.handed_out = character_boundary(&self.partial);
        self.parts += 1;
        let extent = Extent::Part { number: self.parts, last: false };
        Line { bytes: &self.partial[..self.handed_out], extent, overwritten: self.overwritten, end: None }
    }

    fn line(&mut self) -> Line<'_> {
        self.handed_out = self.partial.len();
        let length = std::mem::take(&mut self.length);
        let parts = std::mem::take(&mut self.parts);
        let too_long = length > self.limit as u64;
        let (end, extent) = match self.policy {
            LongLines::Split if parts > 0 => (self.handed_out, Extent::Part { number: parts + 1, last: true }),
            LongLines::Cut if too_long => (character_boundary(&self.partial), Extent::Cut { length }),
            LongLines::Refuse if too_long => (0, Extent::Refused { length }),
            _ => (self.handed_out, Extent::Whole),
        };
        let overwritten = std::mem::take(&mut self.overwritten);
        self.returned = false;
        Line { bytes: &self.partial[..end], extent, overwritten, end: Some(self.offset) }
    }
}

/// The length of `bytes` without a UTF-8 character that is cut off at the end. Never 0 for more than three bytes.
fn character_boundary(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let needed = match bytes[bytes.len() - back] {
            0x80..=0xBF => continue,
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xFF => 4,
            _ => 1,
        };
        return if needed > back { bytes.len() - back } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `input`, fed in pieces of `step` bytes.
    fn lines(splitter: &mut Splitter, input: &[u8], step: usize) -> Vec<(String, Extent, u32, Option<u64>)> {
        let mut found = Vec::new();
        let mut take = |line: Line<'_>| {
            found.push((String::from_utf8_lossy(line.bytes).into(), line.extent, line.overwritten, line.end));
        };
        for mut piece in input.chunks(step) {
            while let Some(line) = splitter.next(&mut piece) {
                take(line);
            }
        }
        if let Some(line) = splitter.finish() {
            take(line);
        }
        found
    }

    /// The same, in pieces of every size, which must make no difference.
    fn split(input: &[u8], limit: usize, policy: LongLines) -> Vec<(String, Extent, u32, Option<u64>)> {
        let whole = lines(&mut Splitter::new(limit, policy, 0), input, input.len().max(1));
        for step in 1..input.len().min(40) {
            assert_eq!(lines(&mut Splitter::new(limit, policy, 0), input, step), whole, "in pieces of {step}");
        }
        whole
    }

    fn texts(input: &[u8]) -> Vec<String> {
        split(input, 100, LongLines::Split).into_iter().map(|(text, ..)| text).collect()
    }

    #[test]
    fn lines_end_with_newline_and_may_be_empty() {
        assert_eq!(texts(b""), Vec::<String>::new());
        assert_eq!(texts(b"one\ntwo\n"), ["one", "two"]);
        assert_eq!(texts(b"one\n\n\ntwo"), ["one", "", "", "two"]);
        assert_eq!(texts(b"one\r\n\r\ntwo\r\n"), ["one", "", "two"]);
        assert_eq!(texts(b"nul \0 inside\n"), ["nul \0 inside"]);
    }

    #[test]
    fn ends_count_the_bytes_of_the_stream() {
        let ends: Vec<_> = split(b"one\r\n\ntwo", 100, LongLines::Split).into_iter().map(|line| line.3).collect();
        assert_eq!(ends, [Some(5), Some(6), Some(9)]);
        let mut splitter = Splitter::new(100, LongLines::Split, 1000);
        assert_eq!(lines(&mut splitter, b"one\n", 4)[0].3, Some(1004));
    }

    #[test]
    fn a_progress_bar_leaves_what_a_terminal_shows_last() {
        let found = split(b"10%\r20%\r100%\ndone\n", 100, LongLines::Split);
        assert_eq!((found[0].0.as_str(), found[0].2), ("100%", 2));
        assert_eq!((found[1].0.as_str(), found[1].2), ("done", 0));
        assert_eq!(texts(b"\r\r10%\r\r\n"), ["10%"]);
        assert_eq!(texts(b"10%\r"), ["10%"]);
        let endless = "working…\r".repeat(1000);
        assert_eq!(texts(endless.as_bytes()), ["working…"]);
    }

    #[test]
    fn a_long_line_is_split_between_characters() {
        let found = split("äöüäöüäö\nnext\n".as_bytes(), 5, LongLines::Split);
        let parts: Vec<_> = found.iter().map(|line| (line.0.as_str(), line.1, line.3)).collect();
        let part = |number, last| Extent::Part { number, last };
        assert_eq!(
            parts,
            [
                ("äö", part(1, false), None),
                ("üä", part(2, false), None),
                ("öü", part(3, false), None),
                ("äö", part(4, true), Some(17)),
                ("next", Extent::Whole, Some(22)),
            ]
        );
        assert_eq!(split(b"12345\n", 5, LongLines::Split)[0].1, Extent::Whole, "as long as the limit");
        assert_eq!(split(b"12345", 5, LongLines::Split)[0].1, Extent::Whole);
        assert_eq!(split(b"123456", 5, LongLines::Split).len(), 2);
    }

    #[test]
    fn what_is_no_utf8_is_split_all_the_same() {
        let found = split(&[0x80; 23], 5, LongLines::Split);
        assert_eq!(found.len(), 5);
        let found = split(&[0xF0; 23], 5, LongLines::Split);
        assert!(found.len() >= 5);
    }

    #[test]
    fn a_long_line_is_cut_or_refused() {
        let found = split("ääääää\nnext\n".as_bytes(), 5, LongLines::Cut);
        assert_eq!((found[0].0.as_str(), found[0].1), ("ää", Extent::Cut { length: 12 }));
        assert_eq!(found[1].1, Extent::Whole);
        let found = split(b"123456\nnext\n12345\n", 5, LongLines::Refuse);
        assert_eq!((found[0].0.as_str(), found[0].1), ("", Extent::Refused { length: 6 }));
        assert_eq!((found[1].0.as_str(), found[2].0.as_str()), ("next", "12345"));
    }

    #[test]
    fn memory_stays_bounded_whatever_comes() {
        for policy in [LongLines::Split, LongLines::Cut, LongLines::Refuse] {
            let mut splitter = Splitter::new(1000, policy, 0);
            for _ in 0..1000 {
                let mut input: &[u8] = &[b'x'; 777];
                while splitter.next(&mut input).is_some() {}
                assert!(splitter.partial.capacity() <= 4096);
            }
        }
    }
}
