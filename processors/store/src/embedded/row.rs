//! A row's value as bytes: a kind, the version, the expiry, the stats and, unless it is large, the payload.
//!
//! A large payload lies apart, under the same key in a keyspace of its own, so that a scan for stats doesn't read it.

use bytes::Bytes;

/// Payloads larger than this, in bytes, lie apart.
pub(super) const INLINE: usize = 1024;

const DELETED: u8 = 1;
const WHOLE: u8 = 2;
const APART: u8 = 3;
const HEADER: usize = 1 + 8 + 8 + 4;
const NEVER: i64 = i64::MAX;

/// A row as it lies in its keyspace.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoredRow {
    pub(super) version: i64,
    pub(super) expires: Option<i64>,
    pub(super) stats: Bytes,
    pub(super) payload: Payload,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// There is no row: it was deleted, and only its version is kept.
    Deleted,
    /// Here it is.
    Here(Bytes),
    /// It lies apart.
    Apart,
}

impl StoredRow {
    /// What is left of a deleted row in a versioned table.
    pub(super) fn deleted(version: i64) -> Self {
        StoredRow { version, expires: None, stats: Bytes::new(), payload: Payload::Deleted }
    }

    /// Whether readers see it.
    pub(super) fn is_live(&self, now: i64) -> bool {
        self.payload != Payload::Deleted && !self.is_expired(now)
    }

    pub(super) fn is_expired(&self, now: i64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, payload) = match &self.payload {
            Payload::Deleted => (DELETED, &[][..]),
            Payload::Here(payload) => (WHOLE, &payload[..]),
            Payload::Apart => (APART, &[][..]),
        };
        let mut bytes = Vec::with_capacity(HEADER + self.stats.len() + payload.len());
        bytes.push(kind);
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.expires.unwrap_or(NEVER).to_le_bytes());
        bytes.extend((self.stats.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.stats);
        bytes.extend_from_slice(payload);
        bytes
    }

    /// The row in `bytes`; `None` if they hold none.
    pub(super) fn decode(bytes: Bytes) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let (stats_len, rest) = rest.split_first_chunk()?;
        let stats_len = u32::from_le_bytes(*stats_len) as usize;
        if stats_len > rest.len() {
            return None;
        }
        let payload = match *kind {
            DELETED => Payload::Deleted,
            WHOLE => Payload::Here(bytes.slice(HEADER + stats_len..)),
            APART => Payload::Apart,
            _ => return None,
        };
        let expires = Some(i64::from_le_bytes(*expires)).filter(|expires| *expires != NEVER);
        let version = i64::from_le_bytes(*version);
        Some(StoredRow { version, expires, stats: bytes.slice(HEADER..HEADER + stats_len), payload })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_survive(version: i64, expires in prop::option::of(0..i64::MAX), stats: Vec<u8>, payload: Vec<u8>) {
            for payload in [Payload::Deleted, Payload::Apart, Payload::Here(payload.into())] {
                let row = StoredRow { version, expires, stats: stats.clone().into(), payload };
                prop_assert_eq!(StoredRow::decode(row.encode().into()), Some(row));
            }
        }

        #[test]
        fn any_bytes_are_a_row_or_none(bytes: Vec<u8>) {
            let _ = StoredRow::decode(bytes.into());
        }
    }
}
