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
use zstd::zstd_safe::{CParameter, compress_bound, get_frame_content_size};

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

/// A block's memory comes in pieces of this size; only its first one begins small and doubles. So a block of a run that
/// writes little takes little, none takes much more than it holds, and what is there isn't copied when more comes.
const PIECE: usize = 16 << 10;

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
    pieces: Vec<Vec<u8>>,
    /// The bytes and the capacity of all pieces.
    len: usize,
    capacity: usize,
}

impl BlockBuilder {
    /// An empty block, to whose entries one at `first` comes first.
    pub(super) fn new(first: i64) -> Self {
        let stats = BlockStats::new();
        BlockBuilder {
            first,
            last: first,
            last_timestamp: Timestamp(0),
            stats,
            pieces: Vec::new(),
            len: 0,
            capacity: 0,
        }
    }

    /// Adds an entry, which comes after all that are there, and its canonical body.
    pub(super) fn push(&mut self, offset: i64, timestamp: Timestamp, entry: &LogEntry<'_>, body: &[u8]) {
        let (delta, last_timestamp) = (offset.abs_diff(self.last), self.last_timestamp.millis());
        let piece = self.room_for(FRAMING + body.len());
        let before = piece.len();
        varint::put(piece, delta);
        varint::put_signed(piece, timestamp.millis().wrapping_sub(last_timestamp));
        varint::put(piece, body.len() as u64);
        piece.extend_from_slice(body);
        self.len += piece.len() - before;
        (self.last, self.last_timestamp) = (offset, timestamp);
        self.stats.add(timestamp, entry);
    }

    /// The piece that takes so many bytes more.
    fn room_for(&mut self, bytes: usize) -> &mut Vec<u8> {
        let has_room = |piece: &Vec<u8>| piece.capacity() - piece.len() >= bytes;
        match &mut self.pieces[..] {
            [.., last] if has_room(last) => {}
            [first] if first.len() + bytes <= PIECE => {
                let capacity = (2 * first.capacity()).clamp(first.len() + bytes, PIECE);
                first.reserve_exact(capacity - first.len());
                self.capacity = first.capacity();
            }
            pieces => {
                let capacity = if pieces.is_empty() { bytes } else { PIECE.max(bytes) };
                self.pieces.push(Vec::with_capacity(capacity));
                self.capacity += capacity;
            }
        }
        let last = self.pieces.len() - 1;
        &mut self.pieces[last]
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
        self.len
    }

    /// The memory that it takes.
    pub(super) fn memory(&self) -> usize {
        self.capacity + self.pieces.capacity() * size_of::<Vec<u8>>()
    }

    /// Its contents, compressed.
    pub(super) fn compress(&self, packer: &mut Packer) -> std::io::Result<Vec<u8>> {
        let Packer { compressor, raw, frame } = packer;
        raw.clear();
        self.pieces.iter().for_each(|piece| raw.extend_from_slice(piece));
        frame.clear();
        frame.reserve(compress_bound(raw.len()));
        compressor.compress_to_buffer(raw, frame)?;
        let mut contents = Vec::with_capacity(1 + frame.len());
        contents.push(VERSION);
        contents.extend_from_slice(frame);
        Ok(contents)
    }
}

/// What compresses blocks, and the memory for it. Making one costs more than a small block: use it again.
pub(super) struct Packer {
    compressor: Compressor<'static>,
    raw: Vec<u8>,
    frame: Vec<u8>,
}

impl Packer {
    pub(super) fn new(level: i32) -> std::io::Result<Self> {
        let mut compressor = Compressor::new(level)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Packer { compressor, raw: Vec::new(), frame: Vec::new() })
    }
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
