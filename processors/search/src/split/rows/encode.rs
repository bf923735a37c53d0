//! Packing rows.

use agentworks_processors::blocks::varint::{self, unzigzag, zigzag};

use super::digits::{digits, unhex, uuid, v7};
use super::{
    AGAIN, AGES, AS_THEY_ARE, BY_FIELD, COUNTED, END, Field, HEADS, HEX, Kind, Layout, MIN_HEX, NULL, PAIRS, Parts,
    Recent, Span, TEXT, UUID, UUID_V7, mark,
};

/// A number at a place that it moves over, if it is written as [`varint::put`] writes it.
fn canonical(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut rest = bytes.get(*at..)?;
    if let [byte @ 0..0x80, ..] = rest {
        *at += 1;
        return Some(u64::from(*byte));
    }
    let number = varint::take(&mut rest)?;
    *at = bytes.len() - rest.len();
    (bytes[*at - 1] != 0).then_some(number)
}

/// The end of a text whose length stands at `at`, which is moved to its beginning.
fn text_end(row: &[u8], at: &mut usize) -> Option<usize> {
    let length = usize::try_from(unzigzag(canonical(row, at)?)).ok()?;
    at.checked_add(length).filter(|end| *end <= row.len())
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Null,
    Number(i64),
    /// The text alone; of an array, what follows its being one.
    Text(Span),
}

/// The fields of a row, which stands in `rows` at `row`; `None` if it hasn't just these.
fn cut(fields: &[Field], rows: &[u8], row: Span, values: &mut Vec<Value>) -> Option<()> {
    values.clear();
    let bytes = rows.get(..row.end)?;
    let mut at = row.start;
    for field in fields {
        if field.optional {
            match canonical(bytes, &mut at)? {
                0 => {
                    values.push(Value::Null);
                    continue;
                }
                2 => {}
                _ => return None,
            }
        }
        values.push(match field.kind {
            Kind::Symbol | Kind::Count | Kind::Time => Value::Number(unzigzag(canonical(bytes, &mut at)?)),
            Kind::Words => {
                let start = at;
                loop {
                    match unzigzag(canonical(bytes, &mut at)?) {
                        0 => break Value::Text(Span { start, end: at }),
                        count @ 1.. => {
                            for _ in 0..count {
                                at = text_end(bytes, &mut at)?;
                            }
                        }
                        _ => return None,
                    }
                }
            }
            _ => {
                let end = text_end(bytes, &mut at)?;
                let span = Span { start: at, end };
                at = end;
                Value::Text(span)
            }
        });
    }
    (at == row.end).then_some(())
}

/// Packs rows; it keeps its memory.
#[derive(Debug, Default)]
pub(in crate::split) struct Encoder {
    values: Vec<Value>,
    columns: Vec<Packing>,
    /// Each row's byte, the new heads, and the texts of the first part.
    rows: Vec<u8>,
    heads: Vec<u8>,
    texts: Vec<u8>,
    /// Where the heads that have numbers are.
    known: Vec<Span>,
    head: Vec<u8>,
    random: Randomness,
}

/// A column in the making.
#[derive(Debug, Default)]
struct Packing {
    recent: Recent,
    numbers: Vec<u8>,
    before: i64,
}

/// What doesn't compress.
#[derive(Debug, Default)]
struct Randomness {
    plain: Vec<u8>,
    /// Where the bits of UUIDs go that nine bytes don't hold: those of four UUIDs together, before the first one's.
    odd: usize,
    uuids: usize,
    /// The digits within texts, in the rows.
    slots: [Span; AGES],
    runs: usize,
}

impl Encoder {
    /// Packs the rows that stand in `rows`, one after another, up to each of `ends`; what `out` has is replaced.
    pub(in crate::split) fn encode(&mut self, layout: &Layout, rows: &[u8], ends: &[u32], out: &mut Parts) {
        out.parts.resize_with(layout.parts(), Vec::new);
        if self.by_field(layout, rows, ends, out).is_some() {
            let first = &mut out.parts[0];
            first.push(BY_FIELD);
            varint::put(first, ends.len() as u64);
            first.extend_from_slice(&self.rows);
            first.extend_from_slice(&self.heads);
            self.columns.iter().for_each(|column| first.extend_from_slice(&column.numbers));
            first.extend_from_slice(&self.texts);
            return;
        }
        out.clear();
        let (first, mut start) = (&mut out.parts[0], 0);
        first.push(AS_THEY_ARE);
        for end in ends {
            let row = &rows[start..*end as usize];
            varint::put(first, row.len() as u64);
            first.extend_from_slice(row);
            start = *end as usize;
        }
    }

    fn by_field(&mut self, layout: &Layout, rows: &[u8], ends: &[u32], out: &mut Parts) -> Option<()> {
        out.clear();
        self.columns.resize_with(layout.fields.len(), Packing::default);
        for column in &mut self.columns {
            column.recent.clear();
            column.numbers.clear();
            column.before = 0;
        }
        [&mut self.rows, &mut self.heads, &mut self.texts].into_iter().for_each(Vec::clear);
        self.known.clear();
        self.random = Randomness { plain: std::mem::take(&mut out.plain), ..Randomness::default() };
        let mut row = Span::default();
        for end in ends {
            row = Span { start: row.end, end: *end as usize };
            cut(&layout.fields, rows, row, &mut self.values)?;
            self.row(layout, rows, out);
        }
        out.plain = std::mem::take(&mut self.random.plain);
        Some(())
    }

    /// Packs the row that is cut.
    fn row(&mut self, layout: &Layout, rows: &[u8], out: &mut Parts) {
        let now = match layout.time.map(|time| self.values[time]) {
            Some(Value::Number(now)) => now,
            _ => 0,
        };
        if let Some(time) = layout.time {
            let column = &mut self.columns[time];
            let later = zigzag(now.wrapping_sub(column.before));
            column.before = now;
            self.random.plain.push(later as u8);
            varint::put(&mut column.numbers, later >> 8);
        }
        self.head.clear();
        let mut own = 0;
        for ((field, value), column) in layout.fields.iter().zip(&self.values).zip(&mut self.columns) {
            let texts = if field.kind == Kind::Free {
                own += 1;
                &mut out.parts[own]
            } else {
                &mut self.texts
            };
            let code = match (*value, field.kind) {
                (_, Kind::Time) => continue,
                (Value::Null, _) => NULL,
                (Value::Number(number), Kind::Symbol) => zigzag(number),
                (Value::Number(number), _) => {
                    varint::put_signed(&mut column.numbers, number.wrapping_sub(column.before));
                    column.before = number;
                    continue;
                }
                (Value::Text(span), kind) => match column.recent.find(kind, rows, span) {
                    Some(code) => code,
                    None => {
                        column.recent.add(kind, span);
                        column.text(kind, rows, span, now, &mut self.random, texts)
                    }
                },
            };
            varint::put(&mut self.head, code);
        }
        let known = self.known.iter().position(|known| self.heads[known.start..known.end] == *self.head);
        self.rows.push(known.unwrap_or(self.known.len()) as u8);
        if known.is_none() {
            let start = self.heads.len();
            self.heads.extend_from_slice(&self.head);
            if self.known.len() < HEADS {
                self.known.push(Span { start, end: self.heads.len() });
            }
        }
    }
}

impl Packing {
    /// Packs a text that is new; what a head says of it.
    fn text(
        &mut self,
        kind: Kind,
        rows: &[u8],
        span: Span,
        now: i64,
        random: &mut Randomness,
        texts: &mut Vec<u8>,
    ) -> u64 {
        let text = &rows[span.start..span.end];
        if kind == Kind::Unique || kind == Kind::Steady {
            if let Some(uuid) = uuid(text) {
                let Some((bits, time)) = v7(uuid) else {
                    random.plain.extend_from_slice(&uuid.to_le_bytes());
                    return UUID;
                };
                varint::put_signed(&mut self.numbers, time.wrapping_sub(now));
                random.v7(bits);
                return UUID_V7;
            }
            let start = random.plain.len();
            if text.len() >= MIN_HEX && unhex(text, &mut random.plain) {
                varint::put(&mut self.numbers, (text.len() / 2) as u64);
                return HEX;
            }
            random.plain.truncate(start);
        }
        if mark(text).is_some() {
            texts.extend_from_slice(text);
            varint::put(&mut self.numbers, text.len() as u64);
            return COUNTED;
        }
        let mut at = span.start;
        if kind == Kind::Free {
            while let Some(run) = digits(text, at - span.start) {
                let run = Span { start: span.start + run.start, end: span.start + run.end };
                texts.extend_from_slice(&rows[at..run.start]);
                random.digits(rows, run, texts);
                at = run.end;
            }
        }
        texts.extend_from_slice(&rows[at..span.end]);
        texts.push(END);
        TEXT
    }
}

impl Randomness {
    /// Packs the random bits of a UUIDv7.
    fn v7(&mut self, bits: u128) {
        if self.uuids.is_multiple_of(4) {
            self.odd = self.plain.len();
            self.plain.push(0);
        }
        self.plain[self.odd] |= ((bits >> 72) as u8) << (self.uuids % 4 * 2);
        self.uuids += 1;
        self.plain.extend_from_slice(&bits.to_le_bytes()[..9]);
    }

    /// Packs digits within a text.
    fn digits(&mut self, rows: &[u8], run: Span, texts: &mut Vec<u8>) {
        let digits = &rows[run.start..run.end];
        let is = |age: &usize| {
            let slot = self.slots[(self.runs - 1 - age) % AGES];
            rows[slot.start..slot.end] == *digits
        };
        if let Some(age) = (0..self.runs.min(AGES)).find(is) {
            texts.extend_from_slice(&[AGAIN, age as u8]);
            return;
        }
        texts.extend_from_slice(&[PAIRS, (digits.len() / 2) as u8]);
        unhex(digits, &mut self.plain);
        self.slots[self.runs % AGES] = run;
        self.runs += 1;
    }
}
