//! The last records of one partition, as they came, in memory.
//!
//! They are what history joins live in: a viewer whose cursor lies in the tail needs nobody else. Records lie in chunks,
//! each one buffer, so that a record costs no allocation and old ones go by the chunk.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use agentworks_schemas::Timestamp;

/// A chunk takes no more records when it has so many bytes, or is so old.
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNK_AGE: Duration = Duration::from_secs(5);

/// A record as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raw<'a> {
    pub(crate) offset: i64,
    /// The record timestamp.
    pub(crate) timestamp: Timestamp,
    pub(crate) key: Option<&'a [u8]>,
    /// `None` for a tombstone.
    pub(crate) payload: Option<&'a [u8]>,
}

#[derive(Debug)]
pub(super) struct Tail {
    chunks: VecDeque<Chunk>,
    /// All records from here on are in the tail.
    low: i64,
    bytes: usize,
}

#[derive(Debug)]
struct Chunk {
    began: Instant,
    ended: Instant,
    buffer: Vec<u8>,
    records: Vec<Meta>,
}

#[derive(Debug)]
struct Meta {
    offset: i64,
    /// When it came, among the records of all partitions.
    arrival: u64,
    timestamp: Timestamp,
    start: u32,
    key: Option<u32>,
    payload: Option<u32>,
}

impl Tail {
    /// An empty tail: the record at `low` is the first that it will have.
    pub(super) fn new(low: i64) -> Self {
        Tail { chunks: VecDeque::new(), low, bytes: 0 }
    }

    /// The first offset that it covers.
    pub(super) fn low(&self) -> i64 {
        self.low
    }

    /// The memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the last record of its first chunk came.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.chunks.front().map(|chunk| chunk.ended)
    }

    /// Adds a record. Offsets and arrivals must grow.
    pub(super) fn push(&mut self, raw: &Raw<'_>, arrival: u64, now: Instant) {
        let is_full = |chunk: &Chunk| chunk.buffer.len() >= CHUNK_BYTES || now - chunk.began >= CHUNK_AGE;
        if self.chunks.back().is_none_or(is_full) {
            self.chunks.push_back(Chunk { began: now, ended: now, buffer: Vec::new(), records: Vec::new() });
        }
        if let Some(chunk) = self.chunks.back_mut() {
            let before = chunk.memory();
            chunk.push(raw, arrival, now);
            self.bytes += chunk.memory() - before;
        }
    }

    /// The records from `offset` on, each with its arrival.
    pub(super) fn from(&self, offset: i64) -> impl Iterator<Item = (u64, Raw<'_>)> {
        let is_before = |chunk: &Chunk| chunk.records.last().is_some_and(|record| record.offset < offset);
        let first = self.chunks.partition_point(is_before);
        let records = self.chunks.range(first..).flat_map(|chunk| chunk.records.iter().map(move |meta| (chunk, meta)));
        records.skip_while(move |(_, meta)| meta.offset < offset).map(|(chunk, meta)| (meta.arrival, chunk.raw(meta)))
    }

    /// Drops the chunks whose last record came before `than`.
    pub(super) fn drop_older(&mut self, than: Instant) {
        while self.oldest().is_some_and(|oldest| oldest < than) {
            self.drop_first();
        }
    }

    /// Drops the first chunk.
    pub(super) fn drop_first(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.bytes -= chunk.memory();
            if let Some(last) = chunk.records.last() {
                self.low = last.offset + 1;
            }
        }
    }
}

impl Chunk {
    fn memory(&self) -> usize {
        self.buffer.capacity() + self.records.capacity() * size_of::<Meta>()
    }

    fn push(&mut self, raw: &Raw<'_>, arrival: u64, now: Instant) {
        self.ended = now;
        let start = self.buffer.len() as u32;
        self.buffer.extend_from_slice(raw.key.unwrap_or_default());
        self.buffer.extend_from_slice(raw.payload.unwrap_or_default());
        let length = |bytes: &[u8]| bytes.len() as u32;
        let (key, payload) = (raw.key.map(length), raw.payload.map(length));
        self.records.push(Meta { offset: raw.offset, arrival, timestamp: raw.timestamp, start, key, payload });
    }

    fn raw(&self, meta: &Meta) -> Raw<'_> {
        let start = meta.start as usize;
        let middle = start + meta.key.unwrap_or(0) as usize;
        Raw {
            offset: meta.offset,
            timestamp: meta.timestamp,
            key: meta.key.map(|_| &self.buffer[start..middle]),
            payload: meta.payload.map(|length| &self.buffer[middle..middle + length as usize]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(offset: i64, payload: &[u8]) -> Raw<'_> {
        Raw { offset, timestamp: Timestamp(offset), key: Some(b"card"), payload: Some(payload) }
    }

    fn offsets(tail: &Tail, from: i64) -> Vec<i64> {
        tail.from(from).map(|(_, raw)| raw.offset).collect()
    }

    #[test]
    fn records_come_back_as_they_went_in() {
        let now = Instant::now();
        let mut tail = Tail::new(3);
        let records = [
            raw(3, b"a"),
            Raw { key: None, ..raw(5, b"") },
            Raw { payload: None, ..raw(6, b"") },
            Raw { key: Some(b""), ..raw(7, b"bc") },
        ];
        for (arrival, record) in records.iter().enumerate() {
            tail.push(record, arrival as u64, now);
        }
        assert_eq!(tail.from(0).map(|(_, raw)| raw).collect::<Vec<_>>(), records);
        assert_eq!(offsets(&tail, 4), [5, 6, 7]);
        assert!(offsets(&tail, 8).is_empty());
        assert_eq!(tail.low(), 3);
    }

    #[test]
    fn the_oldest_go_by_the_chunk_and_low_follows() {
        let start = Instant::now();
        let mut tail = Tail::new(0);
        let payload = vec![b'x'; CHUNK_BYTES / 2];
        for offset in 0..6 {
            tail.push(&raw(offset, &payload), offset as u64, start + Duration::from_secs(offset as u64));
        }
        let full = tail.bytes();
        assert_eq!(offsets(&tail, 1), [1, 2, 3, 4, 5]);
        tail.drop_older(start + Duration::from_secs(3));
        assert_eq!((tail.low(), offsets(&tail, 0)), (2, vec![2, 3, 4, 5]));
        assert!(tail.bytes() < full);
        (0..9).for_each(|_| tail.drop_first());
        assert_eq!((tail.low(), tail.bytes(), tail.oldest()), (6, 0, None));
        tail.push(&raw(9, b"x"), 9, start);
        assert_eq!(offsets(&tail, 6), [9]);
    }
}
