//! Writing files: Parquet with zstd, in row groups of bounded memory, with a page index and bloom filters.

use agentworks_schemas::Timestamp;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use delta_kernel_default_engine::stats::FileStatsAccumulator;
use object_store::{ObjectStoreExt, PutPayload};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use uuid::Uuid;

use crate::claims::{Claim, to_footer};
use crate::error::ArchiveError;
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
}

/// A file that has been written and lies in memory.
pub(crate) struct EncodedFile {
    bytes: Vec<u8>,
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
            .set_max_row_group_row_count(Some(GROUP_ROWS))
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
        let schema = spec.arrow();
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties.build()))?;
        Ok(FileWriter { writer, schema, stats: table.statistics(), rows: 0 })
    }

    /// Adds rows, which must come in the table's order.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), ArchiveError> {
        self.stats.merge(rows).map_err(|error| ArchiveError::Corrupt(format!("statistics: {error}")))?;
        self.writer.write(rows)?;
        self.rows += rows.num_rows() as u64;
        if self.writer.in_progress_size() >= GROUP_BYTES {
            self.writer.flush()?;
        }
        Ok(())
    }

    /// Ends it.
    pub(crate) fn finish(mut self, date: i32, claims: &[Claim]) -> Result<EncodedFile, ArchiveError> {
        if self.rows == 0 {
            // A file without rows has statistics too, which say so.
            let empty = RecordBatch::new_empty(self.schema.clone());
            self.write(&empty)?;
        }
        self.writer.append_key_value_metadata(to_footer(claims)?);
        let bytes = self.writer.into_inner()?;
        let stats = self.stats.finish().map_err(|error| ArchiveError::Corrupt(format!("statistics: {error}")))?;
        let stats = stats.ok_or_else(|| ArchiveError::Corrupt("a file without statistics".into()))?;
        let path = format!("date={}/{}.parquet", day(date)?, Uuid::now_v7());
        let file = NewFile { path, size: bytes.len() as u64, written: Timestamp::now().millis(), date, stats };
        Ok(EncodedFile { bytes, file })
    }
}

impl EncodedFile {
    /// Writes it to the table's folder, where nobody sees it before it is published.
    pub(crate) async fn upload(self, table: &Table) -> Result<NewFile, ArchiveError> {
        let object = table.object(&self.file.path);
        table.store().put(&object, PutPayload::from(self.bytes)).await?;
        Ok(self.file)
    }
}
