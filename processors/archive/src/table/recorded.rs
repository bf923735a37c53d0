//! What is recorded in a table beside its files: Delta's application transactions.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use delta_kernel::SnapshotRef;
use delta_kernel::actions::LOG_TXN_SCHEMA;
use delta_kernel::crc::SetTransactionState;
use delta_kernel::engine::arrow_data::ArrowEngineData;

use super::fault::sort;
use super::{Table, Version};
use crate::error::ArchiveError;

/// What is recorded, by name.
pub(crate) type Recorded = BTreeMap<String, i64>;

impl Version {
    /// What is recorded under these names.
    pub(crate) async fn recorded(&self, table: &Table, names: Vec<String>) -> Result<Vec<Option<i64>>, ArchiveError> {
        let snapshot = self.snapshot.clone();
        table
            .blocking(move |table| {
                let find = |name: &String| snapshot.get_app_id_version(name, &table.inner.engine).map_err(sort);
                names.iter().map(find).collect()
            })
            .await
    }

    /// All that is recorded, by name.
    pub(crate) async fn all_recorded(&self, table: &Table) -> Result<Recorded, ArchiveError> {
        let snapshot = self.snapshot.clone();
        table.blocking(move |table| table.all_recorded(&snapshot)).await
    }
}

impl Table {
    fn all_recorded(&self, snapshot: &SnapshotRef) -> Result<Recorded, ArchiveError> {
        if let Some(crc) = snapshot.crc_at_version()
            && let SetTransactionState::Complete(all) = &crc.set_transaction_state
        {
            return Ok(all.iter().map(|(name, recorded)| (name.clone(), recorded.version())).collect());
        }
        let mut all = Recorded::new();
        let batches = snapshot.log_segment().read_actions(&self.inner.engine, LOG_TXN_SCHEMA.clone()).map_err(sort)?;
        for batch in batches {
            let batch = batch.map_err(sort)?;
            let rows = batch.actions.any_ref().downcast_ref::<ArrowEngineData>();
            let rows =
                rows.ok_or_else(|| ArchiveError::Corrupt("the kernel gave actions in an unknown form".into()))?;
            read(rows.record_batch(), &mut all)?;
        }
        Ok(all)
    }
}

/// Adds what is recorded in a piece of the log. The log is read backwards: what is there already is newer.
fn read(rows: &RecordBatch, all: &mut Recorded) -> Result<(), ArchiveError> {
    let missing = || ArchiveError::Corrupt("the log's records of positions lack a column".into());
    let recorded = rows.column_by_name("txn").and_then(|column| column.as_struct_opt()).ok_or_else(missing)?;
    let names = recorded.column_by_name("appId").and_then(|column| column.as_string_opt::<i32>());
    let values = recorded.column_by_name("version").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let (Some(names), Some(values)) = (names, values) else { return Err(missing()) };
    for row in (0..rows.num_rows()).filter(|row| recorded.is_valid(*row) && names.is_valid(*row)) {
        all.entry(names.value(row).to_owned()).or_insert_with(|| values.value(row));
    }
    Ok(())
}
