//! What tells that a file is the one that was written. Parquet files as they are written here have no checksums of their
//! own, and a changed bit would not only change a row, which its hash shows, but could also hide one.
//!
//! - The *columns* by which rows are found have a CRC-32 of their values in the footer, for each row group.
//! - The *tail*, all that comes after the last column's data (bloom filters, page indexes, the footer), has the first half of
//!   its SHA-256 in the file's name. The log has the name.

use std::collections::BTreeMap;
use std::fmt::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use crc32fast::Hasher;
use parquet::file::metadata::{FileMetaData, KeyValue, ParquetMetaData};
use sha2::{Digest, Sha256};

use crate::error::ArchiveError;

/// Under which key the sums are in a footer.
const KEY: &str = "agentworks.sums";

/// The columns that rows may be found by, and what their hashes don't cover.
const COLUMNS: [&str; 11] = [
    "workspace_id",
    "card_id",
    "run_id",
    "topic",
    "epoch",
    "partition",
    "offset",
    "record_time",
    "level",
    "source",
    "component",
];

/// For each column the sums of the row groups.
pub(crate) type Sums = BTreeMap<String, Vec<u32>>;

/// Sums up the columns of a row group.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupSums {
    columns: BTreeMap<&'static str, Hasher>,
    /// Written over for each column: many small updates of a sum cost several times what one large costs.
    values: Vec<u8>,
}

impl GroupSums {
    /// Adds rows; of the columns those that are there.
    pub(crate) fn add(&mut self, rows: &RecordBatch) {
        for name in COLUMNS {
            let Some(column) = rows.column_by_name(name) else { continue };
            self.values.clear();
            append(&mut self.values, column);
            self.columns.entry(name).or_default().update(&self.values);
        }
    }

    /// Ends the row group.
    pub(crate) fn end(&mut self, sums: &mut Sums) {
        for (name, hasher) in std::mem::take(&mut self.columns) {
            sums.entry(name.to_owned()).or_default().push(hasher.finalize());
        }
    }

    /// Compares with what a footer has of a row group.
    ///
    /// # Errors
    /// If a column is not the one that was written.
    pub(crate) fn check(self, sums: &Sums, group: usize) -> Result<(), ArchiveError> {
        for (name, hasher) in self.columns {
            if sums.get(name).and_then(|sums| sums.get(group)) != Some(&hasher.finalize()) {
                return Err(ArchiveError::Corrupt(format!(
                    "column {name} of row group {group} is not what was written"
                )));
            }
        }
        Ok(())
    }
}

/// What is summed up of a column: its values, texts with their lengths before them.
fn append(values: &mut Vec<u8>, column: &dyn Array) {
    if let Some(texts) = column.as_string_opt::<i32>() {
        for text in texts {
            let text = text.unwrap_or_default();
            values.extend_from_slice(&(text.len() as u32).to_le_bytes());
            values.extend_from_slice(text.as_bytes());
        }
    } else if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
        numbers.values().iter().for_each(|number| values.extend_from_slice(&number.to_le_bytes()));
    } else if let Some(numbers) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        numbers.values().iter().for_each(|number| values.extend_from_slice(&number.to_le_bytes()));
    } else if let Some(numbers) = column.as_primitive_opt::<Int32Type>() {
        numbers.values().iter().for_each(|number| values.extend_from_slice(&number.to_le_bytes()));
    }
}

/// As a footer has them.
pub(crate) fn to_footer(sums: &Sums) -> Result<KeyValue, ArchiveError> {
    let text = serde_json::to_string(sums).map_err(|error| ArchiveError::Corrupt(error.to_string()))?;
    Ok(KeyValue::new(KEY.to_owned(), text))
}

/// From a footer.
pub(crate) fn from_footer(meta: &FileMetaData) -> Result<Sums, ArchiveError> {
    let pairs = meta.key_value_metadata().into_iter().flatten();
    let text = pairs.filter(|pair| pair.key == KEY).find_map(|pair| pair.value.as_deref());
    let text =
        text.ok_or_else(|| ArchiveError::Corrupt(format!("its footer lacks {KEY}: no archive wrote this file")))?;
    serde_json::from_str(text).map_err(|error| ArchiveError::Corrupt(format!("its {KEY} can't be read: {error}")))
}

/// Where a file's tail begins.
pub(crate) fn tail(meta: &ParquetMetaData) -> u64 {
    let columns = meta.row_groups().iter().flat_map(|group| group.columns());
    // After the first four bytes, which tell Parquet files, if there are no rows.
    columns.map(|column| column.byte_range()).map(|(start, size)| start.saturating_add(size)).max().unwrap_or(4)
}

/// The sum of a tail, as a file's name has it.
pub(crate) fn name(tail: &[u8]) -> String {
    let mut name = String::with_capacity(32);
    for byte in &Sha256::digest(tail)[..16] {
        // Writing to a String can't fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// Whether a path's name has the sum of this tail.
pub(crate) fn is_named(path: &str, tail: &[u8]) -> bool {
    let sum = path.strip_suffix(".parquet").and_then(|path| path.rsplit('-').next());
    sum.is_some_and(|sum| sum == name(tail))
}
