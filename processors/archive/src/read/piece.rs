//! A piece of a lane: what comes next of it, as much as there is room for.
//!
//! Files aren't sorted by offset, so that nearly every row group has something of each piece, and is decoded for it again.
//! So pieces are as large as memory allows. Which rows fit is seen as they come: where they turn out to be too many, those
//! with the greatest offsets are dropped, and come with the next piece.

use std::collections::BTreeMap;

use agentworks_processors::reader::StoredEntry;
use agentworks_schemas::Timestamp;
use agentworks_schemas::codec::{Framing, encode_entry, encode_event};

use super::fetch::FromRows;
use crate::decode::StoredEvent;

/// How much room a piece has, in bytes of records.
pub(super) const ROOM: usize = if cfg!(test) { 12 << 10 } else { 64 << 20 };

/// What a record takes beside its payload and key.
const OVERHEAD: usize = 96;

/// A record as it came from the log.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) timestamp: Timestamp,
    pub(super) key: Box<[u8]>,
    pub(super) payload: Box<[u8]>,
}

impl Row {
    pub(super) fn bytes(&self) -> usize {
        self.payload.len() + self.key.len() + OVERHEAD
    }
}

/// Rows that are made into records again.
pub(super) trait Recorded: FromRows {
    /// The record.
    fn record(&self) -> Row;
}

fn row(timestamp: Timestamp, card: &str, encode: impl FnOnce(&mut Vec<u8>)) -> Row {
    let mut payload = Vec::new();
    encode(&mut payload);
    Row { timestamp, key: card.as_bytes().into(), payload: payload.into() }
}

impl Recorded for StoredEntry {
    fn record(&self) -> Row {
        row(self.timestamp, &self.entry.card_id, |payload| encode_entry(&self.entry, Framing::Avro, payload))
    }
}

impl Recorded for StoredEvent {
    fn record(&self) -> Row {
        row(self.timestamp, &self.event.card_id, |payload| encode_event(&self.event, Framing::Avro, payload))
    }
}

/// The records of a piece, by offset.
#[derive(Debug, Default)]
pub(super) struct Piece {
    rows: BTreeMap<i64, Row>,
    bytes: usize,
    /// What lies here or beyond didn't fit.
    end: Option<i64>,
}

impl Piece {
    /// Takes a row, if there is room for it and all before it.
    pub(super) fn take(&mut self, row: &impl Recorded) {
        let offset = row.offset();
        if self.end.is_some_and(|end| offset >= end) {
            return;
        }
        let row = row.record();
        self.bytes += row.bytes();
        self.rows.insert(offset, row);
        while self.bytes > ROOM
            && self.rows.len() > 1
            && let Some((offset, row)) = self.rows.pop_last()
        {
            self.bytes -= row.bytes();
            self.end = Some(offset);
        }
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// How much room they take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives the records up to the first that didn't fit.
    pub(super) fn into_rows(self) -> BTreeMap<i64, Row> {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use agentworks_schemas::Position;

    use super::*;
    use crate::testing::{NOON, entry, lane};

    fn stored(offset: i64) -> StoredEntry {
        let position = Position { partition: lane(0), epoch: 0, offset };
        StoredEntry { position, timestamp: Timestamp(NOON), entry: entry(lane(0), offset) }
    }

    #[test]
    fn the_first_by_offset_are_kept_in_whatever_order_they_come() {
        for step in [1, 7, 37, 499] {
            let mut piece = Piece::default();
            for index in 0..500 {
                piece.take(&stored(index * step % 500));
                assert!(piece.bytes() <= ROOM);
            }
            let (count, bytes, end) = (piece.len(), piece.bytes(), piece.end);
            let rows = piece.into_rows();
            assert_eq!(rows.keys().copied().collect::<Vec<_>>(), (0..count as i64).collect::<Vec<_>>(), "{step}");
            assert_eq!((bytes, end), (rows.values().map(Row::bytes).sum(), Some(count as i64)), "{step}");
            assert!(bytes > ROOM - 1000, "{bytes}");
        }
    }

    #[test]
    fn one_that_is_larger_than_the_room_is_a_piece_of_its_own() {
        let large = |offset| {
            let mut stored = stored(offset);
            stored.entry.message = "x".repeat(2 * ROOM).into();
            stored
        };
        let mut piece = Piece::default();
        [5, 3, 4].into_iter().for_each(|offset| piece.take(&large(offset)));
        assert_eq!(piece.into_rows().into_keys().collect::<Vec<_>>(), [3]);
    }
}
