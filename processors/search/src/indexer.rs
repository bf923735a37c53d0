//! The indexer: the sink that makes splits.
//!
//! What it takes is copied, indexed on a thread of its own into one segment after another, and each segment is appended to
//! the split in the making, a local file. After a minute, or when it is large enough, the split is uploaded and then
//! published together with the positions that it moves, all lanes at once. Until then [`Live`] answers for it: segments by
//! the index, the rest entry by entry.
//!
//! - `page`: records copied from a batch.
//! - `making`: the split in the making.
//! - `live`: what is indexed and not published yet, or was published just now, for searching.
//! - `sealed`: a split on its way to the store and into the manifest.
//! - `sink`: the sink that drives all this.
//! - `metrics`: what it counts.

#[cfg(test)]
mod figures;
mod live;
mod making;
mod metrics;
mod page;
mod sealed;
mod sink;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use agentworks_processors::sink::Sink;
use agentworks_schemas::Topic;
use prometheus_client::registry::Registry;

pub use live::{Live, Unit, UnitState};
pub(crate) use making::Making;
pub(crate) use page::Chunk;
pub use page::{Page, Taken};

use crate::error::SearchError;
use crate::manifest::Manifest;

/// The sink's name, and its consumer group's in the configuration.
pub const NAME: &str = "search";

/// The topics whose records are searched.
pub const TOPICS: &[Topic] = &Topic::LOGS;

/// How splits are made.
#[derive(Clone, Debug)]
pub struct IndexerConfig {
    /// A local folder for splits in the making, of this indexer alone. What lies in it is removed at the start.
    pub scratch: PathBuf,
    /// How long a split is in the making.
    pub age: Duration,
    /// How many bytes a split may have before it is published, whatever its age.
    pub split_bytes: u64,
    /// With how many entries a segment is ended, and so how many are searched one by one; what is indexed together isn't
    /// parted, so it may be [`chunk_docs`](IndexerConfig::chunk_docs) more.
    pub segment_docs: usize,
    /// With how much memory a segment is ended, entries and index together, in bytes.
    pub segment_bytes: usize,
    /// How many entries are indexed together, sorted by run, and so how many wait for that. What entries of a run have in
    /// common costs less the more of them lie together.
    pub chunk_docs: usize,
    /// How many bytes of entries may wait to be indexed before the log is read no further; half of it is indexed together,
    /// however few entries that are.
    pub queue_bytes: usize,
    /// How long a published split is answered for, until all searchers have heard of it.
    pub linger: Duration,
}

impl IndexerConfig {
    /// The defaults, with scratch space in `scratch`.
    pub fn new(scratch: impl Into<PathBuf>) -> Self {
        IndexerConfig {
            scratch: scratch.into(),
            age: Duration::from_secs(60),
            split_bytes: 256 << 20,
            segment_docs: 64 << 10,
            segment_bytes: 96 << 20,
            chunk_docs: 16 << 10,
            queue_bytes: 16 << 20,
            linger: Duration::from_secs(60),
        }
    }

    pub(crate) fn chunk(&self) -> Chunk {
        // While one chunk is indexed, there must be room for the next.
        Chunk { docs: self.chunk_docs.min(self.segment_docs).max(1), bytes: (self.queue_bytes / 2).max(1) }
    }
}

/// More segments than this a split never has.
const MAX_SEGMENTS: usize = 16;

/// Makes an indexer that publishes in `manifest`, and what answers for it until then. Its metrics are shown in `registry`.
///
/// # Errors
/// If the scratch folder can't be used.
pub fn indexer(
    config: IndexerConfig,
    manifest: Manifest,
    registry: &mut Registry,
) -> Result<(Box<dyn Sink>, Live), SearchError> {
    let scratch = &config.scratch;
    std::fs::create_dir_all(scratch).map_err(SearchError::scratch(scratch))?;
    clear(scratch).map_err(SearchError::scratch(scratch))?;
    let live = Live::new(config.linger);
    let sink = sink::SearchSink::new(config, manifest, live.clone(), metrics::IndexerMetrics::register(registry));
    Ok((Box::new(sink), live))
}

/// Removes what a process that was killed has left in a scratch folder: files and folders of ours, and nothing else.
///
/// # Errors
/// Of the local disk.
pub fn clear(scratch: &std::path::Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(scratch)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("making") => std::fs::remove_file(&path)?,
            Some("merging") => std::fs::remove_dir_all(&path)?,
            _ => {}
        }
    }
    Ok(())
}
