//! Files that lie in a split in blocks of zstd.
//!
//! Postings have a byte where a bit would do, above all those of words that few entries have. In splits that stay they are
//! packed, and what a search reads of them is unpacked, a block at a time; blocks that were unpacked lately are at hand.
//!
//! | bytes | |
//! |---|---|
//! | | the blocks: each a frame of [`BLOCK`] bytes of the file, the last one of what is left |
//! | 4 each | where each block ends |
//!
//! Numbers are little-endian. How long the file is unpacked, and with that how many blocks there are, the split's footer says.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;
use parking_lot::Mutex;
use tantivy::HasLen;
use tantivy::directory::{FileHandle, OwnedBytes};
use zstd::bulk::Compressor;

use super::unpack::unpack;

/// How much of a file is in a block.
const BLOCK: usize = 32 << 10;
/// The level of zstd: what is packed is read for long.
const LEVEL: i32 = 9;
/// Reads of more blocks than this leave nothing behind: they would drive out everything else.
const MANY: usize = 16;

/// A file in blocks; `None` if that saves too little to be worth it.
pub(super) fn pack(file: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let (mut compressor, mut out, mut ends) = (Compressor::new(LEVEL)?, Vec::new(), Vec::new());
    for block in file.chunks(BLOCK) {
        out.extend_from_slice(&compressor.compress(block)?);
        ends.extend_from_slice(&u32::try_from(out.len()).map_err(io::Error::other)?.to_le_bytes());
    }
    out.extend_from_slice(&ends);
    Ok((out.len() < file.len() - file.len() / 16).then_some(out))
}

/// Blocks that were unpacked lately, of all files of a process. Clones share them.
#[derive(Clone)]
pub struct Unpacked(Arc<Mutex<LruCache<(u64, usize), OwnedBytes>>>);

impl Unpacked {
    /// At most so many bytes of them.
    pub fn new(bytes: usize) -> Self {
        let blocks = NonZeroUsize::new(bytes / BLOCK).unwrap_or(NonZeroUsize::MIN);
        Unpacked(Arc::new(Mutex::new(LruCache::new(blocks))))
    }
}

impl Default for Unpacked {
    /// 8 MiB, for who has one split.
    fn default() -> Self {
        Unpacked::new(8 << 20)
    }
}

impl fmt::Debug for Unpacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unpacked").field(&self.0.lock().len()).finish()
    }
}

/// A file that is packed.
#[derive(Debug)]
pub(crate) struct PackedFile {
    blocks: OwnedBytes,
    ends: OwnedBytes,
    /// How long it is.
    length: usize,
    /// Its number among all that were opened.
    number: u64,
    unpacked: Unpacked,
}

impl PackedFile {
    /// The file of so many bytes that was [packed](pack) into these.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn open(packed: OwnedBytes, length: u64, unpacked: Unpacked) -> Result<Self, &'static str> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);

        let length = usize::try_from(length).map_err(|_| "has a file that is too long for this machine")?;
        let table = length.div_ceil(BLOCK).checked_mul(4).and_then(|table| packed.len().checked_sub(table));
        let (blocks, ends) = packed.split(table.ok_or("has a file of more blocks than there is room for")?);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let file = PackedFile { blocks, ends, length, number, unpacked };
        let count = file.ends.len() / 4;
        let ascend = (0..count).all(|block| file.start(block) < file.start(block + 1));
        match ascend && file.start(count) == file.blocks.len() {
            true => Ok(file),
            false => Err("has a file whose blocks don't follow each other"),
        }
    }

    /// Where a block begins; of the one after the last, where that ends.
    fn start(&self, block: usize) -> usize {
        let end =
            |at: usize| u32::from_le_bytes([self.ends[at], self.ends[at + 1], self.ends[at + 2], self.ends[at + 3]]);
        block.checked_sub(1).map_or(0, |before| end(before * 4) as usize)
    }

    fn block(&self, number: usize, keep: bool) -> io::Result<OwnedBytes> {
        let key = (self.number, number);
        if let Some(known) = self.unpacked.0.lock().get(&key) {
            return Ok(known.clone());
        }
        let length = BLOCK.min(self.length - number * BLOCK);
        let mut bytes = Vec::new();
        unpack(&self.blocks[self.start(number)..self.start(number + 1)], None, length, &mut bytes)?;
        if bytes.len() != length {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a block has less than it should"));
        }
        let bytes = OwnedBytes::new(bytes);
        if keep {
            self.unpacked.0.lock().put(key, bytes.clone());
        }
        Ok(bytes)
    }
}

impl HasLen for PackedFile {
    fn len(&self) -> usize {
        self.length
    }
}

impl FileHandle for PackedFile {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        if range.start >= range.end {
            return Ok(OwnedBytes::empty());
        }
        if range.end > self.length {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file is shorter than what is read of it"));
        }
        let (first, last) = (range.start / BLOCK, (range.end - 1) / BLOCK);
        let part = |block: usize| {
            range.start.max(block * BLOCK) - block * BLOCK..range.end.min((block + 1) * BLOCK) - block * BLOCK
        };
        if first == last {
            return Ok(self.block(first, true)?.slice(part(first)));
        }
        let keep = last - first < MANY;
        let mut bytes = Vec::with_capacity(range.len());
        for block in first..=last {
            bytes.extend_from_slice(&self.block(block, keep)?[part(block)]);
        }
        Ok(OwnedBytes::new(bytes))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn file(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 100 * (at % 7)) as u8).collect()
    }

    fn open(packed: &[u8], length: usize, room: usize) -> Result<PackedFile, &'static str> {
        PackedFile::open(OwnedBytes::new(packed.to_vec()), length as u64, Unpacked::new(room))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_range_is_read(
            length in prop_oneof![Just(BLOCK), 1..BLOCK * 40],
            room in prop_oneof![Just(0), Just(BLOCK * 4), Just(BLOCK * 100)],
            reads in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..20),
        ) {
            let file = file(length);
            let packed = pack(&file).unwrap().unwrap();
            let read = open(&packed, length, room).unwrap();
            prop_assert_eq!(read.len(), length);
            for (one, other) in reads {
                let (one, other) = (one.index(length + 1), other.index(length + 1));
                let range = one.min(other)..one.max(other);
                let bytes = read.read_bytes(range.clone()).unwrap();
                prop_assert_eq!(bytes.as_slice(), &file[range]);
            }
        }
    }

    #[test]
    fn what_does_not_get_smaller_is_left() {
        let mut state = 1u64;
        let noise: Vec<u8> = (0..100_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        assert!(pack(&noise).unwrap().is_none() && pack(&[]).unwrap().is_none());
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let file = file(BLOCK * 3 + 5);
        let packed = pack(&file).unwrap().unwrap();
        for length in (0..packed.len()).step_by(7) {
            assert!(open(&packed[..length], file.len(), 0).is_err());
        }
        for length in [0, 1, BLOCK, file.len() + BLOCK, usize::MAX] {
            assert!(open(&packed, length, 0).is_err());
        }
        for at in 0..packed.len() {
            let mut other = packed.clone();
            other[at] ^= 0x41;
            // It is refused, or read as something, and nothing panics.
            let Ok(read) = open(&other, file.len(), 0) else { continue };
            let _ = read.read_bytes(0..file.len());
        }
        assert!(open(&packed, file.len(), 0).unwrap().read_bytes(5..file.len() + 1).is_err());
    }
}
