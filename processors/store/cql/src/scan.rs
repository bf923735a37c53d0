//! Reading rows of a partition, page by page.

use std::cmp::Ordering;
use std::ops::Bound;

use agentworks_store::{Part, Row, Scan, StoreError};
use scylla::response::PagingState;
use scylla::response::query_result::QueryResult;

use crate::error::unreadable;
use crate::statement::Kind;
use crate::store::Connection;
use crate::value::{Columns, Value};
use crate::write::check_parts;

/// About how many bytes a page holds.
const PAGE_BYTES: usize = 4 << 20;
/// How many rows the first page holds, whose size isn't known yet: 16 MiB of the largest blocks.
const FIRST_PAGE: i32 = 64;
const SMALLEST_PAGE: usize = 16;
const LARGEST_PAGE: usize = 5_000;

pub(crate) async fn scan(connection: &Connection, scan: &Scan) -> Result<Vec<Row>, StoreError> {
    let table = scan.table;
    check_parts(table, table.partition, &scan.partition, true)?;
    for bound in [&scan.from, &scan.to] {
        if let Bound::Included(parts) | Bound::Excluded(parts) = bound {
            check_parts(table, table.clustering, parts, false)?;
        }
    }
    if scan.limit == 0 || is_empty(&scan.from, &scan.to) {
        return Ok(Vec::new());
    }

    let mut statement = connection.statement(table, Kind::of(scan)).await?;
    let mut values: Vec<_> = scan.partition.iter().map(Value::from).collect();
    for bound in [&scan.from, &scan.to] {
        if let Bound::Included(parts) | Bound::Excluded(parts) = bound {
            values.extend(parts.iter().map(Value::from));
        }
    }
    let limit = i32::try_from(scan.limit).unwrap_or(i32::MAX);
    values.push(Value::Small(limit));

    let mut rows = Vec::new();
    let mut bytes = 0;
    let mut place = PagingState::start();
    statement.set_page_size(FIRST_PAGE);
    loop {
        let (page, next) = connection.page(&statement, &values, place).await?;
        read(scan, page, &mut rows, &mut bytes)?;
        match next.into_paging_control_flow() {
            std::ops::ControlFlow::Break(()) => return Ok(rows),
            std::ops::ControlFlow::Continue(next) => place = next,
        }
        let per_row = (bytes / rows.len().max(1)).max(1);
        let size = (PAGE_BYTES / per_row).clamp(SMALLEST_PAGE, LARGEST_PAGE) as i32;
        // Asked for a page as large as the limit, Cassandra doesn't page at all, and begins anew. ScyllaDB ends pages at so
        // many tombstones, also empty ones; and a page of none isn't one.
        statement.set_page_size(size.min(limit - 1).max(1));
    }
}

fn read(scan: &Scan, page: QueryResult, rows: &mut Vec<Row>, bytes: &mut usize) -> Result<(), StoreError> {
    let page = page.into_rows_result().map_err(unreadable)?;
    for row in page.rows::<scylla::value::Row>().map_err(unreadable)? {
        let mut columns = Columns::of(row.map_err(unreadable)?);
        let clustering = scan.table.clustering.iter().map(|_| columns.part()).collect::<Result<_, _>>()?;
        let row = self::row(clustering, scan.table.versioned, scan.payload, &mut columns)?;
        *bytes += row.stats.len() + row.payload.len();
        rows.push(row);
    }
    Ok(())
}

/// A row, from the columns that follow its key.
pub(crate) fn row(
    clustering: Vec<Part>,
    versioned: bool,
    with_payload: bool,
    columns: &mut Columns,
) -> Result<Row, StoreError> {
    let mut row = Row { clustering, version: 0, stats: Default::default(), payload: Default::default() };
    if versioned {
        (row.stats, row.payload) = columns.contents()?;
        row.version = columns.version()?;
        if !with_payload {
            row.payload.clear();
        }
    } else {
        row.stats = columns.bytes()?;
        if with_payload {
            row.payload = columns.bytes()?;
        }
    }
    Ok(row)
}

/// Whether no key can lie between two bounds. Databases don't agree on what to answer then.
fn is_empty(from: &Bound<Vec<Part>>, to: &Bound<Vec<Part>>) -> bool {
    // No key is beyond all keys.
    let beyond_all = |bound: &Bound<Vec<Part>>| matches!(bound, Bound::Excluded(parts) if parts.is_empty());
    if beyond_all(from) || beyond_all(to) {
        return true;
    }
    let (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) = (from, to)
    else {
        return false;
    };
    let shared = low.len().min(high.len());
    match low[..shared].cmp(&high[..shared]) {
        Ordering::Less => false,
        Ordering::Greater => true,
        // One stands for all keys that begin with it, among them those that the other one stands for.
        Ordering::Equal => {
            let low_excludes = matches!(from, Bound::Excluded(_)) && low.len() == shared;
            let high_excludes = matches!(to, Bound::Excluded(_)) && high.len() == shared;
            low_excludes || high_excludes
        }
    }
}

#[cfg(test)]
mod tests {
    use Bound::{Excluded, Included, Unbounded};

    use super::*;

    #[test]
    fn bounds_between_which_there_is_nothing() {
        let parts = |parts: &[i64]| parts.iter().map(|part| Part::from(*part)).collect::<Vec<_>>();
        let empty = [
            (Included(parts(&[2])), Included(parts(&[1]))),
            (Included(parts(&[1, 3])), Excluded(parts(&[1, 1]))),
            (Excluded(parts(&[1])), Included(parts(&[1, 5]))),
            (Included(parts(&[1, 5])), Excluded(parts(&[1]))),
            (Excluded(parts(&[1, 1])), Excluded(parts(&[1, 1]))),
            (Included(parts(&[1])), Excluded(parts(&[1]))),
            (Excluded(parts(&[])), Unbounded),
            (Unbounded, Excluded(parts(&[]))),
        ];
        for (from, to) in empty {
            assert!(is_empty(&from, &to), "{from:?} {to:?}");
        }
        let held = [
            (Unbounded, Unbounded),
            (Included(parts(&[])), Included(parts(&[]))),
            (Included(parts(&[1])), Included(parts(&[1]))),
            (Included(parts(&[1])), Excluded(parts(&[1, 5]))),
            (Excluded(parts(&[1, 5])), Included(parts(&[1]))),
            (Included(parts(&[1, 1])), Excluded(parts(&[2]))),
            (Included(parts(&[1, 1])), Unbounded),
        ];
        for (from, to) in held {
            assert!(!is_empty(&from, &to), "{from:?} {to:?}");
        }
    }
}
