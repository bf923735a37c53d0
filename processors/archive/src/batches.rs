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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::LogEntry;

    use super::*;
    use crate::open::Footers;
    use crate::testing::{NOON, batch_with, entry, folder, lane, sink};
    use crate::{Archive, MaintainConfig, Maintenance};

    const LONG: usize = 100 << 10;

    /// Of run 3 the lines are two thousand times as long as of all others.
    fn long(offset: i64) -> LogEntry<'static> {
        let mut entry = entry(lane(0), offset);
        if offset % 7 == 3 {
            entry.message = format!("{offset} {}", "x".repeat(LONG)).into();
        }
        entry
    }

    async fn fill(archive: &Archive, from: i64, to: i64) {
        use agentworks_processors::sink::{Flush, Sink};
        let mut sink = sink(archive);
        sink.open(lane(0), 0, 0).await.unwrap();
        sink.take(&batch_with(lane(0), from, to, |offset| Some((NOON, long(offset))))).await.unwrap();
        sink.flush(Flush::Free(1)).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_batch_is_bounded_in_bytes_wherever_long_rows_lie() {
        let (_folder, objects) = folder();
        let archive = Archive::open(&objects).await.unwrap();
        fill(&archive, 0, 1500).await;
        let table = &archive.entries;
        let file = table.version().await.unwrap().files(table).await.unwrap().remove(0);
        let footer = Footers::default().footer(table, &file).await.unwrap();
        let sizes = async |columns: &[&str], room| {
            let read = batches((table, &file, &footer), 0, columns, room).unwrap();
            let read: Vec<RecordBatch> = read.try_collect().await.unwrap();
            assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 1500);
            read.iter().map(RecordBatch::get_array_memory_size).collect::<Vec<_>>()
        };
        let bounded = sizes(&[], 1 << 20).await;
        assert!(bounded.iter().sum::<usize>() > 1500 / 7 * LONG);
        assert!(bounded.iter().max() < Some(&(4 << 20)), "{bounded:?}");
        assert_eq!(sizes(&[], 1).await.len(), 1500);
        // What isn't read takes no room.
        assert_eq!(sizes(&["run_id", "offset"], 1 << 20).await.len(), 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn files_of_long_rows_are_merged_into_files_that_are_about_as_large_as_each_other() {
        let (_folder, objects) = folder();
        let archive = Archive::open(&objects).await.unwrap();
        for step in 0..4 {
            fill(&archive, step * 700, step * 700 + 700).await;
        }
        let table = &archive.entries;
        let files = async || table.version().await.unwrap().files(table).await.unwrap();
        let before: u64 = files().await.iter().map(|file| file.size).sum();
        let config = MaintainConfig { target_file: before / 3, ..MaintainConfig::default() };
        let keeper = Maintenance::new(archive.clone(), config).unwrap();
        assert_eq!(keeper.compact().await.unwrap().removed, 4);
        let after = files().await;
        assert!((3..=4).contains(&after.len()), "{after:?}");
        assert!(after.iter().all(|file| file.rows > 0 && file.size < before * 2 / 3), "{before}: {after:?}");
        let verified = keeper.verify().await.unwrap();
        assert_eq!((verified.rows, verified.problems), (2800, Vec::new()));
    }
}
