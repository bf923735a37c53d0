//! Rows of fields (canonical bodies) laid out field by field, so that like stands beside like: it compresses better.
//!
//! Rows become parts, each to be compressed by itself since each has statistics of its own, and `plain`, which is as good as
//! random, and would only make larger what it is compressed with: the lowest byte of the difference between the row's time
//! and the last one's, and what of its ids and other hexadecimal digits is random, row after row, in the order of the fields.
//! The first part begins with how the rows are kept:
//!
//! - 0: as they are, each after its length, all in this part. So are rows that aren't of the layout to the byte.
//! - 1: by field. There follow: how many rows there are; a byte for each row, its head; the heads that come for the first
//!   time; the numbers, column after column; the texts, row after row, of the columns that haven't a part of their own. The
//!   other parts are the texts of those that have.
//!
//! A head says of each field of a row what kind of value it has (see the constants); rows that are about the same kind of
//! thing have the same head. The byte is a head's number, or the next one that isn't taken (255 if all are), which stands
//! for a new head. Numbers are LEB128, those with a sign zigzag.

mod decode;
mod digits;
mod encode;
#[cfg(test)]
mod tests;

pub(super) use decode::Decoder;
pub(super) use encode::Encoder;

/// How the rows are kept.
const AS_THEY_ARE: u8 = 0;
const BY_FIELD: u8 = 1;

// What a head says of a text. Of a number that is in the head, it says the number.
/// There is none.
const NULL: u64 = 0;
/// The last one of its column again.
const SAME: u64 = 1;
/// A UUIDv7. A number says how much later than the row's time its own is; the rest is random.
const UUID_V7: u64 = 2;
/// Another UUID: random.
const UUID: u64 = 3;
/// Hexadecimal digits, random. A number says how many pairs.
const HEX: u64 = 4;
/// Any other text; [`END`] follows it, which takes less than its length would.
const TEXT: u64 = 5;
/// A text that has bytes in it that stand for something, see [`END`]. A number says how long it is.
const COUNTED: u64 = 6;
/// From here on: one that the column had before, by its slot.
const SLOT: u64 = 7;

// What stands in texts, and is nothing that UTF-8 has.
/// A text's end.
const END: u8 = 0xff;
/// Hexadecimal digits, random; the byte after it says how many pairs.
const PAIRS: u8 = 0xfe;
/// Such that were there before; the byte after it says how many others ago.
const AGAIN: u8 = 0xfd;
/// Of the last how many.
const AGES: usize = 8;
/// Within a text, fewer of them are text.
const MIN_DIGITS: usize = 8;
/// How many texts a column has slots for; a new one takes the oldest one's.
const SLOTS: usize = 32;
/// How many heads have numbers.
const HEADS: usize = 255;
/// Fewer digits are a text like any other.
const MIN_HEX: usize = 16;
/// How long a UUID is as a text.
const UUID_TEXT: usize = 36;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A number that has few values: it is in the head.
    Symbol,
    /// A number that is said by its difference to the row before.
    Count,
    /// The row's time: likewise, but the difference's lowest byte is random.
    Time,
    /// A text that no other row has.
    Unique,
    /// A text that the row before mostly has too.
    Steady,
    /// A text of few values.
    Word,
    /// A text that has a part of its own.
    Free,
    /// An array of texts, of few values; taken as a whole.
    Words,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    kind: Kind,
    /// Whether it may be null.
    optional: bool,
}

/// Which fields rows have. It is to be kept with them, so that those of later versions may have others.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    letters: Vec<u8>,
    fields: Vec<Field>,
    /// Which one is the row's time.
    time: Option<usize>,
}

impl Layout {
    /// What entries' bodies are like; see `agentworks_schemas::codec::encode_entry_body`.
    pub(super) fn entry() -> Self {
        Self::of(b"ussstcnnwfFSSSSASSS")
    }

    /// What was written by [`as_bytes`](Self::as_bytes).
    ///
    /// # Errors
    /// If it wasn't.
    pub(super) fn parse(letters: &[u8]) -> Result<Self, &'static str> {
        let layout = Self::of(letters);
        let times = layout.fields.iter().filter(|field| field.kind == Kind::Time).count();
        match layout.fields.len() == letters.len() && !letters.is_empty() && times < 2 {
            true => Ok(layout),
            false => Err("rows have fields of an unknown kind"),
        }
    }

    fn of(letters: &[u8]) -> Self {
        let fields: Vec<_> = letters.iter().filter_map(|letter| field(*letter)).collect();
        let time = fields.iter().position(|field| field.kind == Kind::Time);
        Layout { letters: letters.to_vec(), fields, time }
    }

    /// What is to be kept: a letter for each field.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.letters
    }

    /// How many parts rows become, at least one.
    pub(super) fn parts(&self) -> usize {
        1 + self.fields.iter().filter(|field| field.kind == Kind::Free).count()
    }
}

fn field(letter: u8) -> Option<Field> {
    let optional = letter.is_ascii_uppercase();
    let kind = match letter.to_ascii_lowercase() {
        b'n' if !optional => Kind::Symbol,
        b'c' if !optional => Kind::Count,
        b't' if !optional => Kind::Time,
        b'u' => Kind::Unique,
        b's' => Kind::Steady,
        b'w' => Kind::Word,
        b'f' => Kind::Free,
        b'a' => Kind::Words,
        _ => return None,
    };
    Some(Field { kind, optional })
}

/// Rows, packed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// To be compressed, as many as the layout says.
    pub(super) parts: Vec<Vec<u8>>,
    /// To be kept as it is.
    pub(super) plain: Vec<u8>,
}

impl Parts {
    fn clear(&mut self) {
        self.parts.iter_mut().for_each(Vec::clear);
        self.plain.clear();
    }
}

/// Where the first of what UTF-8 hasn't is.
fn mark(bytes: &[u8]) -> Option<usize> {
    // So many at a time that the processor compares them together.
    let (chunks, _) = bytes.as_chunks::<32>();
    let has = |chunk: &[u8; 32]| chunk.iter().fold(false, |has, byte| has | (*byte >= AGAIN));
    let start = chunks.iter().position(has).unwrap_or(chunks.len()) * 32;
    Some(start + bytes[start..].iter().position(|byte| *byte >= AGAIN)?)
}

/// Where a value is.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: usize,
    end: usize,
}

/// The texts that a column had last.
#[derive(Clone, Debug, Default)]
struct Recent {
    spans: Vec<Span>,
    /// How many it had.
    count: usize,
    last: Option<Span>,
}

impl Recent {
    fn clear(&mut self) {
        self.spans.clear();
        (self.count, self.last) = (0, None);
    }

    /// What a head says of a text that the column had, if it is one.
    fn find(&mut self, kind: Kind, rows: &[u8], span: Span) -> Option<u64> {
        let text = &rows[span.start..span.end];
        let is = |other: &Span| rows[other.start..other.end] == *text;
        if kind == Kind::Steady && self.last.as_ref().is_some_and(is) {
            return Some(SAME);
        }
        let slot = self.spans.iter().position(is)?;
        self.last = Some(span);
        Some(SLOT + slot as u64)
    }

    fn add(&mut self, kind: Kind, span: Span) {
        self.last = Some(span);
        if kind == Kind::Unique || kind == Kind::Free {
            return;
        }
        match self.spans.get_mut(self.count % SLOTS) {
            Some(slot) => *slot = span,
            None => self.spans.push(span),
        }
        self.count += 1;
    }
}
