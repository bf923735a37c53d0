//! Reading runs.

use std::fmt;
use std::ops::Bound;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use agentworks_schemas::protocol::RunSummary;
use agentworks_schemas::{Position, Timestamp, TopicPartition};
use agentworks_store::{Order, Part, Row, Scan, Store, Table};
use futures_util::future::try_join;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::marks::Mark;
use super::part::{Inference, RunPart, fold_parts};
use super::sink::{NAME, RESTORED_NAME};
use super::tables::{self, Origin, ShareKey};
use crate::erasure::Erasures;
use crate::lane::{self, Held};
use crate::sink::SinkError;

/// How many runs are looked up at a time.
const LOOKUPS: usize = 16;

/// How many rows are looked at for a page, for each run that is wanted and at least: beyond that many rows that show
/// nothing the page ends. All runs of a workspace that was erased are listed until they are deleted.
const ROWS: (usize, usize) = (4, 400);

/// Reads what the runs sink wrote.
#[derive(Clone, Debug)]
pub struct RunReader {
    store: Arc<dyn Store>,
    silence: Duration,
    erasures: Option<Erasures>,
}

/// After so long without a record a run that no event ended counts as over, unless [`RunReader::silence`] says otherwise.
pub const SILENCE: Duration = Duration::from_secs(3600);

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
    /// Where the next page begins; `None` if this is the last. A page may have fewer runs than were asked for, or none,
    /// and yet not be the last.
    pub next: Option<PageToken>,
}

/// A row of a listing, which is also where a page ends: as text it is the token by which a client asks for the next one.
/// The timestamp, a dot, and the run's id in hex, so that it needs no escaping in a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageToken {
    /// The run's first record timestamp in one partition, in milliseconds.
    began: i64,
    run: String,
}

impl RunReader {
    /// A reader of what lies in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        RunReader { store, silence: SILENCE, erasures: None }
    }

    /// The same, without what is erased.
    pub fn erasures(self, erasures: Erasures) -> Self {
        RunReader { erasures: Some(erasures), ..self }
    }

    /// The same, with runs that no event ended counting as over when nothing of them has come for `silence`.
    pub fn silence(self, silence: Duration) -> Self {
        RunReader { silence, ..self }
    }

    /// Adds the parts of a run, as of now; see [`fold_parts`].
    pub fn fold(&self, run: &str, parts: &[RunPart]) -> Option<RunSummary> {
        fold_parts(run, parts, Inference { now: Timestamp::now(), silence: self.silence })
    }

    /// What the sink holds of a partition.
    pub async fn held(&self, partition: TopicPartition) -> Result<Option<Held>, SinkError> {
        Ok(lane::load(&*self.store, NAME, partition).await?)
    }

    /// What the sink holds of all partitions.
    pub async fn all_held(&self) -> Result<Vec<Held>, SinkError> {
        Ok(lane::load_all(&*self.store, NAME).await?)
    }

    /// How far what lay before the sink's beginning is restored in a partition; `None` if that never began.
    pub async fn restored_to(&self, partition: TopicPartition) -> Result<Option<Held>, SinkError> {
        Ok(lane::load(&*self.store, RESTORED_NAME, partition).await?)
    }

    /// The parts of a run; empty if the store doesn't know it (yet).
    pub async fn parts(&self, workspace: &str, run: &str) -> Result<Vec<RunPart>, SinkError> {
        Ok(joined(self.counted(workspace, run).await?))
    }

    async fn counted(&self, workspace: &str, run: &str) -> Result<Vec<(Origin, RunPart)>, SinkError> {
        let mut parts = counted(&*self.store, workspace, run).await?;
        if let Some(erasures) = &self.erasures {
            // One that began before counts erased records too. The sink begins it anew with the next record.
            let view = erasures.view().await?;
            parts.retain(|(_, part)| !view.hides(workspace, run, part.begins_at()));
        }
        Ok(parts)
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
        let share = |origin| ShareKey { origin, partition, epoch };
        let find = async |origin, ordinal| {
            let from = Bound::Included(tables::mark_bound(share(origin), None));
            let to = Bound::Included(tables::mark_bound(share(origin), Some(ordinal)));
            self.mark_within(workspace, run, share(origin), (from, to), Order::Descending).await
        };
        let (before, mark) =
            try_join(self.restored(workspace, run, share(Origin::Restored)), find(Origin::Sink, ordinal)).await?;
        let Some(before) = before else { return Ok(mark) };
        if let Some(ordinal) = ordinal.checked_sub(before.entries())
            && let Some(mark) = find(Origin::Sink, ordinal).await?
        {
            return Ok(Some(mark.after(&before)));
        }
        find(Origin::Restored, ordinal).await
    }

    /// The first mark of a run in a partition whose ordinal is beyond `ordinal`; `None` after the last.
    pub async fn mark_after(
        &self,
        workspace: &str,
        run: &str,
        partition: TopicPartition,
        epoch: u32,
        ordinal: u64,
    ) -> Result<Option<Mark>, SinkError> {
        let share = |origin| ShareKey { origin, partition, epoch };
        let find = async |origin, ordinal| {
            let from = Bound::Excluded(tables::mark_bound(share(origin), Some(ordinal)));
            let to = Bound::Included(tables::mark_bound(share(origin), Some(u64::MAX)));
            self.mark_within(workspace, run, share(origin), (from, to), Order::Ascending).await
        };
        let (before, mark) =
            try_join(self.restored(workspace, run, share(Origin::Restored)), find(Origin::Sink, ordinal)).await?;
        let Some(before) = before else { return Ok(mark) };
        if ordinal < before.entries()
            && let Some(mark) = find(Origin::Restored, ordinal).await?
        {
            return Ok(Some(mark));
        }
        let mark = find(Origin::Sink, ordinal.saturating_sub(before.entries())).await?;
        Ok(mark.map(|mark| mark.after(&before)))
    }

    /// What of a share was restored, if anything.
    async fn restored(&self, workspace: &str, run: &str, share: ShareKey) -> Result<Option<RunPart>, SinkError> {
        let Some(part) = part_of(&*self.store, workspace, run, share).await? else { return Ok(None) };
        Ok(match &self.erasures {
            Some(erasures) if erasures.view().await?.hides(workspace, run, part.begins_at()) => None,
            _ => Some(part),
        })
    }

    /// The first mark of a share between bounds, in this order; `None` if that one stands at an erased entry.
    async fn mark_within(
        &self,
        workspace: &str,
        run: &str,
        ShareKey { partition, epoch, .. }: ShareKey,
        (from, to): (Bound<Vec<Part>>, Bound<Vec<Part>>),
        order: Order,
    ) -> Result<Option<Mark>, SinkError> {
        let marks = Scan::partition(&tables::MARKS, vec![workspace.into(), run.into()]);
        let rows = self.store.scan(Scan { from, to, order, limit: 1, ..marks }).await?;
        let mark = rows.first().map(|row| Mark::from_row(run, row)).transpose()?;
        match (mark, &self.erasures) {
            // It counts entries of a part that isn't counted any more: what has gone on is counted anew, from 0. The others
            // are found when it has been deleted; until then whoever seeks reads a little more.
            (Some(Mark { offset, .. }), Some(erasures))
                if erasures.view().await?.hides(workspace, run, Position { partition, epoch, offset }) =>
            {
                Ok(None)
            }
            (mark, _) => Ok(mark),
        }
    }

    /// A page of runs, newest first; `after` is the `next` of the page before. It has fewer than `limit` if there are no
    /// more, or if there are many rows that show nothing: then it tells where to go on.
    pub async fn list(
        &self,
        workspace: &str,
        listing: &RunListing,
        after: Option<&PageToken>,
        limit: usize,
    ) -> Result<RunPage, SinkError> {
        let mut after = after.cloned();
        let mut runs = Vec::new();
        let mut budget = limit.saturating_mul(ROWS.0).max(ROWS.1);
        let mut count = limit;
        while runs.len() < limit && budget > 0 {
            let rows = self.rows(workspace, listing, after.as_ref(), count.min(budget)).await?;
            if rows.is_empty() {
                return Ok(RunPage { runs, next: None });
            }
            budget = budget.saturating_sub(rows.len());
            let shown = rows.iter().map(|row| self.summary(workspace, row.clone()));
            let shown: Vec<_> = stream::iter(shown.collect::<Vec<_>>()).buffered(LOOKUPS).try_collect().await?;
            for (row, run) in rows.into_iter().zip(shown) {
                if runs.len() == limit {
                    break;
                }
                after = Some(row);
                runs.extend(run);
            }
            // Where one is missing at the end, not one row after the other.
            count = (limit - runs.len()).max(LOOKUPS);
        }
        Ok(RunPage { runs, next: after })
    }

    /// The summary of a listed run, unless another of its rows is the one that counts.
    async fn summary(
        &self,
        workspace: &str,
        PageToken { began, run }: PageToken,
    ) -> Result<Option<RunSummary>, SinkError> {
        let parts = self.parts(workspace, &run).await?;
        let counts = parts.iter().map(|part| part.recorded.0.millis()).min() == Some(began);
        Ok(counts.then(|| self.fold(&run, &parts)).flatten())
    }

    /// The next rows of a listing, at most `limit`; none if there are no more.
    async fn rows(
        &self,
        workspace: &str,
        listing: &RunListing,
        after: Option<&PageToken>,
        limit: usize,
    ) -> Result<Vec<PageToken>, SinkError> {
        match listing {
            RunListing::Card(card) => {
                self.listed(&tables::BY_CARD, vec![workspace.into(), card.as_str().into()], after, limit).await
            }
            RunListing::Workspace => {
                let from =
                    after.map_or(Bound::Unbounded, |row| Bound::Included(vec![Part::Int(-tables::day_of(row.began))]));
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
        after: Option<&PageToken>,
        limit: usize,
    ) -> Result<Vec<PageToken>, SinkError> {
        let from = after
            .map_or(Bound::Unbounded, |row| Bound::Excluded(vec![Part::Int(-row.began), Part::Text(row.run.clone())]));
        let rows = self.store.scan(Scan { from, limit, ..Scan::partition(table, partition) }).await?;
        let read = |row: &Row| match row.clustering.get(1) {
            Some(Part::Text(run)) => Some(PageToken { began: -int(row, 0)?, run: run.clone() }),
            _ => None,
        };
        Ok(rows.iter().filter_map(read).collect())
    }
}

/// The parts of a run, those included that are hidden from readers.
pub(crate) async fn parts_of(store: &dyn Store, workspace: &str, run: &str) -> Result<Vec<RunPart>, SinkError> {
    Ok(joined(counted(store, workspace, run).await?))
}

/// The same, as they were counted.
pub(super) async fn counted(
    store: &dyn Store,
    workspace: &str,
    run: &str,
) -> Result<Vec<(Origin, RunPart)>, SinkError> {
    let rows = store.scan(Scan::partition(&tables::PARTS, vec![workspace.into(), run.into()])).await?;
    rows.iter().map(|row| Ok((tables::origin_of(row), tables::read_part(run, &row.payload)?))).collect()
}

/// A share's part of a run, erased or not.
pub(super) async fn part_of(
    store: &dyn Store,
    workspace: &str,
    run: &str,
    share: ShareKey,
) -> Result<Option<RunPart>, SinkError> {
    let row = store.get(&tables::PARTS, &tables::part_key(workspace, run, share)).await?;
    row.map(|row| tables::read_part(run, &row.payload)).transpose()
}

/// Adds what was restored to what the sink has counted since.
fn joined(mut parts: Vec<(Origin, RunPart)>) -> Vec<RunPart> {
    parts.sort_by_key(|(origin, part)| (part.partition, part.epoch, *origin));
    let mut joined: Vec<RunPart> = Vec::with_capacity(parts.len());
    for (_, part) in parts {
        match joined.pop_if(|last| (last.partition, last.epoch) == (part.partition, part.epoch)) {
            Some(before) => joined.push(before.followed_by(part)),
            None => joined.push(part),
        }
    }
    joined
}

fn int(row: &Row, column: usize) -> Option<i64> {
    match row.clustering.get(column) {
        Some(Part::Int(number)) => Some(*number),
        _ => None,
    }
}

impl fmt::Display for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.began)?;
        self.run.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text is no token that a page has ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not the `next` of a page; leave it out for the first page")]
pub struct ParsePageTokenError;

impl FromStr for PageToken {
    type Err = ParsePageTokenError;

    fn from_str(token: &str) -> Result<Self, ParsePageTokenError> {
        let parse = || {
            let (began, hex) = token.split_once('.')?;
            let pairs = hex.as_bytes().chunks(2).map(|pair| match pair {
                [_, _] => u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok(),
                _ => None,
            });
            let run = String::from_utf8(pairs.collect::<Option<_>>()?).ok()?;
            Some(PageToken { began: began.parse().ok()?, run })
        };
        parse().ok_or(ParsePageTokenError)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn tokens_survive_any_run_id() {
        for run in ["", "r1", "a/b c?&ü\0"] {
            let token = PageToken { began: 1_764_670_530_123, run: run.to_owned() };
            assert_eq!(token.to_string().parse(), Ok(token));
        }
        for garbage in ["", ".", "1", "x.61", "1.6", "1.zz", "1.ff"] {
            assert_eq!(garbage.parse::<PageToken>(), Err(ParsePageTokenError), "{garbage}");
        }
    }
}
