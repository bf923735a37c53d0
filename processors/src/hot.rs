//! Hot: the entries of a day, by card, in blocks.
//!
//! A block holds consecutive entries of one card in one partition: a zstd frame over their canonical bodies, and beside
//! it statistics by which a reader skips it. Blocks are written first, the lane's position after them. A block written
//! twice, or anew with other bounds after a crash, does no harm: readers skip the offsets that they have passed.
//!
//! - `block`: a block's key, statistics and contents; `table`: where it is kept.
//! - `pending`: what has been taken of a partition and isn't written; `sink`: taking, and writing it.
//! - `cards`: which cards there are, and in which partitions.
//! - `read`: the entries of a card; `cover`: which of overlapping blocks to read.
//! - `names`, `varint`: names as keys of maps, numbers as bytes.

mod block;
mod cards;
mod cover;
mod metrics;
mod names;
mod pending;
mod read;
mod sink;
mod table;
mod varint;

pub use block::{BlockStats, StoredEntry};
pub use cards::{CardInfo, CardLane, card_lanes, cards_of_workspace};
pub use read::{HotReader, HotScan};
pub use sink::{HotConfig, HotSink};

#[cfg(test)]
mod tests;
