//! Unpacking rows.

use agentworks_processors::blocks::varint::{self, unzigzag};

use super::digits::{from_v7, hex, uuid_text};
use super::{
    AGES, AS_THEY_ARE, BY_FIELD, COUNTED, END, HEADS, HEX, Kind, Layout, NULL, PAIRS, Recent, SAME, SLOT, Span, TEXT,
    UUID, UUID_V7, mark,
};

/// Unpacks rows; it keeps its memory.
#[derive(Debug, Default)]
pub(in crate::split) struct Decoder {
    /// What the heads say, that of each field.
    heads: Vec<u64>,
    /// How many rows have each head, and where in `heads` that of each row begins.
    uses: Vec<usize>,
    rows: Vec<usize>,
    numbers: Vec<u64>,
    columns: Vec<Unpacking>,
    /// How much is read of each part that a column has to itself.
    own: Vec<usize>,
    /// The text that is put together.
    text: Vec<u8>,
}

/// A column that is read.
#[derive(Debug, Default)]
struct Unpacking {
    recent: Recent,
    /// Where in the numbers the next one is.
    number: usize,
    before: i64,
}

const DAMAGED: &str = "rows are packed otherwise than they can be";
pub(super) const TOO_LONG: &str = "rows are longer than they may be";

/// So many bytes off the front.
fn take<'b>(bytes: &mut &'b [u8], length: usize) -> Result<&'b [u8], &'static str> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or(DAMAGED)?;
    *bytes = rest;
    Ok(taken)
}

fn number(bytes: &mut &[u8]) -> Result<u64, &'static str> {
    varint::take(bytes).ok_or(DAMAGED)
}

/// Where the rows are written.
struct Output<'o> {
    bytes: &'o mut Vec<u8>,
    max: usize,
}

impl Output<'_> {
    /// That so many more bytes are allowed.
    fn room(&self, length: usize) -> Result<(), &'static str> {
        match self.max.checked_sub(self.bytes.len()) {
            Some(room) if length <= room => Ok(()),
            _ => Err(TOO_LONG),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        self.room(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// A text, after its length.
    fn text(&mut self, text: &[u8]) -> Result<(), &'static str> {
        varint::put_signed(self.bytes, text.len() as i64);
        self.put(text)
    }

    /// What is there already, again.
    fn again(&mut self, span: Span) -> Result<(), &'static str> {
        self.room(span.end - span.start)?;
        self.bytes.extend_from_within(span.start..span.end);
        Ok(())
    }
}

impl Decoder {
    /// Unpacks rows: into `out`, one after another, up to each of `ends`; what these have is replaced. If they would have
    /// more than `max` bytes, it is an error.
    ///
    /// # Errors
    /// If no rows are packed like this.
    pub(in crate::split) fn decode(
        &mut self,
        layout: &Layout,
        parts: &[Vec<u8>],
        plain: &[u8],
        max: usize,
        out: &mut Vec<u8>,
        ends: &mut Vec<u32>,
    ) -> Result<(), &'static str> {
        out.clear();
        ends.clear();
        let mut out = Output { bytes: out, max: max.min(u32::MAX as usize) };
        let (kept, mut first) = parts.first().and_then(|first| first.split_first()).ok_or(DAMAGED)?;
        match *kept {
            AS_THEY_ARE => {
                while !first.is_empty() {
                    let length = usize::try_from(number(&mut first)?).map_err(|_| DAMAGED)?;
                    out.put(take(&mut first, length)?)?;
                    ends.push(out.bytes.len() as u32);
                }
                Ok(())
            }
            BY_FIELD if parts.len() == layout.parts() => {
                self.read_heads(layout, &mut first, max)?;
                self.read_numbers(layout, &mut first)?;
                self.own.clear();
                self.own.resize(parts.len(), 0);
                let mut random = Random { bytes: plain, odd: 0, uuids: 0, slots: Default::default(), runs: 0 };
                ends.reserve(self.rows.len());
                for row in 0..self.rows.len() {
                    self.row(layout, row, parts, &mut first, &mut random, &mut out)?;
                    out.room(0)?;
                    ends.push(out.bytes.len() as u32);
                }
                let read = |(part, read): (&Vec<u8>, &usize)| part.len() == *read;
                let all = parts.iter().zip(&self.own).skip(1).all(read);
                if all && first.is_empty() && random.bytes.is_empty() { Ok(()) } else { Err(DAMAGED) }
            }
            _ => Err(DAMAGED),
        }
    }

    fn read_heads(&mut self, layout: &Layout, first: &mut &[u8], max: usize) -> Result<(), &'static str> {
        let count = usize::try_from(number(first)?).map_err(|_| DAMAGED)?;
        let rows = take(first, count)?;
        // Each field has a byte at least.
        if rows.len().saturating_mul(layout.fields.len()) > max {
            return Err(TOO_LONG);
        }
        self.heads.clear();
        self.uses.clear();
        self.rows.clear();
        for row in rows {
            let mut head = usize::from(*row);
            if head >= self.uses.len().min(HEADS) {
                if head > self.uses.len() {
                    return Err(DAMAGED);
                }
                head = self.uses.len();
                self.uses.push(0);
                for field in &layout.fields {
                    let counted = matches!(field.kind, Kind::Count | Kind::Time);
                    self.heads.push(if counted { 0 } else { number(first)? });
                }
            }
            self.uses[head] += 1;
            self.rows.push(head * layout.fields.len());
        }
        Ok(())
    }

    fn read_numbers(&mut self, layout: &Layout, first: &mut &[u8]) -> Result<(), &'static str> {
        self.numbers.clear();
        self.columns.resize_with(layout.fields.len(), Unpacking::default);
        for (index, (field, column)) in layout.fields.iter().zip(&mut self.columns).enumerate() {
            column.recent.clear();
            (column.number, column.before) = (self.numbers.len(), 0);
            let count = match field.kind {
                Kind::Symbol => 0,
                Kind::Count | Kind::Time => self.rows.len(),
                _ => {
                    let codes = self.heads.iter().skip(index).step_by(layout.fields.len());
                    let numbered = codes.zip(&self.uses).filter(|(code, _)| matches!(**code, UUID_V7 | HEX | COUNTED));
                    numbered.map(|(_, uses)| *uses).sum()
                }
            };
            for _ in 0..count {
                self.numbers.push(number(first)?);
            }
        }
        Ok(())
    }

    fn row<'b>(
        &mut self,
        layout: &Layout,
        row: usize,
        parts: &'b [Vec<u8>],
        texts: &mut &'b [u8],
        random: &mut Random<'b>,
        out: &mut Output<'_>,
    ) -> Result<(), &'static str> {
        let head = &self.heads[self.rows[row]..][..layout.fields.len()];
        let mut now = 0;
        if let Some(time) = layout.time {
            let later = self.columns[time].next(&self.numbers)? << 8 | u64::from(take(&mut random.bytes, 1)?[0]);
            now = self.columns[time].before.wrapping_add(unzigzag(later));
            self.columns[time].before = now;
        }
        let mut own = 0;
        for ((field, code), column) in layout.fields.iter().zip(head).zip(&mut self.columns) {
            own += usize::from(field.kind == Kind::Free);
            match field.kind {
                Kind::Symbol => varint::put(out.bytes, *code),
                Kind::Time => varint::put_signed(out.bytes, now),
                Kind::Count => {
                    column.before = column.before.wrapping_add(unzigzag(column.next(&self.numbers)?));
                    varint::put_signed(out.bytes, column.before);
                }
                _ if *code == NULL && field.optional => out.bytes.push(0),
                kind if *code == SAME || *code >= SLOT => {
                    let span = match *code {
                        SAME => column.recent.last,
                        slot => column.recent.spans.get((slot - SLOT) as usize).copied(),
                    };
                    let span = span.filter(|_| kind != Kind::Unique && kind != Kind::Free).ok_or(DAMAGED)?;
                    column.recent.last = Some(span);
                    out.again(span)?;
                }
                kind => {
                    let start = out.bytes.len();
                    if field.optional {
                        out.bytes.push(2);
                    }
                    match *code {
                        UUID_V7 => {
                            let time = now.wrapping_add(unzigzag(column.next(&self.numbers)?));
                            out.text(&uuid_text(from_v7(random.v7()?, time)))?;
                        }
                        UUID => {
                            let uuid = *take(&mut random.bytes, 16)?.as_array().ok_or(DAMAGED)?;
                            out.text(&uuid_text(u128::from_le_bytes(uuid)))?;
                        }
                        HEX => {
                            let pairs = usize::try_from(column.next(&self.numbers)?).map_err(|_| DAMAGED)?;
                            let pairs = take(&mut random.bytes, pairs)?;
                            self.text.clear();
                            hex(pairs, &mut self.text);
                            out.text(&self.text)?;
                        }
                        TEXT | COUNTED => {
                            let mut rest = if kind == Kind::Free { &parts[own][self.own[own]..] } else { *texts };
                            let before = rest.len();
                            let text = match *code {
                                COUNTED => {
                                    let length = usize::try_from(column.next(&self.numbers)?).map_err(|_| DAMAGED)?;
                                    take(&mut rest, length)?
                                }
                                _ => random.text(&mut rest, out.max, &mut self.text)?,
                            };
                            match kind {
                                Kind::Words => out.put(text)?,
                                _ => out.text(text)?,
                            }
                            match kind {
                                Kind::Free => self.own[own] += before - rest.len(),
                                _ => *texts = rest,
                            }
                        }
                        _ => return Err(DAMAGED),
                    }
                    column.recent.add(kind, Span { start, end: out.bytes.len() });
                }
            }
        }
        Ok(())
    }
}

impl Unpacking {
    /// The column's next number.
    fn next(&mut self, numbers: &[u64]) -> Result<u64, &'static str> {
        let number = numbers.get(self.number).ok_or(DAMAGED)?;
        self.number += 1;
        Ok(*number)
    }
}

/// What was kept as it is.
struct Random<'b> {
    bytes: &'b [u8],
    odd: u8,
    uuids: usize,
    slots: [&'b [u8]; AGES],
    runs: usize,
}

impl<'b> Random<'b> {
    /// The random bits of the next UUIDv7.
    fn v7(&mut self) -> Result<u128, &'static str> {
        if self.uuids.is_multiple_of(4) {
            self.odd = take(&mut self.bytes, 1)?[0];
        }
        let mut bits = [0; 16];
        bits[..9].copy_from_slice(take(&mut self.bytes, 9)?);
        bits[9] = self.odd >> (self.uuids % 4 * 2) & 3;
        self.uuids += 1;
        Ok(u128::from_le_bytes(bits))
    }

    /// The text at the front of `texts`, if need be put together in `whole`.
    fn text<'t>(&mut self, texts: &mut &'b [u8], max: usize, whole: &'t mut Vec<u8>) -> Result<&'t [u8], &'static str>
    where
        'b: 't,
    {
        whole.clear();
        loop {
            let text = take(texts, mark(texts).ok_or(DAMAGED)?)?;
            let mark = take(texts, 1)?[0];
            if mark == END && whole.is_empty() {
                return Ok(text);
            }
            whole.extend_from_slice(text);
            if mark == END {
                return Ok(whole);
            }
            let number = usize::from(take(texts, 1)?[0]);
            if mark == PAIRS {
                self.slots[self.runs % AGES] = take(&mut self.bytes, number)?;
                hex(self.slots[self.runs % AGES], whole);
                self.runs += 1;
            } else if number < self.runs.min(AGES) {
                hex(self.slots[(self.runs - 1 - number) % AGES], whole);
            } else {
                return Err(DAMAGED);
            }
            if whole.len() > max {
                return Err(TOO_LONG);
            }
        }
    }
}
