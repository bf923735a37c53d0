//! The bodies of a segment's entries, by their documents' numbers, apart from the index: its library's own store takes each
//! byte by itself, and knows no dictionaries.
//!
//! | bytes | |
//! |---|---|
//! | | the blocks, one after the other: each a frame of zstd of some bodies, each after its length (LEB128) |
//! | | the dictionary of the blocks, a frame of zstd itself; empty if they have none |
//! | 16 each | of each block: the number after its last document (4), its bytes unpacked (4), where it ends (8) |
//! | 4 | how many blocks there are |
//! | 4 | how long the dictionary is here |
//! | 8 | `AWBODY01` |
//!
//! Numbers are little-endian. The dictionary is some of the bodies themselves, a byte of zero before them so that they
//! aren't taken for a trained one. Training makes it no more than a twentieth better, and takes as long as compressing.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::OnceLock;

use agentworks_processors::blocks::varint;
use tantivy::DocId;
use tantivy::directory::OwnedBytes;
use zstd::bulk::Compressor;
use zstd::dict::DecoderDictionary;
use zstd::zstd_safe::{DCtx, get_error_name};

const MAGIC: &[u8; 8] = b"AWBODY01";
const TRAILER: usize = 16;
const ENTRY: usize = 16;

/// How many bytes of bodies are compressed together: each hit reads one such block.
const BLOCK: usize = 16 << 10;
/// How long a dictionary is at most; see [`dictionary`].
const DICTIONARY: usize = 112 << 10;
/// A dictionary has at most this share of what it is made of, or it would cost more than it saves.
const SHARE: usize = 32;
/// How much of a body a dictionary has at most.
const SAMPLE: usize = 4 << 10;
/// A longer block than this can't be.
const MAX_BLOCK: usize = 1 << 30;

/// What of a body is taken into a dictionary: one that is long isn't all of it.
pub fn sample(body: &[u8]) -> &[u8] {
    &body[..body.len().min(SAMPLE)]
}

/// A dictionary for bodies that have `all` bytes together: every so manieth of some of them, which have `bytes`.
pub fn dictionary<'b>(bodies: impl Iterator<Item = &'b [u8]>, bytes: usize, all: usize) -> Vec<u8> {
    let room = DICTIONARY.min(all / SHARE);
    if room < 1024 {
        return Vec::new();
    }
    let (mut taken, mut passed) = (Vec::with_capacity(room), 0);
    taken.push(0);
    for body in bodies {
        // As much of what was passed as of all of these.
        if taken.len() * bytes <= passed * room {
            taken.extend_from_slice(sample(body));
        }
        passed += body.len();
    }
    taken.truncate(room);
    taken
}

/// Writes bodies, those of the first document first.
pub struct BodiesWriter<W> {
    out: W,
    compressor: Compressor<'static>,
    dictionary: Vec<u8>,
    /// The block in the making.
    block: Vec<u8>,
    packed: Vec<u8>,
    docs: DocId,
    /// How many bytes are written.
    end: u64,
    index: Vec<u8>,
    blocks: u32,
}

impl<W: Write> BodiesWriter<W> {
    /// Writes to `out`, at a level of zstd, with a [`dictionary`], which may be empty.
    ///
    /// # Errors
    /// If zstd has no memory.
    pub fn new(out: W, level: i32, dictionary: Vec<u8>) -> io::Result<Self> {
        let compressor = match dictionary.is_empty() {
            true => Compressor::new(level)?,
            false => Compressor::with_dictionary(level, &dictionary)?,
        };
        let (block, packed, index) = (Vec::with_capacity(BLOCK * 2), Vec::new(), Vec::new());
        Ok(BodiesWriter { out, compressor, dictionary, block, packed, docs: 0, end: 0, index, blocks: 0 })
    }

    /// How many bodies it was given.
    pub fn docs(&self) -> DocId {
        self.docs
    }

    /// How many bytes were written.
    pub fn written(&self) -> u64 {
        self.end
    }

    /// How many bytes of memory it takes, what is written not counted.
    pub fn memory(&self) -> usize {
        self.dictionary.len() * 2 + self.block.capacity() + self.packed.capacity() + self.index.capacity()
    }

    /// Adds the body of the next document.
    ///
    /// # Errors
    /// Of what it writes to.
    pub fn push(&mut self, body: &[u8]) -> io::Result<()> {
        varint::put(&mut self.block, body.len() as u64);
        self.block.extend_from_slice(body);
        self.docs += 1;
        if self.block.len() >= BLOCK { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> io::Result<()> {
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(self.block.len()));
        self.compressor.compress_to_buffer(&self.block, &mut self.packed)?;
        self.out.write_all(&self.packed)?;
        self.end += self.packed.len() as u64;
        let unpacked = u32::try_from(self.block.len()).map_err(io::Error::other)?;
        self.index.extend_from_slice(&self.docs.to_le_bytes());
        self.index.extend_from_slice(&unpacked.to_le_bytes());
        self.index.extend_from_slice(&self.end.to_le_bytes());
        self.blocks += 1;
        self.block.clear();
        Ok(())
    }

    /// Writes the rest, and returns what it was written to.
    ///
    /// # Errors
    /// Of what it writes to.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        let dictionary = match self.dictionary.is_empty() {
            true => Vec::new(),
            false => zstd::bulk::compress(&self.dictionary, zstd::DEFAULT_COMPRESSION_LEVEL)?,
        };
        self.out.write_all(&dictionary)?;
        self.out.write_all(&self.index)?;
        self.out.write_all(&self.blocks.to_le_bytes())?;
        self.out.write_all(&(dictionary.len() as u32).to_le_bytes())?;
        self.out.write_all(MAGIC)?;
        Ok(self.out)
    }
}

/// The bodies of a segment.
pub struct Bodies {
    blocks: OwnedBytes,
    packed_dictionary: OwnedBytes,
    index: OwnedBytes,
    /// Unpacked when it is first needed.
    dictionary: OnceLock<DecoderDictionary<'static>>,
}

/// A block, as the index has it.
#[derive(Clone, Copy)]
struct Block {
    docs: DocId,
    unpacked: usize,
    end: u64,
}

impl Bodies {
    /// The bodies in a file that [`BodiesWriter`] has written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(file: OwnedBytes) -> Result<Self, &'static str> {
        let rest = file.len().checked_sub(TRAILER).ok_or("bodies are cut short")?;
        let (rest, trailer) = file.split(rest);
        if &trailer[8..] != MAGIC {
            return Err("bodies are none");
        }
        let number = |at: usize| u32::from_le_bytes([trailer[at], trailer[at + 1], trailer[at + 2], trailer[at + 3]]);
        let (count, dictionary) = (number(0) as usize * ENTRY, number(4) as usize);
        let start = rest.len().checked_sub(count).ok_or("bodies have more blocks than there is room for")?;
        let (rest, index) = rest.split(start);
        let start =
            rest.len().checked_sub(dictionary).ok_or("bodies have a longer dictionary than there is room for")?;
        let (blocks, packed_dictionary) = rest.split(start);
        let bodies = Bodies { blocks, packed_dictionary, index, dictionary: OnceLock::new() };
        let mut before = Block { docs: 0, unpacked: 0, end: 0 };
        for number in 0..bodies.len() {
            let block = bodies.block(number);
            if block.docs <= before.docs || block.end <= before.end || block.unpacked > MAX_BLOCK {
                return Err("bodies have blocks that don't follow each other");
            }
            before = block;
        }
        match before.end == bodies.blocks.len() as u64 {
            true => Ok(bodies),
            false => Err("bodies have other blocks than their index says"),
        }
    }

    /// How many blocks there are.
    fn len(&self) -> usize {
        self.index.len() / ENTRY
    }

    /// How many bodies there are.
    pub fn docs(&self) -> DocId {
        self.len().checked_sub(1).map_or(0, |last| self.block(last).docs)
    }

    fn block(&self, number: usize) -> Block {
        let entry = &self.index[number * ENTRY..(number + 1) * ENTRY];
        let small = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        let end = u64::from(small(8)) | u64::from(small(12)) << 32;
        Block { docs: small(0), unpacked: small(4) as usize, end }
    }

    /// Which block a document's body is in, and the block's first document.
    fn find(&self, doc: DocId) -> Option<(usize, DocId)> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.block(middle).docs <= doc { low = middle + 1 } else { high = middle }
        }
        (low < self.len()).then(|| (low, low.checked_sub(1).map_or(0, |before| self.block(before).docs)))
    }

    /// What reads them. It is quickest if it is asked in the documents' order.
    ///
    /// # Errors
    /// If the dictionary is damaged.
    pub fn reader(&self) -> io::Result<BodiesReader<'_>> {
        let dictionary = match (self.packed_dictionary.is_empty(), self.dictionary.get()) {
            (true, _) => None,
            (false, Some(known)) => Some(known),
            (false, None) => {
                let unpacked = zstd::bulk::decompress(&self.packed_dictionary, DICTIONARY)?;
                // What began otherwise would be taken for a trained one.
                if unpacked.first() != Some(&0) {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the dictionary of bodies is none"));
                }
                let made = DecoderDictionary::copy(&unpacked);
                Some(self.dictionary.get_or_init(|| made))
            }
        };
        Ok(BodiesReader { bodies: self, dictionary, block: None, unpacked: Vec::new(), at: 0, next: 0 })
    }
}

impl std::fmt::Debug for Bodies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bodies").field("docs", &self.docs()).finish_non_exhaustive()
    }
}

thread_local! {
    /// What unpacks. To make one asks the processor what it can, which in a virtual machine takes as long as a block.
    static CONTEXT: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// Reads bodies; it keeps the last block unpacked.
pub struct BodiesReader<'b> {
    bodies: &'b Bodies,
    dictionary: Option<&'b DecoderDictionary<'static>>,
    block: Option<usize>,
    unpacked: Vec<u8>,
    /// Where in the block the body of the document `next` begins.
    at: usize,
    next: DocId,
}

impl BodiesReader<'_> {
    /// The body of a document.
    ///
    /// # Errors
    /// If there is no such document or its block is damaged.
    pub fn get(&mut self, doc: DocId) -> io::Result<&[u8]> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("document {doc} has no body"));
        let (block, first) = self.bodies.find(doc).ok_or_else(damaged)?;
        if self.block != Some(block) {
            self.unpack(block)?;
        }
        if self.next > doc || self.next < first {
            (self.at, self.next) = (0, first);
        }
        loop {
            let (length, start) = self.length().ok_or_else(damaged)?;
            let end = start.checked_add(length).filter(|end| *end <= self.unpacked.len()).ok_or_else(damaged)?;
            (self.at, self.next) = (end, self.next + 1);
            if self.next > doc {
                return Ok(&self.unpacked[start..end]);
            }
        }
    }

    fn unpack(&mut self, number: usize) -> io::Result<()> {
        let Block { unpacked, end, .. } = self.bodies.block(number);
        let start = number.checked_sub(1).map_or(0, |before| self.bodies.block(before).end);
        self.block = None;
        self.unpacked.clear();
        self.unpacked.reserve(unpacked);
        let packed = &self.bodies.blocks[start as usize..end as usize];
        let unpacking = CONTEXT.with_borrow_mut(|context| match self.dictionary {
            Some(known) => context.decompress_using_ddict(&mut self.unpacked, packed, known.as_ddict()),
            None => context.decompress(&mut self.unpacked, packed),
        });
        unpacking.map_err(|code| io::Error::new(io::ErrorKind::InvalidData, get_error_name(code)))?;
        (self.block, self.at, self.next) = (Some(number), 0, DocId::MAX);
        Ok(())
    }

    /// The length that stands at the reader's place, and where what has it begins.
    fn length(&self) -> Option<(usize, usize)> {
        let mut rest = self.unpacked.get(self.at..)?;
        let length = usize::try_from(varint::take(&mut rest)?).ok()?;
        Some((length, self.unpacked.len() - rest.len()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn written(bodies: &[Vec<u8>], dictionary: Vec<u8>) -> Vec<u8> {
        let mut writer = BodiesWriter::new(Vec::new(), 1, dictionary).unwrap();
        bodies.iter().for_each(|body| writer.push(body).unwrap());
        writer.finish().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn bodies_are_read_as_they_were_written(
            lengths in proptest::collection::vec(prop_oneof![0usize..600, 30_000usize..40_000], 0..200),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 1..50),
            with in any::<bool>(),
        ) {
            let body = |(number, length): (usize, &usize)| (0..*length).map(|at| (at / 7 + number) as u8).collect();
            let bodies: Vec<Vec<u8>> = lengths.iter().enumerate().map(body).collect();
            let bytes = if with { lengths.iter().sum() } else { 0 };
            let dictionary = dictionary(bodies.iter().map(Vec::as_slice), bytes, bytes);
            let read = Bodies::open(OwnedBytes::new(written(&bodies, dictionary))).unwrap();
            prop_assert_eq!(read.docs() as usize, bodies.len());
            let mut reader = read.reader().unwrap();
            for (number, body) in bodies.iter().enumerate() {
                prop_assert_eq!(reader.get(number as DocId).unwrap(), body);
            }
            if !bodies.is_empty() {
                for index in order {
                    let number = index.index(bodies.len());
                    prop_assert_eq!(reader.get(number as DocId).unwrap(), &bodies[number]);
                }
            }
            prop_assert!(reader.get(bodies.len() as DocId).is_err());
        }
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let bodies: Vec<_> = (0..500).map(|number| format!("body {number}").repeat(40).into_bytes()).collect();
        let bytes = bodies.iter().map(Vec::len).sum();
        let file = written(&bodies, dictionary(bodies.iter().map(Vec::as_slice), bytes, bytes));
        for length in 0..file.len() {
            assert!(Bodies::open(OwnedBytes::new(file[..length].to_vec())).is_err(), "{length}");
        }
        // Whatever byte is another: it is refused, or read as something, and nothing panics.
        for at in 0..file.len() {
            let mut other = file.clone();
            other[at] ^= 0x41;
            let Ok(read) = Bodies::open(OwnedBytes::new(other)) else { continue };
            let Ok(mut reader) = read.reader() else { continue };
            for doc in [0, 250, 499, 500] {
                let _ = reader.get(doc);
            }
        }
    }
}
