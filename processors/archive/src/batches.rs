//! Reading whole row groups of a file, in batches that are bounded in bytes and held to their sums.

use arrow_array::RecordBatch;
use futures_util::TryStreamExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStream;
use parquet::basic::Type;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use crate::error::ArchiveError;
use crate::object::ObjectReader;
use crate::open::{Footer, rows};
use crate::sums::GroupSums;
use crate::table::{ActiveFile, Table};

/// A batch has at most so many rows.
const ROWS: usize = 1024;

/// How much memory a batch may take where one is read at a time, in bytes.
const ROOM: usize = 16 << 20;

/// What a value takes beside its bytes, or where it is a number, in bytes.
const VALUE: u64 = 8;

/// Gives some columns of a row group, all if none are named, to `each`; then holds them to their sums.
///
/// # Errors
/// That they aren't what was written: what `each` has made of them is to be dropped then.
pub(crate) async fn read_group(
    (table, file, footer): (&Table, &ActiveFile, &Footer),
    group: usize,
    columns: &[&str],
    mut each: impl FnMut(&RecordBatch) -> Result<(), ArchiveError> + Send,
) -> Result<(), ArchiveError> {
    let mut batches = batches((table, file, footer), group, columns, ROOM)?;
    let mut sums = GroupSums::new(table.spec());
    while let Some(batch) = batches.try_next().await? {
        sums.add(&batch);
        each(&batch)?;
    }
    sums.check(&footer.sums, group)
}

/// The batches of some columns of a row group, all if none are named, each of which takes about `room` bytes at most, or is
/// one row.
pub(crate) fn batches(
    (table, file, footer): (&Table, &ActiveFile, &Footer),
    group: usize,
    columns: &[&str],
    room: usize,
) -> Result<ParquetRecordBatchStream<ObjectReader>, ArchiveError> {
    let mask = match columns {
        [] => ProjectionMask::all(),
        columns => ProjectionMask::columns(footer.meta.parquet_schema(), columns.iter().copied()),
    };
    let size = batch_rows(footer.meta.metadata(), group, &mask, room);
    let builder = rows(table, file, footer).with_row_groups(vec![group]).with_projection(mask);
    Ok(builder.with_batch_size(size).build()?)
}

/// How many rows of a row group fit in `room` bytes: of those pages whose values are the longest. A row group's mean would
/// say little, for rows lie by run, and one run's may be a thousand times as long as others'.
fn batch_rows(meta: &ParquetMetaData, group: usize, mask: &ProjectionMask, room: usize) -> usize {
    let Some(found) = meta.row_groups().get(group) else { return 1 };
    let columns = (0..found.num_columns()).filter(|column| mask.leaf_included(*column));
    let row: u64 = columns.map(|column| width(meta, (group, found), column)).fold(0, u64::saturating_add);
    usize::try_from(room as u64 / row.max(1)).unwrap_or(ROWS).clamp(1, ROWS)
}

/// How many bytes a value of a column takes once it is decoded, on average where they are longest. Dictionaries and
/// compression make files much smaller than that.
fn width(meta: &ParquetMetaData, (group, found): (usize, &RowGroupMetaData), column: usize) -> u64 {
    let chunk = found.column(column);
    if chunk.column_type() != Type::BYTE_ARRAY {
        return VALUE;
    }
    let bytes = chunk.unencoded_byte_array_data_bytes().unwrap_or(chunk.uncompressed_size());
    let mut widest = mean(bytes, found.num_rows());
    let index = meta.page_index().and_then(|index| index.offset_index(group, column));
    if let Some(index) = index
        && let Some(sizes) = index.unencoded_byte_array_data_bytes()
    {
        let begins = index.page_locations().iter().map(|page| page.first_row_index);
        let ends = begins.clone().skip(1).chain([found.num_rows()]);
        for ((begin, end), bytes) in begins.zip(ends).zip(sizes) {
            widest = widest.max(mean(*bytes, end.saturating_sub(begin)));
        }
    }
    widest.saturating_add(VALUE)
}

fn mean(bytes: i64, rows: i64) -> u64 {
    u64::try_from(bytes).unwrap_or_default().div_ceil(u64::try_from(rows).unwrap_or_default().max(1))
}
