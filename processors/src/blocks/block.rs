//! The block: its key and its contents.
//!
//! A block holds *all* entries of its owner in its partition from the offset of its first to that of its last. It lies
//! within one bucket and one [`SEGMENT`] of offsets. Its contents are a version byte and a zstd frame, with content size
//! and checksum, over one entry after another:
//!
//! | | |
//! |---|---|
//! | varint | its offset, less the one before |
//! | signed varint | its record timestamp, less the one before |
//! | varint | the length of its body |
//! | | its canonical body |

use std::fmt;

use agentworks_schemas::codec::{MAX_RECORD, decode_entry_body};
use agentworks_schemas::{LogEntry, Position, Timestamp, TopicPartition};
use agentworks_store::Table;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, get_frame_content_size};

use super::stats::BlockStats;
use super::varint;
use crate::sink::SinkError;

/// No block crosses a multiple of this offset. So whoever has seen all blocks whose first offset lies in a segment knows
/// all that hold entries of it.
pub(super) const SEGMENT: i64 = 1 << 16;

/// The most entry bytes that a block is filled with before it is closed.
pub(super) const MAX_FILL: usize = 4 << 20;

/// A block is closed before it has more bytes than this, framing included.
const MAX_RAW: usize = MAX_FILL + MAX_RECORD + 64;

const VERSION: u8 = 1;

/// The most bytes that an entry has beside its body: three numbers.
const FRAMING: usize = 30;

/// Up to this size a block's memory doubles when it is full; after that it grows by a quarter. So a block of a run that
/// writes little takes little, and no block takes much more than it holds.
const DOUBLING: usize = 16 << 10;

/// An entry as a tier or the log gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEntry {
    /// Where it lies in the log.
    pub position: Position,
    /// Its record timestamp.
    pub timestamp: Timestamp,
    /// The entry.
    pub entry: LogEntry<'static>,
}

/// Where a block lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockKey {
    pub(crate) table: &'static Table,
    pub(crate) workspace: String,
    /// Its card or its run.
    pub(crate) owner: String,
    pub(crate) bucket: i64,
    pub(crate) partition: TopicPartition,
    pub(crate) epoch: u32,
    /// The offsets of its first and its last entry.
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl fmt::Display for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BlockKey { table, workspace, owner, bucket, partition, epoch, first, last } = self;
        write!(f, "{} {workspace}/{owner}/{bucket} {partition}/{epoch}@{first}..={last}", table.name)
    }
}

/// A block that is being filled.
#[derive(Clone, Debug)]
pub(super) struct BlockBuilder {
    first: i64,
    last: i64,
    last_timestamp: Timestamp,
    stats: BlockStats,
    raw: Vec<u8>,
}

impl BlockBuilder {
    /// An empty block, to whose entries one at `first` comes first.
    pub(super) fn new(first: i64) -> Self {
        let (last_timestamp, stats, raw) = (Timestamp(0), BlockStats::new(), Vec::new());
        BlockBuilder { first, last: first, last_timestamp, stats, raw }
    }

    /// Adds an entry, which comes after all that are there, and its canonical body.
    pub(super) fn push(&mut self, offset: i64, timestamp: Timestamp, entry: &LogEntry<'_>, body: &[u8]) {
        self.make_room(FRAMING + body.len());
        varint::put(&mut self.raw, offset.abs_diff(self.last));
        varint::put_signed(&mut self.raw, timestamp.millis().wrapping_sub(self.last_timestamp.millis()));
        varint::put(&mut self.raw, body.len() as u64);
        self.raw.extend_from_slice(body);
        (self.last, self.last_timestamp) = (offset, timestamp);
        self.stats.add(timestamp, entry);
    }

    fn make_room(&mut self, bytes: usize) {
        let (length, capacity) = (self.raw.len(), self.raw.capacity());
        if length + bytes > capacity {
            let more = if capacity < DOUBLING { capacity } else { capacity / 4 };
            self.raw.reserve_exact((capacity + more).max(length + bytes) - length);
        }
    }

    /// The offsets of its first and its last entry.
    pub(super) fn offsets(&self) -> (i64, i64) {
        (self.first, self.last)
    }

    pub(super) fn stats(&self) -> &BlockStats {
        &self.stats
    }

    /// Its bytes before compression.
    pub(super) fn len(&self) -> usize {
        self.raw.len()
    }

    /// The memory that it takes.
    pub(super) fn memory(&self) -> usize {
        self.raw.capacity()
    }

    /// Its contents, compressed.
    pub(super) fn compress(&self, compressor: &mut Compressor<'_>) -> std::io::Result<Vec<u8>> {
        let frame = compressor.compress(&self.raw)?;
        let mut contents = Vec::with_capacity(1 + frame.len());
        contents.push(VERSION);
        contents.extend_from_slice(&frame);
        Ok(contents)
    }
}

/// What compresses blocks. Making one costs more than a small block: use it again.
pub(super) fn compressor(level: i32) -> std::io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(level)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    Ok(compressor)
}

/// The entries of a block, by offset.
///
/// # Errors
/// [`SinkError::Corrupt`], which names the key, if the contents are not what was written under it.
pub(super) fn entries(key: &BlockKey, contents: &[u8]) -> Result<Vec<StoredEntry>, SinkError> {
    read(key, contents).map_err(|reason| SinkError::Corrupt(format!("{key}: {reason}")))
}

fn read(key: &BlockKey, contents: &[u8]) -> Result<Vec<StoredEntry>, String> {
    let frame = match contents.split_first() {
        Some((&VERSION, frame)) => frame,
        Some((version, _)) => return Err(format!("it has version {version}")),
        None => return Err("it is empty".into()),
    };
    let raw = decompress(frame)?;
    let mut rest = &raw[..];
    let (mut offset, mut timestamp) = (key.first, 0i64);
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (delta, body) = take_entry(&mut rest, &mut timestamp).ok_or("an entry is cut short")?;
        offset =
            i64::try_from(delta).ok().and_then(|delta| offset.checked_add(delta)).ok_or("an offset is too large")?;
        let entry = decode_entry_body(body).map_err(|error| format!("offset {offset}: {error}"))?.into_owned();
        let position = Position { partition: key.partition, epoch: key.epoch, offset };
        entries.push(StoredEntry { position, timestamp: Timestamp(timestamp), entry });
    }
    match (entries.first(), entries.last()) {
        (Some(first), Some(last)) if (first.position.offset, last.position.offset) == (key.first, key.last) => {
            Ok(entries)
        }
        _ => Err("it holds other offsets".into()),
    }
}

fn decompress(frame: &[u8]) -> Result<Vec<u8>, String> {
    // What the frame declares is what would be allocated.
    match get_frame_content_size(frame) {
        Ok(Some(size)) if size <= MAX_RAW as u64 => {
            let mut decompressor = Decompressor::new().map_err(|error| error.to_string())?;
            decompressor.decompress(frame, size as usize).map_err(|error| error.to_string())
        }
        Ok(Some(size)) => Err(format!("it declares {size} bytes")),
        Ok(None) | Err(_) => Err("it is no zstd frame with a size".into()),
    }
}

/// Takes an entry off the front: its offset less the one before, and its body. `timestamp` moves on to its own.
fn take_entry<'a>(rest: &mut &'a [u8], timestamp: &mut i64) -> Option<(u64, &'a [u8])> {
    let delta = varint::take(rest)?;
    *timestamp = timestamp.wrapping_add(varint::take_signed(rest)?);
    let length = usize::try_from(varint::take(rest)?).ok()?;
    let (body, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some((delta, body))
}
