//! Deleting what was erased.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use agentworks_schemas::Position;
use agentworks_store::{Key, Part, Row, Scan, Store, Table};
use futures_util::future::FutureExt;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::marks::Mark;
use super::part::RunPart;
use super::read::counted;
use super::tables::{self, ShareKey};
use crate::erasure::{Erasure, Target};
use crate::sink::SinkError;

/// How many runs are deleted at a time.
const RUNS: usize = 8;
/// How many rows of a run are deleted at a time.
const ROWS: usize = 16;

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
            let runs = of_workspace(&**store, &erasure.workspace).await?;
            let deletions = runs.into_iter().map(|run| erase_run(store, erasure, run).boxed());
            let rows = stream::iter(deletions.collect::<Vec<_>>()).buffer_unordered(RUNS);
            rows.try_fold(0, |sum, rows| async move { Ok(sum + rows) }).await
        }
    }
}

/// All runs of a workspace.
pub(crate) async fn of_workspace(store: &dyn Store, workspace: &str) -> Result<Vec<String>, SinkError> {
    let mut runs = BTreeSet::new();
    for day in store.scan(Scan::partition(&tables::DAYS, vec![workspace.into()])).await? {
        let Some(Part::Int(day)) = day.clustering.first() else { continue };
        let partition = vec![workspace.into(), Part::Int(-day)];
        runs.extend(store.scan(Scan::partition(&tables::BY_DAY, partition)).await?.iter().filter_map(run_of));
    }
    Ok(runs.into_iter().collect())
}

fn run_of(row: &Row) -> Option<String> {
    match row.clustering.get(1) {
        Some(Part::Text(run)) => Some(run.clone()),
        _ => None,
    }
}

async fn erase_run(store: &Arc<dyn Store>, erasure: &Erasure, run: String) -> Result<u64, SinkError> {
    let mut rows = 0;
    let workspace = erasure.workspace.as_str();
    for (origin, part) in counted(&**store, workspace, &run).await? {
        let share = ShareKey::of(origin, &part);
        // One that the sink has begun anew since holds nothing of what was erased.
        if !erasure.covers(part.begins_at()) {
            continue;
        }
        // The part is last: it is by the part that the rest is found, should this be broken off.
        let marks = Scan {
            from: Bound::Included(tables::mark_bound(share, None)),
            to: Bound::Included(tables::mark_bound(share, None)),
            ..Scan::partition(&tables::MARKS, vec![workspace.into(), run.as_str().into()])
        };
        let mut deletions: Vec<(&'static Table, Key)> = Vec::new();
        for row in store.scan(marks).await? {
            let offset = Mark::from_row(&run, &row)?.offset;
            if erasure.covers(Position { offset, ..part.begins_at() }) {
                let partition = vec![workspace.into(), run.as_str().into()];
                deletions.push((&tables::MARKS, Key { partition, clustering: row.clustering }));
            }
        }
        let listings = tables::write_listing(workspace, &run, &part);
        // The first says that the workspace had runs on that day: others may have begun then too.
        deletions.extend(listings.into_iter().skip(1).map(|write| (write.table, write.key)));
        rows += deletions.len() as u64 + 1;
        let mut deleting = Vec::new();
        for (table, key) in deletions {
            deleting.push(async move { store.delete(table, &key, 0).await });
        }
        stream::iter(deleting).buffer_unordered(ROWS).try_collect::<()>().await?;
        let key = tables::part_key(workspace, &run, share);
        store.delete(&tables::PARTS, &key, tables::part_version(&part)).await?;
    }
    Ok(rows)
}
