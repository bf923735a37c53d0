//! The frame: entries of one owner, compressed together.
//!
//! Blocks are made of frames. Where a frame's entries are of one card and one run, it may be part of a block of each: so
//! hot and warm copy, count and compress them once (see [`super::sharing`]). Whoever made it adds to it, until anybody
//! seals it because a block that it is part of is closed.
//!
//! As bytes it is a zstd frame, with content size and checksum, over one entry after another:
//!
//! | | |
//! |---|---|
//! | varint | its offset, less the one before |
//! | signed varint | its record timestamp, less the one before |
//! | varint | the length of its body |
//! | | its canonical body |
//!
//! Those of the first entry are whole.

use std::io;

use agentworks_schemas::codec::decode_entry_body;
use agentworks_schemas::{LogEntry, Timestamp};
use bytes::Bytes;
use parking_lot::Mutex;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, compress_bound, get_frame_content_size};

use super::block::MAX_RAW;
use super::stats::BlockStats;
use super::varint;

/// The most bytes that an entry has beside its body: three numbers.
const FRAMING: usize = 30;

/// A frame's memory comes in pieces of this size; only its first one begins small and doubles. So a frame of a run that
/// writes little takes little, none takes much more than it holds, and what is there isn't copied when more comes.
const PIECE: usize = 16 << 10;

/// A frame that is being filled, or was.
#[derive(Debug)]
pub(super) struct Frame {
    first: i64,
    is_of_one_run: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: i64,
    last_timestamp: Timestamp,
    stats: BlockStats,
    /// Its bytes before compression.
    len: usize,
    is_sealed: bool,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    /// Entries one after the other, and the capacity of all pieces.
    Raw(Vec<Vec<u8>>, usize),
    /// The same, compressed.
    Packed(Bytes),
}

/// An entry as it lies in a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameEntry<'a> {
    pub(super) offset: i64,
    pub(super) timestamp: Timestamp,
    /// Its canonical body.
    pub(super) body: &'a [u8],
}

impl Frame {
    /// An empty frame, to whose entries one at `first` comes first. All may be of one run, which is noted once then.
    pub(super) fn new(first: i64, is_of_one_run: bool) -> Self {
        let state = State {
            last: 0,
            last_timestamp: Timestamp(0),
            stats: BlockStats::new(),
            len: 0,
            is_sealed: false,
            contents: Contents::Raw(Vec::new(), 0),
        };
        Frame { first, is_of_one_run, state: Mutex::new(state) }
    }

    /// Adds an entry, which comes after all that are there, and its canonical body. Returns how many bytes longer that
    /// makes it, and by how many its memory grows; nothing if it has been sealed.
    pub(super) fn push(
        &self,
        offset: i64,
        timestamp: Timestamp,
        entry: &LogEntry<'_>,
        body: &[u8],
    ) -> Option<(usize, usize)> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Contents::Raw(pieces, capacity) = &mut state.contents else { return None };
        if state.is_sealed {
            return None;
        }
        let before = *capacity;
        let piece = room_for(pieces, capacity, FRAMING + body.len());
        let length = append(piece, (state.last, state.last_timestamp), FrameEntry { offset, timestamp, body });
        state.len += length;
        (state.last, state.last_timestamp) = (offset, timestamp);
        state.stats.add(timestamp, entry, self.is_of_one_run);
        Some((length, *capacity - before))
    }

    /// Has nothing added any more.
    pub(super) fn seal(&self) {
        self.state.lock().is_sealed = true;
    }

    /// The offset of its first entry.
    pub(super) fn first(&self) -> i64 {
        self.first
    }

    /// The offset of its last entry.
    pub(super) fn last(&self) -> i64 {
        self.state.lock().last
    }

    /// Its bytes before compression.
    pub(super) fn len(&self) -> usize {
        self.state.lock().len
    }

    /// The memory that it takes.
    pub(super) fn memory(&self) -> usize {
        size_of::<Frame>()
            + match &self.state.lock().contents {
                Contents::Raw(pieces, capacity) => capacity + pieces.capacity() * size_of::<Vec<u8>>(),
                Contents::Packed(bytes) => bytes.len(),
            }
    }

    /// Adds what its entries say of themselves to `stats`.
    pub(super) fn add_stats(&self, stats: &mut BlockStats) {
        stats.merge(&self.state.lock().stats);
    }

    /// Seals it, and compresses it unless that has been done. Whoever comes meanwhile waits for it.
    pub(super) fn pack(&self, packer: &mut Packer) -> io::Result<Bytes> {
        let mut state = self.state.lock();
        state.is_sealed = true;
        let pieces = match &state.contents {
            Contents::Packed(bytes) => return Ok(bytes.clone()),
            Contents::Raw(pieces, _) => pieces,
        };
        packer.raw.clear();
        pieces.iter().for_each(|piece| packer.raw.extend_from_slice(piece));
        let bytes = Bytes::copy_from_slice(packer.pack()?);
        state.contents = Contents::Packed(bytes.clone());
        Ok(bytes)
    }

    /// Appends its bytes before compression.
    pub(super) fn unpack(&self, raw: &mut Vec<u8>) -> io::Result<()> {
        match &self.state.lock().contents {
            Contents::Raw(pieces, _) => pieces.iter().for_each(|piece| raw.extend_from_slice(piece)),
            Contents::Packed(bytes) => raw.extend(decompress(bytes).map_err(io::Error::other)?),
        }
        Ok(())
    }

    /// A frame of its entries up to one.
    pub(super) fn up_to(&self, last: i64) -> io::Result<Frame> {
        let mut raw = Vec::new();
        self.unpack(&mut raw)?;
        let part = Frame::new(self.first, self.is_of_one_run);
        for entry in entries(&raw, 0) {
            let FrameEntry { offset, timestamp, body } = entry.map_err(io::Error::other)?;
            if offset > last {
                break;
            }
            part.push(offset, timestamp, &decode_entry_body(body).map_err(io::Error::other)?, body);
        }
        part.seal();
        Ok(part)
    }
}

/// The piece that takes so many bytes more.
fn room_for<'a>(pieces: &'a mut Vec<Vec<u8>>, memory: &mut usize, bytes: usize) -> &'a mut Vec<u8> {
    let has_room = |piece: &Vec<u8>| piece.capacity() - piece.len() >= bytes;
    match &mut pieces[..] {
        [.., last] if has_room(last) => {}
        [first] if first.len() + bytes <= PIECE => {
            let capacity = (2 * first.capacity()).clamp(first.len() + bytes, PIECE);
            first.reserve_exact(capacity - first.len());
            *memory = first.capacity();
        }
        pieces_so_far => {
            let capacity = if pieces_so_far.is_empty() { bytes } else { PIECE.max(bytes) };
            pieces.push(Vec::with_capacity(capacity));
            *memory += capacity;
        }
    }
    let last = pieces.len() - 1;
    &mut pieces[last]
}

/// Appends an entry that comes after one at this offset and time. Returns how many bytes that took.
fn append(out: &mut Vec<u8>, before: (i64, Timestamp), entry: FrameEntry<'_>) -> usize {
    let length = out.len();
    varint::put(out, entry.offset.abs_diff(before.0));
    varint::put_signed(out, entry.timestamp.millis().wrapping_sub(before.1.millis()));
    varint::put(out, entry.body.len() as u64);
    out.extend_from_slice(entry.body);
    out.len() - length
}

/// The entries of a frame, before compression. The first one's offset is told less `base`: 0, but in what was written
/// before.
pub(super) fn entries(mut raw: &[u8], base: i64) -> impl Iterator<Item = Result<FrameEntry<'_>, &'static str>> {
    let (mut offset, mut timestamp) = (base, 0i64);
    std::iter::from_fn(move || {
        if raw.is_empty() {
            return None;
        }
        let entry = take_entry(&mut raw, &mut timestamp).ok_or("an entry is cut short").and_then(|(delta, body)| {
            let next = i64::try_from(delta).ok().and_then(|delta| offset.checked_add(delta));
            offset = next.ok_or("an offset is too large")?;
            Ok(FrameEntry { offset, timestamp: Timestamp(timestamp), body })
        });
        if entry.is_err() {
            raw = &[];
        }
        Some(entry)
    })
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

/// A frame's bytes before compression.
pub(super) fn decompress(frame: &[u8]) -> Result<Vec<u8>, String> {
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

/// What compresses frames, and the memory for it. Making one costs more than a small frame: use it again.
pub(super) struct Packer {
    compressor: Compressor<'static>,
    raw: Vec<u8>,
    frame: Vec<u8>,
}

impl Packer {
    pub(super) fn new(level: i32) -> io::Result<Self> {
        let mut compressor = Compressor::new(level)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Packer { compressor, raw: Vec::new(), frame: Vec::new() })
    }

    /// The entries of several frames as one frame, by offset.
    pub(super) fn join<'a>(&mut self, frames: impl Iterator<Item = &'a Frame>) -> io::Result<&[u8]> {
        let frames = frames.map(|frame| {
            let mut raw = Vec::with_capacity(frame.len());
            frame.unpack(&mut raw).map(|()| raw)
        });
        let frames: Vec<_> = frames.collect::<io::Result<_>>()?;
        let all = frames.iter().flat_map(|raw| entries(raw, 0));
        let mut all: Vec<_> = all.collect::<Result<_, _>>().map_err(io::Error::other)?;
        all.sort_unstable_by_key(|entry| entry.offset);
        if all.windows(2).any(|two| two[0].offset == two[1].offset) {
            return Err(io::Error::other("two frames hold the same offset"));
        }
        self.raw.clear();
        let mut before = (0, Timestamp(0));
        for entry in all {
            append(&mut self.raw, before, entry);
            before = (entry.offset, entry.timestamp);
        }
        self.pack()
    }

    /// Compresses what is in `raw`.
    fn pack(&mut self) -> io::Result<&[u8]> {
        let Packer { compressor, raw, frame } = self;
        frame.clear();
        frame.reserve(compress_bound(raw.len()));
        compressor.compress_to_buffer(raw, frame)?;
        Ok(frame)
    }
}
