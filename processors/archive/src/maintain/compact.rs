//! Merging the small files of days that are over.

use std::collections::BTreeMap;

use super::damage::PassedOver;
use super::rewrite::{Rewrite, rewrite};
use super::{Changed, Maintenance};
use crate::error::ArchiveError;
use crate::open::Footers;
use crate::table::{ActiveFile, Change, CommitError, Operation, Table};

/// How many files are merged at once. Each takes the memory of a row group as it lies there, 16 MiB at most, beside the rows
/// of it that come next.
const INPUTS: usize = 48;

impl Maintenance {
    /// Merges the small files of days that are over, table by table and day by day. The rows stay in order, so that each
    /// workspace's lie together.
    ///
    /// # Errors
    /// The service's; or that a file is damaged, after all others have been merged.
    pub async fn compact(&self) -> Result<Changed, ArchiveError> {
        let (mut changed, mut passed) = (Changed::default(), PassedOver::default());
        let open = self.open_day()?;
        for (table, footers) in self.logs() {
            let mut days: BTreeMap<String, Vec<ActiveFile>> = BTreeMap::new();
            for file in self.files(table, footers).await? {
                if file.date < open && file.size < self.config.small_file {
                    days.entry(file.date.clone()).or_default().push(file);
                }
            }
            for files in days.into_values() {
                changed += self.compact_day(table, footers, files, &mut passed).await?;
            }
        }
        passed.end(changed)
    }

    /// Merges files of one day until they are few.
    async fn compact_day(
        &self,
        table: &Table,
        footers: &Footers,
        files: Vec<ActiveFile>,
        passed: &mut PassedOver,
    ) -> Result<Changed, ArchiveError> {
        let mut changed = Changed::default();
        let mut whole = Vec::new();
        for file in files {
            let claims = passed.unless_damaged(self, table, footers.claims(table, &file).await)?;
            // Shares of a range are what an earlier merging spread over several files.
            if claims.is_some_and(|claims| claims.iter().all(|claim| claim.share == (0, 1))) {
                whole.push(file);
            }
        }
        for inputs in whole.chunks(INPUTS).filter(|inputs| inputs.len() > 1) {
            let merged = self.merge(table, footers, inputs).await;
            changed += passed.unless_damaged(self, table, merged)?.unwrap_or_default();
        }
        Ok(changed)
    }

    /// Merges files of one day, if they are there still.
    async fn merge(&self, table: &Table, footers: &Footers, inputs: &[ActiveFile]) -> Result<Changed, ArchiveError> {
        let size: u64 = inputs.iter().map(|file| file.size).sum();
        let outputs = size.div_ceil(self.config.target_file.max(1));
        let remove: Vec<_> = inputs.iter().map(|file| file.path.clone()).collect();
        let work = Rewrite { table, footers, format: self.format(), inputs: inputs.to_vec(), keep: None, outputs };
        let done = rewrite(work).await?;
        if done.before != done.after {
            return Err(ArchiveError::Corrupt(format!(
                "{} rows of {remove:?} would have become {}: nothing was changed",
                done.before, done.after
            )));
        }
        let (removed, added) = (remove.len() as u64, done.files.len() as u64);
        let change =
            Change { operation: Operation::Rewrite, add: done.files, remove, moves: Vec::new(), record: Vec::new() };
        match table.commit(change).await {
            Ok(_) => Ok(Changed { removed, added, rows: 0 }),
            // Somebody else did it, or rows were erased: the next round sees what there is.
            Err(CommitError::Gone(_) | CommitError::Moved(_)) => Ok(Changed::default()),
            Err(CommitError::Fault(error)) => Err(error),
        }
    }
}
