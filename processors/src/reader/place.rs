//! Places in a run, by its marks.
//!
//! A place is a cursor together with the number of the run's entries before it, over all its partitions. A mark says both
//! of one partition, so whoever seeks reads no more than what lies between two marks.

use agentworks_schemas::{Cursor, Timestamp, TopicPartition};

use super::known::Share;
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
        let filled: Vec<_> = self.run.shares(self.include_system).filter(|share| share.entries > 0).collect();
        match filled[..] {
            // What the other partitions hold has yet to be counted, and is younger.
            [share] => {
                let mark = self.mark_before(share, ordinal).await?;
                let mut place = Place { cursor: start, ordinal: 0 };
                if let Some(mark) = mark {
                    place.cursor.set(share.partition, share.epoch, mark.offset);
                    place.ordinal = mark.ordinal;
                }
                Ok(place)
            }
            _ => ordinal::near(self.reader, &self.run.scope(), ordinal, self.include_system, start, &end).await,
        }
    }

    /// See [`LogReader::before_time`].
    pub(super) async fn before_time(&self, time: Timestamp) -> Result<Place, ReadError> {
        let mut place = Place { cursor: self.run.start(self.include_system), ordinal: 0 };
        for share in self.run.shares(self.include_system) {
            if let Some(mark) = self.last_mark(share, |mark| mark.timestamp < time).await? {
                place.cursor.set(share.partition, share.epoch, mark.offset);
                place.ordinal += mark.ordinal;
            }
        }
        Ok(place)
    }

    /// See [`LogReader::ordinal_of`].
    pub(super) async fn ordinal_of(&self, cursor: &Cursor) -> Result<u64, ReadError> {
        let mut ordinal = 0;
        for share in self.run.shares(self.include_system) {
            let next = cursor.get(share.partition).filter(|(epoch, _)| *epoch == share.epoch);
            if let Some((_, next)) = next {
                ordinal += self.entries_before(share, next).await?;
            }
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
        let mark = self.last_mark(share, |mark| mark.offset <= next).await?;
        let (offset, ordinal) = mark.map_or((share.first, 0), |mark| (mark.offset, mark.ordinal));
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

    /// The last mark of a share that `is_before` holds for. It must hold for all before one that it holds for.
    async fn last_mark(&self, share: &Share, is_before: impl Fn(&Mark) -> bool) -> Result<Option<Mark>, ReadError> {
        // Below `low` there is none later than `best`, and beyond `high` none that it holds for.
        let (mut best, mut low, mut high) = (None, 0, share.entries);
        while low <= high {
            let probe = low + (high - low) / 2;
            match self.mark_before(share, probe).await? {
                Some(mark) if mark.ordinal >= low && !is_before(&mark) => match mark.ordinal.checked_sub(1) {
                    Some(before) => high = before,
                    None => break,
                },
                Some(mark) if mark.ordinal >= low => {
                    best = Some(mark);
                    low = probe + 1;
                }
                _ => low = probe + 1,
            }
        }
        Ok(best)
    }

    async fn mark_before(&self, share: &Share, ordinal: u64) -> Result<Option<Mark>, ReadError> {
        let &Share { partition, epoch, .. } = share;
        self.reader.mark_before(&self.run.scope(), partition, epoch, ordinal).await
    }
}

impl LogReader {
    /// The last mark of a run in a partition whose ordinal is not beyond `ordinal`, if there is one.
    pub(super) async fn mark_before(
        &self,
        scope: &Scope,
        partition: TopicPartition,
        epoch: u32,
        ordinal: u64,
    ) -> Result<Option<Mark>, ReadError> {
        let Some(run) = scope.run() else { return Ok(None) };
        Ok(self.tiers.runs.mark_before(scope.workspace(), run, partition, epoch, ordinal).await?)
    }
}
