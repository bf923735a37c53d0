//! The search index.
//!
//! - [`schema`], [`tokenizer`], [`document`]: what is kept of an entry, and how its text is cut.
//! - [`split`]: immutable indexes, each packed into one object.
//! - [`cache`]: open splits, and local copies of those that lie elsewhere.
//! - [`manifest`]: which splits there are, and how far each lane is indexed.
//! - [`indexer`]: the sink that makes splits, and what answers for what isn't published yet.
//! - [`maintain`]: merging, retention, erasing, making splits again from the log, deleting what nothing names.
//! - [`execute`]: the seam to whatever finds the hits in one index; [`exec`]: what does, by its segments.
//! - [`fresh`]: asking indexers for what isn't published yet; [`remote`]: those of other processes.
//! - [`searcher`]: answers over all of it.
//! - [`error`]: what can go wrong.

pub mod cache;
pub mod document;
pub mod error;
pub mod exec;
pub mod execute;
pub mod fresh;
pub mod indexer;
mod lately;
pub mod maintain;
pub mod manifest;
pub mod remote;
pub mod schema;
pub mod searcher;
pub mod split;
#[cfg(test)]
mod testing;
pub mod tokenizer;

pub use error::{Fence, SearchError};
