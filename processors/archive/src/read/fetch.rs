//! Reading whole rows.

use std::ops::Range;
use std::sync::Arc;

use agentworks_processors::reader::StoredEntry;
use arrow_array::RecordBatch;
use futures_util::TryStreamExt;
use parquet::arrow::arrow_reader::RowSelection;
use parquet::file::metadata::RowGroupMetaData;

use crate::decode::{Entries, Events, StoredEvent, complete};
use crate::error::ArchiveError;
use crate::open::{Footer, guarded, rows};
use crate::table::{ActiveFile, Table};

/// What rows are made into.
pub(super) trait FromRows: Sized + Send + 'static {
    /// The rows of a batch that has all columns of its table.
    fn all(batch: &RecordBatch) -> Result<Vec<Self>, ArchiveError>;
    /// Where it lies in its partition.
    fn offset(&self) -> i64;
}

impl FromRows for StoredEntry {
    fn all(batch: &RecordBatch) -> Result<Vec<Self>, ArchiveError> {
        let columns = Entries::new(batch)?;
        (0..batch.num_rows()).map(|row| columns.at(row)).collect()
    }

    fn offset(&self) -> i64 {
        self.position.offset
    }
}

impl FromRows for StoredEvent {
    fn all(batch: &RecordBatch) -> Result<Vec<Self>, ArchiveError> {
        let columns = Events::new(batch)?;
        (0..batch.num_rows()).map(|row| columns.at(row)).collect()
    }

    fn offset(&self) -> i64 {
        self.position.offset
    }
}

/// The row groups of a file: the row after the last of each, and how many bytes its rows have on average, decompressed.
pub(super) fn row_bytes(footer: &Footer) -> Vec<(u64, usize)> {
    let mut end = 0;
    let of_group = |group: &RowGroupMetaData| {
        let rows = u64::try_from(group.num_rows()).unwrap_or_default();
        end = rows.saturating_add(end);
        let bytes = u64::try_from(group.total_byte_size()).unwrap_or_default();
        (end, usize::try_from(bytes.checked_div(rows).unwrap_or_default()).unwrap_or(usize::MAX))
    };
    footer.meta.metadata().row_groups().iter().map(of_group).collect()
}

/// Reads rows by their numbers, which ascend.
pub(super) async fn fetch<T: FromRows>(
    table: &Table,
    file: &Arc<ActiveFile>,
    footer: Footer,
    wanted: Vec<u64>,
) -> Result<Vec<T>, ArchiveError> {
    let entries = Vec::with_capacity(wanted.len());
    each(table, file, footer, wanted, entries, |entries: &mut Vec<T>, entry| entries.push(entry)).await
}

/// Gives rows by their numbers, which ascend, one after another to `take`.
pub(super) async fn each<T: FromRows, S: Send + 'static>(
    table: &Table,
    file: &Arc<ActiveFile>,
    footer: Footer,
    wanted: Vec<u64>,
    mut state: S,
    take: impl Fn(&mut S, T) + Send + 'static,
) -> Result<S, ArchiveError> {
    let (table, file) = (table.clone(), file.clone());
    let path = file.path.clone();
    guarded(&path, async move {
        let (mut groups, mut ranges) = (Vec::new(), Vec::<Range<usize>>::new());
        let (mut first, mut before, mut rest) = (0, 0, wanted.as_slice());
        for (index, group) in footer.meta.metadata().row_groups().iter().enumerate() {
            let count = usize::try_from(group.num_rows()).unwrap_or_default();
            let (here, after) = rest.split_at(rest.partition_point(|row| *row < first + count as u64));
            if !here.is_empty() {
                groups.push(index);
                for row in here {
                    // Counted over the chosen groups alone.
                    let row = before + (row - first) as usize;
                    match ranges.last_mut() {
                        Some(last) if last.end == row => last.end += 1,
                        _ => ranges.push(row..row + 1),
                    }
                }
                before += count;
            }
            first += count as u64;
            rest = after;
        }
        let selection = RowSelection::from_consecutive_ranges(ranges.into_iter(), before);
        let builder = rows(&table, &file, &footer).with_row_groups(groups).with_row_selection(selection);
        let schema = table.spec().arrow();
        let mut batches = builder.build()?;
        let mut found = 0;
        while let Some(batch) = batches.try_next().await? {
            let batch = complete(&batch, &schema)?;
            found += batch.num_rows();
            T::all(&batch)?.into_iter().for_each(|row| take(&mut state, row));
        }
        if found != wanted.len() {
            let wanted = wanted.len();
            return Err(ArchiveError::Corrupt(format!("{found} of {wanted} rows could be read")));
        }
        Ok(state)
    })
    .await
}
