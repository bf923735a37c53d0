//! Deleting what was erased.
//!
//! In an order in which it can be broken off anywhere: what leads to something goes after it. A run's marks are found by
//! its name, its listings by its parts, and so parts go after these. But the names are found in the listings: of a
//! workspace they are [written down](crate::erasure::begun) first.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use agentworks_schemas::Position;
use agentworks_store::{Key, Part, Row, Scan, Store, StoreError, Table};
use futures_util::future::FutureExt;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::marks::Mark;
use super::part::{Listed, RunPart};
use super::read::counted;
use super::tables::{self, ShareKey};
use crate::erasure::{Erasure, Target, begun};
use crate::sink::SinkError;

/// How many runs are deleted at a time.
const RUNS: usize = 8;
/// How many rows of a run are deleted at a time.
const ROWS: usize = 16;

/// How many rows that list runs are read at a time.
const LISTED: usize = 10_000;

/// A row to be deleted.
struct Doomed {
    table: &'static Table,
    key: Key,
}

impl RunPart {
    /// Where the run's first record lies.
    pub(crate) fn begins_at(&self) -> Position {
        Position { partition: self.partition, epoch: self.epoch, offset: self.first }
    }
}

/// Deletes the parts, marks and listings of the erased runs: of each part that began before the erasure was made. Call it
/// when the sink has gone past that place. Returns how many rows were deleted.
pub(crate) async fn erase(store: &Arc<dyn Store>, erasure: &Erasure) -> Result<u64, SinkError> {
    match &erasure.target {
        Target::Run(run) => erase_run(store, erasure, run.clone()).await,
        Target::Workspace => {
            let listed = of_workspace(&**store, &erasure.workspace).await?;
            let runs = begun::begin(&**store, erasure, listed).await?;
            // Each made when it is its turn: there may be millions of runs.
            let deletions = runs.into_iter().map(|run| erase_run(store, erasure, run).boxed());
            let rows = stream::iter(deletions).buffer_unordered(RUNS);
            let rows = rows.try_fold(0, |sum, rows| async move { Ok(sum + rows) }).await?;
            begun::end(&**store, erasure).await?;
            Ok(rows)
        }
    }
}

/// All runs of a workspace.
pub(crate) async fn of_workspace(store: &dyn Store, workspace: &str) -> Result<BTreeSet<String>, SinkError> {
    let mut runs = BTreeSet::new();
    for day in store.scan(Scan::partition(&tables::DAYS, vec![workspace.into()])).await? {
        let Some(Part::Int(day)) = day.clustering.first() else { continue };
        let partition = vec![workspace.into(), Part::Int(-day)];
        let listed = Scan { limit: LISTED, payload: false, ..Scan::partition(&tables::BY_DAY, partition) };
        let mut from = Bound::Unbounded;
        loop {
            let mut rows = store.scan(Scan { from, ..listed.clone() }).await?;
            runs.extend(rows.iter().filter_map(run_of));
            let Some(last) = rows.pop() else { break };
            from = Bound::Excluded(last.clustering);
        }
    }
    Ok(runs)
}

fn run_of(row: &Row) -> Option<String> {
    match row.clustering.get(1) {
        Some(Part::Text(run)) => Some(run.clone()),
        _ => None,
    }
}

async fn erase_run(store: &Arc<dyn Store>, erasure: &Erasure, run: String) -> Result<u64, SinkError> {
    let workspace = erasure.workspace.as_str();
    // Of a part, too, that the sink has begun anew since: marks of the one before lie among its own.
    let mut rows = delete(store, marks(store, erasure, &run).await?).await?;
    let parts = counted(&**store, workspace, &run).await?;
    let (gone, stays): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(_, part)| erasure.covers(part.begins_at()));
    // The first says that the workspace had runs on that day: others may have begun then too.
    let listings = |listed: &Listed| tables::write_listing(workspace, &run, listed).into_iter().skip(1);
    let of_others: Vec<Key> =
        stays.iter().flat_map(|(_, part)| listings(&part.listed())).map(|write| write.key).collect();
    let not_of_others = |listed: &Listed| -> Vec<Doomed> {
        let doomed = listings(listed).filter(|write| !of_others.contains(&write.key));
        doomed.map(|write| Doomed { table: write.table, key: write.key }).collect()
    };
    // Those of before were deleted already, where the run was erased more than once.
    for listed in stays.iter().chain(&gone).flat_map(|(_, part)| &part.replaced) {
        delete(store, not_of_others(listed)).await?;
    }
    for (origin, part) in gone {
        rows += delete(store, not_of_others(&part.listed())).await?;
        let key = tables::part_key(workspace, &run, ShareKey::of(origin, &part));
        store.delete(&tables::PARTS, &key, tables::part_version(&part)).await?;
        rows += 1;
    }
    Ok(rows)
}

/// The marks of a run that stand at erased entries.
async fn marks(store: &Arc<dyn Store>, erasure: &Erasure, run: &str) -> Result<Vec<Doomed>, SinkError> {
    let partition = vec![erasure.workspace.as_str().into(), run.into()];
    let mut marks = Vec::new();
    for row in store.scan(Scan::partition(&tables::MARKS, partition.clone())).await? {
        let Some((at, epoch)) = tables::share_of(&row) else { continue };
        let offset = Mark::from_row(run, &row)?.offset;
        if erasure.covers(Position { partition: at, epoch, offset }) {
            let key = Key { partition: partition.clone(), clustering: row.clustering };
            marks.push(Doomed { table: &tables::MARKS, key });
        }
    }
    Ok(marks)
}

/// Deletes rows that have no versions. Returns how many that were.
async fn delete(store: &Arc<dyn Store>, rows: Vec<Doomed>) -> Result<u64, StoreError> {
    let count = rows.len() as u64;
    let deleting = rows.into_iter().map(|row| async move { store.delete(row.table, &row.key, 0).await }.boxed());
    stream::iter(deleting).buffer_unordered(ROWS).try_collect::<()>().await?;
    Ok(count)
}
