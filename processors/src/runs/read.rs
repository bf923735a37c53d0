//! Reading runs.

use std::ops::Bound;
use std::sync::Arc;

use agentworks_schemas::TopicPartition;
use agentworks_schemas::protocol::RunSummary;
use agentworks_store::{Order, Part, Row, Scan, Store, Table};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::marks::Mark;
use super::part::{RunPart, fold_parts};
use super::sink::NAME;
use super::tables;
use crate::lane::{self, Held};
use crate::sink::SinkError;

/// How many runs are looked up at a time.
const LOOKUPS: usize = 16;

/// Reads what the runs sink wrote.
#[derive(Clone, Debug)]
pub struct RunReader {
    store: Arc<dyn Store>,
}

/// Whose runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunListing {
    /// A card's.
    Card(String),
    /// All of the workspace.
    Workspace,
}

/// A page of runs, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPage {
    /// The runs, as the store knows them.
    pub runs: Vec<RunSummary>,
    /// Where the next page begins; `None` if this is the last.
    pub next: Option<String>,
}

/// A row of a listing: the run's first record timestamp in one partition, in milliseconds, and its id.
type Listed = (i64, String);

impl RunReader {
    /// A reader of what lies in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        RunReader { store }
    }

    /// What the sink holds of a partition.
    pub async fn held(&self, partition: TopicPartition) -> Result<Option<Held>, SinkError> {
        Ok(lane::load(&*self.store, NAME, partition).await?)
    }

    /// The parts of a run; empty if the store doesn't know it (yet).
    pub async fn parts(&self, workspace: &str, run: &str) -> Result<Vec<RunPart>, SinkError> {
        let scan = Scan::partition(&tables::PARTS, vec![workspace.into(), run.into()]);
        let rows = self.store.scan(scan).await?;
        rows.iter().map(|row| tables::read_part(run, &row.payload)).collect()
    }

    /// The last mark of a run in a partition whose ordinal is not beyond `ordinal`; `None` before the first.
    pub async fn mark_before(
        &self,
        workspace: &str,
        run: &str,
        partition: TopicPartition,
        epoch: u32,
        ordinal: u64,
    ) -> Result<Option<Mark>, SinkError> {
        let scan = Scan {
            from: Bound::Included(tables::mark_bound(partition, epoch, None)),
            to: Bound::Included(tables::mark_bound(partition, epoch, Some(ordinal))),
            order: Order::Descending,
            limit: 1,
            ..Scan::partition(&tables::MARKS, vec![workspace.into(), run.into()])
        };
        self.store.scan(scan).await?.first().map(|row| Mark::from_row(run, row)).transpose()
    }

    /// A page of runs, newest first; `page` is the `next` of the page before. A token that isn't one begins anew.
    pub async fn list(
        &self,
        workspace: &str,
        listing: &RunListing,
        page: Option<&str>,
        limit: usize,
    ) -> Result<RunPage, SinkError> {
        let mut after = page.and_then(from_token);
        let mut runs = Vec::new();
        while runs.len() < limit {
            let rows = self.rows(workspace, listing, after.as_ref(), limit - runs.len()).await?;
            let Some(last) = rows.last().cloned() else { return Ok(RunPage { runs, next: None }) };
            after = Some(last);
            let shown = rows.into_iter().map(|row| self.summary(workspace, row));
            let shown: Vec<_> = stream::iter(shown).buffered(LOOKUPS).try_collect().await?;
            runs.extend(shown.into_iter().flatten());
        }
        Ok(RunPage { runs, next: after.as_ref().map(to_token) })
    }

    /// The summary of a listed run, unless another of its rows is the one that counts.
    async fn summary(&self, workspace: &str, (began, run): Listed) -> Result<Option<RunSummary>, SinkError> {
        let parts = self.parts(workspace, &run).await?;
        let counts = parts.iter().map(|part| part.recorded.0.millis()).min() == Some(began);
        Ok(counts.then(|| fold_parts(&run, &parts)).flatten())
    }

    /// The next rows of a listing, at most `limit`; none if there are no more.
    async fn rows(
        &self,
        workspace: &str,
        listing: &RunListing,
        after: Option<&Listed>,
        limit: usize,
    ) -> Result<Vec<Listed>, SinkError> {
        match listing {
            RunListing::Card(card) => {
                self.listed(&tables::BY_CARD, vec![workspace.into(), card.as_str().into()], after, limit).await
            }
            RunListing::Workspace => {
                let from = after
                    .map_or(Bound::Unbounded, |(began, _)| Bound::Included(vec![Part::Int(-tables::day_of(*began))]));
                let days = self.store.scan(Scan { from, ..Scan::partition(&tables::DAYS, vec![workspace.into()]) });
                for day in days.await?.iter().filter_map(|row| Some(-int(row, 0)?)) {
                    let rows = self.listed(&tables::BY_DAY, vec![workspace.into(), day.into()], after, limit).await?;
                    if !rows.is_empty() {
                        return Ok(rows);
                    }
                }
                Ok(Vec::new())
            }
        }
    }

    async fn listed(
        &self,
        table: &'static Table,
        partition: Vec<Part>,
        after: Option<&Listed>,
        limit: usize,
    ) -> Result<Vec<Listed>, SinkError> {
        let from = after
            .map_or(Bound::Unbounded, |(began, run)| Bound::Excluded(vec![Part::Int(-began), Part::Text(run.clone())]));
        let rows = self.store.scan(Scan { from, limit, ..Scan::partition(table, partition) }).await?;
        let read = |row: &Row| match row.clustering.get(1) {
            Some(Part::Text(run)) => Some((-int(row, 0)?, run.clone())),
            _ => None,
        };
        Ok(rows.iter().filter_map(read).collect())
    }
}

fn int(row: &Row, column: usize) -> Option<i64> {
    match row.clustering.get(column) {
        Some(Part::Int(number)) => Some(*number),
        _ => None,
    }
}

/// A token is the row that the page before ended with: the timestamp, a dot, and the run's id in hex, so that it needs no
/// escaping in a URL.
fn to_token((began, run): &Listed) -> String {
    let hex: String = run.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{began}.{hex}")
}

fn from_token(token: &str) -> Option<Listed> {
    let (began, hex) = token.split_once('.')?;
    if hex.len() % 2 != 0 {
        return None;
    }
    let bytes = hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    Some((began.parse().ok()?, String::from_utf8(bytes.collect::<Option<_>>()?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::{from_token, to_token};

    #[test]
    fn tokens_survive_any_run_id() {
        for run in ["", "r1", "a/b c?&ü\0"] {
            let listed = (1_764_670_530_123, run.to_owned());
            assert_eq!(from_token(&to_token(&listed)), Some(listed));
        }
        for garbage in ["", ".", "1", "x.61", "1.6", "1.zz", "1.ff"] {
            assert!(from_token(garbage).is_none(), "{garbage}");
        }
    }
}
