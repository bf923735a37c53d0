//! The statements, prepared once each.

use std::collections::HashMap;
use std::ops::Bound;

use agentworks_store::{Column, Order, Part, Scan, StoreError, Table};
use parking_lot::RwLock;
use scylla::client::session::Session;
use scylla::statement::prepared::PreparedStatement;

use crate::error::IntoStoreError;
use crate::schema::{self, CONTENTS};

/// One end of a scan: how many columns its bound has, and the operator.
type End = Option<(usize, &'static str)>;

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Insert,
    Delete,
    Get,
    Scan { from: End, to: End, descending: bool, payload: bool },
}

impl Kind {
    /// Of the statement for `scan`. Bounds without parts are none.
    pub(crate) fn of(scan: &Scan) -> Kind {
        let end = |bound: &Bound<Vec<Part>>, included, excluded| match bound {
            Bound::Included(parts) if !parts.is_empty() => Some((parts.len(), included)),
            Bound::Excluded(parts) if !parts.is_empty() => Some((parts.len(), excluded)),
            _ => None,
        };
        let (from, to) = (end(&scan.from, ">=", ">"), end(&scan.to, "<=", "<"));
        let descending = scan.order == Order::Descending;
        // The contents of a versioned row are one cell.
        Kind::Scan { from, to, descending, payload: scan.payload || scan.table.versioned }
    }
}

/// Statements that have been prepared.
#[derive(Default)]
pub(crate) struct Statements(RwLock<HashMap<(&'static str, Kind), PreparedStatement>>);

impl Statements {
    /// The statement of this kind for a table.
    pub(crate) async fn get(
        &self,
        session: &Session,
        keyspace: &str,
        table: &'static Table,
        kind: Kind,
    ) -> Result<PreparedStatement, StoreError> {
        if let Some(statement) = self.0.read().get(&(table.name, kind)) {
            return Ok(statement.clone());
        }
        let prepared = session.prepare(text(keyspace, table, kind)).await;
        let mut statement = prepared.map_err(IntoStoreError::into_store_error)?;
        // Every write carries its timestamp, so that it may be repeated.
        statement.set_is_idempotent(true);
        self.0.write().insert((table.name, kind), statement.clone());
        Ok(statement)
    }
}

fn text(keyspace: &str, table: &Table, kind: Kind) -> String {
    let name = format!("{keyspace}.{}", table.name);
    let whole_key = || equals(table.partition.iter().chain(table.clustering));
    match kind {
        Kind::Insert => {
            let contents: &[&str] = if table.versioned { &[CONTENTS] } else { &["stats", "payload"] };
            let key = table.partition.iter().chain(table.clustering).map(|column| column.name);
            let columns: Vec<_> = key.chain(contents.iter().copied()).collect();
            let using = if table.versioned { "TTL ? AND TIMESTAMP ?" } else { "TTL ?" };
            let marks = vec!["?"; columns.len()].join(", ");
            format!("INSERT INTO {name} ({}) VALUES ({marks}) USING {using}", columns.join(", "))
        }
        Kind::Delete => {
            let using = if table.versioned { " USING TIMESTAMP ?" } else { "" };
            format!("DELETE FROM {name}{using} WHERE {}", whole_key())
        }
        Kind::Get => format!("SELECT {} FROM {name} WHERE {}", contents(table, true), whole_key()),
        Kind::Scan { from, to, descending, payload } => {
            let mut columns: Vec<_> = table.clustering.iter().map(|column| column.name).collect();
            let contents = contents(table, payload);
            columns.push(&contents);
            let mut text =
                format!("SELECT {} FROM {name} WHERE {}", columns.join(", "), equals(table.partition.iter()));
            for (parts, operator) in [from, to].into_iter().flatten() {
                let columns: Vec<_> = table.clustering[..parts].iter().map(|column| column.name).collect();
                let marks = vec!["?"; parts].join(", ");
                text.push_str(&format!(" AND ({}) {operator} ({marks})", columns.join(", ")));
            }
            if descending {
                let columns: Vec<_> = table.clustering.iter().map(|column| format!("{} DESC", column.name)).collect();
                text.push_str(&format!(" ORDER BY {}", columns.join(", ")));
            }
            text + " LIMIT ?"
        }
    }
}

fn equals<'a>(columns: impl Iterator<Item = &'a Column>) -> String {
    columns.map(|column| format!("{} = ?", column.name)).collect::<Vec<_>>().join(" AND ")
}

/// What is selected of a row beside its key.
fn contents(table: &Table, payload: bool) -> String {
    match (table.versioned, payload) {
        (true, _) => format!("{CONTENTS}, WRITETIME({CONTENTS})"),
        (false, true) => "stats, payload".to_owned(),
        (false, false) => "stats".to_owned(),
    }
}

/// Makes a table in the keyspace, with the database's own options.
pub(crate) fn create_table(keyspace: &str, table: &Table) -> String {
    schema::create_table(&format!("{keyspace}.{}", table.name), table)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Table = Table {
        name: "plain",
        partition: &[Column::text("a")],
        clustering: &[Column::int("b"), Column::int("c")],
        versioned: false,
    };
    const VERSIONED: Table = Table { name: "versioned", versioned: true, ..PLAIN };

    fn scan(table: &'static Table, change: impl Fn(&mut Scan)) -> String {
        let mut scan = Scan::partition(table, vec!["".into()]);
        change(&mut scan);
        text("k", table, Kind::of(&scan))
    }

    #[test]
    fn the_texts() {
        assert_eq!(
            text("k", &PLAIN, Kind::Insert),
            "INSERT INTO k.plain (a, b, c, stats, payload) VALUES (?, ?, ?, ?, ?) USING TTL ?"
        );
        assert_eq!(
            text("k", &VERSIONED, Kind::Insert),
            "INSERT INTO k.versioned (a, b, c, contents) VALUES (?, ?, ?, ?) USING TTL ? AND TIMESTAMP ?"
        );
        assert_eq!(text("k", &PLAIN, Kind::Delete), "DELETE FROM k.plain WHERE a = ? AND b = ? AND c = ?");
        assert_eq!(
            text("k", &VERSIONED, Kind::Delete),
            "DELETE FROM k.versioned USING TIMESTAMP ? WHERE a = ? AND b = ? AND c = ?"
        );
        assert_eq!(scan(&PLAIN, |_| {}), "SELECT b, c, stats, payload FROM k.plain WHERE a = ? LIMIT ?");
        let bounded = |scan: &mut Scan| {
            (scan.from, scan.to) = (Bound::Excluded(vec![1.into(), 2.into()]), Bound::Included(vec![3.into()]));
            (scan.order, scan.payload) = (Order::Descending, false);
        };
        let tail = "WHERE a = ? AND (b, c) > (?, ?) AND (b) <= (?) ORDER BY b DESC, c DESC LIMIT ?";
        assert_eq!(scan(&PLAIN, bounded), format!("SELECT b, c, stats FROM k.plain {tail}"));
        assert_eq!(
            scan(&VERSIONED, bounded),
            format!("SELECT b, c, contents, WRITETIME(contents) FROM k.versioned {tail}")
        );
    }
}
