//! The tables and their columns. From one list come the Delta schema and the Arrow schema of the files.
//!
//! Every column may be null in Delta's sense: so one can be added later, and files of before need not be written anew.

use std::sync::Arc;

use arrow_schema::{DataType as ArrowType, Field, Schema, SchemaRef, TimeUnit};
use delta_kernel::schema::{ArrayType, DataType, StructField};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Texts,
    Long,
    Int,
    Double,
    /// In microseconds, as Delta has it, in UTC.
    Instant,
    Bytes,
    /// Days since the Unix epoch; the partition, which is in the path and not in the file.
    Date,
}

/// A column.
pub(crate) type Column = (&'static str, Kind);

/// A table.
#[derive(Debug)]
pub struct TableSpec {
    /// Its name, which is also its folder.
    pub name: &'static str,
    pub(crate) columns: &'static [Column],
    /// Of which columns the log keeps the least and the greatest value of each file.
    pub(crate) indexed: &'static [&'static str],
    /// By which columns a file is sorted.
    pub(crate) order: &'static [&'static str],
    /// Which columns have bloom filters.
    pub(crate) bloomed: &'static [&'static str],
    /// Which columns have sums of their values: those that rows may be found or counted by without their hashes, and those
    /// that no hash covers.
    pub(crate) summed: &'static [&'static str],
}

/// The partition column.
pub(crate) const DATE: &str = "date";

use Kind::{Bytes, Date, Double, Instant, Int, Long, Text, Texts};

const ORDER: &[&str] = &["workspace_id", "card_id", "run_id", "topic", "epoch", "partition", "offset"];
const INDEXED: &[&str] = &["workspace_id", "card_id", "run_id", "topic", "epoch", "partition", "offset", "record_time"];

/// Every entry, for ever.
pub static ENTRIES: TableSpec = TableSpec {
    name: "entries",
    columns: &[
        ("workspace_id", Text),
        ("card_id", Text),
        ("run_id", Text),
        ("topic", Text),
        ("epoch", Long),
        ("partition", Int),
        ("offset", Long),
        ("record_time", Instant),
        ("hash", Bytes),
        ("id", Text),
        ("timestamp", Instant),
        ("sequence", Long),
        ("level", Text),
        ("source", Text),
        ("component", Text),
        ("message", Text),
        ("data", Text),
        ("agent_id", Text),
        ("provider", Text),
        ("model", Text),
        ("user_id", Text),
        ("tags", Texts),
        ("correlation_id", Text),
        ("parent_span_id", Text),
        ("trace_id", Text),
        (DATE, Date),
    ],
    indexed: INDEXED,
    order: ORDER,
    bloomed: &["run_id", "card_id", "trace_id"],
    summed: &[
        "workspace_id",
        "card_id",
        "run_id",
        "topic",
        "epoch",
        "partition",
        "offset",
        "record_time",
        "timestamp",
        "level",
        "source",
        "component",
        "agent_id",
    ],
};

/// Every event of a run, for ever.
pub static EVENTS: TableSpec = TableSpec {
    name: "events",
    columns: &[
        ("workspace_id", Text),
        ("card_id", Text),
        ("run_id", Text),
        ("topic", Text),
        ("epoch", Long),
        ("partition", Int),
        ("offset", Long),
        ("record_time", Instant),
        ("hash", Bytes),
        ("id", Text),
        ("timestamp", Instant),
        ("kind", Text),
        ("agent_id", Text),
        ("provider", Text),
        ("model", Text),
        ("user_id", Text),
        ("cost", Double),
        ("input_tokens", Long),
        ("output_tokens", Long),
        ("exit_code", Int),
        ("reason", Text),
        ("trace_id", Text),
        (DATE, Date),
    ],
    indexed: INDEXED,
    order: ORDER,
    bloomed: &["run_id", "card_id", "trace_id"],
    summed: INDEXED,
};

/// What each run did on each day: its summary is the sum of its days.
pub static RUNS: TableSpec = TableSpec {
    name: "runs",
    columns: &[
        ("workspace_id", Text),
        ("card_id", Text),
        ("run_id", Text),
        ("first_record", Instant),
        ("last_record", Instant),
        ("first_timestamp", Instant),
        ("last_timestamp", Instant),
        ("entries", Long),
        ("debug", Long),
        ("info", Long),
        ("warn", Long),
        ("error", Long),
        ("fatal", Long),
        ("agent_id", Text),
        ("started", Instant),
        ("status", Text),
        ("status_time", Instant),
        ("exit_code", Int),
        ("reason", Text),
        ("cost", Double),
        ("input_tokens", Long),
        ("output_tokens", Long),
        (DATE, Date),
    ],
    indexed: &["workspace_id", "card_id", "run_id", "first_record", "last_record"],
    order: &["workspace_id", "card_id", "run_id"],
    bloomed: &["run_id", "card_id"],
    // A row has no hash.
    summed: &[
        "workspace_id",
        "card_id",
        "run_id",
        "first_record",
        "last_record",
        "first_timestamp",
        "last_timestamp",
        "entries",
        "debug",
        "info",
        "warn",
        "error",
        "fatal",
        "agent_id",
        "started",
        "status",
        "status_time",
        "exit_code",
        "reason",
        "cost",
        "input_tokens",
        "output_tokens",
    ],
};

impl Kind {
    fn delta(self) -> DataType {
        match self {
            Text => DataType::STRING,
            Texts => ArrayType::new(DataType::STRING, true).into(),
            Long => DataType::LONG,
            Int => DataType::INTEGER,
            Double => DataType::DOUBLE,
            Instant => DataType::TIMESTAMP,
            Bytes => DataType::BINARY,
            Date => DataType::DATE,
        }
    }

    fn arrow(self) -> ArrowType {
        match self {
            Text => ArrowType::Utf8,
            Texts => ArrowType::List(Arc::new(Field::new("element", ArrowType::Utf8, true))),
            Long => ArrowType::Int64,
            Int => ArrowType::Int32,
            Double => ArrowType::Float64,
            Instant => ArrowType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Bytes => ArrowType::Binary,
            Date => ArrowType::Date32,
        }
    }
}

impl TableSpec {
    /// The columns as Delta has them.
    pub(crate) fn fields(&self) -> Vec<StructField> {
        self.columns.iter().map(|(name, kind)| StructField::nullable(*name, kind.delta())).collect()
    }

    /// The schema of the table's files, which lack the partition.
    pub(crate) fn arrow(&self) -> SchemaRef {
        let columns = self.columns.iter().filter(|(name, _)| *name != DATE);
        Arc::new(Schema::new(columns.map(|(name, kind)| Field::new(*name, kind.arrow(), true)).collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_table_is_sorted_by_pruned_by_and_summed_up_of_are_columns_of_it() {
        for spec in [&ENTRIES, &EVENTS, &RUNS] {
            for name in spec.order.iter().chain(spec.indexed).chain(spec.bloomed).chain(spec.summed) {
                assert!(spec.columns.iter().any(|(column, _)| column == name), "{}.{name}", spec.name);
            }
            assert_eq!(spec.arrow().fields().len() + 1, spec.columns.len());
        }
        let of_runs: Vec<_> = RUNS.columns.iter().map(|(name, _)| *name).filter(|name| *name != DATE).collect();
        assert_eq!(RUNS.summed, of_runs);
    }
}
