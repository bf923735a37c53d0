//! The bodies of a segment's entries, by their documents' numbers, apart from the index: its library's own store takes each
//! byte by itself, and knows no dictionaries.
//!
//! | bytes | |
//! |---|---|
//! | | the blocks, one after the other: each some bodies laid out by field, see [`rows`](super::rows) |
//! | | the [`Dictionary`] of the blocks; empty if they have none |
//! | | which fields bodies have: a letter each |
//! | 8 each | whose bodies they are, see [`Order`]; empty if they stand in the documents' order |
//! | 16 each | of each block: how many bodies end with it (4), how many bytes its bodies have (4), where it ends (8) |
//! | 4 each | how many blocks there are; how many bytes the order, the letters and the dictionary have |
//! | 8 | `AWBODY02` |
//!
//! A block is: of each part how long it is and how long its frame of zstd (LEB128), the frames, and what isn't packed. Other
//! numbers are little-endian.

mod dictionary;
mod order;
mod reader;
mod writer;

use std::io;
use std::ops::Range;
use std::sync::OnceLock;

use tantivy::DocId;
use tantivy::directory::OwnedBytes;
use zstd::dict::DecoderDictionary;

use super::rows::Layout;
use super::unpacked::number_of_file;
use order::Places;

pub use dictionary::Dictionary;
pub use order::Order;
pub use reader::BodiesReader;
pub use writer::{BodiesWriter, Form};

const MAGIC: &[u8; 8] = b"AWBODY02";
const TRAILER: usize = 24;
const ENTRY: usize = 16;

/// A longer block than this can't be.
const MAX_BLOCK: usize = 1 << 30;

/// The number of four bytes that stands at `at`.
fn number_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The bodies of a segment.
pub struct Bodies {
    /// The file's number among all that were opened.
    number: u64,
    blocks: OwnedBytes,
    layout: Layout,
    places: Places,
    index: OwnedBytes,
    packed_dictionary: OwnedBytes,
    /// Unpacked when they are first needed.
    dictionaries: OnceLock<Vec<DecoderDictionary<'static>>>,
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
        if &trailer[TRAILER - MAGIC.len()..] != MAGIC {
            return Err("bodies are none");
        }
        let number = |at| number_at(&trailer, at);
        let split = |rest: OwnedBytes, length: usize| {
            let start = rest.len().checked_sub(length).ok_or("bodies have more about them than there is room for")?;
            Ok::<_, &'static str>(rest.split(start))
        };
        let (rest, index) = split(rest, number(0) as usize * ENTRY)?;
        let (rest, order) = split(rest, number(4) as usize)?;
        let (rest, letters) = split(rest, number(8) as usize)?;
        let (blocks, packed_dictionary) = split(rest, number(12) as usize)?;
        let (places, layout) = (Places::open(order)?, Layout::parse(&letters)?);
        let (number, dictionaries) = (number_of_file(), OnceLock::new());
        let bodies = Bodies { number, blocks, layout, places, index, packed_dictionary, dictionaries };
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
        let end = u64::from(number_at(entry, 8)) | u64::from(number_at(entry, 12)) << 32;
        Block { docs: number_at(entry, 0), unpacked: number_at(entry, 4) as usize, end }
    }

    /// Where the body of a document stands among all; beyond all of them if there is no such document.
    pub fn place(&self, doc: DocId) -> u32 {
        if doc < self.docs() { self.places.of(doc) } else { u32::MAX }
    }

    /// The documents, in the order of their bodies.
    pub fn documents(&self) -> Vec<Range<DocId>> {
        self.places.documents(self.docs())
    }

    /// Which block the body at a place is in, and the first place there.
    fn find(&self, place: u32) -> Option<(usize, u32)> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.block(middle).docs <= place { low = middle + 1 } else { high = middle }
        }
        (low < self.len()).then(|| (low, low.checked_sub(1).map_or(0, |before| self.block(before).docs)))
    }

    /// What reads some of them. It is quickest if it is asked in the order of their places.
    ///
    /// # Errors
    /// If the dictionary is damaged.
    pub fn reader(&self) -> io::Result<BodiesReader<'_>> {
        Ok(BodiesReader::new(self, self.dictionaries()?, true))
    }

    /// What reads all of them, and leaves nothing of it behind for others.
    ///
    /// # Errors
    /// As [`Bodies::reader`].
    pub fn scan(&self) -> io::Result<BodiesReader<'_>> {
        Ok(BodiesReader::new(self, self.dictionaries()?, false))
    }

    fn dictionaries(&self) -> io::Result<&[DecoderDictionary<'static>]> {
        if let Some(known) = self.dictionaries.get() {
            return Ok(known);
        }
        let made = dictionary::decoders(&self.packed_dictionary, self.layout.parts())?;
        Ok(self.dictionaries.get_or_init(|| made))
    }
}

impl std::fmt::Debug for Bodies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bodies").field("docs", &self.docs()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const FORM: Form = Form { level: 1, block: 16 << 10 };

    fn written(bodies: &[Vec<u8>], dictionary: Dictionary) -> Vec<u8> {
        let mut writer = BodiesWriter::new(Vec::new(), FORM, dictionary);
        bodies.iter().for_each(|body| writer.push(body).unwrap());
        writer.finish(Order::default()).unwrap()
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
            let dictionary = Dictionary::of(bodies.iter().map(Vec::as_slice), bytes, bytes);
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
    fn bodies_in_another_order_are_found_by_their_documents() {
        let mut writer = BodiesWriter::new(Vec::new(), FORM, Dictionary::default());
        let mut order = Order::default();
        // Those of every third document first.
        let docs: Vec<u32> = (0..3).flat_map(|rest| (0..900).filter(move |doc| doc % 3 == rest)).collect();
        for doc in &docs {
            writer.push(format!("body {doc}").repeat(20).as_bytes()).unwrap();
            order.push(*doc);
        }
        let read = Bodies::open(OwnedBytes::new(writer.finish(order).unwrap())).unwrap();
        let mut reader = read.reader().unwrap();
        for doc in 0..900 {
            assert_eq!(reader.get(doc).unwrap(), format!("body {doc}").repeat(20).as_bytes());
        }
        assert!(reader.get(900).is_err());
        assert_eq!(read.documents().into_iter().flatten().collect::<Vec<_>>(), docs);
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let bodies: Vec<_> = (0..500).map(|number| format!("body {number}").repeat(40).into_bytes()).collect();
        let bytes = bodies.iter().map(Vec::len).sum();
        let dictionary = Dictionary::of(bodies.iter().map(Vec::as_slice), bytes, bytes);
        let mut writer = BodiesWriter::new(Vec::new(), FORM, dictionary);
        let mut order = Order::default();
        for doc in (0..500).rev() {
            writer.push(&bodies[doc]).unwrap();
            order.push(doc as DocId);
        }
        let file = writer.finish(order).unwrap();
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
