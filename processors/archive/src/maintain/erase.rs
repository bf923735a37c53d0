//! Rewriting files without what was erased.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentworks_processors::erasure::{Erasure, Target};
use arrow_array::{BooleanArray, RecordBatch};

use super::rewrite::{Keep, Rewrite, rewrite, touches};
use super::{Changed, Maintenance};
use crate::decode::{Positions, texts};
use crate::error::ArchiveError;
use crate::lanes;
use crate::open::Footers;
use crate::table::{ActiveFile, Change, CommitError, Operation, Table};

/// How often a file is tried that others keep rewriting.
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

    /// Rewrites every file that has rows which an erasure covers, and the runs of those days. When this returns no current
    /// version of the tables has any of them; the old files are gone once [`Maintenance::vacuum`] finds their grace over.
    ///
    /// Wait for [`Maintenance::has_passed`] first.
    pub async fn erase(&self, erasure: &Erasure) -> Result<Changed, ArchiveError> {
        let mut changed = Changed::default();
        let mut dates = BTreeSet::new();
        let keep: Keep = {
            let erasure = erasure.clone();
            Arc::new(move |batch| not_erased(&erasure, batch))
        };
        for (table, footers) in self.logs() {
            for _ in 0..TRIES {
                let (done, is_done) = self.erase_from(table, footers, erasure, &keep, &mut dates).await?;
                changed += done;
                if is_done {
                    break;
                }
            }
        }
        for date in dates {
            self.roll_up_day(&date, false).await?;
        }
        Ok(changed)
    }

    /// Rewrites what a table has now. Returns whether nothing came between.
    async fn erase_from(
        &self,
        table: &Table,
        footers: &Footers,
        erasure: &Erasure,
        keep: &Keep,
        dates: &mut BTreeSet<String>,
    ) -> Result<(Changed, bool), ArchiveError> {
        let (mut changed, mut is_done) = (Changed::default(), true);
        let files = table.version().await?.files(table).await?;
        for file in files.into_iter().filter(|file| may_have(file, erasure)) {
            let date = file.date.clone();
            match self.without(table, footers, file, keep.clone()).await? {
                Some(done) if done.rows > 0 => {
                    changed += done;
                    dates.insert(date);
                }
                Some(_) => {}
                None => is_done = false,
            }
        }
        Ok((changed, is_done))
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

fn may_have(file: &ActiveFile, erasure: &Erasure) -> bool {
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
