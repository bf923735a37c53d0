//! Batches: consecutive records of one partition.
//!
//! A batch owns one buffer, into which what was fetched is decompressed, or each payload is copied once from librdkafka, and
//! the records decoded in place, borrowing from it. All sinks of a process share the batch, so a record is decoded once
//! however many they are.

mod decode;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use agentworks_fetch::records::{Full, Place, Reader, RecordsError, Span};
use agentworks_schemas::codec::{Reject, Schemas};
use agentworks_schemas::{LogEntry, Position, RunEvent, Timestamp, TopicPartition};
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use self_cell::self_cell;
use serde::{Deserialize, Serialize};

pub use self::decode::DefaultId;
use crate::headers::KeptHeaders;

/// A batch with so many records is best shipped: it is decoded within the processor's caches, and its memory is small
/// enough to be used again by the allocator. Larger ones were measured to cost twice as much per record.
pub const FULL_RECORDS: usize = 256;
/// The same in bytes of keys and payloads, and in bytes of headers.
pub const FULL_BYTES: usize = 64 * 1024;

/// The headers of a record, in their order.
pub type RecordHeaders = Vec<(String, Option<Vec<u8>>)>;

/// What a record holds.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "a batch holds one kind or the other, and boxing costs an allocation each"
)]
pub enum Content<'a> {
    /// A line.
    Entry(LogEntry<'a>),
    /// An event of a run.
    Event(RunEvent<'a>),
}

/// A decoded record and where it lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: i64,
    /// The record timestamp, which the broker gave it. It is the clock of keys and retention.
    pub timestamp: Timestamp,
    /// What it holds.
    pub content: Content<'a>,
    /// Its canonical body.
    pub body: Cow<'a, [u8]>,
}

/// A record that can't be taken, whole, for the dead-letter topic.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Where it lies.
    pub position: Position,
    /// Its record timestamp.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its payload; `None` for a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Its headers: those that the dead-letter topic keeps.
    pub headers: RecordHeaders,
    /// How many more it had.
    pub headers_left_out: usize,
    /// What is wrong with it.
    pub reject: Reject,
}

/// What a record is known by if it is read again, by whichever process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Where it lies.
    pub offset: i64,
    timestamp: Timestamp,
    /// Of its key and payload, by XXH3.
    hash: u64,
}

/// Collects messages of one partition. Messages must come in the order of their offsets.
#[derive(Debug)]
pub struct BatchBuilder {
    partition: TopicPartition,
    epoch: u32,
    from: i64,
    to: i64,
    buffer: Vec<u8>,
    /// Where undecoded records lie in the buffer.
    places: Vec<Place>,
    /// Those that don't lie in the buffer, by index into `places`: few records have headers, and only rejects need them.
    headers: Vec<(usize, KeptHeaders)>,
    /// What these take up, in bytes.
    header_bytes: usize,
}

impl BatchBuilder {
    /// A builder for records of `partition` in `epoch`, of which the one at `from` is next.
    pub fn new(partition: TopicPartition, epoch: u32, from: i64) -> Self {
        BatchBuilder {
            partition,
            epoch,
            from,
            to: from,
            buffer: Vec::new(),
            places: Vec::new(),
            headers: Vec::new(),
            header_bytes: 0,
        }
    }

    /// Copies a message in.
    pub fn push(&mut self, message: &BorrowedMessage<'_>) {
        let headers = KeptHeaders::of(message);
        let timestamp = Timestamp(message.timestamp().to_millis().unwrap_or_default());
        self.add(message.offset(), timestamp, message.key(), message.payload(), headers);
    }

    /// Copies a record in.
    pub fn push_raw(
        &mut self,
        offset: i64,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        headers: RecordHeaders,
    ) {
        self.add(offset, timestamp, key, payload, headers.into());
    }

    fn add(
        &mut self,
        offset: i64,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        headers: KeptHeaders,
    ) {
        self.cover(offset + 1);
        if !headers.is_empty() {
            self.header_bytes += headers.bytes();
            self.headers.push((self.places.len(), headers));
        }
        let mut append = |bytes: &[u8]| {
            // The protocol's lengths are 32 bits, and a builder is full long before it holds as much.
            let span = Span { start: self.buffer.len() as u32, len: bytes.len() as u32 };
            self.buffer.extend_from_slice(bytes);
            span
        };
        let (key, value) = (key.map(&mut append), payload.map(append));
        self.places.push(Place { offset, timestamp: timestamp.millis(), key, value, headers: Span::default() });
    }

    /// Takes records of what was fetched, until this is full or nothing is left. Returns whether anything may be left.
    ///
    /// # Errors
    /// If what was fetched can't be taken apart. What could be was taken.
    pub fn fill(&mut self, reader: &mut Reader) -> Result<bool, RecordsError> {
        let full = Full { records: FULL_RECORDS, bytes: FULL_BYTES };
        let is_left = reader.fill(&mut self.buffer, &mut self.places, full);
        self.cover(reader.next());
        is_left
    }

    /// Says that all below `to` has been seen: what was not pushed is not wanted, or is no record at all.
    pub fn cover(&mut self, to: i64) {
        debug_assert!(to >= self.to, "{} comes after {}", self.to, to);
        self.to = self.to.max(to);
    }

    /// The offset that comes next: all below it has been seen.
    pub fn next(&self) -> i64 {
        self.to
    }

    /// The first offset that is covered.
    pub fn from(&self) -> i64 {
        self.from
    }

    /// How many records were collected.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no record was collected; offsets may be covered nevertheless.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The bytes collected: keys, payloads and headers.
    pub fn bytes(&self) -> usize {
        self.buffer.len() + self.header_bytes
    }

    /// Whether it is best to build now; see [`FULL_RECORDS`].
    pub fn is_full(&self) -> bool {
        self.len() >= FULL_RECORDS || self.buffer.len() >= FULL_BYTES || self.header_bytes >= FULL_BYTES
    }

    /// Takes out what was collected, and goes on with what comes after it, with room for as much again.
    pub fn split(&mut self) -> BatchBuilder {
        let rest = BatchBuilder {
            buffer: Vec::with_capacity(self.buffer.len()),
            places: Vec::with_capacity(self.places.len()),
            ..BatchBuilder::new(self.partition, self.epoch, self.to)
        };
        std::mem::replace(self, rest)
    }

    /// Decodes what was collected.
    pub fn build(self, schemas: &Schemas) -> Batch {
        let BatchBuilder { partition, epoch, from, to, buffer, places, headers, header_bytes: _ } = self;
        let mut rejects = Vec::new();
        let last = places.last().map(|place| decode::fingerprint(place, &buffer));
        let cell = Cell::new(buffer, |buffer| {
            let (records, rejected) = decode::decode(schemas, partition, epoch, buffer, &places, headers);
            rejects = rejected;
            records
        });
        let bytes = decode::memory(&cell, &rejects);
        Batch { partition, epoch, from, to, cell, rejects, last, bytes }
    }
}

/// Whether a reader of the card `wanted` looks at a record with this key: the card's own, and one without a key, which
/// may be anybody's until it is decoded.
pub fn may_be_of(wanted: &[u8], key: Option<&[u8]>) -> bool {
    key.is_none_or(|key| key == wanted)
}

type Records<'a> = Vec<Record<'a>>;

self_cell! {
    /// The buffer and the records that borrow from it.
    struct Cell {
        owner: Vec<u8>,
        #[covariant]
        dependent: Records,
    }
}

/// Consecutive records of one partition, decoded. All offsets in `from..to` that are neither in [`Batch::records`] nor
/// in [`Batch::rejects`] hold no record at all (compaction, transaction markers), or none that was asked for.
pub struct Batch {
    /// Whose records.
    pub partition: TopicPartition,
    /// In which epoch.
    pub epoch: u32,
    /// The first offset covered.
    pub from: i64,
    /// The offset after the last one covered.
    pub to: i64,
    cell: Cell,
    rejects: Vec<Rejected>,
    last: Option<Fingerprint>,
    bytes: usize,
}

impl Batch {
    /// The records, by offset.
    pub fn records(&self) -> &[Record<'_>] {
        self.cell.borrow_dependent()
    }

    /// The records that can't be taken, by offset.
    pub fn rejects(&self) -> &[Rejected] {
        &self.rejects
    }

    /// The fingerprint of the last record, whether it could be taken or not.
    pub fn last(&self) -> Option<Fingerprint> {
        self.last
    }

    /// How much memory the batch holds, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("partition", &format_args!("{}/{}", self.partition, self.epoch))
            .field("offsets", &(self.from..self.to))
            .field("records", &self.records().len())
            .field("rejects", &self.rejects.len())
            .finish_non_exhaustive()
    }
}
