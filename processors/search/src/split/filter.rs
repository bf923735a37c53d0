//! Which terms a split has, as a filter that says "not in it" for sure and "in it" with some doubt: so a split that lies
//! elsewhere needn't be downloaded to learn that it lacks a card, a trace or a word.
//!
//! It is a split-block Bloom filter as Parquet has it: blocks of 32 bytes, of which a key sets one bit in each of the eight
//! 32-bit words. At [`BITS_A_KEY`] about one of 200 keys that aren't there looks as if it were. It is cut into partitions of
//! equal size, at most 64 KiB, so that one small read answers for a key:
//!
//! | bytes | |
//! |---|---|
//! | 32 each | the blocks: eight 32-bit words, little-endian |
//! | 4 | CRC-32 of the partition's number (4 bytes, little-endian) and the blocks |
//!
//! All partitions have as many blocks. A key's upper bits say which partition and which block is its own, the lower 32 which
//! bits. How many partitions there are, and where, the manifest says: see [`FilterPlace`].
//!
//! None of this may ever change, nor may [`key`] or how words are cut: another filter gets another name in the manifest.

mod terms;

use std::ops::Range;
use std::sync::Arc;

use agentworks_query::Keyword;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub(crate) use terms::keys_of;

/// The name of its file in a split.
pub(super) const FILE: &str = "terms.filter";

/// How many bits of the filter there are for each key.
const BITS_A_KEY: u64 = 12;
/// The bytes of a block.
const BLOCK: usize = 32;
/// The bytes of a checksum.
const CRC: usize = 4;
/// No partition has more bytes.
const MAX_PARTITION: usize = 64 << 10;
/// What the eight bits of a key are chosen by: Parquet's numbers.
const SALT: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// What a term is one of. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "all but the first are fields")]
pub enum Kind {
    /// A word of `message`, `component` or a text in `data`, wherever it stands.
    Word = 0,
    Id = 1,
    Card = 2,
    Run = 3,
    Agent = 4,
    User = 5,
    Provider = 6,
    Model = 7,
    Tags = 8,
    Correlation = 9,
    Trace = 10,
    Span = 11,
}

impl Kind {
    /// That of a keyword's values; `None` if they aren't in filters, since every split has all of them.
    pub fn of(keyword: Keyword) -> Option<Kind> {
        Some(match keyword {
            Keyword::Id => Kind::Id,
            Keyword::Card => Kind::Card,
            Keyword::Run => Kind::Run,
            Keyword::Agent => Kind::Agent,
            Keyword::User => Kind::User,
            Keyword::Provider => Kind::Provider,
            Keyword::Model => Kind::Model,
            Keyword::Tags => Kind::Tags,
            Keyword::Correlation => Kind::Correlation,
            Keyword::Trace => Kind::Trace,
            Keyword::Span => Kind::Span,
            Keyword::Source | Keyword::Level => return None,
        })
    }
}

/// The key of a term: XXH3 (64 bits) of its bytes, with the number of its kind as the seed.
pub fn key(kind: Kind, term: &[u8]) -> u64 {
    xxh3_64_with_seed(term, kind as u64)
}

/// Where a split's filter lies in its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterPlace {
    /// Its first byte.
    pub offset: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// How many partitions.
    pub partitions: u32,
}

impl FilterPlace {
    /// Whether it can be so, in an object of `length` bytes.
    pub fn is_sound(&self, length: u64) -> bool {
        let (partitions, size) = (u64::from(self.partitions), self.size());
        self.offset.checked_add(self.bytes).is_some_and(|end| end <= length)
            && size * partitions == self.bytes
            && size <= MAX_PARTITION as u64
            && size.checked_sub(CRC as u64).is_some_and(|blocks| blocks > 0 && blocks.is_multiple_of(BLOCK as u64))
    }

    /// The bytes of a partition.
    fn size(&self) -> u64 {
        self.bytes.checked_div(self.partitions.into()).unwrap_or(0)
    }

    /// The partition that a key belongs to.
    pub fn partition_of(&self, key: u64) -> u32 {
        // Less than the number of partitions.
        share(key, self.partitions.into()).0 as u32
    }

    /// Where a partition lies in the object.
    pub fn range(&self, partition: u32) -> Range<u64> {
        let start = self.offset + self.size() * u64::from(partition);
        start..start + self.size()
    }
}

/// A partition that is whole. Clones share it.
#[derive(Clone, Debug)]
pub struct Partition {
    blocks: Arc<[u8]>,
    partitions: u32,
}

impl Partition {
    /// A partition of the filter at `place`, which these bytes are; `None` if they are damaged, or are another one.
    pub fn open(place: &FilterPlace, number: u32, bytes: &[u8]) -> Option<Self> {
        let (blocks, crc) = bytes.split_last_chunk::<CRC>()?;
        let is_whole = bytes.len() as u64 == place.size() && !blocks.is_empty() && blocks.len().is_multiple_of(BLOCK);
        let is_sound = is_whole && checksum(number, blocks) == u32::from_le_bytes(*crc);
        is_sound.then(|| Partition { blocks: blocks.into(), partitions: place.partitions })
    }

    /// Whether a key that belongs to this partition may be in the split.
    pub fn may_have(&self, key: u64) -> bool {
        let start = block_of(key, self.partitions, self.blocks.len());
        let block = self.blocks[start..start + BLOCK].chunks_exact(4);
        block.zip(bits(key)).all(|(word, bit)| u32::from_le_bytes([word[0], word[1], word[2], word[3]]) & bit != 0)
    }

    /// How many bytes of memory it takes.
    pub fn memory(&self) -> usize {
        self.blocks.len()
    }
}

/// Makes the filter of some keys, each there any number of times. Returns it with the number of its partitions.
pub(crate) fn encode(mut keys: Vec<u64>) -> (Vec<u8>, u32) {
    keys.sort_unstable();
    keys.dedup();
    let most = ((MAX_PARTITION - CRC) / BLOCK) as u64;
    let blocks = (keys.len() as u64 * BITS_A_KEY).div_ceil(8 * BLOCK as u64).max(1);
    let partitions = blocks.div_ceil(most);
    let size = blocks.div_ceil(partitions) as usize * BLOCK;
    let mut filter = vec![0; partitions as usize * (size + CRC)];
    let mut keys = keys.into_iter().peekable();
    for (number, partition) in (0u32..).zip(filter.chunks_exact_mut(size + CRC)) {
        let (blocks, crc) = partition.split_at_mut(size);
        // Keys ascend, and so do their partitions.
        while let Some(key) = keys.next_if(|key| share(*key, partitions).0 == u64::from(number)) {
            let start = block_of(key, partitions as u32, size);
            for (word, bit) in blocks[start..start + BLOCK].chunks_exact_mut(4).zip(bits(key)) {
                // Of little-endian words, as their bytes.
                word.iter_mut().zip(bit.to_le_bytes()).for_each(|(byte, bit)| *byte |= bit);
            }
        }
        crc.copy_from_slice(&checksum(number, blocks).to_le_bytes());
    }
    (filter, partitions as u32)
}

/// Divides all numbers into `parts`, one after the other: in which one `number` lies, and how far in it, as a number of as
/// many bits.
fn share(number: u64, parts: u64) -> (u64, u64) {
    let product = u128::from(number) * u128::from(parts);
    ((product >> 64) as u64, product as u64)
}

/// Where in its partition, which has so many bytes of blocks, the block of a key begins.
fn block_of(key: u64, partitions: u32, bytes: usize) -> usize {
    let (_, within) = share(key, partitions.into());
    share(within, (bytes / BLOCK) as u64).0 as usize * BLOCK
}

/// The bits of a key, one in each word of its block.
fn bits(key: u64) -> impl Iterator<Item = u32> {
    SALT.into_iter().map(move |salt| 1 << ((key as u32).wrapping_mul(salt) >> 27))
}

fn checksum(number: u32, blocks: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&number.to_le_bytes());
    crc.update(blocks);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn keys(numbers: Range<u32>) -> impl Iterator<Item = u64> {
        numbers.map(|number| key(Kind::Id, format!("entry-{number}").as_bytes()))
    }

    /// A filter, read as searchers do.
    struct Read {
        place: FilterPlace,
        partitions: Vec<Partition>,
    }

    impl Read {
        fn of(keys: Vec<u64>) -> Self {
            let (filter, partitions) = encode(keys);
            let place = FilterPlace { offset: 0, bytes: filter.len() as u64, partitions };
            assert!(place.is_sound(filter.len() as u64), "{place:?}");
            let open = |number| {
                let range = place.range(number);
                Partition::open(&place, number, &filter[range.start as usize..range.end as usize]).unwrap()
            };
            Read { place, partitions: (0..partitions).map(open).collect() }
        }

        fn may_have(&self, key: u64) -> bool {
            self.partitions[self.place.partition_of(key) as usize].may_have(key)
        }
    }

    #[test]
    fn what_is_in_it_is_found_and_little_else() {
        for count in [1, 2, 40, 1000, 43_000, 44_000, 300_000] {
            let filter = Read::of(keys(0..count).chain(keys(0..count.min(10))).collect());
            assert!(keys(0..count).all(|key| filter.may_have(key)), "{count}");
            let others = keys(1_000_000..1_050_000).filter(|key| filter.may_have(*key)).count();
            assert!(others < 50_000 / 50, "{others} of 50,000 others, in a filter of {count}");
            let expected = u64::from(count) * 12 / 8;
            assert!(filter.place.bytes <= expected + expected / 100 + 100, "{count}: {:?}", filter.place);
        }
        assert!(Read::of(keys(0..300_000).collect()).partitions.len() > 5);
    }

    #[test]
    fn nothing_is_in_an_empty_one() {
        let filter = Read::of(Vec::new());
        assert!(keys(0..100).all(|key| !filter.may_have(key)));
    }

    /// What was written once must be found for ever.
    #[test]
    fn keys_and_filters_stay_what_they_are() {
        // Splits that have a filter are asked for words that are cut so: with another way, `SplitMeta::filter` gets another
        // name in the manifest.
        assert_eq!(crate::tokenizer::TOKENIZER, "entry-1");
        // XXH3 of nothing, with the seed 0, as its specification has it.
        assert_eq!(key(Kind::Word, b""), 0x2d06_8005_38d3_94c2);
        let kinds = Keyword::ALL.map(|keyword| Kind::of(keyword).map(|kind| kind as u8));
        let numbers = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map(Some);
        assert_eq!(kinds[..11], numbers);
        assert_eq!(kinds[11..], [None, None]);
        // One block: each of its words has the one bit that the salts say.
        let (filter, partitions) = encode(vec![1]);
        let words: Vec<u32> = SALT.iter().map(|salt| 1 << (salt >> 27)).collect();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!((partitions, &filter[..BLOCK]), (1, &bytes[..]));
        assert_eq!(share(u64::MAX, 3), (2, u64::MAX - 2));
    }

    #[test]
    fn a_place_that_cannot_be_is_refused() {
        let (filter, partitions) = encode(keys(0..100_000).collect());
        let place = FilterPlace { offset: 100, bytes: filter.len() as u64, partitions };
        let length = 100 + place.bytes;
        assert!(place.is_sound(length) && place.is_sound(u64::MAX) && !place.is_sound(length - 1));
        for wrong in [
            FilterPlace { partitions: 0, ..place },
            FilterPlace { partitions: 1, ..place },
            FilterPlace { partitions: partitions + 1, ..place },
            FilterPlace { partitions: u32::MAX, ..place },
            FilterPlace { bytes: 0, ..place },
            FilterPlace { bytes: place.bytes - 1, ..place },
            FilterPlace { bytes: u64::MAX, ..place },
            FilterPlace { offset: u64::MAX, ..place },
            FilterPlace { bytes: 4, partitions: 1, ..place },
        ] {
            assert!(!wrong.is_sound(u64::MAX), "{wrong:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damage_is_found(count in 1..90_000u32, at in 0.0..1.0f64, bit in 0..8u8, cut in 0..200usize) {
            let (filter, partitions) = encode(keys(0..count).collect());
            let place = FilterPlace { offset: 0, bytes: filter.len() as u64, partitions };
            let number = ((f64::from(partitions)) * at) as u32;
            let range = place.range(number);
            let mut bytes = filter[range.start as usize..range.end as usize].to_vec();
            prop_assert!(Partition::open(&place, number, &bytes).is_some());
            prop_assert!(Partition::open(&place, number + 1, &bytes).is_none(), "another partition");
            prop_assert!(Partition::open(&place, number, &bytes[..bytes.len().saturating_sub(cut + 1)]).is_none());
            let at = ((bytes.len() as f64) * at) as usize;
            bytes[at] ^= 1 << bit;
            prop_assert!(Partition::open(&place, number, &bytes).is_none());
        }
    }
}
