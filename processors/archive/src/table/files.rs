//! The files of a table at one version.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::engine_data::FilteredEngineData;
use delta_kernel::{KernelError, SnapshotRef};
use serde_json::Value;

use super::bounds::Bounds;
use super::fault::sort;
use super::{Table, Version};
use crate::error::ArchiveError;
use crate::schema::DATE;

/// A file, as the log describes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ActiveFile {
    /// Its path within the table.
    pub(crate) path: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its day: `2025-12-02`.
    pub(crate) date: String,
    /// How many rows it has.
    pub(crate) rows: u64,
    /// What its columns lie between.
    pub(crate) bounds: Bounds,
}

impl Version {
    /// The files.
    pub(crate) async fn files(&self, table: &Table) -> Result<Vec<ActiveFile>, ArchiveError> {
        let snapshot = self.snapshot.clone();
        table
            .blocking(move |table| {
                let mut files = Vec::new();
                for scanned in table.scan(&snapshot).map_err(sort)? {
                    read(&scanned, &mut files)?;
                }
                files.sort_by(|a, b| (&a.date, &a.path).cmp(&(&b.date, &b.path)));
                Ok(files)
            })
            .await
    }
}

impl Table {
    fn scan(&self, snapshot: &SnapshotRef) -> Result<Vec<FilteredEngineData>, KernelError> {
        let scan = snapshot.clone().scan_builder().build()?;
        let scanned = scan.scan_metadata(&self.inner.engine)?;
        scanned.map(|found| found.map(|found| found.scan_files)).collect()
    }

    /// The paths of all files.
    pub(super) fn paths(&self, snapshot: &SnapshotRef) -> Result<HashSet<String>, ArchiveError> {
        let mut paths = HashSet::new();
        for scanned in self.scan(snapshot).map_err(sort)? {
            let rows = rows(&scanned)?;
            let column = text(&rows, "path")?;
            paths.extend(selected(&scanned, rows.num_rows()).map(|row| decoded(column.value(row))));
        }
        Ok(paths)
    }

    /// The files with these paths, as the kernel wants to have them for removal.
    pub(super) fn choose(
        &self,
        snapshot: &SnapshotRef,
        paths: &[String],
    ) -> Result<Vec<FilteredEngineData>, ArchiveError> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: HashSet<&str> = paths.iter().map(String::as_str).collect();
        let mut chosen = Vec::new();
        for scanned in self.scan(snapshot).map_err(sort)? {
            let rows = rows(&scanned)?;
            let column = text(&rows, "path")?;
            let mut selection = vec![false; rows.num_rows()];
            for row in selected(&scanned, rows.num_rows()) {
                selection[row] = wanted.contains(decoded(column.value(row)).as_str());
            }
            if selection.contains(&true) {
                let (data, _) = scanned.into_parts();
                chosen.push(FilteredEngineData::try_new(data, selection).map_err(sort)?);
            }
        }
        Ok(chosen)
    }
}

/// A path of the log is URL-encoded.
fn decoded(path: &str) -> String {
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned()
}

fn rows(scanned: &FilteredEngineData) -> Result<RecordBatch, ArchiveError> {
    let data = scanned.data().any_ref().downcast_ref::<ArrowEngineData>();
    let data = data.ok_or_else(|| ArchiveError::Corrupt("the kernel gave files in an unknown form".into()))?;
    Ok(data.record_batch().clone())
}

fn selected(scanned: &FilteredEngineData, rows: usize) -> impl Iterator<Item = usize> {
    let selection = scanned.selection_vector().to_vec();
    (0..rows).filter(move |row| selection.get(*row).copied().unwrap_or(true))
}

fn missing(column: &str) -> ArchiveError {
    ArchiveError::Corrupt(format!("the log's description of files lacks {column}"))
}

fn text<'a>(rows: &'a RecordBatch, column: &str) -> Result<&'a arrow_array::StringArray, ArchiveError> {
    rows.column_by_name(column).and_then(|column| column.as_string_opt()).ok_or_else(|| missing(column))
}

fn read(scanned: &FilteredEngineData, files: &mut Vec<ActiveFile>) -> Result<(), ArchiveError> {
    let rows = rows(scanned)?;
    let (paths, stats) = (text(&rows, "path")?, text(&rows, "stats")?);
    let sizes = rows.column_by_name("size").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let sizes = sizes.ok_or_else(|| missing("size"))?;
    let constants = rows.column_by_name("fileConstantValues").and_then(|column| column.as_struct_opt());
    let partitions = constants.and_then(|values| values.column_by_name("partitionValues")?.as_map_opt());
    let partitions = partitions.ok_or_else(|| missing("partitionValues"))?;
    for row in selected(scanned, rows.num_rows()) {
        let path = decoded(paths.value(row));
        let entries = partitions.value(row);
        let (keys, values) = (entries.column(0).as_string_opt::<i32>(), entries.column(1).as_string_opt::<i32>());
        let (Some(keys), Some(values)) = (keys, values) else { return Err(missing("partitionValues")) };
        let date = (0..keys.len()).find(|entry| keys.value(*entry) == DATE).map(|entry| values.value(entry).to_owned());
        let stats: Value = match stats.is_valid(row) {
            true => serde_json::from_str(stats.value(row))
                .map_err(|error| ArchiveError::Corrupt(format!("the statistics of {path} can't be read: {error}")))?,
            false => Value::Null,
        };
        files.push(ActiveFile {
            size: u64::try_from(sizes.value(row)).unwrap_or_default(),
            date: date.ok_or_else(|| missing(DATE))?,
            rows: stats["numRecords"].as_u64().unwrap_or_default(),
            bounds: Bounds::parse(&stats),
            path,
        });
    }
    Ok(())
}

/// Shared lists of files, by version, so that a table is not looked through again while it stays as it is.
#[derive(Debug, Default)]
pub(crate) struct FileList {
    known: parking_lot::Mutex<Option<(u64, Arc<Vec<ActiveFile>>)>>,
}

impl FileList {
    /// The files of a version.
    pub(crate) async fn of(&self, table: &Table, version: &Version) -> Result<Arc<Vec<ActiveFile>>, ArchiveError> {
        if let Some((number, files)) = &*self.known.lock()
            && *number == version.number()
        {
            return Ok(files.clone());
        }
        let files = Arc::new(version.files(table).await?);
        *self.known.lock() = Some((version.number(), files.clone()));
        Ok(files)
    }
}
