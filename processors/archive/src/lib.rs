//! Every entry for ever: Delta tables that any analytics engine reads, and that serve what no other tier has any more.
//!
//! - [`Archive`]: the tables `entries`, `events` and `runs`.
//! - [`ArchiveSink`]: writes the first two from the log.
//! - `table`: a Delta table; all that is asked of `delta_kernel`.
//! - `schema`, `rows`: the columns, and records as rows of them.
//! - `pending`, `encode`, `files`, `claims`, `sums`: from what waits to sorted Parquet files that say what they hold, and by
//!   which it is seen that they are what was written.
//! - `lanes`: where each lane stands.
//! - [`ArchiveReader`]: reads entries back, with `object`, `open` and `decode`; `batches`: reading files whole.
//! - [`restore_runs`]: the store's rows of runs, from what the log no longer has.
//! - [`Maintenance`]: merging, rolling up, erasing, keeping, verifying, restoring.

mod archive;
mod batches;
mod claims;
mod decode;
mod encode;
mod error;
mod files;
mod lanes;
mod maintain;
mod metrics;
mod object;
mod open;
mod pending;
mod read;
mod restore;
mod rows;
mod schema;
mod sink;
mod sums;
mod table;
#[cfg(test)]
mod testing;

pub use archive::Archive;
pub use error::ArchiveError;
pub use maintain::{
    Changed, KafkaLog, Log, LogLane, MaintainConfig, Maintenance, Rebuilt, TableStats, Unneeded, Verified,
    WorkspaceStats,
};
pub use read::{ArchiveReader, LaneRead};
pub use restore::{RestoreError, Restored, restore_runs};
pub use schema::{ENTRIES, EVENTS, RUNS, TableSpec};
pub use sink::{ArchiveConfig, ArchiveSink};
