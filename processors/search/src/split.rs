//! Splits: immutable indexes, each packed into one object.
//!
//! - `meta`: what the manifest says of one.
//! - `footer`: how the object is laid out.
//! - `segment`: the segments that it has, as they are made in memory; [`bodies`]: their entries' bodies.
//! - `writer`: packing.
//! - `directory`: a split's files as the index library reads them.
//! - `open`: an open split.
//! - `build`: a split made of segments of others.

pub mod bodies;
mod build;
mod directory;
mod footer;
mod meta;
mod open;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

pub use build::{Found, rebuild};
pub use directory::SplitDirectory;
pub use meta::{LaneRange, SplitId, SplitMeta, Times, WorkspaceMeta};
pub use open::Split;
pub(crate) use open::open_files;
pub use segment::{Built, SegmentWriter};
pub use writer::{Packed, SplitWriter};

/// The name of a split's object.
pub fn object_name(id: &SplitId) -> String {
    format!("splits/{id}.split")
}
