//! Restoring what is damaged from the log.
//!
//! What a file held is a function of the log, of what was erased, and of how long workspaces are kept. So the ranges that
//! no whole file covers are taken from the log again, and files of them are put in the place of the damaged ones, in one
//! commit that moves no position. Where the log no longer has a range, nothing of its table is changed.
//!
//! - `plan`: which files are damaged, and what is missing without them.
//! - `restore`: files made of the log.
//! - `log`: the log.

mod log;
mod plan;
mod restore;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use agentworks_processors::erasure::Erasures;
use serde::Serialize;

pub use self::log::{KafkaLog, Log, LogLane};
use self::plan::{Damage, Missing};
use super::Maintenance;
use crate::error::ArchiveError;
use crate::files::day;
use crate::table::{Change, CommitError, Move, Operation, Table};

/// Under which name it is recorded that a table was restored, or that something is erased from it: a number that no two of
/// these have in common. Whoever has looked at what is erased before somebody began to erase more can't publish what he
/// restores, and looks again.
const MARK: &str = "archive/rebuilt";

/// How often it is begun anew where others keep rewriting the same files.
const TRIES: usize = 5;

/// A table of which something was restored, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rebuilt {
    /// Its name.
    pub table: &'static str,
    /// The files that were replaced, and what is wrong with each.
    pub replaced: Vec<Replaced>,
    /// What was taken from the log: `agent-logs[3], epoch 0: 100..200`.
    pub ranges: Vec<String>,
    /// How many files took their place.
    pub added: u64,
    /// How many rows the replaced files had, by the table's log.
    pub rows_before: u64,
    /// How many rows there are in their place. Others are fewer where rows have been kept for long enough, or more where
    /// files were missing of which the table's log says nothing.
    pub rows: u64,
}

/// A file that was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replaced {
    /// Its path within the table.
    pub path: String,
    /// What is wrong with it; `None` if it is whole, and shared a range with one that isn't.
    pub reason: Option<String>,
}

impl Maintenance {
    /// Reads all files of entries and events, and restores from `log` what the damaged ones held, without what is erased.
    /// With `dry_run` it is only said what would be done, and whether the log has it.
    ///
    /// # Errors
    /// [`ArchiveError::Refused`] if the log no longer has all of it; [`ArchiveError::Unavailable`] if it can't be known what
    /// is erased, or others keep rewriting the same files. What was restored in a table before stays so.
    pub async fn rebuild(
        &self,
        log: &dyn Log,
        erasures: &Erasures,
        dry_run: bool,
    ) -> Result<Vec<Rebuilt>, ArchiveError> {
        let lanes = log.lanes().await?;
        let mut dates = BTreeSet::new();
        let rebuilt = self.rebuild_tables(log, &lanes, erasures, dry_run, &mut dates).await;
        // Now that both tables' files of those days are whole; or one's, if the other can't be.
        self.roll_up_dates(&dates).await?;
        rebuilt
    }

    async fn rebuild_tables(
        &self,
        log: &dyn Log,
        lanes: &[LogLane],
        erasures: &Erasures,
        dry_run: bool,
        dates: &mut BTreeSet<String>,
    ) -> Result<Vec<Rebuilt>, ArchiveError> {
        let mut rebuilt = Vec::new();
        for table in self.archive.logs() {
            let (mut tried, mut tries) = (Tried::Overtaken, 0);
            while matches!(tried, Tried::Overtaken) {
                if tries == TRIES {
                    let name = table.spec().name;
                    return Err(ArchiveError::Unavailable(format!("others keep rewriting files of {name}")));
                }
                tries += 1;
                tried = self.rebuild_table(table, log, lanes, erasures, dry_run, dates).await?;
            }
            if let Tried::Done(done) = tried {
                rebuilt.push(done);
            }
        }
        Ok(rebuilt)
    }

    /// Has whoever is about to publish what he restores in one of the tables look again at what is erased.
    pub(super) async fn mark_erasure(&self) -> Result<(), ArchiveError> {
        for table in self.archive.logs() {
            let version = table.version().await?;
            let mark = version.recorded(table, vec![MARK.to_owned()]).await?[0];
            let change = Change {
                operation: Operation::Delete,
                add: Vec::new(),
                remove: Vec::new(),
                moves: vec![next(mark)],
                record: Vec::new(),
            };
            match table.commit(change).await {
                // Where another was faster, those who have looked before fail as well; what they have published is there.
                Ok(_) | Err(CommitError::Moved(_) | CommitError::Gone(_)) => {}
                Err(CommitError::Fault(error)) => return Err(error),
            }
        }
        Ok(())
    }

    async fn rebuild_table(
        &self,
        table: &Table,
        log: &dyn Log,
        lanes: &[LogLane],
        erasures: &Erasures,
        dry_run: bool,
        dates: &mut BTreeSet<String>,
    ) -> Result<Tried, ArchiveError> {
        let version = table.version().await?;
        // What is erased comes after the mark: see there.
        let mark = version.recorded(table, vec![MARK.to_owned()]).await?[0];
        let erased = erasures.view().await.map_err(|error| ArchiveError::Unavailable(error.to_string()))?;
        let damage = plan::look(table, &version).await?;
        if damage.files.is_empty() && damage.missing.is_empty() {
            return Ok(Tried::Whole);
        }
        damage.check(table, lanes)?;
        let mut done = told(table, &damage);
        if dry_run {
            return Ok(Tried::Done(done));
        }
        let restored = restore::restore(self, table, log, &erased, &damage.missing).await?;
        (done.added, done.rows) = (restored.files.len() as u64, restored.rows);
        let mut days: Vec<_> = damage.files.iter().map(|(file, _)| file.date.clone()).collect();
        for file in &restored.files {
            days.push(day(file.date)?.to_string());
        }
        let change = Change {
            operation: Operation::Append,
            add: restored.files,
            remove: damage.files.into_iter().map(|(file, _)| file.path).collect(),
            moves: vec![next(mark)],
            record: Vec::new(),
        };
        match table.commit(change).await {
            Ok(version) => {
                tracing::info!(table = done.table, version, rows = done.rows, ranges = ?done.ranges, "restored from the log");
            }
            Err(CommitError::Gone(_) | CommitError::Moved(_)) => return Ok(Tried::Overtaken),
            Err(CommitError::Fault(error)) => return Err(error),
        }
        dates.extend(days);
        Ok(Tried::Done(done))
    }
}

/// Moves the mark on.
fn next(mark: Option<i64>) -> Move {
    Move { name: MARK.to_owned(), from: mark, to: rand::random_range(1..i64::MAX) }
}

/// What one attempt came to.
enum Tried {
    /// There is nothing to restore.
    Whole,
    Done(Rebuilt),
    /// Others have rewritten files meanwhile.
    Overtaken,
}

fn told(table: &Table, damage: &Damage) -> Rebuilt {
    let replaced = |(file, reason): &(crate::table::ActiveFile, Option<String>)| Replaced {
        path: file.path.clone(),
        reason: reason.clone(),
    };
    Rebuilt {
        table: table.spec().name,
        replaced: damage.files.iter().map(replaced).collect(),
        ranges: damage.missing.iter().map(Missing::to_string).collect(),
        added: 0,
        rows_before: damage.files.iter().map(|(file, _)| file.rows).sum(),
        rows: 0,
    }
}
