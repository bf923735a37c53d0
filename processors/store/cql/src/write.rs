//! Rows grouped into requests.
//!
//! Small rows of one partition travel together, as one unlogged batch: that is one mutation for the database, and
//! several times cheaper than as many requests. Batches stay under the size at which Cassandra begins to warn, so a block
//! travels alone.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use agentworks_store::{Column, Key, Part, StoreError, Table, Write};

use crate::statement::Kind;
use crate::value::Value;

/// In one batch, at most. Cassandra warns from 5 KiB on, and fails at 50.
const BATCH_BYTES: usize = 4 << 10;
/// What a row costs in a batch beside its texts and contents.
const ROW_BYTES: usize = 64;
/// The database's longest time to live, 20 years.
const LONGEST: i64 = 20 * 365 * 24 * 3600;

/// A row's change.
pub(crate) struct Change<'a> {
    pub(crate) table: &'static Table,
    pub(crate) kind: Kind,
    pub(crate) values: Vec<Value<'a>>,
}

/// What a write comes to at a time; nothing if there is nothing to do.
///
/// A row that has expired already isn't written. In a versioned table it would have put an end to an older one, so there
/// it becomes a deletion.
fn change(write: &Write, now: i64) -> Option<Change<'_>> {
    let table = write.table;
    let ttl = match write.expires {
        None => 0,
        // Rounded up: a row may be there a little longer, but shouldn't go too soon.
        Some(expires) => match expires.saturating_sub(now).saturating_add(999).div_euclid(1000) {
            left if expires > now => left.min(LONGEST) as i32,
            _ if table.versioned => return Some(deletion(table, &write.key, write.version)),
            _ => return None,
        },
    };
    let mut values: Vec<_> = write.key.partition.iter().chain(&write.key.clustering).map(Value::from).collect();
    if table.versioned {
        values.extend([Value::Contents(&write.stats, &write.payload), Value::Small(ttl), Value::Int(write.version)]);
    } else {
        values.extend([Value::Blob(&write.stats), Value::Blob(&write.payload), Value::Small(ttl)]);
    }
    Some(Change { table, kind: Kind::Insert, values })
}

/// A row's deletion.
pub(crate) fn deletion<'a>(table: &'static Table, key: &'a Key, version: i64) -> Change<'a> {
    let version = table.versioned.then_some(Value::Int(version));
    let key = key.partition.iter().chain(&key.clustering).map(Value::from);
    Change { table, kind: Kind::Delete, values: version.into_iter().chain(key).collect() }
}

/// The requests for some writes: each of changes of one partition.
pub(crate) fn requests(writes: &[Write], now: i64) -> Vec<Vec<Change<'_>>> {
    let mut requests = Vec::new();
    let mut open = HashMap::<_, (usize, Vec<_>)>::new();
    for write in writes {
        let Some(change) = change(write, now) else { continue };
        let size = size(write);
        if size > BATCH_BYTES {
            requests.push(vec![change]);
            continue;
        }
        let (filled, changes) = open.entry((write.table.name, write.key.partition.as_slice())).or_default();
        if *filled + size > BATCH_BYTES {
            requests.push(std::mem::take(changes));
            *filled = 0;
        }
        *filled += size;
        changes.push(change);
    }
    requests.extend(open.into_values().map(|(_, changes)| changes).filter(|changes| !changes.is_empty()));
    requests
}

fn size(write: &Write) -> usize {
    let parts = write.key.partition.iter().chain(&write.key.clustering);
    let key: usize = parts.map(|part| if let Part::Text(text) = part { text.len() } else { 8 }).sum();
    ROW_BYTES + key + write.stats.len() + write.payload.len()
}

/// Whether a key fits its table.
pub(crate) fn check(table: &Table, key: &Key) -> Result<(), StoreError> {
    check_parts(table, table.partition, &key.partition, true)?;
    check_parts(table, table.clustering, &key.clustering, true)
}

/// Whether parts fit columns: all of them, or the first ones.
pub(crate) fn check_parts(table: &Table, columns: &[Column], parts: &[Part], whole: bool) -> Result<(), StoreError> {
    let length_fits = if whole { parts.len() == columns.len() } else { parts.len() <= columns.len() };
    if length_fits && parts.iter().zip(columns).all(|(part, column)| part.is(column.kind)) {
        return Ok(());
    }
    Err(StoreError::Failed(format!("table {}: key parts {parts:?} for columns {columns:?}", table.name)))
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TABLE: Table =
        Table { name: "table", partition: &[Column::text("a")], clustering: &[Column::int("b")], versioned: false };
    const VERSIONED: Table = Table { versioned: true, ..TABLE };

    fn write(partition: &str, place: i64, size: usize) -> Write {
        Write {
            table: &TABLE,
            key: Key { partition: vec![partition.into()], clustering: vec![place.into()] },
            version: 0,
            expires: None,
            stats: Default::default(),
            payload: vec![0; size].into(),
        }
    }

    #[test]
    fn small_rows_of_a_partition_travel_together() {
        let writes: Vec<_> = (0..100).map(|place| write(if place % 2 == 0 { "a" } else { "b" }, place, 10)).collect();
        let requests = requests(&writes, 0);
        assert_eq!(requests.iter().map(Vec::len).sum::<usize>(), 100);
        assert!(requests.len() < 10, "{} requests", requests.len());
        for request in &requests {
            let partitions: Vec<_> = request.iter().map(|change| format!("{:?}", change.values[0])).collect();
            assert!(partitions.iter().all(|partition| *partition == partitions[0]));
        }
    }

    #[test]
    fn no_batch_is_large_and_large_rows_travel_alone() {
        let writes = [write("a", 1, 10), write("a", 2, 100_000), write("a", 3, 3000), write("a", 4, 3000)];
        let mut sizes: Vec<_> = requests(&writes, 0).iter().map(Vec::len).collect();
        sizes.sort();
        assert_eq!(sizes, [1, 1, 2]);
    }

    fn ttl(expires: Option<i64>, now: i64) -> Option<i32> {
        let write = Write { expires, ..write("a", 0, 0) };
        let change = change(&write, now)?;
        let Some(Value::Small(ttl)) = change.values.last() else { panic!("a time to live is the last value") };
        Some(*ttl)
    }

    #[test]
    fn expiries_become_times_to_live() {
        assert_eq!(ttl(None, 0), Some(0));
        assert_eq!(ttl(Some(10_000), 8_500), Some(2));
        assert_eq!(ttl(Some(10_001), 10_000), Some(1));
        assert_eq!(ttl(Some(10_000), 10_000), None);
        assert_eq!(ttl(Some(i64::MIN), 10_000), None);
        assert_eq!(ttl(Some(i64::MAX), 0), Some(LONGEST as i32));
    }

    #[test]
    fn an_expired_row_of_a_versioned_table_ends_an_older_one() {
        let write = Write { table: &VERSIONED, version: 7, expires: Some(1), ..write("a", 0, 0) };
        let change = change(&write, 1).unwrap();
        assert_eq!(change.kind, Kind::Delete);
        assert!(matches!(change.values[..], [Value::Int(7), Value::Text("a"), Value::Int(0)]));
    }

    #[test]
    fn keys_that_do_not_fit_are_refused() {
        let key = |partition: Vec<Part>, clustering: Vec<Part>| Key { partition, clustering };
        assert!(check(&TABLE, &key(vec!["a".into()], vec![1.into()])).is_ok());
        assert!(check(&TABLE, &key(vec!["a".into()], vec![])).is_err());
        assert!(check(&TABLE, &key(vec![1.into()], vec![1.into()])).is_err());
        assert!(check(&TABLE, &key(vec!["a".into()], vec![1.into(), 1.into()])).is_err());
    }
}
