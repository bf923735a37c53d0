//! Writing files: Parquet with zstd, in row groups of bounded memory, with a page index and bloom filters.

use agentworks_schemas::Timestamp;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use delta_kernel_default_engine::stats::FileStatsAccumulator;
use object_store::{ObjectStoreExt, PutPayload};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::properties::{BloomFilterPosition, EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use uuid::Uuid;

use crate::claims::{self, Claim};
use crate::error::ArchiveError;
use crate::sums::{self, GroupSums, Sums};
use crate::table::{NewFile, Table};

/// A row group is closed when it takes so much memory, encoded.
const GROUP_BYTES: usize = 16 << 20;
/// Or has so many rows.
const GROUP_ROWS: usize = 128 << 10;
/// A page has at most so many rows: what is read at least of a column for one row.
const PAGE_ROWS: usize = 2048;

/// How files are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileFormat {
    /// The level of zstd, 1 to 22.
    pub(crate) zstd_level: i32,
}

/// A file that is being written, in memory.
pub(crate) struct FileWriter {
    writer: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
    stats: FileStatsAccumulator,
    rows: u64,
    /// Of the row group that is being written, and of those before.
    group: GroupSums,
    group_rows: usize,
    sums: Sums,
}

/// A file that has been written and lies in memory.
pub(crate) struct EncodedFile {
    bytes: Bytes,
    rows: u64,
    file: NewFile,
}

/// A date as days since the Unix epoch.
pub(crate) fn day(days: i32) -> Result<jiff::civil::Date, ArchiveError> {
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch.checked_add(jiff::Span::new().days(days)).map_err(|error| ArchiveError::Corrupt(error.to_string()))
}

/// Days since the Unix epoch, of the text of a date.
pub(crate) fn days(date: &str) -> Result<i32, ArchiveError> {
    let date: jiff::civil::Date =
        date.parse().map_err(|error| ArchiveError::Corrupt(format!("{date:?} is no date: {error}")))?;
    let since = date.since(jiff::civil::date(1970, 1, 1)).map_err(|error| ArchiveError::Corrupt(error.to_string()))?;
    Ok(since.get_days())
}

impl FileWriter {
    /// Begins a file of `table`.
    pub(crate) fn new(table: &Table, format: FileFormat) -> Result<Self, ArchiveError> {
        let spec = table.spec();
        let level = ZstdLevel::try_new(format.zstd_level)
            .map_err(|error| ArchiveError::Refused(format!("archive.zstd_level: {error}")))?;
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by(concat!("agentworks ", env!("CARGO_PKG_VERSION")).to_owned())
            // They are ended here, so that it is known what lies in them.
            .set_max_row_group_row_count(None)
            // Then they are part of the tail.
            .set_bloom_filter_position(BloomFilterPosition::End)
            .set_data_page_row_count_limit(PAGE_ROWS)
            // Checked where the limit of rows would be passed.
            .set_write_batch_size(PAGE_ROWS / 2)
            .set_statistics_enabled(EnabledStatistics::Page);
        // A filter begins with room for all rows' values and is folded to what its own need.
        for column in spec.bloomed {
            properties = properties
                .set_column_bloom_filter_enabled(ColumnPath::from(*column), true)
                .set_column_bloom_filter_fpp(ColumnPath::from(*column), 0.01)
                .set_column_bloom_filter_max_ndv(ColumnPath::from(*column), GROUP_ROWS as u64);
        }
        let is_there = |column: &&str| spec.columns.iter().any(|(name, _)| name == column);
        for column in ["message", "data", "hash"].into_iter().filter(is_there) {
            // No two are the same, mostly, and nobody looks for one by its bounds.
            properties = properties
                .set_column_dictionary_enabled(ColumnPath::from(column), false)
                .set_column_statistics_enabled(ColumnPath::from(column), EnabledStatistics::None);
        }
        // No two are the same either, but people may look for one; they begin with the time.
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from("id"), false)
            .set_column_encoding(ColumnPath::from("id"), Encoding::DELTA_BYTE_ARRAY);
        for column in ["record_time", "timestamp", "offset", "sequence"].into_iter().filter(is_there) {
            // Within a run they ascend by little.
            properties = properties
                .set_column_dictionary_enabled(ColumnPath::from(column), false)
                .set_column_encoding(ColumnPath::from(column), Encoding::DELTA_BINARY_PACKED);
        }
        let schema = spec.arrow();
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties.build()))?;
        let (stats, group, sums) = (table.statistics(), GroupSums::new(spec), Sums::new());
        Ok(FileWriter { writer, schema, stats, rows: 0, group, group_rows: 0, sums })
    }

    /// Adds rows, which must come in the table's order.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), ArchiveError> {
        self.stats.merge(rows).map_err(|error| ArchiveError::Corrupt(format!("statistics: {error}")))?;
        self.writer.write(rows)?;
        self.group.add(rows);
        self.rows += rows.num_rows() as u64;
        self.group_rows += rows.num_rows();
        if self.writer.in_progress_size() >= GROUP_BYTES || self.group_rows >= GROUP_ROWS {
            self.end_group()?;
        }
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), ArchiveError> {
        if self.group_rows > 0 {
            self.writer.flush()?;
            self.group.end(&mut self.sums);
        }
        self.group_rows = 0;
        Ok(())
    }

    /// Ends it.
    pub(crate) fn finish(mut self, date: i32, claims: &[Claim]) -> Result<EncodedFile, ArchiveError> {
        if self.rows == 0 {
            // A file without rows has statistics too, which say so.
            let empty = RecordBatch::new_empty(self.schema.clone());
            self.write(&empty)?;
        }
        self.end_group()?;
        self.writer.append_key_value_metadata(claims::to_footer(claims)?);
        self.writer.append_key_value_metadata(sums::to_footer(&self.sums)?);
        let bytes = Bytes::from(self.writer.into_inner()?);
        // Read back as a reader will.
        let meta = ParquetMetaDataReader::new().parse_and_finish(&bytes)?;
        let tail = usize::try_from(sums::tail(&meta)).unwrap_or(usize::MAX);
        let tail = bytes.get(tail..).ok_or_else(|| ArchiveError::Corrupt("a file that ends within its rows".into()))?;
        let stats = self.stats.finish().map_err(|error| ArchiveError::Corrupt(format!("statistics: {error}")))?;
        let stats = stats.ok_or_else(|| ArchiveError::Corrupt("a file without statistics".into()))?;
        let path = format!("date={}/{}-{}.parquet", day(date)?, Uuid::now_v7(), sums::name(tail));
        let file = NewFile { path, size: bytes.len() as u64, written: Timestamp::now().millis(), date, stats };
        Ok(EncodedFile { bytes, rows: self.rows, file })
    }
}

impl EncodedFile {
    /// How many rows it has.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes it to the table's folder, where nobody sees it before it is published.
    pub(crate) async fn upload(self, table: &Table) -> Result<NewFile, ArchiveError> {
        let object = table.object(&self.file.path);
        table.store().put(&object, PutPayload::from(self.bytes)).await?;
        Ok(self.file)
    }
}
