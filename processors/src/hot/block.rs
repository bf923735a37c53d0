//! The block: its key, its statistics and its contents.
//!
//! A block holds *all* entries of its card in its partition from the offset of its first to that of its last. It lies
//! within one bucket of time and one [`SEGMENT`] of offsets. Its contents are a version byte and a zstd frame, with
//! content size and checksum, over one entry after another:
//!
//! | | |
//! |---|---|
//! | varint | its offset, less the one before |
//! | signed varint | its record timestamp, less the one before |
//! | varint | the length of its body |
//! | | its canonical body |

use std::fmt;

use agentworks_schemas::codec::{MAX_RECORD, decode_entry_body};
use agentworks_schemas::{Level, LogEntry, Position, Timestamp, TopicPartition};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, get_frame_content_size};

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

/// What a block says of itself, beside its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockStats {
    /// How many entries it holds.
    pub count: u32,
    /// The least and the greatest record timestamp.
    pub time: (Timestamp, Timestamp),
    /// How many entries of each level, in the order of [`agentworks_schemas::Level::ALL`].
    pub levels: [u32; 5],
}

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
pub(super) struct BlockKey {
    pub(super) workspace: String,
    pub(super) card: String,
    pub(super) bucket: i64,
    pub(super) partition: TopicPartition,
    pub(super) epoch: u32,
    /// The offsets of its first and its last entry.
    pub(super) first: i64,
    pub(super) last: i64,
}

impl fmt::Display for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BlockKey { workspace, card, bucket, partition, epoch, first, last } = self;
        write!(f, "hot block {workspace}/{card}/{bucket} {partition}/{epoch}@{first}..={last}")
    }
}

impl BlockStats {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        varint::put(&mut out, self.count.into());
        varint::put_signed(&mut out, self.time.0.millis());
        varint::put_signed(&mut out, self.time.1.millis());
        self.levels.iter().for_each(|level| varint::put(&mut out, (*level).into()));
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, mut rest) = bytes.split_first()? else { return None };
        let count = u32::try_from(varint::take(&mut rest)?).ok()?;
        let time = (Timestamp(varint::take_signed(&mut rest)?), Timestamp(varint::take_signed(&mut rest)?));
        let mut levels = [0; 5];
        for level in &mut levels {
            *level = u32::try_from(varint::take(&mut rest)?).ok()?;
        }
        rest.is_empty().then_some(BlockStats { count, time, levels })
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
        let time = (Timestamp(i64::MAX), Timestamp(i64::MIN));
        let stats = BlockStats { count: 0, time, levels: [0; 5] };
        BlockBuilder { first, last: first, last_timestamp: Timestamp(0), stats, raw: Vec::new() }
    }

    /// Adds an entry, which comes after all that are there.
    pub(super) fn push(&mut self, offset: i64, timestamp: Timestamp, level: Level, body: &[u8]) {
        varint::put(&mut self.raw, offset.abs_diff(self.last));
        varint::put_signed(&mut self.raw, timestamp.millis().wrapping_sub(self.last_timestamp.millis()));
        varint::put(&mut self.raw, body.len() as u64);
        self.raw.extend_from_slice(body);
        (self.last, self.last_timestamp) = (offset, timestamp);
        self.stats.count += 1;
        self.stats.time = (self.stats.time.0.min(timestamp), self.stats.time.1.max(timestamp));
        self.stats.levels[level as usize] += 1;
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
