//! The columns of a segment, read a block of documents at a time.

use std::borrow::Cow;
use std::sync::OnceLock;

use agentworks_query::answer::FacetField;
use agentworks_schemas::Position;
use tantivy::columnar::{Column, StrColumn};
use tantivy::{COLLECT_BLOCK_BUFFER_LEN, DocId, SegmentReader};

use super::ExecError;
use crate::schema::lane_of;

/// The columns of a segment, each opened when it is first needed: that takes as long as a small search.
#[derive(Debug, Default)]
pub(super) struct Columns {
    times: OnceLock<Column<i64>>,
    record_times: OnceLock<Column<i64>>,
    positions: OnceLock<Positions>,
    texts: [OnceLock<Option<Texts>>; FacetField::ALL.len()],
}

impl Columns {
    /// The entries' own instants.
    pub(super) fn times(&self, segment: &SegmentReader) -> Result<&Column<i64>, ExecError> {
        once(&self.times, || Ok(segment.fast_fields().i64("timestamp")?))
    }

    /// The entries' record timestamps.
    pub(super) fn record_times(&self, segment: &SegmentReader) -> Result<&Column<i64>, ExecError> {
        once(&self.record_times, || Ok(segment.fast_fields().i64("record_time")?))
    }

    /// Where the entries lie.
    pub(super) fn positions(&self, segment: &SegmentReader) -> Result<&Positions, ExecError> {
        once(&self.positions, || Positions::of(segment))
    }

    /// The values of a field; `None` if no entry has any.
    pub(super) fn texts(&self, segment: &SegmentReader, field: FacetField) -> Result<Option<&Texts>, ExecError> {
        once(&self.texts[field as usize], || Texts::of(segment, field)).map(Option::as_ref)
    }
}

/// What is in `cell`, made by `make` if there is nothing in it. Two may make it at once: one is kept.
fn once<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T, ExecError>) -> Result<&T, ExecError> {
    match cell.get() {
        Some(known) => Ok(known),
        None => {
            let made = make()?;
            Ok(cell.get_or_init(|| made))
        }
    }
}

/// The columns that say where an entry lies.
#[derive(Debug)]
pub(crate) struct Positions {
    lane: Column<u64>,
    epoch: Column<u64>,
    offset: Column<i64>,
}

impl Positions {
    /// Those of a segment.
    pub(crate) fn of(segment: &SegmentReader) -> Result<Self, ExecError> {
        let columns = segment.fast_fields();
        Ok(Positions { lane: columns.u64("lane")?, epoch: columns.u64("epoch")?, offset: columns.i64("offset")? })
    }

    /// Where a document's entry lies.
    pub(crate) fn get(&self, doc: DocId) -> Result<Position, ExecError> {
        let damaged = || ExecError::Damaged(format!("document {doc} has no position"));
        let partition = self.lane.first(doc).and_then(lane_of).ok_or_else(damaged)?;
        let epoch = self.epoch.first(doc).and_then(|epoch| u32::try_from(epoch).ok()).ok_or_else(damaged)?;
        Ok(Position { partition, epoch, offset: self.offset.first(doc).ok_or_else(damaged)? })
    }
}

/// The values of a field.
#[derive(Debug)]
pub(super) struct Texts {
    column: StrColumn,
    /// All values by their numbers, if they are few.
    few: Option<Vec<Box<str>>>,
}

/// So many values are few.
const FEW: usize = 64;

impl Texts {
    fn of(segment: &SegmentReader, field: FacetField) -> Result<Option<Self>, ExecError> {
        let Some(column) = segment.fast_fields().str(field.name())? else { return Ok(None) };
        let mut texts = Texts { few: None, column };
        if texts.column.num_terms() <= FEW {
            let mut few = Vec::with_capacity(texts.column.num_terms());
            texts.each(&(0..texts.column.num_terms() as u64).collect::<Vec<_>>(), |value| few.push(value.into()))?;
            texts.few = Some(few);
        }
        Ok(Some(texts))
    }

    /// An entry's value.
    pub(super) fn get(&self, doc: DocId) -> Result<String, ExecError> {
        let mut value = Vec::new();
        if let Some(number) = self.column.ords().first(doc)
            && !self.column.ord_to_bytes(number, &mut value)?
        {
            return Err(ExecError::Damaged("a column has a value that its dictionary lacks".into()));
        }
        Ok(text(&value).into_owned())
    }

    /// Calls `with` for the values of some numbers, which ascend.
    fn each(&self, numbers: &[u64], mut with: impl FnMut(&str)) -> Result<(), ExecError> {
        // All at once: each by itself would unpack its block of the dictionary again.
        match self.column.dictionary().sorted_ords_to_term_cb(numbers, |value| with(&text(value)))? {
            true => Ok(()),
            false => Err(ExecError::Damaged("a column has a value that its dictionary lacks".into())),
        }
    }
}

/// A value as text: versions before have written such as were cut within a character.
fn text(value: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(value)
}

/// Counts how often each value of a column is there.
pub(super) struct Counter<'a> {
    texts: Option<&'a Texts>,
    counts: Vec<u64>,
    ords: [Option<u64>; COLLECT_BLOCK_BUFFER_LEN],
}

impl<'a> Counter<'a> {
    pub(super) fn of(texts: Option<&'a Texts>) -> Self {
        let values = texts.map_or(0, |texts| texts.column.num_terms());
        Counter { texts, counts: vec![0; values], ords: [None; COLLECT_BLOCK_BUFFER_LEN] }
    }

    /// Counts the values of some documents, at most a block of them.
    pub(super) fn add(&mut self, docs: &[DocId]) {
        let Some(texts) = self.texts else { return };
        let ords = &mut self.ords[..docs.len()];
        ords.fill(None);
        texts.column.ords().first_vals(docs, ords);
        for ord in ords.iter().flatten() {
            if let Some(count) = self.counts.get_mut(*ord as usize) {
                *count += 1;
            }
        }
    }

    /// Calls `with` for each value that was there.
    pub(super) fn finish(self, mut with: impl FnMut(&str, u64)) -> Result<(), ExecError> {
        let Some(texts) = self.texts else { return Ok(()) };
        let counted = self.counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
        if let Some(few) = &texts.few {
            counted.for_each(|(number, count)| with(&few[number], count));
            return Ok(());
        }
        let (numbers, counts): (Vec<_>, Vec<_>) = counted.map(|(number, count)| (number as u64, count)).unzip();
        let mut counts = counts.into_iter();
        texts.each(&numbers, |value| with(value, counts.next().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn what_was_cut_within_a_character_is_told() {
        assert_eq!(text("naïve".as_bytes()), "naïve");
        assert_eq!(text(&"naï".as_bytes()[..3]), "na\u{fffd}");
    }
}
