//! The place of a run's nth entry.
//!
//! Marks say of single entries how many of the run lie before them *in their partition* (and making of its topic). The
//! stream's order spans the partitions; so a mark is turned into a *cut* through all of them: everything that comes
//! before the marked entry. In the other partitions that is found by their own marks' record timestamps, and by
//! counting from the last mark before. The cut with the most entries that are not too many is where counting begins.

use agentworks_schemas::{Cursor, Timestamp, Topic, TopicPartition};

use super::known::{Share, by_partition};
use super::lanes::ScopeLane;
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
    let lanes = reader.tiers.lanes(scope).await?;
    let end = reader.end(scope).await?;
    let shares = shares(reader, scope, lanes.iter().filter(|lane| filter.reads(lane.partition.topic)), &end).await?;
    let mut place = near(reader, scope, ordinal, include_system, by_partition(&shares).collect(), &end).await?;
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

/// What a scope has of its lanes, from where they begin on.
async fn shares(
    reader: &LogReader,
    scope: &Scope,
    lanes: impl Iterator<Item = &ScopeLane>,
    end: &Cursor,
) -> Result<Vec<Share>, ReadError> {
    let parts = match scope.run() {
        Some(run) => reader.tiers.runs.parts(scope.workspace(), run).await?,
        None => Vec::new(),
    };
    let of_lane = |lane: &ScopeLane| {
        let (partition, epoch, floor) = (lane.partition, lane.epoch, lane.floor);
        let share = |epoch, first, end| Share { first, ..Share::new(partition, epoch, end, &parts) };
        let earlier = lane.earlier.iter().map(|making| share(making.epoch, making.floor, making.end));
        let present = share(epoch, floor, end.get(partition).map_or(floor, |(_, end)| end));
        earlier.chain([present]).collect::<Vec<_>>()
    };
    Ok(lanes.flat_map(of_lane).collect())
}

/// A place at or before the run's entry with this ordinal, by the marks in its shares of each partition.
pub(super) async fn near(
    reader: &LogReader,
    scope: &Scope,
    ordinal: u64,
    include_system: bool,
    shares: Vec<&[Share]>,
    end: &Cursor,
) -> Result<Place, ReadError> {
    // Room for one more, here and in the store.
    let ordinal = ordinal.min(i64::MAX as u64 - 1);
    let filter = filter(include_system);
    let firsts = shares.iter().filter_map(|shares| shares.first());
    let start: Cursor = firsts.map(|share| (share.partition, share.epoch, share.first)).collect();
    let mut best = Place { cursor: start.clone(), ordinal: 0 };
    if scope.run().is_some() {
        let search = Search { reader, scope, filter: &filter, start, end, shares };
        for shares in &search.shares {
            if let Some(cut) = search.last_cut(shares, ordinal).await?
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
    /// Those of each partition.
    shares: Vec<&'a [Share]>,
}

impl Search<'_> {
    /// The last cut at a mark of a partition's shares with at most `ordinal` entries before it.
    async fn last_cut(&self, shares: &[Share], ordinal: u64) -> Result<Option<Place>, ReadError> {
        // Below `low` the marks are known to be early enough; from `high` on, too late.
        let (mut best, mut low, mut high) = (None, 0, ordinal + 1);
        let mut probe = ordinal;
        while low < high {
            let Some((epoch, mark)) = self.mark(shares, probe).await? else {
                low = probe + 1;
                probe = low + high.saturating_sub(low) / 2;
                continue;
            };
            if mark.ordinal < low {
                // Known already: no mark lies between.
                low = probe + 1;
            } else {
                match self.cut_at(shares, epoch, mark, ordinal).await? {
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
    async fn cut_at(&self, shares: &[Share], epoch: u32, mark: Mark, ordinal: u64) -> Result<Probe, ReadError> {
        let Some(partition) = shares.first().map(|share| share.partition) else { return Ok(Probe::Gone) };
        let mut cut = Place { cursor: self.start.clone(), ordinal: mark.ordinal };
        cut.cursor.set(partition, epoch, mark.offset);
        let is_other = |share: &&Share| share.partition != partition;
        let others: Vec<_> =
            self.shares.iter().filter_map(|others| Some((others.first().filter(is_other)?, *others))).collect();
        if others.is_empty() {
            return Ok(Probe::Cut(cut));
        }
        let Some(key) = self.key_at(partition, epoch, mark.offset).await? else { return Ok(Probe::Gone) };
        for (first, others) in others {
            // Never negative: `before` has kept within it.
            let room = ordinal - cut.ordinal;
            let Some(((epoch, next), count)) = self.before(first, others, key, room).await? else {
                return Ok(Probe::TooLate);
            };
            cut.cursor.set(first.partition, epoch, next);
            cut.ordinal += count;
        }
        Ok(Probe::Cut(cut))
    }

    /// The first entry in a partition's shares that doesn't come before `key`, by epoch and offset, and how many do; `None`
    /// if more than `room` do.
    async fn before(
        &self,
        first: &Share,
        shares: &[Share],
        key: Key,
        room: u64,
    ) -> Result<Option<((u32, i64), u64)>, ReadError> {
        let partition = first.partition;
        // The last mark before the key: below `low` they all are, from `high` on none is.
        let (mut from, mut low, mut high, mut probe) = (((first.epoch, first.first), 0), 0, room + 1, room);
        while low < high {
            match self.mark(shares, probe).await? {
                Some((epoch, mark)) if mark.ordinal >= low => {
                    match self.key_at(partition, epoch, mark.offset).await? {
                        Some(at) if at >= key => high = mark.ordinal,
                        // What is gone is older than what isn't.
                        _ => {
                            from = ((epoch, mark.offset), mark.ordinal);
                            low = probe + 1;
                        }
                    }
                }
                _ => low = probe + 1,
            }
            probe = low + high.saturating_sub(low) / 2;
        }
        let (at, mut count) = from;
        let to = self.end.get(partition).unwrap_or(at);
        let mut stream = self.read(partition, at, to);
        while let Some(item) = stream.recv().await.transpose()? {
            if let ReadItem::Entry { entry, .. } = item {
                if (entry.timestamp, partition) >= key {
                    return Ok(Some(((entry.position.epoch, entry.position.offset), count)));
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
        let mut stream = self.read(partition, (epoch, offset), (epoch, offset + 1));
        while let Some(item) = stream.recv().await.transpose()? {
            if let ReadItem::Entry { entry, .. } = item {
                return Ok(Some((entry.timestamp, partition)));
            }
        }
        Ok(None)
    }

    async fn mark(&self, shares: &[Share], ordinal: u64) -> Result<Option<(u32, Mark)>, ReadError> {
        self.reader.mark_before(self.scope, shares, ordinal).await
    }

    fn read(&self, partition: TopicPartition, from: (u32, i64), to: (u32, i64)) -> ReadStream {
        let cursor = |(epoch, offset)| Cursor::from_iter([(partition, epoch, offset)]);
        self.reader.read(self.scope.clone(), self.filter.clone(), cursor(from), cursor(to))
    }
}
