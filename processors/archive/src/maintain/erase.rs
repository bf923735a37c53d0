//! Rewriting files without what was erased.

use std::sync::Arc;

use agentworks_processors::erasure::{Clearing, Erasure, Target};
use arrow_array::{BooleanArray, RecordBatch};

use super::damage::PassedOver;
use super::rewrite::{Keep, Rewrite, rewrite, touches};
use super::rollup::Day;
use super::{Changed, Maintenance};
use crate::decode::{Positions, texts};
use crate::error::ArchiveError;
use crate::lanes;
use crate::open::Footers;
use crate::table::{ActiveFile, Change, CommitError, Operation, Table};

/// How often what others keep changing is tried before whoever asked is told.
const TRIES: usize = 10;

impl Maintenance {
    /// Whether the sink has published all that lies before an erasure, so that nothing of it comes afterwards. A lane that
    /// it never began with has nothing, and will have nothing, for the sink leaves out what is erased.
    pub async fn has_passed(&self, erasure: &Erasure) -> Result<bool, ArchiveError> {
        for (partition, epoch, next) in erasure.upto.iter() {
            let table = self.archive.table(partition.topic);
            let version = table.version().await?;
            let current = lanes::current_epoch(table, &version, partition).await?;
            let Some(current) = current.filter(|current| *current <= epoch) else { continue };
            let held = lanes::held(table, &version, partition, current, None).await?;
            if held.is_some_and(|held| (held.epoch, held.high) < (epoch, next)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Rewrites every file that has rows which an erasure covers, and the runs of those days. When this succeeds no current
    /// version of the tables has any of them; the old files, which `clearing` names, are gone once [`Maintenance::vacuum`]
    /// finds their grace over. What was done before a fault is named, too, and stays.
    ///
    /// Wait for [`Maintenance::has_passed`] first, and until every process knows of the erasure.
    ///
    /// # Errors
    /// The service's; that a file is damaged, after all that are whole have been rewritten; or that others kept changing the
    /// same. It may be tried again.
    pub async fn erase(&self, erasure: &Erasure, clearing: &mut Clearing) -> Result<(), ArchiveError> {
        let keep: Keep = {
            let erasure = erasure.clone();
            Arc::new(move |batch| not_erased(&erasure, batch))
        };
        // Once: should a damaged file keep this from being done, restoring that takes longer than until the next try.
        if !self.erasing.lock().contains(&erasure.id) {
            self.mark_erasure().await?;
            self.erasing.lock().insert(erasure.id.clone());
        }
        let mut passed = PassedOver::default();
        for (table, footers) in self.logs() {
            self.erase_from(table, footers, erasure, &keep, &mut passed, clearing).await?;
        }
        self.erase_from_runs(erasure, &mut passed, clearing).await?;
        passed.end(())?;
        self.erasing.lock().remove(&erasure.id);
        Ok(())
    }

    /// Rewrites the files of a table, until it has none that has to be.
    async fn erase_from(
        &self,
        table: &Table,
        footers: &Footers,
        erasure: &Erasure,
        keep: &Keep,
        passed: &mut PassedOver,
        clearing: &mut Clearing,
    ) -> Result<(), ArchiveError> {
        for _ in 0..TRIES {
            let mut is_done = true;
            let files = table.version().await?.files(table).await?;
            for file in files.into_iter().filter(|file| may_have(file, erasure)) {
                let name = name(table, &file);
                let done = self.without(table, footers, file, keep.clone()).await;
                match passed.unless_damaged(self, table, done)? {
                    Some(Some(done)) if done.rows > 0 => clearing.replaced(done.rows, name),
                    Some(None) => is_done = false,
                    _ => {}
                }
            }
            if is_done {
                return Ok(());
            }
        }
        Err(ArchiveError::Unavailable(format!("others keep rewriting files of {}", table.spec().name)))
    }

    /// Writes the runs of days anew that may have been made of what was erased: of all whose files have changed since. It
    /// isn't enough to look for rows of the erasure, for somebody may just be making some of files of before; he fails, as
    /// the day has been made since he looked.
    async fn erase_from_runs(
        &self,
        erasure: &Erasure,
        passed: &mut PassedOver,
        clearing: &mut Clearing,
    ) -> Result<(), ArchiveError> {
        let table = &self.archive.runs;
        for _ in 0..TRIES {
            let (mut is_done, open) = (true, self.open_day()?);
            for day in self.days().await?.into_iter().filter(Day::is_stale) {
                let has_some = self.has_runs_of(&day, erasure).await?;
                if !has_some && (!day.has_files() || (day.before.is_none() && day.date >= open)) {
                    continue;
                }
                let done = self.roll_up_day(&day).await;
                // A day that has none of it is told, and in nobody's way.
                let mut others = PassedOver::default();
                let passed = if has_some { &mut *passed } else { &mut others };
                match passed.unless_damaged(self, table, done)? {
                    Some(Some(_)) if has_some => {
                        day.runs.iter().for_each(|file| clearing.replaced(0, name(table, file)))
                    }
                    Some(None) => is_done = false,
                    _ => {}
                }
            }
            if is_done {
                return Ok(());
            }
        }
        Err(ArchiveError::Unavailable("others keep making the runs of its days".into()))
    }

    /// Replaces a file by one without some rows, if it has any of them. `None` if it has gone meanwhile.
    pub(super) async fn without(
        &self,
        table: &Table,
        footers: &Footers,
        file: ActiveFile,
        keep: Keep,
    ) -> Result<Option<Changed>, ArchiveError> {
        if !touches(table, footers, &file, &keep).await? {
            return Ok(Some(Changed::default()));
        }
        let (path, rows) = (file.path.clone(), file.rows);
        let work = Rewrite { table, footers, format: self.format(), inputs: vec![file], keep: Some(keep), outputs: 1 };
        let done = rewrite(work).await?;
        // A file without rows stays: what it claims to cover is covered.
        let change = Change {
            operation: Operation::Delete,
            add: done.files,
            remove: vec![path],
            moves: Vec::new(),
            record: Vec::new(),
        };
        match table.commit(change).await {
            Ok(_) => Ok(Some(Changed { removed: 1, added: 1, rows: rows - done.after })),
            Err(CommitError::Gone(_) | CommitError::Moved(_)) => Ok(None),
            Err(CommitError::Fault(error)) => Err(error),
        }
    }
}

/// A file's name below the archive.
fn name(table: &Table, file: &ActiveFile) -> String {
    format!("{}/{}", table.spec().name, file.path)
}

/// Whether a file may have rows of what an erasure is of, by what the log knows.
pub(super) fn may_have(file: &ActiveFile, erasure: &Erasure) -> bool {
    file.rows > 0
        && file.bounds.may_have("workspace_id", &erasure.workspace)
        && match &erasure.target {
            Target::Workspace => true,
            Target::Run(run) => file.bounds.may_have("run_id", run),
        }
}

fn not_erased(erasure: &Erasure, batch: &RecordBatch) -> Result<BooleanArray, ArchiveError> {
    let (workspaces, runs, positions) =
        (texts(batch, "workspace_id")?, texts(batch, "run_id")?, Positions::new(batch)?);
    let stays = |row| Ok(!erasure.hides(workspaces.value(row), runs.value(row), positions.at(row)?));
    (0..batch.num_rows()).map(stays).collect::<Result<Vec<bool>, ArchiveError>>().map(BooleanArray::from)
}
