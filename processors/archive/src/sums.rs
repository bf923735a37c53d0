//! What tells that a file is the one that was written. Parquet files as they are written here have no checksums of their
//! own, and a changed bit would not only change a row, which its hash shows, but could also hide one.
//!
//! - The *columns* by which rows are found and counted have a CRC-32 of their values in the footer, for each row group.
//! - The *tail*, all that comes after the last column's data (bloom filters, page indexes, the footer), has the first half of
//!   its SHA-256 in the file's name. The log has the name.

use std::collections::BTreeMap;
use std::fmt::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use crc32fast::Hasher;
use parquet::file::metadata::{FileMetaData, KeyValue, ParquetMetaData};
use sha2::{Digest, Sha256};

use crate::error::ArchiveError;
use crate::schema::TableSpec;

/// Under which key the sums are in a footer.
const KEY: &str = "agentworks.sums";

/// The columns that were summed up from the first version on. They are never null, and so their values alone are.
const NEVER_NULL: [&str; 11] = [
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

/// Sums up the columns of a row group, however its rows are read.
#[derive(Clone, Debug)]
pub(crate) struct GroupSums {
    spec: &'static TableSpec,
    columns: BTreeMap<&'static str, Hasher>,
    /// Written over for each column: many small updates of a sum cost several times what one large costs.
    values: Vec<u8>,
}

impl GroupSums {
    /// For a row group of a table.
    pub(crate) fn new(spec: &'static TableSpec) -> Self {
        GroupSums { spec, columns: BTreeMap::new(), values: Vec::new() }
    }

    /// Adds rows; of the columns those that are there.
    pub(crate) fn add(&mut self, rows: &RecordBatch) {
        for name in self.spec.summed {
            let Some(column) = rows.column_by_name(name) else { continue };
            self.values.clear();
            match NEVER_NULL.contains(name) {
                true => append(&mut self.values, column),
                false => append_nullable(&mut self.values, column),
            }
            self.columns.entry(name).or_default().update(&self.values);
        }
    }

    /// Ends the row group.
    pub(crate) fn end(&mut self, sums: &mut Sums) {
        for (name, hasher) in std::mem::take(&mut self.columns) {
            sums.entry(name.to_owned()).or_default().push(hasher.finalize());
        }
    }

    /// Compares with what a footer has of a row group. Files of before have sums of fewer columns: of the others nothing is
    /// known.
    ///
    /// # Errors
    /// If a column is not the one that was written.
    pub(crate) fn check(self, sums: &Sums, group: usize) -> Result<(), ArchiveError> {
        for (name, hasher) in self.columns {
            let Some(known) = sums.get(name) else { continue };
            if known.get(group) != Some(&hasher.finalize()) {
                return Err(ArchiveError::Corrupt(format!(
                    "column {name} of row group {group} is not what was written"
                )));
            }
        }
        Ok(())
    }
}

/// What is summed up of a column that is never null: its values, texts with their lengths before them.
fn append(values: &mut Vec<u8>, column: &dyn Array) {
    if let Some(texts) = column.as_string_opt::<i32>() {
        texts.iter().for_each(|text| append_text(values, text.unwrap_or_default()));
    } else if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
        numbers.values().iter().for_each(|number| values.extend_from_slice(&number.to_le_bytes()));
    } else if let Some(numbers) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        numbers.values().iter().for_each(|number| values.extend_from_slice(&number.to_le_bytes()));
    } else if let Some(numbers) = column.as_primitive_opt::<Int32Type>() {
        numbers.values().iter().for_each(|number| values.extend_from_slice(&number.to_le_bytes()));
    }
}

fn append_text(values: &mut Vec<u8>, text: &str) {
    values.extend_from_slice(&(text.len() as u32).to_le_bytes());
    values.extend_from_slice(text.as_bytes());
}

/// What is summed up of any other: before each value that there is one, and nothing else where there is none.
fn append_nullable(values: &mut Vec<u8>, column: &dyn Array) {
    if let Some(texts) = column.as_string_opt::<i32>() {
        each(values, texts.iter(), append_text);
    } else if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
        each(values, numbers.iter(), |values, number| values.extend_from_slice(&number.to_le_bytes()));
    } else if let Some(numbers) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        each(values, numbers.iter(), |values, number| values.extend_from_slice(&number.to_le_bytes()));
    } else if let Some(numbers) = column.as_primitive_opt::<Int32Type>() {
        each(values, numbers.iter(), |values, number| values.extend_from_slice(&number.to_le_bytes()));
    } else if let Some(numbers) = column.as_primitive_opt::<Float64Type>() {
        each(values, numbers.iter(), |values, number| values.extend_from_slice(&number.to_le_bytes()));
    }
}

fn each<T>(values: &mut Vec<u8>, column: impl Iterator<Item = Option<T>>, append: impl Fn(&mut Vec<u8>, T)) {
    for value in column {
        values.push(value.is_some().into());
        if let Some(value) = value {
            append(values, value);
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use arrow_array::{ArrayRef, RecordBatch, new_null_array};

    use super::*;
    use crate::schema::{ENTRIES, EVENTS, RUNS};

    fn sum(spec: &'static TableSpec, batches: &[RecordBatch]) -> Sums {
        let (mut group, mut sums) = (GroupSums::new(spec), Sums::new());
        batches.iter().for_each(|batch| group.add(batch));
        group.end(&mut sums);
        sums
    }

    #[test]
    fn every_column_that_is_summed_up_is_of_a_kind_that_can_be() {
        for spec in [&ENTRIES, &EVENTS, &RUNS] {
            for name in spec.summed {
                let kind = spec.arrow().field_with_name(name).unwrap().data_type().clone();
                let (mut plain, mut nullable) = (Vec::new(), Vec::new());
                append(&mut plain, &new_null_array(&kind, 1));
                append_nullable(&mut nullable, &new_null_array(&kind, 1));
                let is_never_null = NEVER_NULL.contains(name);
                assert!(nullable == [0] && (!is_never_null || !plain.is_empty()), "{name}: {kind}");
            }
        }
    }

    /// Nulls count, and how the rows are read doesn't.
    #[test]
    fn sums_are_of_the_rows_and_not_of_their_batches() {
        let column = |costs: Vec<Option<f64>>| -> RecordBatch {
            let costs: ArrayRef = Arc::new(arrow_array::Float64Array::from(costs));
            RecordBatch::try_from_iter_with_nullable([("cost", costs, true)]).unwrap()
        };
        let whole = column(vec![Some(0.5), None, Some(0.0), None]);
        let sums = sum(&RUNS, std::slice::from_ref(&whole));
        assert_eq!(sum(&RUNS, &[whole.slice(0, 1), whole.slice(1, 2), whole.slice(3, 1)]), sums);
        for other in [[Some(0.5), Some(0.0), Some(0.0), None], [Some(0.5), None, None, Some(0.0)], [None; 4]] {
            assert_ne!(sum(&RUNS, &[column(other.into())]), sums);
        }
    }

    #[test]
    fn what_a_footer_lacks_is_not_told_as_damage() {
        let levels: ArrayRef = Arc::new(arrow_array::StringArray::from(vec!["info"]));
        let agents: ArrayRef = Arc::new(arrow_array::StringArray::from(vec![None::<&str>]));
        let rows =
            RecordBatch::try_from_iter_with_nullable([("level", levels, true), ("agent_id", agents, true)]).unwrap();
        let mut sums = sum(&ENTRIES, std::slice::from_ref(&rows));
        let check = |sums: &Sums, group| {
            let mut read = GroupSums::new(&ENTRIES);
            read.add(&rows);
            read.check(sums, group)
        };
        assert!(check(&sums, 0).is_ok() && check(&sums, 1).is_err());
        sums.remove("agent_id").unwrap();
        assert!(check(&sums, 0).is_ok() && check(&sums, 1).is_err());
        sums.insert("level".into(), vec![0]);
        assert!(check(&sums, 0).is_err());
    }
}
