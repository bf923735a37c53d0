//! The table `runs`: what each run did on each day that is over.
//!
//! It is made from the archive's own entries and events, so that it can be made again at any time, long after the store
//! has forgotten the runs, and never says other than they do. A day is written as a whole, in place of what was there.
//! Beside it is recorded of which files it was made: where they are the same still, it is left as it is, and of two
//! processes that make the same day one finds it made.
//!
//! - `days`: of which files each day is, and its runs were made.
//! - `run`: what a run did, counted.

mod days;
mod run;

use std::collections::BTreeSet;

use agentworks_processors::erasure::Erasure;
use arrow_array::RecordBatch;

pub(super) use self::days::Day;
use self::run::{ENTRY_COLUMNS, Runs, count_entries, count_events};
use super::damage::PassedOver;
use super::erase::may_have;
use super::verify::verify_file;
use super::{Changed, Maintenance};
use crate::batches::read_group;
use crate::decode::{longs, texts};
use crate::error::ArchiveError;
use crate::files::{FileWriter, days as number_of};
use crate::open::{Footers, guarded};
use crate::rows::RowBuilder;
use crate::table::{ActiveFile, Change, CommitError, Move, Operation, Table};

/// Gives every batch of a file's columns to `each`; all columns if none are named.
///
/// # Errors
/// The store's; or that the file is damaged, in those columns or in what `each` finds wrong.
async fn scan<S: Send + 'static>(
    table: &Table,
    footers: &Footers,
    file: &ActiveFile,
    columns: &'static [&'static str],
    mut state: S,
    each: impl Fn(&mut S, &RecordBatch) -> Result<(), ArchiveError> + Send + Sync + 'static,
) -> Result<S, ArchiveError> {
    let footer = footers.footer(table, file).await?;
    let (table, file) = (table.clone(), file.clone());
    let path = file.path.clone();
    guarded(&path, async move {
        for group in 0..footer.meta.metadata().num_row_groups() {
            read_group((&table, &file, &footer), group, columns, |batch| each(&mut state, batch)).await?;
        }
        Ok(state)
    })
    .await
}

impl Maintenance {
    /// Writes the runs of all days that are over and of which entries or events have come or gone since.
    pub async fn roll_up(&self) -> Result<Changed, ArchiveError> {
        let open = self.open_day()?;
        self.roll_up_days(|day| day.has_files() && day.date < open && day.is_stale()).await
    }

    /// Writes the runs of days anew, from the entries and events that the archive has: of all that have been written
    /// before or are over, or only of those of which a file is damaged.
    pub async fn rebuild_runs(&self, all: bool) -> Result<Changed, ArchiveError> {
        let (table, footers) = (&self.archive.runs, Footers::default());
        let mut dates = BTreeSet::new();
        for file in table.version().await?.files(table).await? {
            if all {
                dates.insert(file.date);
                continue;
            }
            match verify_file(table, &footers, &file).await {
                Ok(_) => {}
                Err(error) if error.is_transient() => return Err(error),
                Err(_) => drop(dates.insert(file.date)),
            }
        }
        let open = self.open_day()?;
        let is_due = |day: &Day| all && day.has_files() && day.date < open && day.is_stale();
        self.roll_up_days(|day| dates.contains(&day.date) || is_due(day)).await
    }

    /// Writes the runs of the days of these dates that have been written before or are over, if they are of other files.
    pub(super) async fn roll_up_dates(&self, dates: &BTreeSet<String>) -> Result<Changed, ArchiveError> {
        let open = self.open_day()?;
        self.roll_up_days(|day| {
            dates.contains(&day.date) && day.is_stale() && (day.before.is_some() || day.date < open)
        })
        .await
    }

    /// Writes the runs of those days that are chosen.
    async fn roll_up_days(&self, is_chosen: impl Fn(&Day) -> bool) -> Result<Changed, ArchiveError> {
        let (mut changed, mut passed) = (Changed::default(), PassedOver::default());
        for day in self.days().await?.into_iter().filter(is_chosen) {
            let done = passed.unless_damaged(self, &self.archive.runs, self.roll_up_day(&day).await)?;
            // Where somebody else made it, maybe of more, the next round sees.
            changed += done.flatten().unwrap_or_default();
        }
        passed.end(changed)
    }

    /// All days, as they are now.
    pub(super) async fn days(&self) -> Result<Vec<Day>, ArchiveError> {
        days::days(&self.archive).await
    }

    /// Writes the runs of a day. `None` if somebody else has since it was looked at.
    pub(super) async fn roll_up_day(&self, day: &Day) -> Result<Option<Changed>, ArchiveError> {
        let table = &self.archive.runs;
        let mut runs = Runs::new();
        for (index, (logs, footers)) in self.logs().into_iter().enumerate() {
            for file in &day.inputs[index] {
                let counted = match index {
                    0 => scan(logs, footers, file, &ENTRY_COLUMNS, runs, count_entries).await,
                    _ => scan(logs, footers, file, &[], runs, count_events).await,
                };
                runs = counted.map_err(|error| error.at(logs.spec().name))?;
            }
        }
        let mut writer = FileWriter::new(table, self.format())?;
        let mut row = RowBuilder::new(table.spec());
        for (owner, run) in &runs {
            run.write(owner, &mut row);
            if row.is_full() {
                writer.write(&row.build()?)?;
            }
        }
        if !row.is_empty() {
            writer.write(&row.build()?)?;
        }
        let remove: Vec<_> = day.runs.iter().map(|file| file.path.clone()).collect();
        let removed = remove.len() as u64;
        let add = match runs.is_empty() {
            true => Vec::new(),
            false => vec![writer.finish(number_of(&day.date)?, &[])?.upload(table).await?],
        };
        let added = add.len() as u64;
        let moves = vec![Move { name: days::name(&day.date), from: day.before, to: day.made_of() }];
        match table.commit(Change { operation: Operation::Append, add, remove, moves, record: Vec::new() }).await {
            Ok(_) => Ok(Some(Changed { removed, added, rows: 0 })),
            Err(CommitError::Moved(_) | CommitError::Gone(_)) => Ok(None),
            Err(CommitError::Fault(error)) => Err(error),
        }
    }

    /// Whether a day's runs have a row of what an erasure is of, which may be made of what came later. What can't be read
    /// may be anything.
    pub(super) async fn has_runs_of(&self, day: &Day, erasure: &Erasure) -> Result<bool, ArchiveError> {
        let (table, footers) = (&self.archive.runs, Footers::default());
        for file in day.runs.iter().filter(|file| may_have(file, erasure)) {
            let erasure = erasure.clone();
            let look = move |found: &mut bool, rows: &RecordBatch| {
                let (workspaces, runs) = (texts(rows, "workspace_id")?, texts(rows, "run_id")?);
                *found |= (0..rows.num_rows()).any(|row| erasure.is_of(workspaces.value(row), runs.value(row)));
                Ok(())
            };
            match scan(table, &footers, file, &["workspace_id", "run_id"], false, look).await {
                Ok(false) => {}
                Ok(true) | Err(ArchiveError::Corrupt(_)) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Gives the workspace and the entries of each run of each day that is rolled up.
    pub(super) async fn each_run(&self, mut each: impl FnMut(&str, u64)) -> Result<(), ArchiveError> {
        let (table, footers) = (&self.archive.runs, Footers::default());
        for file in table.version().await?.files(table).await? {
            let found = scan(table, &footers, &file, &["workspace_id", "entries"], Vec::new(), |found, rows| {
                let (workspaces, entries) = (texts(rows, "workspace_id")?, longs(rows, "entries")?);
                for row in 0..rows.num_rows() {
                    let count = u64::try_from(entries.value(row)).unwrap_or_default();
                    found.push((workspaces.value(row).to_owned(), count));
                }
                Ok(())
            });
            found.await?.iter().for_each(|(workspace, entries)| each(workspace, *entries));
        }
        Ok(())
    }
}
