//! The records of a batch, decompressed a piece at a time.
//!
//! Pieces are small enough that a record is parsed while it is still in the processor's cache, and that what a batch expands
//! to doesn't matter: a batch of 1 MiB can expand to gigabytes. [`lz4`] and [`snappy`] come in blocks, each of which is
//! decompressed whole, into a buffer that is kept for this.

mod lz4;
mod snappy;

use std::cell::Cell;
use std::io::Read;
use std::ops::Range;

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name};

use super::What;

/// About how much is handed over at once, in bytes.
pub(super) const PIECE: usize = 16 << 10;

/// The largest window that a zstd frame may want, as a power of two: as much as any of zstd's levels uses, and no more than
/// zstd itself allows unless told otherwise.
const ZSTD_WINDOW: u32 = 27;

/// What decompression needs that costs something to make, and so is used for one batch after another.
#[derive(Default)]
pub(super) struct Tools {
    /// What was decompressed last; its length only ever grows, so that it needn't be zeroed again.
    block: Vec<u8>,
    zstd: Option<DCtx<'static>>,
}

thread_local! {
    /// Left by the reader that this thread dropped last: answers are many, and some hold a batch or two.
    static SPARE: Cell<Option<Tools>> = const { Cell::new(None) };
}

impl Tools {
    /// How much of the buffer, and of zstd's window, is kept between readers: the largest block of LZ4, and the window of all
    /// but zstd's highest levels.
    const KEPT: usize = (4 << 20) + lz4::WINDOW;
    const KEPT_ZSTD: usize = 10 << 20;

    /// Those that were kept, or new ones, which are empty.
    pub(super) fn take() -> Self {
        SPARE.take().unwrap_or_default()
    }

    /// Leaves them to a later reader.
    pub(super) fn keep(mut self) {
        if self.block.capacity() > Self::KEPT {
            self.block = Vec::new();
        }
        self.zstd = self.zstd.take().filter(|context| context.sizeof() <= Self::KEPT_ZSTD);
        // A thread that ends may have ended its locals already: then they are dropped.
        let _ = SPARE.try_with(|spare| spare.set(Some(self)));
    }

    /// How many bytes are held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.block.capacity() + self.zstd.as_ref().map_or(0, DCtx::sizeof)
    }

    /// At least so many bytes of the buffer.
    fn block(&mut self, len: usize) -> &mut [u8] {
        grown(&mut self.block, len)
    }
}

/// At least so many bytes of a buffer, whatever they are.
fn grown(block: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if block.len() < len {
        block.resize(len, 0);
    }
    block
}

/// The records of one batch, as far as they weren't taken out yet.
pub(super) enum Source {
    /// Not compressed: all of them, and where what's left begins.
    Plain(Bytes, usize),
    /// Gzip, of one member or several.
    Gzip(Box<MultiGzDecoder<Reader<Bytes>>>),
    /// Raw blocks of Snappy.
    Snappy(snappy::Blocks, Range<usize>),
    /// A frame of LZ4; with what's left of the block decompressed last.
    Lz4(lz4::Frame, Range<usize>),
    /// Zstandard: what's left, and whether it is in the middle of a frame.
    Zstd(Bytes, bool),
}

impl Source {
    /// What is in `records`, compressed with the codec of this number; `None` if there is no such codec.
    pub(super) fn new(codec: u8, records: Bytes, tools: &mut Tools) -> Option<Result<Self, What>> {
        Some(Ok(match codec {
            0 => Source::Plain(records, 0),
            1 => Source::Gzip(Box::new(MultiGzDecoder::new(records.reader()))),
            2 => Source::Snappy(snappy::Blocks::new(records), 0..0),
            3 => match lz4::Frame::new(records) {
                Ok(frame) => Source::Lz4(frame, 0..0),
                Err(what) => return Some(Err(what)),
            },
            4 => match prepare(&mut tools.zstd) {
                Ok(()) => Source::Zstd(records, false),
                Err(what) => return Some(Err(what)),
            },
            _ => return None,
        }))
    }

    /// Appends the next piece to `buffer`; more than that if so much is `wanted` and there at once. Returns its length, which
    /// is 0 at the end.
    pub(super) fn more(&mut self, tools: &mut Tools, buffer: &mut Vec<u8>, wanted: usize) -> Result<usize, What> {
        let most = wanted.max(PIECE);
        match self {
            Source::Plain(records, at) => {
                let piece = &records[*at..];
                let piece = &piece[..piece.len().min(most)];
                buffer.extend_from_slice(piece);
                *at += piece.len();
                Ok(piece.len())
            }
            Source::Gzip(decoder) => {
                let block = &mut tools.block(PIECE)[..PIECE];
                let len = decoder.read(block).map_err(|error| format!("its gzip is damaged: {error}"))?;
                buffer.extend_from_slice(&block[..len]);
                Ok(len)
            }
            Source::Snappy(blocks, ready) => {
                while Range::is_empty(ready) {
                    let Some(next) = blocks.next(&mut tools.block)? else { return Ok(0) };
                    *ready = next;
                }
                Ok(append(&tools.block, ready, most, buffer))
            }
            Source::Lz4(frame, ready) => {
                while Range::is_empty(ready) {
                    let Some(next) = frame.next(&mut tools.block)? else { return Ok(0) };
                    *ready = next;
                }
                Ok(append(&tools.block, ready, most, buffer))
            }
            Source::Zstd(records, open) => zstd(tools, records, open, buffer),
        }
    }

    /// Takes back what `more` has appended last, or says that it can't.
    pub(super) fn take_back(&mut self, len: usize) -> bool {
        match self {
            Source::Plain(_, at) if len <= *at => {
                *at -= len;
                true
            }
            _ => false,
        }
    }
}

/// Appends what is ready, or `most` of it.
fn append(block: &[u8], ready: &mut Range<usize>, most: usize, buffer: &mut Vec<u8>) -> usize {
    let len = ready.len().min(most);
    buffer.extend_from_slice(&block[ready.start..ready.start + len]);
    ready.start += len;
    len
}

/// Sees to it that there is a context, which begins anew.
fn prepare(context: &mut Option<DCtx<'static>>) -> Result<(), What> {
    if let Some(context) = context {
        // What is left of a batch that wasn't read to its end.
        return context.reset(ResetDirective::SessionOnly).map(drop).map_err(zstd_error);
    }
    let mut made = DCtx::try_create().ok_or("there is no memory for a zstd context")?;
    made.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW)).map_err(zstd_error)?;
    *context = Some(made);
    Ok(())
}

fn zstd(tools: &mut Tools, records: &mut Bytes, open: &mut bool, buffer: &mut Vec<u8>) -> Result<usize, What> {
    let block = &mut grown(&mut tools.block, PIECE)[..PIECE];
    let context = tools.zstd.as_mut().ok_or("there is no zstd context")?;
    while *open || !records.is_empty() {
        let mut input = InBuffer::around(records);
        let mut output = OutBuffer::around(&mut *block);
        let hint = context.decompress_stream(&mut output, &mut input).map_err(zstd_error)?;
        let (read, written) = (input.pos(), output.pos());
        *open = hint != 0;
        records.advance(read);
        if written > 0 {
            buffer.extend_from_slice(&block[..written]);
            return Ok(written);
        }
        if read == 0 && (*open || !records.is_empty()) {
            return Err("its zstd ends in the middle".into());
        }
    }
    Ok(0)
}

fn zstd_error(code: usize) -> What {
    format!("its zstd is damaged: {}", get_error_name(code)).into()
}
