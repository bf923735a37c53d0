//! The place of a run's nth entry.
//!
//! Marks say of single entries how many of the run lie before them *in their partition*. The stream's order spans the
//! partitions; so a mark is turned into a *cut* through all of them: everything that comes before the marked entry. In the
//! other partitions that is found by their own marks' record timestamps, and by counting from the last mark before. The
//! cut with the most entries that are not too many is where counting begins.

use agentworks_schemas::{Cursor, Timestamp, Topic, TopicPartition};

use super::place::Place;
use super::{LogReader, ReadError, ReadFilter, ReadItem, ReadStream, Scope};
use crate::runs::Mark;

/// A cut that so few entries are missing from is not bettered by another partition's marks.
const NEAR: u64 = 2_000;

/// The time and partition of an entry: its place in the order of the stream.
type Key = (Timestamp, TopicPartition);

/// What a mark comes to.
enum Probe {
    Cut(Place),
    /// More entries lie before it than may.
    TooLate,
    /// The marked entry is held nowhere any more.
    Gone,
}

/// See [`LogReader::seek_ordinal`].
pub(super) async fn seek(
    reader: &LogReader,
    scope: &Scope,
    ordinal: u64,
    include_system: bool,
) -> Result<(Cursor, u64), ReadError> {
    let filter = filter(include_system);
    let start: Cursor = reader.start(scope).await?.iter().filter(|(at, ..)| filter.reads(at.topic)).collect();
    let end = reader.end(scope).await?;
    let mut place = near(reader, scope, ordinal, include_system, start, &end).await?;
    let mut stream = reader.read(scope.clone(), filter, place.cursor.clone(), end);
    while place.ordinal < ordinal {
        match stream.recv().await.transpose()? {
            Some(ReadItem::Entry { cursor, .. }) => place = Place { cursor, ordinal: place.ordinal + 1 },
            // How many entries it held can't be known.
            Some(ReadItem::Gap { .. }) | None => break,
        }
    }
    Ok((place.cursor, place.ordinal))
}

/// A place at or before the run's entry with this ordinal, by the marks between `start` and `end`.
pub(super) async fn near(
    reader: &LogReader,
    scope: &Scope,
    ordinal: u64,
    include_system: bool,
    start: Cursor,
    end: &Cursor,
) -> Result<Place, ReadError> {
    // Room for one more, here and in the store.
    let ordinal = ordinal.min(i64::MAX as u64 - 1);
    let filter = filter(include_system);
    let mut best = Place { cursor: start.clone(), ordinal: 0 };
    if scope.run().is_some() {
        let search = Search { reader, scope, filter: &filter, start, end };
        let partitions: Vec<_> = search.start.iter().collect();
        for (partition, epoch, _) in partitions {
            if let Some(cut) = search.last_cut(partition, epoch, ordinal).await?
                && cut.ordinal > best.ordinal
            {
                best = cut;
            }
            if ordinal - best.ordinal <= NEAR {
                break;
            }
        }
    }
    Ok(best)
}

fn filter(include_system: bool) -> ReadFilter {
    let topics = if include_system { Topic::LOGS.to_vec() } else { vec![Topic::AgentLogs] };
    ReadFilter { topics: Some(topics), ..ReadFilter::default() }
}

struct Search<'a> {
    reader: &'a LogReader,
    scope: &'a Scope,
    filter: &'a ReadFilter,
    start: Cursor,
    end: &'a Cursor,
}

impl Search<'_> {
    /// The last cut at a mark of `partition` with at most `ordinal` entries before it.
    async fn last_cut(&self, partition: TopicPartition, epoch: u32, ordinal: u64) -> Result<Option<Place>, ReadError> {
        // Below `low` the marks are known to be early enough; from `high` on, too late.
        let (mut best, mut low, mut high) = (None, 0, ordinal + 1);
        let mut probe = ordinal;
        while low < high {
            let Some(mark) = self.mark(partition, epoch, probe).await? else {
                low = probe + 1;
                probe = low + high.saturating_sub(low) / 2;
                continue;
            };
            if mark.ordinal < low {
                // Known already: no mark lies between.
                low = probe + 1;
            } else {
                match self.cut_at(partition, epoch, mark, ordinal).await? {
                    Probe::Cut(cut) => {
                        best = Some(cut);
                        low = probe + 1;
                    }
                    Probe::Gone => low = probe + 1,
                    Probe::TooLate => high = mark.ordinal,
                }
            }
            probe = low + high.saturating_sub(low) / 2;
        }
        Ok(best)
    }

    /// The cut before the entry at `mark`, if at most `ordinal` entries lie before it.
    async fn cut_at(
        &self,
        partition: TopicPartition,
        epoch: u32,
        mark: Mark,
        ordinal: u64,
    ) -> Result<Probe, ReadError> {
        let mut cut = Place { cursor: self.start.clone(), ordinal: mark.ordinal };
        cut.cursor.set(partition, epoch, mark.offset);
        let others: Vec<_> = self.start.iter().filter(|(other, ..)| *other != partition).collect();
        if others.is_empty() {
            return Ok(Probe::Cut(cut));
        }
        let Some(key) = self.key_at(partition, epoch, mark.offset).await? else { return Ok(Probe::Gone) };
        for (other, epoch, floor) in others {
            // Never negative: `before` has kept within it.
            let room = ordinal - cut.ordinal;
            let Some((next, count)) = self.before(other, epoch, floor, key, room).await? else {
                return Ok(Probe::TooLate);
            };
            cut.cursor.set(other, epoch, next);
            cut.ordinal += count;
        }
        Ok(Probe::Cut(cut))
    }

    /// The first entry in `partition` that doesn't come before `key`, and how many do; `None` if more than `room` do.
    async fn before(
        &self,
        partition: TopicPartition,
        epoch: u32,
        floor: i64,
        key: Key,
        room: u64,
    ) -> Result<Option<(i64, u64)>, ReadError> {
        // The last mark before the key: below `low` they all are, from `high` on none is.
        let (mut from, mut low, mut high, mut probe) = ((floor, 0), 0, room + 1, room);
        while low < high {
            match self.mark(partition, epoch, probe).await? {
                Some(mark) if mark.ordinal >= low => match self.key_at(partition, epoch, mark.offset).await? {
                    Some(at) if at >= key => high = mark.ordinal,
                    // What is gone is older than what isn't.
                    _ => {
                        from = (mark.offset, mark.ordinal);
                        low = probe + 1;
                    }
                },
                _ => low = probe + 1,
            }
            probe = low + high.saturating_sub(low) / 2;
        }
        let (offset, mut count) = from;
        let to = self.end.get(partition).map_or(offset, |(_, end)| end);
        let mut stream = self.read(partition, epoch, offset, to);
        while let Some(item) = stream.recv().await.transpose()? {
            if let ReadItem::Entry { entry, .. } = item {
                if (entry.timestamp, partition) >= key {
                    return Ok(Some((entry.position.offset, count)));
                }
                count += 1;
                if count > room {
                    return Ok(None);
                }
            }
        }
        Ok(Some((to, count)))
    }

    /// The key of the entry at `offset`; `None` if it is gone.
    async fn key_at(&self, partition: TopicPartition, epoch: u32, offset: i64) -> Result<Option<Key>, ReadError> {
        let mut stream = self.read(partition, epoch, offset, offset + 1);
        while let Some(item) = stream.recv().await.transpose()? {
            if let ReadItem::Entry { entry, .. } = item {
                return Ok(Some((entry.timestamp, partition)));
            }
        }
        Ok(None)
    }

    async fn mark(&self, partition: TopicPartition, epoch: u32, ordinal: u64) -> Result<Option<Mark>, ReadError> {
        self.reader.mark_before(self.scope, partition, epoch, ordinal).await
    }

    fn read(&self, partition: TopicPartition, epoch: u32, from: i64, to: i64) -> ReadStream {
        let cursor = |offset| Cursor::from_iter([(partition, epoch, offset)]);
        self.reader.read(self.scope.clone(), self.filter.clone(), cursor(from), cursor(to))
    }
}
