//! The columns of a segment, read a block of documents at a time.

use agentworks_query::answer::FacetField;
use agentworks_schemas::Position;
use tantivy::columnar::{Column, StrColumn};
use tantivy::{COLLECT_BLOCK_BUFFER_LEN, DocId, SegmentReader};

use super::ExecError;
use crate::schema::lane_of;

/// The columns that say where an entry lies.
pub(super) struct Positions {
    lane: Column<u64>,
    epoch: Column<u64>,
    offset: Column<i64>,
}

impl Positions {
    pub(super) fn of(segment: &SegmentReader) -> Result<Self, ExecError> {
        let columns = segment.fast_fields();
        Ok(Positions { lane: columns.u64("lane")?, epoch: columns.u64("epoch")?, offset: columns.i64("offset")? })
    }

    pub(super) fn get(&self, doc: DocId) -> Result<Position, ExecError> {
        let damaged = || ExecError::Damaged(format!("document {doc} has no position"));
        let partition = self.lane.first(doc).and_then(lane_of).ok_or_else(damaged)?;
        let epoch = self.epoch.first(doc).and_then(|epoch| u32::try_from(epoch).ok()).ok_or_else(damaged)?;
        Ok(Position { partition, epoch, offset: self.offset.first(doc).ok_or_else(damaged)? })
    }
}

/// Counts how often each value of a column is there.
pub(super) struct Counter {
    column: Option<StrColumn>,
    counts: Vec<u64>,
    ords: [Option<u64>; COLLECT_BLOCK_BUFFER_LEN],
}

impl Counter {
    pub(super) fn of(segment: &SegmentReader, field: FacetField) -> Result<Self, ExecError> {
        let column = segment.fast_fields().str(field.name())?;
        let values = column.as_ref().map_or(0, |column| column.num_terms());
        Ok(Counter { column, counts: vec![0; values], ords: [None; COLLECT_BLOCK_BUFFER_LEN] })
    }

    /// Counts the values of some documents, at most a block of them.
    pub(super) fn add(&mut self, docs: &[DocId]) {
        let Some(column) = &self.column else { return };
        let ords = &mut self.ords[..docs.len()];
        ords.fill(None);
        column.ords().first_vals(docs, ords);
        for ord in ords.iter().flatten() {
            if let Some(count) = self.counts.get_mut(*ord as usize) {
                *count += 1;
            }
        }
    }

    /// Calls `with` for each value that was there.
    pub(super) fn finish(self, mut with: impl FnMut(&str, u64)) -> Result<(), ExecError> {
        let Some(column) = self.column else { return Ok(()) };
        let counted = self.counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
        let (ords, counts): (Vec<_>, Vec<_>) = counted.map(|(ord, count)| (ord as u64, count)).unzip();
        let (mut counts, mut is_text) = (counts.into_iter(), true);
        // All at once: each by itself would unpack its block of the dictionary again.
        let all_found =
            column.dictionary().sorted_ords_to_term_cb(&ords, |value| match std::str::from_utf8(value) {
                Ok(value) => with(value, counts.next().unwrap_or_default()),
                Err(_) => is_text = false,
            })?;
        match all_found && is_text {
            true => Ok(()),
            false => Err(ExecError::Damaged("a column has a value that its dictionary lacks".into())),
        }
    }
}
