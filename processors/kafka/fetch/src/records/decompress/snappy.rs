//! Snappy, in blocks: librdkafka and others write one for all of a batch; Java's library, xerial's, a header and then
//! blocks of 32 KiB, each with its length before it.
//! <https://github.com/xerial/snappy-java#compatibility-notes>

use std::ops::Range;

use bytes::{Buf, Bytes};
use snap::raw::{Decoder, decompress_len};

use super::{What, grown};

/// What xerial's header begins with; two versions of four bytes each follow.
const MAGIC: &[u8] = b"\x82SNAPPY\0";

/// Its length.
const HEADER: usize = MAGIC.len() + 8;

/// The most that a block may expand to: 64 MiB.
const MOST: usize = 64 << 20;

/// The most that Snappy makes of a byte: three can stand for 64.
const EXPANSION: usize = 22;

/// The blocks of a batch.
pub(in super::super) struct Blocks {
    left: Bytes,
    xerial: bool,
}

impl Blocks {
    pub(super) fn new(mut records: Bytes) -> Self {
        let xerial = records.starts_with(MAGIC) && records.len() >= HEADER;
        if xerial {
            records.advance(HEADER);
        }
        Blocks { left: records, xerial }
    }

    /// Decompresses the next block. Returns where in `block` it lies; `None` at the end.
    pub(super) fn next(&mut self, block: &mut Vec<u8>) -> Result<Option<Range<usize>>, What> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let compressed = if self.xerial {
            let len = self.left.try_get_i32().ok().and_then(|len| usize::try_from(len).ok());
            let len = len.filter(|&len| len <= self.left.len()).ok_or("a block of its Snappy goes beyond its end")?;
            self.left.split_to(len)
        } else {
            std::mem::take(&mut self.left)
        };
        let len = decompress_len(&compressed).map_err(damaged)?;
        if len > MOST || len > compressed.len().saturating_mul(EXPANSION) {
            return Err(format!("a block of its Snappy claims to have {len} bytes").into());
        }
        let len = Decoder::new().decompress(&compressed, &mut grown(block, len)[..len]).map_err(damaged)?;
        Ok(Some(0..len))
    }
}

fn damaged(error: snap::Error) -> What {
    format!("its Snappy is damaged: {error}").into()
}
