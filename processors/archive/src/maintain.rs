//! Keeping the archive: what is done to it beside writing and reading. Every part may run in several processes at once,
//! and may be killed at any time: it changes a table by one commit that requires the files it read to be there still.
//!
//! - `compact`: the small files of days that are over, merged.
//! - `rollup`: the runs of days that are over, as rows of the table `runs`.
//! - `erase`, `retention`: rewriting files without somebody's rows.
//! - `rebuild`: restoring what is damaged from the log.
//! - `vacuum`: deleting what no version of the table needs any more.
//! - `verify`, `stats`: what is there, and whether it is whole.
//! - `rewrite`: what all of these write files with.
//! - `damage`: going on where a file is damaged.

mod compact;
mod damage;
mod erase;
mod rebuild;
mod retention;
mod rewrite;
mod rollup;
mod stats;
#[cfg(test)]
mod tests;
mod vacuum;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agentworks_schemas::Timestamp;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::Serialize;

pub use self::rebuild::{KafkaLog, Log, LogLane, Rebuilt};
pub use self::stats::{TableStats, WorkspaceStats};
pub use self::vacuum::Unneeded;
pub use self::verify::Verified;
use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::files::{FileFormat, day};
use crate::open::Footers;
use crate::table::{ActiveFile, Table};

/// How the archive is kept.
#[derive(Clone, Debug)]
pub struct MaintainConfig {
    /// How long after midnight (UTC) a day counts as over.
    pub settle: Duration,
    /// Files smaller than this are merged, in bytes.
    pub small_file: u64,
    /// What merged files are to be like, in bytes.
    pub target_file: u64,
    /// For how long a file stays that no current version needs. Whoever reads an older version, or has written files and
    /// not published them, must be done by then. At least an hour.
    pub grace: Duration,
    /// How many days entries and events of these workspaces are kept; those of others are for ever.
    pub retention: BTreeMap<String, u32>,
    /// The level of zstd for merged files, 1 to 22.
    pub zstd_level: i32,
}

impl Default for MaintainConfig {
    fn default() -> Self {
        MaintainConfig {
            settle: Duration::from_secs(2 * 3600),
            small_file: 64 << 20,
            target_file: 256 << 20,
            grace: Duration::from_secs(7 * 86_400),
            retention: BTreeMap::new(),
            zstd_level: 6,
        }
    }
}

/// Keeps an archive. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Maintenance {
    archive: Archive,
    config: Arc<MaintainConfig>,
    footers: Arc<[Footers; 2]>,
    /// The ids of erasures that are being done, and of which whoever restores something has been told.
    erasing: Arc<Mutex<BTreeSet<String>>>,
    /// How often something was passed over because a file is damaged.
    damaged: Counter,
}

/// What a part of the work came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// Files that were taken out of a table.
    pub removed: u64,
    /// Files that took their place.
    pub added: u64,
    /// Rows that went.
    pub rows: u64,
}

impl std::ops::AddAssign for Changed {
    fn add_assign(&mut self, other: Changed) {
        self.removed += other.removed;
        self.added += other.added;
        self.rows += other.rows;
    }
}

impl Maintenance {
    /// Keeps `archive`.
    ///
    /// # Errors
    /// If the configuration can't be worked with.
    pub fn new(archive: Archive, config: MaintainConfig) -> Result<Self, ArchiveError> {
        if config.grace < Duration::from_secs(3600) {
            let reason = format!("the archive's grace is {:?} and must be at least an hour", config.grace);
            return Err(ArchiveError::Refused(reason));
        }
        if !(1..=22).contains(&config.zstd_level) {
            let reason = format!("the archive's zstd_level is {} and must be from 1 to 22", config.zstd_level);
            return Err(ArchiveError::Refused(reason));
        }
        let (config, footers, erasing) = (Arc::new(config), Arc::default(), Arc::default());
        Ok(Maintenance { archive, config, footers, erasing, damaged: Counter::default() })
    }

    /// Shows what it counts in `registry`, each as `agentworks_archive_…`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("agentworks_archive");
        registry.register(
            "damaged",
            "Times that keeping the archive came upon a damaged file and passed over what can't be done without it",
            self.damaged.clone(),
        );
    }

    /// Does all that is regularly done, for ever, every `interval`.
    pub async fn work(self, interval: Duration) {
        loop {
            tokio::time::sleep(interval.mul_f64(rand::random_range(0.8..1.2))).await;
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "keeping the archive will be tried again");
            }
        }
    }

    /// Does all that is regularly done, once: each step whatever became of those before.
    ///
    /// # Errors
    /// The first step's that failed; of those after it, errors are logged.
    pub async fn round(&self) -> Result<(), ArchiveError> {
        let (retained, merged, rolled_up) = (self.retain().await, self.compact().await, self.roll_up().await);
        let steps = [retained, merged, rolled_up].map(|done| done.map(drop));
        let mut first = None;
        for error in steps.into_iter().chain([self.vacuum().await.map(drop)]).filter_map(Result::err) {
            if first.is_some() {
                tracing::warn!(%error, "keeping the archive failed in another step, too");
            }
            first.get_or_insert(error);
        }
        first.map_or(Ok(()), Err)
    }

    fn format(&self) -> FileFormat {
        FileFormat { zstd_level: self.config.zstd_level }
    }

    /// The tables that lanes are written to, each with its footers.
    fn logs(&self) -> [(&Table, &Footers); 2] {
        let [entries, events] = self.archive.logs();
        [(entries, &self.footers[0]), (events, &self.footers[1])]
    }

    /// The files that a table has now. What is remembered of others is forgotten.
    async fn files(&self, table: &Table, footers: &Footers) -> Result<Vec<ActiveFile>, ArchiveError> {
        let files = table.version().await?.files(table).await?;
        footers.keep(&files);
        Ok(files)
    }

    /// The first day that isn't over, or not for long: `2025-12-02`.
    fn open_day(&self) -> Result<String, ArchiveError> {
        let settle = i64::try_from(self.config.settle.as_millis()).unwrap_or(i64::MAX);
        let settled = Timestamp::now().millis().saturating_sub(settle);
        Ok(day(i32::try_from(settled.div_euclid(86_400_000)).unwrap_or_default())?.to_string())
    }
}
