//! Places in a run, by its marks.
//!
//! A place is a cursor together with the number of the run's entries before it, over all its partitions. A mark says both
//! of one partition, so whoever seeks reads no more than what lies between two marks.

use std::cmp::Ordering;
use std::slice;

use agentworks_schemas::{Cursor, Timestamp};

use super::known::{Share, entries_of};
use super::{KnownRun, LogReader, ReadError, ReadFilter, ReadItem, Scope, ordinal};
use crate::runs::Mark;

/// A place in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The cursor.
    pub cursor: Cursor,
    /// How many of the run's entries lie before it: the ordinal of the next one.
    pub ordinal: u64,
}

/// Finds places in a run.
pub(super) struct Places<'a> {
    pub(super) reader: &'a LogReader,
    pub(super) run: &'a KnownRun,
    pub(super) include_system: bool,
}

impl Places<'_> {
    /// See [`LogReader::before_ordinal`].
    pub(super) async fn before_ordinal(&self, ordinal: u64) -> Result<Place, ReadError> {
        let (start, end) = (self.run.start(self.include_system), self.run.end(self.include_system));
        if ordinal >= self.run.entries(self.include_system) {
            return Ok(Place { cursor: end, ordinal: self.run.entries(self.include_system) });
        }
        let shares: Vec<_> = self.run.shares(self.include_system).collect();
        let mut filled = shares.iter().filter(|shares| entries_of(shares) > 0);
        match (filled.next(), filled.next()) {
            // What the other partitions hold has yet to be counted, and is younger.
            (Some(shares), None) => {
                let mut place = Place { cursor: start, ordinal: 0 };
                place.raise(shares, self.mark_before(shares, ordinal).await?);
                Ok(place)
            }
            _ => ordinal::near(self.reader, &self.run.scope(), ordinal, self.include_system, shares, &end).await,
        }
    }

    /// See [`LogReader::before_time`].
    pub(super) async fn before_time(&self, time: Timestamp) -> Result<Place, ReadError> {
        let mut place = Place { cursor: self.run.start(self.include_system), ordinal: 0 };
        for shares in self.run.shares(self.include_system) {
            place.raise(shares, self.last_mark(shares, |mark| mark.timestamp < time).await?);
        }
        Ok(place)
    }

    /// See [`LogReader::ordinal_of`].
    pub(super) async fn ordinal_of(&self, cursor: &Cursor) -> Result<u64, ReadError> {
        let mut ordinal = 0;
        for share in self.run.shares(self.include_system).flatten() {
            let Some((epoch, next)) = cursor.get(share.partition) else { continue };
            ordinal += match share.epoch.cmp(&epoch) {
                Ordering::Less => share.entries,
                Ordering::Equal => self.entries_before(share, next).await?,
                Ordering::Greater => 0,
            };
        }
        Ok(ordinal)
    }

    /// How many of a share's entries lie below an offset.
    async fn entries_before(&self, share: &Share, next: i64) -> Result<u64, ReadError> {
        if next >= share.end {
            return Ok(share.entries + self.count(share, share.end, next).await?.unwrap_or_default());
        }
        if next >= share.last {
            return Ok(share.entries);
        }
        if next <= share.first {
            return Ok(0);
        }
        let mark = self.last_mark(slice::from_ref(share), |mark| mark.offset <= next).await?;
        let (offset, ordinal) = mark.map_or((share.first, 0), |(_, mark)| (mark.offset, mark.ordinal));
        if let Some(count) = self.count(share, offset, next).await? {
            return Ok(ordinal + count);
        }
        // Some of what lies before is gone: what comes after is counted instead.
        let scope = self.run.scope();
        let runs = &self.reader.tiers.runs;
        let mark = match scope.run() {
            Some(run) => runs.mark_after(scope.workspace(), run, share.partition, share.epoch, ordinal).await?,
            None => None,
        };
        let (to, total) = mark.map_or((share.last, share.entries), |mark| (mark.offset, mark.ordinal));
        Ok(total.saturating_sub(self.count(share, next, to).await?.unwrap_or_default()))
    }

    /// How many of the run's entries lie in a range of a partition; `None` if some of the range is gone.
    async fn count(&self, share: &Share, from: i64, to: i64) -> Result<Option<u64>, ReadError> {
        if from >= to {
            return Ok(Some(0));
        }
        let cursor = |offset| Cursor::from_iter([(share.partition, share.epoch, offset)]);
        let mut stream = self.reader.read(self.run.scope(), ReadFilter::default(), cursor(from), cursor(to));
        let mut count = 0;
        while let Some(item) = stream.recv().await.transpose()? {
            match item {
                ReadItem::Entry { .. } => count += 1,
                ReadItem::Gap { .. } => return Ok(None),
            }
        }
        Ok(Some(count))
    }

    /// The last mark in a partition's shares that `is_before` holds for, with its epoch. It must hold for all before one that
    /// it holds for.
    async fn last_mark(
        &self,
        shares: &[Share],
        is_before: impl Fn(&Mark) -> bool,
    ) -> Result<Option<(u32, Mark)>, ReadError> {
        // Below `low` there is none later than `best`, and beyond `high` none that it holds for.
        let (mut best, mut low, mut high) = (None, 0, entries_of(shares));
        while low <= high {
            let probe = low + (high - low) / 2;
            match self.mark_before(shares, probe).await? {
                Some((_, mark)) if mark.ordinal >= low && !is_before(&mark) => match mark.ordinal.checked_sub(1) {
                    Some(before) => high = before,
                    None => break,
                },
                Some((epoch, mark)) if mark.ordinal >= low => {
                    best = Some((epoch, mark));
                    low = probe + 1;
                }
                _ => low = probe + 1,
            }
        }
        Ok(best)
    }

    async fn mark_before(&self, shares: &[Share], ordinal: u64) -> Result<Option<(u32, Mark)>, ReadError> {
        self.reader.mark_before(&self.run.scope(), shares, ordinal).await
    }
}

impl Place {
    /// Moves it to a mark of a partition, if there is one.
    fn raise(&mut self, shares: &[Share], mark: Option<(u32, Mark)>) {
        if let (Some(share), Some((epoch, mark))) = (shares.first(), mark) {
            self.cursor.set(share.partition, epoch, mark.offset);
            self.ordinal += mark.ordinal;
        }
    }
}

impl LogReader {
    /// The last mark in a run's shares of a partition whose ordinal, over all of these, is not beyond `ordinal`, with its
    /// epoch, if there is one.
    pub(super) async fn mark_before(
        &self,
        scope: &Scope,
        shares: &[Share],
        ordinal: u64,
    ) -> Result<Option<(u32, Mark)>, ReadError> {
        let Some(run) = scope.run() else { return Ok(None) };
        for (index, &Share { partition, epoch, .. }) in shares.iter().enumerate().rev() {
            let (before, _) = shares.split_at(index);
            let Some(rest) = ordinal.checked_sub(entries_of(before)) else { continue };
            let mark = self.tiers.runs.mark_before(scope.workspace(), run, partition, epoch, rest).await?;
            if let Some(mark) = mark {
                return Ok(Some((epoch, following(mark, before))));
            }
        }
        Ok(None)
    }
}

/// A mark as it is counted over the shares before its own, too.
fn following(mark: Mark, before: &[Share]) -> Mark {
    let timestamp = before.iter().map(|share| share.clock).fold(mark.timestamp, Timestamp::max);
    Mark { ordinal: mark.ordinal + entries_of(before), timestamp, ..mark }
}
