//! Frames of LZ4, read by ourselves: `lz4_flex`'s own decoder allocates two buffers of a block's size for each frame, and
//! zeroes one, and a batch is a frame; blocks are of 64 KiB to 4 MiB, while many a batch has a few KiB.
//! <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>

use std::ops::Range;

use bytes::{Buf, Bytes};
use lz4_flex::block::{decompress_into, decompress_into_with_dict};

use super::{What, grown};

/// How far back a block may refer to those before it, if they are linked.
pub(in super::super) const WINDOW: usize = 64 << 10;

const MAGIC: u32 = 0x184D_2204;

/// The most that LZ4 makes of a byte, and what is to spare for a block's first bytes.
const EXPANSION: usize = 255;
const SPARE: usize = 64;

/// A frame. Its checksums are passed over, since that of the batch covers all.
pub(in super::super) struct Frame {
    left: Bytes,
    /// The most bytes that a block has, decompressed.
    block_size: usize,
    /// Whether a checksum follows each block.
    checksums: bool,
    /// Where in the buffer blocks are decompressed to: behind a window, if they are linked.
    base: usize,
    /// How much of the window is filled, at its end.
    history: usize,
    /// The length of the last block.
    last: usize,
}

impl Frame {
    pub(super) fn new(mut records: Bytes) -> Result<Self, What> {
        if records.len() < 7 {
            return Err("its LZ4 has no whole header".into());
        }
        let magic = records.get_u32_le();
        let (flags, sizes) = (records.get_u8(), records.get_u8());
        if magic != MAGIC || flags >> 6 != 1 {
            return Err("its LZ4 doesn't begin with a header".into());
        }
        if flags & 0x01 != 0 {
            return Err("its LZ4 needs a dictionary".into());
        }
        let block_size = match (sizes >> 4) & 0x07 {
            size @ 4..=7 => 1 << (8 + 2 * u32::from(size)),
            size => return Err(format!("its LZ4 has blocks of no known size ({size})").into()),
        };
        // The content's size, which is of no use here, and the header's checksum.
        let rest = if flags & 0x08 != 0 { 8 + 1 } else { 1 };
        if records.len() < rest {
            return Err("its LZ4 has no whole header".into());
        }
        records.advance(rest);
        let base = if flags & 0x20 != 0 { 0 } else { WINDOW };
        Ok(Frame { left: records, block_size, checksums: flags & 0x10 != 0, base, history: 0, last: 0 })
    }

    /// Decompresses the next block. Returns where in `block` it lies; `None` at the end.
    pub(super) fn next(&mut self, block: &mut Vec<u8>) -> Result<Option<Range<usize>>, What> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let head = self.left.try_get_u32_le().map_err(|_| "its LZ4 ends in the middle")?;
        if head == 0 {
            // The end; perhaps a checksum follows, but no more records.
            self.left.clear();
            return Ok(None);
        }
        let (compressed, len) = (head >> 31 == 0, (head & 0x7fff_ffff) as usize);
        if len > self.block_size || len + if self.checksums { 4 } else { 0 } > self.left.len() {
            return Err("a block of its LZ4 goes beyond its end".into());
        }
        self.remember(block);

        let most = if compressed { self.block_size.min(len * EXPANSION + SPARE) } else { len };
        let (before, output) = grown(block, self.base + most).split_at_mut(self.base);
        let output = &mut output[..most];
        let history = &before[self.base - self.history..];
        let input = &self.left[..len];
        self.last = if !compressed {
            output.copy_from_slice(input);
            len
        } else if history.is_empty() {
            decompress_into(input, output).map_err(damaged)?
        } else {
            decompress_into_with_dict(input, output, history).map_err(damaged)?
        };
        self.left.advance(if self.checksums { len + 4 } else { len });
        Ok(Some(self.base..self.base + self.last))
    }

    /// Moves the end of the last block, and of what is remembered from before it, to before where the next one goes.
    fn remember(&mut self, block: &mut [u8]) {
        if self.base == 0 || self.last == 0 {
            return;
        }
        let end = self.base + self.last;
        let kept = (self.history + self.last).min(WINDOW);
        block.copy_within(end - kept..end, self.base - kept);
        self.history = kept;
        self.last = 0;
    }
}

fn damaged(error: lz4_flex::block::DecompressError) -> What {
    format!("its LZ4 is damaged: {error}").into()
}
