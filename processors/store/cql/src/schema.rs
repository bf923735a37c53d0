//! A table's definition in CQL.

use std::fmt::Write;

use agentworks_store::{Column, Kind, Table};

/// The column with all of a row's contents, in a versioned table: one cell, so that of two writes with equal versions one
/// wins whole.
pub(crate) const CONTENTS: &str = "contents";

/// The statement that makes the table, without options. Migrations begin with the same text.
pub(crate) fn create_table(name: &str, table: &Table) -> String {
    let mut text = format!("CREATE TABLE IF NOT EXISTS {name} (\n");
    // Writing to a string can't fail.
    for column in table.partition.iter().chain(table.clustering) {
        let kind = match column.kind {
            Kind::Text => "text",
            Kind::Int => "bigint",
        };
        let _ = writeln!(text, "    {} {kind},", column.name);
    }
    if table.versioned {
        let _ = writeln!(text, "    {CONTENTS} frozen<tuple<blob, blob>>,");
    } else {
        text.push_str("    stats blob,\n    payload blob,\n");
    }
    let names = |columns: &[Column]| columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ");
    let _ = write!(text, "    PRIMARY KEY (({}), {})\n)", names(table.partition), names(table.clustering));
    text
}
