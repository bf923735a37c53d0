//! Keys as bytes, in whose order the parts' order is kept.
//!
//! | part | bytes |
//! |---|---|
//! | text | its UTF-8 bytes, each `00` as `00 FF`, and `00 01` at the end |
//! | integer | 8 bytes, big-endian, the sign bit flipped |
//!
//! No encoded part begins another one of its kind, so the keys that begin with some parts are exactly those that begin
//! with the parts' bytes.

use std::ops::Bound;

use crate::key::{Key, Part};
use crate::store::{Scan, StoreError};
use crate::table::{Column, Kind, Table};

const ESCAPED: u8 = 0xff;
const END: u8 = 0x01;

/// The bytes of a whole key.
pub(super) fn key(table: &Table, key: &Key) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(64);
    put_whole(table, table.partition, &key.partition, &mut bytes)?;
    put_whole(table, table.clustering, &key.clustering, &mut bytes)?;
    Ok(bytes)
}

/// Where a scan's rows lie.
#[derive(Debug)]
pub(super) struct Span {
    /// The first key there can be.
    pub(super) from: Vec<u8>,
    /// The first key beyond; `None` if there is no end.
    pub(super) to: Option<Vec<u8>>,
    /// How many bytes at the front of each key are the partition's.
    pub(super) partition: usize,
}

/// Where a scan's rows lie; `None` if nowhere.
pub(super) fn span(scan: &Scan) -> Result<Option<Span>, StoreError> {
    let table = scan.table;
    let mut partition = Vec::with_capacity(64);
    put_whole(table, table.partition, &scan.partition, &mut partition)?;
    let at = |parts: &[Part]| {
        let mut bytes = partition.clone();
        put(table, table.clustering, parts, &mut bytes)?;
        Ok::<_, StoreError>(bytes)
    };
    let from = match &scan.from {
        Bound::Unbounded => Some(partition.clone()),
        Bound::Included(parts) => Some(at(parts)?),
        Bound::Excluded(parts) => after_prefix(at(parts)?),
    };
    let to = match &scan.to {
        Bound::Unbounded => after_prefix(partition.clone()),
        Bound::Included(parts) => after_prefix(at(parts)?),
        Bound::Excluded(parts) => Some(at(parts)?),
    };
    let from = from.filter(|from| to.as_ref().is_none_or(|to| from < to));
    Ok(from.map(|from| Span { from, to, partition: partition.len() }))
}

/// The clustering parts of an encoded key; `None` if the bytes are no key of the table.
pub(super) fn clustering(table: &Table, mut bytes: &[u8]) -> Option<Vec<Part>> {
    let parts = table.clustering.iter().map(|column| take(*column, &mut bytes)).collect::<Option<_>>()?;
    bytes.is_empty().then_some(parts)
}

/// An instant as bytes that order like it.
pub(super) fn instant(millis: i64) -> [u8; 8] {
    (millis as u64 ^ 1 << 63).to_be_bytes()
}

fn put_whole(table: &Table, columns: &[Column], parts: &[Part], bytes: &mut Vec<u8>) -> Result<(), StoreError> {
    if parts.len() != columns.len() {
        let (name, wanted, got) = (table.name, columns.len(), parts.len());
        return Err(StoreError::Failed(format!("table {name}: a key with {got} parts where {wanted} are wanted")));
    }
    put(table, columns, parts, bytes)
}

fn put(table: &Table, columns: &[Column], parts: &[Part], bytes: &mut Vec<u8>) -> Result<(), StoreError> {
    let fits = parts.len() <= columns.len() && parts.iter().zip(columns).all(|(part, column)| part.is(column.kind));
    if !fits {
        return Err(StoreError::Failed(format!("table {}: key parts {parts:?} for columns {columns:?}", table.name)));
    }
    for part in parts {
        match part {
            Part::Text(text) => {
                for byte in text.bytes() {
                    bytes.push(byte);
                    if byte == 0 {
                        bytes.push(ESCAPED);
                    }
                }
                bytes.extend([0, END]);
            }
            Part::Int(number) => bytes.extend(instant(*number)),
        }
    }
    Ok(())
}

fn take(column: Column, bytes: &mut &[u8]) -> Option<Part> {
    match column.kind {
        Kind::Int => {
            let (number, rest) = bytes.split_first_chunk::<8>()?;
            *bytes = rest;
            Some(Part::Int((u64::from_be_bytes(*number) ^ 1 << 63) as i64))
        }
        Kind::Text => {
            let mut text = Vec::new();
            loop {
                let (&byte, rest) = bytes.split_first()?;
                *bytes = rest;
                if byte != 0 {
                    text.push(byte);
                    continue;
                }
                let (&mark, rest) = bytes.split_first()?;
                *bytes = rest;
                match mark {
                    ESCAPED => text.push(0),
                    END => return String::from_utf8(text).ok().map(Part::Text),
                    _ => return None,
                }
            }
        }
    }
}

/// The least bytes beyond all that begin with `bytes`; `None` if there are none.
fn after_prefix(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    while bytes.pop_if(|last| *last == u8::MAX).is_some() {}
    *bytes.last_mut()? += 1;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const TABLE: Table = Table {
        name: "table",
        partition: &[Column::text("a")],
        clustering: &[Column::text("b"), Column::int("c")],
        versioned: false,
    };

    fn any_key() -> impl Strategy<Value = Key> {
        let text = || prop_oneof!["[\\x00\\x01ab\u{ff}]{0,4}", any::<String>()];
        let int = prop_oneof![any::<i64>(), -2..2i64, Just(i64::MAX), Just(i64::MIN)];
        (text(), text(), int)
            .prop_map(|(a, b, c)| Key { partition: vec![a.into()], clustering: vec![b.into(), c.into()] })
    }

    proptest! {
        #[test]
        fn bytes_order_as_parts(a in any_key(), b in any_key()) {
            prop_assert_eq!(key(&TABLE, &a).unwrap().cmp(&key(&TABLE, &b).unwrap()), a.cmp(&b));
        }

        #[test]
        fn clustering_survives(a in any_key()) {
            let bytes = key(&TABLE, &a).unwrap();
            let span = span(&Scan::partition(&TABLE, a.partition.clone())).unwrap().unwrap();
            prop_assert!(bytes.starts_with(&span.from));
            prop_assert_eq!(clustering(&TABLE, &bytes[span.partition..]), Some(a.clustering));
        }

        #[test]
        fn any_bytes_are_a_key_or_none(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0..2u8], 0..40)) {
            let _ = clustering(&TABLE, &bytes);
        }
    }

    #[test]
    fn the_last_prefix_has_nothing_after_it() {
        assert_eq!(after_prefix(vec![0xff, 0xff]), None);
        assert_eq!(after_prefix(vec![1, 0xff]), Some(vec![2]));
    }

    #[test]
    fn keys_that_do_not_fit_are_refused() {
        let wrong_kind = Key { partition: vec![1.into()], clustering: vec!["".into(), 0.into()] };
        let too_short = Key { partition: vec!["".into()], clustering: vec!["".into()] };
        assert!(key(&TABLE, &wrong_kind).is_err());
        assert!(key(&TABLE, &too_short).is_err());
    }
}
