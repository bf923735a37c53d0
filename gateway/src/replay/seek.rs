//! Where a seek leads.

use agentworks_processors::reader::{KnownRun, LogReader, Place, ReadError, ReadFilter, ReadItem};
use agentworks_schemas::protocol::{RunSummary, SeekPosition, SeekTo};
use agentworks_schemas::{Cursor, LogEntry, Timestamp, Topic};

use super::look::{Look, Looking, end, has_ended};
use crate::kept::newest;

/// What a seek is to find. Up to there entries are passed over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aim {
    pub(super) at: At,
    /// Whether somebody waits to hear of it.
    pub(super) is_asked: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// Just the place that is found.
    Here,
    /// The entry with this ordinal.
    Ordinal(u64),
    /// The first entry with a timestamp of its own not before this.
    Time(Timestamp),
}

impl At {
    /// What is meant, in a run of so many entries.
    pub(super) fn new(to: &SeekTo, total: u64) -> Self {
        match to {
            SeekTo::Position(SeekPosition::Ordinal(ordinal)) => At::Ordinal(*ordinal),
            SeekTo::Position(SeekPosition::Cursor(_)) => At::Here,
            SeekTo::Time(time) => At::Time(*time),
            // Rounds down, so that 1 alone is the end.
            SeekTo::Fraction(part) => At::Ordinal((part * total as f64) as u64),
        }
    }
}

impl Aim {
    /// Whether an entry lies before it.
    pub(super) fn is_beyond(&self, ordinal: u64, entry: &LogEntry<'_>) -> bool {
        match self.at {
            At::Here => false,
            At::Ordinal(wanted) => ordinal < wanted,
            At::Time(time) => entry.timestamp < time,
        }
    }
}

/// A place that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) place: Place,
    /// The end of the log, if it was asked for.
    pub(super) look: Option<Look>,
    /// The record timestamp of the last entry before the place, if it was looked for and there is one.
    pub(super) newest: Option<Timestamp>,
}

/// Finds places in a run.
#[derive(Clone)]
pub(super) struct Finder {
    pub(super) reader: LogReader,
    pub(super) run: KnownRun,
    pub(super) include_system: bool,
}

impl Finder {
    /// A place at or before an aim.
    pub(super) async fn seek(self, to: SeekTo, at: At) -> Result<Found, ReadError> {
        let Finder { reader, run, include_system } = &self;
        let place = match (to, at) {
            (SeekTo::Position(SeekPosition::Cursor(wanted)), _) => {
                let cursor = self.within(&wanted).await?;
                return self.count(cursor).await;
            }
            (_, At::Time(time)) => reader.before_time(run, time, *include_system).await?,
            (_, At::Ordinal(ordinal)) => reader.before_ordinal(run, ordinal, *include_system).await?,
            (_, At::Here) => Place { cursor: run.start(*include_system), ordinal: 0 },
        };
        Ok(Found { place, look: None, newest: None })
    }

    /// The end of what the run has now.
    pub(super) async fn end(self, looking: Looking) -> Result<Found, ReadError> {
        let look = looking.look(true).await?;
        let run = look.run.as_ref().unwrap_or(&self.run);
        let ordinal = self.reader.ordinal_of(run, &look.end, self.include_system).await?;
        let newest = self.newest(&run.summary, &look.end).await?;
        Ok(Found { place: Place { cursor: look.end.clone(), ordinal }, look: Some(look), newest })
    }

    /// The place at a cursor up to which entries were passed over without being read.
    pub(super) async fn passed(self, cursor: Cursor) -> Result<Found, ReadError> {
        let newest = self.newest(&self.run.summary, &cursor).await?;
        Ok(Found { newest, ..self.count(cursor).await? })
    }

    /// When the last entry before a cursor was recorded, of a run of which nothing else says whether it goes on.
    async fn newest(&self, run: &RunSummary, before: &Cursor) -> Result<Option<Timestamp>, ReadError> {
        if !run.inferred || has_ended(run, None) {
            return Ok(None);
        }
        let topics = (!self.include_system).then(|| vec![Topic::AgentLogs]);
        let filter = ReadFilter { topics, ..ReadFilter::default() };
        let kept = newest(&self.reader, &self.run.scope(), &filter, before, 1).await?;
        let recorded = kept.into_iter().filter_map(|item| match item {
            ReadItem::Entry { entry, .. } => Some(entry.timestamp),
            ReadItem::Gap { .. } => None,
        });
        Ok(recorded.max())
    }

    /// The place at a cursor.
    pub(super) async fn count(self, cursor: Cursor) -> Result<Found, ReadError> {
        let ordinal = self.reader.ordinal_of(&self.run, &cursor, self.include_system).await?;
        Ok(Found { place: Place { cursor, ordinal }, look: None, newest: None })
    }

    /// A cursor that a client has sent, within the run: whatever it says of other partitions, or of what is beyond the
    /// end, doesn't count.
    async fn within(&self, wanted: &Cursor) -> Result<Cursor, ReadError> {
        let end = end(&self.reader, &self.run, self.include_system).await?;
        let start = self.run.start(self.include_system);
        let place = start.iter().map(|(partition, epoch, first)| {
            let least = (epoch, first);
            let next = wanted.get(partition).unwrap_or(least).max(least);
            let next = end.get(partition).map_or(next, |end| next.min(end));
            let (epoch, next) = self.run.settle(partition, next);
            (partition, epoch, next)
        });
        Ok(place.collect())
    }
}
