//! Files that lie in a split in blocks of zstd.
//!
//! Postings have a byte where a bit would do, above all those of words that few entries have. In splits that stay they are
//! packed, and what a search reads of them is unpacked, a block at a time; blocks that were unpacked lately are at hand.
//!
//! | bytes | |
//! |---|---|
//! | | the blocks: each a frame of [`BLOCK`] bytes of the file, the last one of what is left |
//! | 8 each | where each block ends |
//!
//! Numbers are little-endian. How long the file is unpacked, and with that how many blocks there are, the split's footer says.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use tantivy::HasLen;
use tantivy::directory::{FileHandle, OwnedBytes};
use zstd::bulk::Compressor;

use super::unpacked::{Unpacked, keep, number_of_file, unpack, unpacked};

/// How much of a file is in a block.
const BLOCK: usize = 32 << 10;
/// The level of zstd: 9 takes four times as long and saves a hundredth.
const LEVEL: i32 = 3;
/// How many bytes the end of a block takes.
const END: usize = 8;
/// Reads of more blocks than this leave nothing behind: they would drive out everything else.
const MANY: usize = 16;

/// Writes a file in blocks: hands what is to be written to `out`, one after the other.
///
/// # Errors
/// Of `out`.
pub(super) fn pack(file: &[u8], mut out: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let (mut compressor, mut end, mut ends) = (Compressor::new(LEVEL)?, 0u64, Vec::new());
    for block in file.chunks(BLOCK) {
        let packed = compressor.compress(block)?;
        out(&packed)?;
        end += packed.len() as u64;
        ends.extend_from_slice(&end.to_le_bytes());
    }
    out(&ends)
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
}

impl PackedFile {
    /// The file of so many bytes that was [packed](pack) into these.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn open(packed: OwnedBytes, length: u64) -> Result<Self, &'static str> {
        let length = usize::try_from(length).map_err(|_| "has a file that is too long for this machine")?;
        let table = length.div_ceil(BLOCK).checked_mul(END).and_then(|table| packed.len().checked_sub(table));
        let (blocks, ends) = packed.split(table.ok_or("has a file of more blocks than there is room for")?);
        let file = PackedFile { blocks, ends, length, number: number_of_file() };
        let count = file.ends.len() / END;
        let ascend = (0..count).all(|block| file.start(block) < file.start(block + 1));
        match ascend && file.start(count) == file.blocks.len() {
            true => Ok(file),
            false => Err("has a file whose blocks don't follow each other"),
        }
    }

    /// Where a block begins; of the one after the last, where that ends.
    fn start(&self, block: usize) -> usize {
        let (ends, _) = self.ends.as_chunks::<END>();
        block.checked_sub(1).map_or(0, |before| u64::from_le_bytes(ends[before]) as usize)
    }

    fn block(&self, number: usize, is_kept: bool) -> io::Result<OwnedBytes> {
        if let Some(known) = unpacked(self.number, number) {
            return Ok(known.bytes.clone());
        }
        let length = BLOCK.min(self.length - number * BLOCK);
        let mut bytes = Vec::new();
        unpack(&self.blocks[self.start(number)..self.start(number + 1)], None, length, &mut bytes)?;
        if bytes.len() != length {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a block has less than it should"));
        }
        let bytes = OwnedBytes::new(bytes);
        if is_kept {
            keep(self.number, number, Arc::new(Unpacked { bytes: bytes.clone(), ends: Vec::new() }));
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
        let is_kept = last - first < MANY;
        let mut bytes = Vec::with_capacity(range.len());
        for block in first..=last {
            bytes.extend_from_slice(&self.block(block, is_kept)?[part(block)]);
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

    fn packed(file: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        pack(file, |bytes| {
            packed.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        packed
    }

    fn open(packed: &[u8], length: usize) -> Result<PackedFile, &'static str> {
        PackedFile::open(OwnedBytes::new(packed.to_vec()), length as u64)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_range_is_read(
            length in prop_oneof![Just(BLOCK), 1..BLOCK * 40],
            reads in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..20),
        ) {
            let file = file(length);
            let packed = packed(&file);
            let read = open(&packed, length).unwrap();
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
    fn what_is_damaged_is_refused() {
        let file = file(BLOCK * 3 + 5);
        let packed = packed(&file);
        for length in (0..packed.len()).step_by(7) {
            assert!(open(&packed[..length], file.len()).is_err());
        }
        for length in [0, 1, BLOCK, file.len() + BLOCK, usize::MAX] {
            assert!(open(&packed, length).is_err());
        }
        for at in 0..packed.len() {
            let mut other = packed.clone();
            other[at] ^= 0x41;
            // It is refused, or read as something, and nothing panics.
            let Ok(read) = open(&other, file.len()) else { continue };
            let _ = read.read_bytes(0..file.len());
        }
        assert!(open(&packed, file.len()).unwrap().read_bytes(5..file.len() + 1).is_err());
    }
}
