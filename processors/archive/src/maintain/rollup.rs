//! The table `runs`: what each run did on each day that is over.
//!
//! It is made from the archive's own entries and events, so that it can be made again at any time, long after the store
//! has forgotten the runs, and never says other than they do. A day is written as a whole, in place of what was there.
//! Beside it is recorded of which files it was made: where they are the same still, it is left as it is, and of two
//! processes that make the same day one finds it made.

use std::collections::{BTreeMap, BTreeSet};

use agentworks_schemas::{RunEventKind, Timestamp};
use arrow_array::types::{Float64Type, Int32Type};
use arrow_array::{Array, RecordBatch};
use futures_util::TryStreamExt;
use parquet::arrow::ProjectionMask;

use super::verify::verify_file;
use super::{Changed, Maintenance};
use crate::decode::{instants, longs, millis, numbers, texts};
use crate::error::ArchiveError;
use crate::files::{FileWriter, days};
use crate::open::{Footers, guarded, rows};
use crate::rows::{RowBuilder, hash};
use crate::table::{ActiveFile, Change, CommitError, Move, Operation, Table};

const ENTRY_COLUMNS: [&str; 7] = ["workspace_id", "card_id", "run_id", "record_time", "timestamp", "level", "agent_id"];

/// Workspace, card, run.
type Owner = (String, String, String);
type Runs = BTreeMap<Owner, Run>;

/// An event that began or ended a run: recorded, own time, kind, exit code, reason.
type Status = (Timestamp, Timestamp, RunEventKind, Option<i32>, Option<String>);

/// What a run did on a day.
#[derive(Clone, Debug, Default)]
struct Run {
    recorded: Option<(Timestamp, Timestamp)>,
    time: Option<(Timestamp, Timestamp)>,
    levels: [i64; 5],
    /// The agent first named, and when.
    agent: Option<(Timestamp, String)>,
    started: Option<Timestamp>,
    /// The last event that began or ended it.
    status: Option<Status>,
    cost: Option<f64>,
    tokens: [Option<i64>; 2],
}

impl Run {
    fn see(&mut self, recorded: Timestamp, time: Timestamp, agent: Option<&str>) {
        let widen = |range: Option<(Timestamp, Timestamp)>, at: Timestamp| {
            Some(range.map_or((at, at), |(first, last)| (first.min(at), last.max(at))))
        };
        self.recorded = widen(self.recorded, recorded);
        self.time = widen(self.time, time);
        if let Some(agent) = agent
            && self.agent.as_ref().is_none_or(|(first, _)| recorded < *first)
        {
            self.agent = Some((recorded, agent.to_owned()));
        }
    }

    fn write(&self, (workspace, card, run): &Owner, row: &mut RowBuilder) {
        for text in [workspace, card, run] {
            row.text(Some(text));
        }
        for range in [self.recorded, self.time] {
            row.instant(range.map(|range| range.0));
            row.instant(range.map(|range| range.1));
        }
        row.long(Some(self.levels.iter().sum()));
        self.levels.iter().for_each(|count| row.long(Some(*count)));
        row.text(self.agent.as_ref().map(|(_, agent)| agent.as_str()));
        row.instant(self.started);
        let status = self.status.as_ref();
        row.text(status.map(|(_, _, kind, ..)| kind.as_str()));
        row.instant(status.map(|(_, at, ..)| *at));
        row.int(status.and_then(|(_, _, _, code, _)| *code));
        row.text(status.and_then(|(.., reason)| reason.as_deref()));
        row.double(self.cost);
        self.tokens.iter().for_each(|tokens| row.long(*tokens));
        row.end();
    }
}

fn owned(rows: &RecordBatch) -> Result<impl Fn(usize) -> Owner + '_, ArchiveError> {
    let (workspaces, cards, runs) = (texts(rows, "workspace_id")?, texts(rows, "card_id")?, texts(rows, "run_id")?);
    Ok(move |row| (workspaces.value(row).into(), cards.value(row).into(), runs.value(row).into()))
}

fn count_entries(runs: &mut Runs, rows: &RecordBatch) -> Result<(), ArchiveError> {
    let owner = owned(rows)?;
    let (recorded, times) = (instants(rows, "record_time")?, instants(rows, "timestamp")?);
    let (levels, agents) = (texts(rows, "level")?, texts(rows, "agent_id")?);
    for row in 0..rows.num_rows() {
        let run = runs.entry(owner(row)).or_default();
        run.see(millis(recorded, row), millis(times, row), agents.is_valid(row).then(|| agents.value(row)));
        let level: agentworks_schemas::Level =
            levels.value(row).parse().map_err(|error| ArchiveError::Corrupt(format!("{error}")))?;
        run.levels[level as usize] += 1;
    }
    Ok(())
}

fn count_events(runs: &mut Runs, rows: &RecordBatch) -> Result<(), ArchiveError> {
    let owner = owned(rows)?;
    let (recorded, times) = (instants(rows, "record_time")?, instants(rows, "timestamp")?);
    let (kinds, agents, reasons) = (texts(rows, "kind")?, texts(rows, "agent_id")?, texts(rows, "reason")?);
    let (costs, codes) = (numbers::<Float64Type>(rows, "cost")?, numbers::<Int32Type>(rows, "exit_code")?);
    let tokens = [longs(rows, "input_tokens")?, longs(rows, "output_tokens")?];
    for row in 0..rows.num_rows() {
        let run = runs.entry(owner(row)).or_default();
        let (at, time) = (millis(recorded, row), millis(times, row));
        run.see(at, time, agents.is_valid(row).then(|| agents.value(row)));
        let kind: RunEventKind = kinds.value(row).parse().map_err(|error| ArchiveError::Corrupt(format!("{error}")))?;
        if kind == RunEventKind::Started {
            run.started = Some(run.started.map_or(time, |started| started.min(time)));
        }
        if kind != RunEventKind::Usage && run.status.as_ref().is_none_or(|(last, ..)| *last <= at) {
            let code = codes.is_valid(row).then(|| codes.value(row));
            let reason = reasons.is_valid(row).then(|| reasons.value(row).to_owned());
            run.status = Some((at, time, kind, code, reason));
        }
        if costs.is_valid(row) {
            *run.cost.get_or_insert(0.0) += costs.value(row);
        }
        for (sum, tokens) in run.tokens.iter_mut().zip(tokens) {
            if tokens.is_valid(row) {
                *sum = Some(sum.unwrap_or(0).saturating_add(tokens.value(row)));
            }
        }
    }
    Ok(())
}

/// Gives every batch of a file's columns to `each`; all columns if none are named.
async fn scan<S: Send + 'static>(
    table: &Table,
    footers: &Footers,
    file: &ActiveFile,
    columns: &'static [&'static str],
    mut state: S,
    each: impl Fn(&mut S, &RecordBatch) -> Result<(), ArchiveError> + Send + 'static,
) -> Result<S, ArchiveError> {
    let footer = footers.footer(table, file).await?;
    let (table, file) = (table.clone(), file.clone());
    let path = file.path.clone();
    guarded(&path, async move {
        let mut builder = rows(&table, &file, &footer);
        if !columns.is_empty() {
            let mask = ProjectionMask::columns(footer.meta.parquet_schema(), columns.iter().copied());
            builder = builder.with_projection(mask);
        }
        let mut batches = builder.build()?;
        while let Some(batch) = batches.try_next().await? {
            each(&mut state, &batch)?;
        }
        Ok(state)
    })
    .await
}

/// A number for a set of files, none of which ever changes.
fn fingerprint<'a>(files: impl Iterator<Item = &'a ActiveFile>) -> i64 {
    let mut paths: Vec<_> = files.map(|file| file.path.as_str()).collect();
    paths.sort_unstable();
    let [a, b, c, d, e, f, g, h, ..] = hash(paths.join("\n").as_bytes());
    i64::from_be_bytes([a, b, c, d, e, f, g, h]) & i64::MAX
}

impl Maintenance {
    /// Writes the runs of all days that are over and of which entries or events have come or gone since.
    pub async fn roll_up(&self) -> Result<Changed, ArchiveError> {
        let open = self.open_day()?;
        let mut dates = BTreeSet::new();
        for table in self.archive.logs() {
            let files = table.version().await?.files(table).await?;
            dates.extend(files.into_iter().map(|file| file.date).filter(|date| *date < open));
        }
        let mut changed = Changed::default();
        for date in dates {
            changed += self.roll_up_day(&date, false).await?;
        }
        Ok(changed)
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
        let mut changed = Changed::default();
        for date in dates {
            changed += self.roll_up_day(&date, true).await?;
        }
        // Those that have just been written are left as they are.
        if all {
            changed += self.roll_up().await?;
        }
        Ok(changed)
    }

    /// Writes the runs of one day, if it was written before or is over; where they are of the same files as before, only
    /// if `anew` says so.
    pub(super) async fn roll_up_day(&self, date: &str, anew: bool) -> Result<Changed, ArchiveError> {
        let table = &self.archive.runs;
        let name = format!("runs/{date}");
        let version = table.version().await?;
        let before = version.recorded(table, vec![name.clone()]).await?[0];
        if before.is_none() && *date >= *self.open_day()? {
            return Ok(Changed::default());
        }
        let mut inputs = Vec::new();
        for (logs, footers) in self.logs() {
            let files = logs.version().await?.files(logs).await?;
            inputs.push((logs, footers, files.into_iter().filter(|file| file.date == date).collect::<Vec<_>>()));
        }
        let made_of = fingerprint(inputs.iter().flat_map(|(.., files)| files));
        if before == Some(made_of) && !anew {
            return Ok(Changed::default());
        }
        let mut runs = Runs::new();
        for (index, (logs, footers, files)) in inputs.into_iter().enumerate() {
            for file in files {
                runs = match index {
                    0 => scan(logs, footers, &file, &ENTRY_COLUMNS, runs, count_entries).await?,
                    _ => scan(logs, footers, &file, &[], runs, count_events).await?,
                };
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
        let old = version.files(table).await?.into_iter().filter(|file| file.date == date);
        let remove: Vec<_> = old.map(|file| file.path).collect();
        let removed = remove.len() as u64;
        let add = match runs.is_empty() {
            true => Vec::new(),
            false => vec![writer.finish(days(date)?, &[])?.upload(table).await?],
        };
        let added = add.len() as u64;
        let moves = vec![Move { name, from: before, to: made_of }];
        match table.commit(Change { operation: Operation::Append, add, remove, moves, record: Vec::new() }).await {
            Ok(_) => Ok(Changed { removed, added, rows: 0 }),
            // Somebody else made it, maybe of more: the next round sees.
            Err(CommitError::Moved(_) | CommitError::Gone(_)) => Ok(Changed::default()),
            Err(CommitError::Fault(error)) => Err(error),
        }
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
