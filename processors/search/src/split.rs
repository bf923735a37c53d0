//! Splits: immutable indexes, each packed into one object.
//!
//! - `meta`: what the manifest says of one.
//! - `footer`: how the object is laid out.
//! - `segment`: the segments that it has, as they are made in memory; [`bodies`]: their entries' bodies; `rows`: laid out by field.
//! - `writer`: packing.
//! - `directory`: a split's files as the index library reads them; `packed`: those that lie there packed; `unpacked`: what
//!   was unpacked lately.
//! - `open`: an open split.
//! - [`filter`]: which terms a split has, to be asked where it isn't at hand.
//! - `build`: a split made of segments of others; `merge`: their bodies; `group`: which lie beside each other.

pub mod bodies;
mod build;
mod directory;
pub mod filter;
mod footer;
mod group;
mod merge;
mod meta;
mod open;
mod packed;
mod rows;
mod segment;
#[cfg(test)]
mod tests;
mod unpacked;
mod writer;

pub use build::{Found, rebuild};
pub use directory::SplitDirectory;
pub use filter::FilterPlace;
pub(crate) use footer::{END, OF_BEFORE, is_of_before};
pub(crate) use group::group;
pub use meta::{LaneRange, SplitId, SplitMeta, Times, WorkspaceMeta};
pub use open::Split;
pub(crate) use open::open_files;
pub use segment::{Built, SegmentWriter};
pub use writer::{Packed, SplitWriter};

/// The name of a split's object.
pub fn object_name(id: &SplitId) -> String {
    format!("splits/{id}.split")
}
