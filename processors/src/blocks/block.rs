//! The block: its key and its contents.
//!
//! A block holds *all* entries of its owner in its partition from the offset of its first to that of its last. It lies
//! within one bucket and one [`SEGMENT`] of offsets. Its contents are a version byte, 2, and one or several
//! [frames](super::frame), each of them with some of the entries, together with all: first how many they are and the length
//! of each, as varints, then the frames. What was written before is of version 1: one frame, whose first offset is told
//! less the block's own.

use std::fmt;
use std::io;
use std::sync::Arc;

use agentworks_kafka::Record;
use agentworks_schemas::codec::{MAX_RECORD, decode_entry_body};
use agentworks_schemas::{LogEntry, Position, Timestamp, TopicPartition};
use agentworks_store::Table;

use super::frame::{self, Frame, FrameEntry, Packer};
use super::sharing::{Offer, Shared};
use super::stats::BlockStats;
use super::varint;
use crate::sink::SinkError;

/// No block crosses a multiple of this offset. So whoever has seen all blocks whose first offset lies in a segment knows
/// all that hold entries of it.
pub(super) const SEGMENT: i64 = 1 << 16;

/// Where the segment of an offset begins.
pub(super) fn segment_start(offset: i64) -> i64 {
    offset.div_euclid(SEGMENT) * SEGMENT
}

/// The most entry bytes that a block is filled with before it is closed.
pub(super) const MAX_FILL: usize = 4 << 20;

/// A block is closed before it has more bytes than this, framing included.
pub(super) const MAX_RAW: usize = MAX_FILL + MAX_RECORD + 64;

const OLD: u8 = 1;
const VERSION: u8 = 2;

/// A block of several frames keeps them if they have so many bytes each, before compression, on average. Smaller ones
/// compress too badly, and are made one.
const KEEP: usize = 16 << 10;

/// How many frames a block has for entries of one card and one run each. The entries of more have one for all, which is
/// not shared.
const STRANDS: usize = 8;

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

/// A block that is being filled, or waits to be written.
#[derive(Debug)]
pub(super) struct Block {
    first: i64,
    last: i64,
    len: usize,
    parts: Vec<Part>,
    /// The part that took the last entry.
    current: usize,
}

/// A frame as part of a block: its entries up to `last`.
#[derive(Debug)]
struct Part {
    frame: Arc<Frame>,
    strand: Strand,
    last: i64,
}

/// Which entries a block puts into a frame.
#[derive(Debug, PartialEq, Eq)]
enum Strand {
    /// Those of one card and one run: of these, the one that isn't the block's owner.
    Of(Box<str>),
    /// All for which there is no other.
    Mixed,
    /// Those that another tier puts there, or no more.
    Shared,
}

impl Block {
    /// An empty block, to whose entries one at `first` comes first.
    pub(super) fn new(first: i64) -> Self {
        Block { first, last: first, len: 0, parts: Vec::new(), current: 0 }
    }

    /// Adds an entry, which comes after all that are there. `strand` is its run in a block of a card, and its card in a
    /// block of a run. Returns by how much the block's memory grows.
    pub(super) fn put(
        &mut self,
        record: &Record<'_>,
        entry: &LogEntry<'_>,
        strand: &str,
        shared: &mut Shared<'_>,
    ) -> usize {
        let offset = record.offset;
        self.last = offset;
        if let Some(offered) = shared.offered(offset)
            && let Some(grown) = self.share(offset, offered)
        {
            self.len += record.body.len();
            return grown;
        }
        let (at, length, grown) = loop {
            let (is_new, at) = self.part_of(strand, offset);
            let part = &mut self.parts[at];
            match part.frame.push(offset, record.timestamp, entry, &record.body) {
                Some((length, grown)) if is_new => break (at, length, grown + size_of::<Part>() + size_of::<Frame>()),
                Some((length, grown)) => break (at, length, grown),
                // Another tier, of whose block it is a part too, has sealed it.
                None => part.strand = Strand::Shared,
            }
        };
        self.len += length;
        self.current = at;
        let part = &mut self.parts[at];
        let before = (part.frame.first() != offset).then_some(part.last);
        part.last = offset;
        if matches!(part.strand, Strand::Of(_)) {
            shared.offer(offset, before, &part.frame);
        }
        grown
    }

    /// Makes a frame that another tier has put an entry into part of the block, if all its entries up to this one are the
    /// block's. A tier that was ahead of the other for a while has put some elsewhere.
    fn share(&mut self, offset: i64, offered: &Offer) -> Option<usize> {
        match (offered.before, self.part_at(&offered.frame)) {
            (None, None) => {
                self.current = self.parts.len();
                self.parts.push(Part { frame: offered.frame.clone(), strand: Strand::Shared, last: offset });
                Some(size_of::<Part>())
            }
            (Some(before), Some(at)) if self.parts[at].last == before => {
                self.current = at;
                self.parts[at].last = offset;
                Some(0)
            }
            _ => None,
        }
    }

    /// Whether the entry that comes next belongs into the frame of another tier that took the last one.
    pub(super) fn goes_on(&self, offered: Option<&Offer>) -> bool {
        let current = self.parts.get(self.current);
        offered.zip(current).is_some_and(|(offered, part)| {
            Arc::ptr_eq(&offered.frame, &part.frame) && offered.before == Some(part.last)
        })
    }

    fn part_at(&self, frame: &Arc<Frame>) -> Option<usize> {
        let is_it = |part: &Part| Arc::ptr_eq(&part.frame, frame);
        if self.parts.get(self.current).is_some_and(is_it) {
            return Some(self.current);
        }
        self.parts.iter().rposition(is_it)
    }

    /// The part for entries of a strand, and whether it is a new one.
    fn part_of(&mut self, strand: &str, offset: i64) -> (bool, usize) {
        let is_it = |part: &Part| matches!(&part.strand, Strand::Of(own) if **own == *strand);
        if self.parts.get(self.current).is_some_and(is_it) {
            return (false, self.current);
        }
        let strands = self.parts.iter().filter(|part| matches!(part.strand, Strand::Of(_))).count();
        let wanted = match self.parts.iter().position(is_it) {
            Some(at) => return (false, at),
            None if strands < STRANDS => Strand::Of(strand.into()),
            None => match self.parts.iter().position(|part| part.strand == Strand::Mixed) {
                Some(at) => return (false, at),
                None => Strand::Mixed,
            },
        };
        // Whatever owns the block: a strand is of one card and one run.
        let frame = Arc::new(Frame::new(offset, matches!(wanted, Strand::Of(_))));
        self.parts.push(Part { frame, strand: wanted, last: offset });
        (true, self.parts.len() - 1)
    }

    /// Has nothing added any more to any of its frames.
    pub(super) fn seal(&self) {
        self.parts.iter().for_each(|part| part.frame.seal());
    }

    /// The offsets of its first and its last entry.
    pub(super) fn offsets(&self) -> (i64, i64) {
        (self.first, self.last)
    }

    /// Its bytes before compression, about: those that entries have beside their bodies aren't counted of frames that are
    /// shared.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The memory that it takes. Of a frame that is shared only the last to hold it has it counted.
    pub(super) fn memory(&self) -> usize {
        let of = |part: &Part| match part.strand {
            Strand::Shared if Arc::strong_count(&part.frame) > 1 => 0,
            _ => part.frame.memory(),
        };
        self.parts.capacity() * size_of::<Part>() + self.parts.iter().map(of).sum::<usize>()
    }

    /// Its statistics and its contents. It must have been sealed.
    pub(super) fn pack(&self, packer: &mut Packer) -> io::Result<(BlockStats, Vec<u8>)> {
        let frame = |part: &Part| match part.frame.last() == part.last {
            true => Ok(part.frame.clone()),
            // Another tier has gone further.
            false => part.frame.up_to(part.last).map(Arc::new),
        };
        let mut frames = self.parts.iter().map(frame).collect::<io::Result<Vec<_>>>()?;
        frames.sort_by_key(|frame| frame.first());
        let mut stats = BlockStats::new();
        frames.iter().for_each(|frame| frame.add_stats(&mut stats));
        let contents = match self.len >= KEEP * frames.len() || frames.len() == 1 {
            true => list(&frames.iter().map(|frame| frame.pack(packer)).collect::<io::Result<Vec<_>>>()?),
            false => list(&[packer.join(frames.iter().map(|frame| &**frame))?]),
        };
        Ok((stats, contents))
    }
}

fn list(frames: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let bytes: usize = frames.iter().map(|frame| frame.as_ref().len()).sum();
    let mut contents = Vec::with_capacity(8 + 4 * frames.len() + bytes);
    contents.push(VERSION);
    varint::put(&mut contents, frames.len() as u64);
    frames.iter().for_each(|frame| varint::put(&mut contents, frame.as_ref().len() as u64));
    frames.iter().for_each(|frame| contents.extend_from_slice(frame.as_ref()));
    contents
}

/// The entries of a block, by offset.
///
/// # Errors
/// [`SinkError::Corrupt`], which names the key, if the contents are not what was written under it.
pub(super) fn entries(key: &BlockKey, contents: &[u8]) -> Result<Vec<StoredEntry>, SinkError> {
    read(key, contents).map_err(|reason| SinkError::Corrupt(format!("{key}: {reason}")))
}

fn read(key: &BlockKey, contents: &[u8]) -> Result<Vec<StoredEntry>, String> {
    let (base, frames) = match contents.split_first() {
        Some((&OLD, frame)) => (key.first, vec![frame]),
        Some((&VERSION, rest)) => (0, take_frames(rest).ok_or("its frames can't be told apart")?),
        Some((version, _)) => return Err(format!("it has version {version}")),
        None => return Err("it is empty".into()),
    };
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for frame in &frames {
        let raw = frame::decompress(frame)?;
        bytes += raw.len();
        if bytes > MAX_RAW {
            return Err(format!("its frames hold {bytes} bytes and more"));
        }
        for entry in frame::entries(&raw, base) {
            let FrameEntry { offset, timestamp, body } = entry?;
            let entry = decode_entry_body(body).map_err(|error| format!("offset {offset}: {error}"))?.into_owned();
            let position = Position { partition: key.partition, epoch: key.epoch, offset };
            entries.push(StoredEntry { position, timestamp, entry });
        }
    }
    if frames.len() > 1 {
        entries.sort_by_key(|entry| entry.position.offset);
        if entries.windows(2).any(|two| two[0].position.offset == two[1].position.offset) {
            return Err("two frames hold the same offset".into());
        }
    }
    match (entries.first(), entries.last()) {
        (Some(first), Some(last)) if (first.position.offset, last.position.offset) == (key.first, key.last) => {
            Ok(entries)
        }
        _ => Err("it holds other offsets".into()),
    }
}

fn take_frames(mut rest: &[u8]) -> Option<Vec<&[u8]>> {
    let count = varint::take(&mut rest)?;
    let mut lengths = Vec::new();
    for _ in 0..count {
        lengths.push(usize::try_from(varint::take(&mut rest)?).ok()?);
    }
    let frames = lengths.into_iter().map(|length| {
        let (frame, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(frame)
    });
    let frames = frames.collect::<Option<Vec<_>>>()?;
    rest.is_empty().then_some(frames)
}
