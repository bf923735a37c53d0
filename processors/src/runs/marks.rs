//! Marks: places in a run's log, so that any ordinal is one seek away.
//!
//! All marks of a run lie in one partition of the store, about one for every [`ENTRIES`] entries: it grows with the run.

use agentworks_kafka::Record;
use agentworks_schemas::Timestamp;
use agentworks_store::{Part, Row};

use super::part::RunPart;
use crate::sink::SinkError;

/// A mark stands at least every so many entries of a run ...
pub(super) const ENTRIES: u64 = 1_000;
/// ... and wherever so many offsets lie since the last, so that no seek reads more of the log than this.
pub(super) const OFFSETS: i64 = 20_000;

/// A place in one partition's share of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// How many entries of the run lie before it in this partition.
    pub ordinal: u64,
    /// The offset of the entry with that ordinal.
    pub offset: i64,
    /// The running maximum of the entries' own timestamps there.
    pub timestamp: Timestamp,
}

impl Mark {
    /// The mark that is due at `record`, which `part` hasn't counted yet, if one is.
    pub(super) fn due(part: &mut RunPart, record: &Record<'_>) -> Option<Mark> {
        let ordinal = part.entries();
        let is_due = ordinal > 0 && (ordinal.is_multiple_of(ENTRIES) || record.offset - part.marked >= OFFSETS);
        is_due.then(|| {
            part.marked = record.offset;
            Mark { ordinal, offset: record.offset, timestamp: part.clock }
        })
    }

    /// The same place as seen from where `before` begins, which ends before where its own part does.
    pub(super) fn after(self, before: &RunPart) -> Mark {
        let timestamp = self.timestamp.max(before.clock);
        Mark { ordinal: self.ordinal + before.entries(), timestamp, ..self }
    }

    /// Reads a mark back.
    pub(super) fn from_row(run: &str, row: &Row) -> Result<Mark, SinkError> {
        let corrupt = || SinkError::Corrupt(format!("a mark of run {run} is damaged"));
        let (offset, rest) = row.payload.split_first_chunk::<8>().ok_or_else(corrupt)?;
        let timestamp = rest.first_chunk::<8>().ok_or_else(corrupt)?;
        let Some(Part::Int(ordinal)) = row.clustering.last() else { return Err(corrupt()) };
        Ok(Mark {
            ordinal: u64::try_from(*ordinal).map_err(|_| corrupt())?,
            offset: i64::from_be_bytes(*offset),
            timestamp: Timestamp(i64::from_be_bytes(*timestamp)),
        })
    }
}
