//! A run's entries and their ordinals, from any place.

use std::time::Duration;

use agentworks_processors::hot::StoredEntry;
use agentworks_processors::reader::{LogReader, ReadError, ReadFilter, ReadItem, ReadStream, Scope};
use agentworks_schemas::protocol::{ReplayOptions, RunStatus, RunSummary};
use agentworks_schemas::{Cursor, Timestamp, Topic, TopicPartition};
use tokio::time::sleep;

use crate::hub::raise;

/// How often a run that goes on is looked at for more entries.
const POLL: Duration = Duration::from_millis(500);
/// A run that nobody has said to have begun or ended counts as ended when it has been quiet for so long.
const QUIET: Duration = Duration::from_secs(60);
/// Between two probes so many entries are counted rather than probed further.
const COUNTED: u64 = 2000;

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    /// An entry that the options let through.
    Entry(Box<Numbered>),
    /// A range that is held nowhere any more.
    Gap(TopicPartition, i64, i64),
    /// The run is over, and all of it was read.
    End,
}

/// An entry, its ordinal, and the cursor just after it.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) entry: StoredEntry,
    pub(super) ordinal: u64,
    pub(super) cursor: Cursor,
}

/// A run's entries, in order. An entry's ordinal counts all of the run's entries before it, whatever the filters let
/// through; those of system-logs only if they are shown.
#[derive(Debug)]
pub(super) struct Track {
    reader: LogReader,
    scope: Scope,
    /// Which topics are read.
    read: ReadFilter,
    /// Which of what is read is shown.
    show: ReadFilter,
    include_system: bool,
    summary: RunSummary,
    /// How many entries the run is known to have.
    total: u64,
    /// All before has been read, or is in `stream`.
    cursor: Cursor,
    /// The ordinal of the next entry.
    ordinal: u64,
    stream: Option<(ReadStream, Cursor)>,
    /// Whether the end of the log was come to, from where the track stands.
    has_looked: bool,
    /// Whether nothing comes beyond what is being read.
    is_last: bool,
    /// The record timestamp of the last entry read; until there is one, when the track was opened.
    last: Timestamp,
}

impl Track {
    /// The run with this summary, from its beginning.
    pub(super) async fn open(
        reader: LogReader,
        workspace: &str,
        summary: RunSummary,
        options: &ReplayOptions,
    ) -> Result<Self, ReadError> {
        let scope =
            Scope::Run { workspace: workspace.to_owned(), run: summary.run_id.clone(), card: summary.card_id.clone() };
        let include_system = options.include_system_logs;
        let topics = (!include_system).then(|| vec![Topic::AgentLogs]);
        let filters = options.filters.clone().unwrap_or_default();
        let show = ReadFilter {
            topics: None,
            levels: filters.levels,
            sources: filters.sources,
            components: filters.components,
            since: options.start_time,
            until: options.end_time,
        };
        let (cursor, _) = reader.seek_ordinal(&scope, 0, include_system).await?;
        let (_, total) = reader.seek_ordinal(&scope, u64::MAX, include_system).await?;
        Ok(Track {
            reader,
            scope,
            read: ReadFilter { topics, ..ReadFilter::default() },
            show,
            include_system,
            summary,
            total,
            cursor,
            ordinal: 0,
            stream: None,
            has_looked: false,
            is_last: false,
            last: Timestamp::now(),
        })
    }

    pub(super) fn summary(&self) -> &RunSummary {
        &self.summary
    }

    /// How many entries the run is known to have.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The ordinal of the next entry.
    pub(super) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// The next entry that is shown, as soon as it is there. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Result<Next, ReadError> {
        loop {
            let Some((stream, target)) = &mut self.stream else {
                if self.is_last {
                    return Ok(Next::End);
                }
                self.read_on().await?;
                continue;
            };
            match stream.recv().await.transpose()? {
                Some(ReadItem::Entry { entry, cursor }) => {
                    let ordinal = self.ordinal;
                    self.ordinal += 1;
                    self.total = self.total.max(self.ordinal);
                    self.last = entry.timestamp;
                    self.cursor = cursor.clone();
                    if self.show.passes(&entry.entry) {
                        return Ok(Next::Entry(Box::new(Numbered { entry: *entry, ordinal, cursor })));
                    }
                }
                Some(ReadItem::Gap { partition, from, to, cursor }) => {
                    self.cursor = cursor;
                    return Ok(Next::Gap(partition, from, to));
                }
                None => {
                    raise(&mut self.cursor, target);
                    self.stream = None;
                }
            }
        }
    }

    /// Reads what has come since, after a while if the run was looked at before.
    async fn read_on(&mut self) -> Result<(), ReadError> {
        if self.has_looked && !self.is_over() {
            sleep(POLL).await;
            let (workspace, run, card) = (self.scope.workspace(), self.summary.run_id.as_str(), self.scope.card());
            if let Some(summary) = self.reader.run_summary(workspace, run, Some(card)).await? {
                self.summary = summary;
            }
        }
        // Looked at before the end is: what came before the run was over lies before the end.
        let is_over = self.is_over();
        let end = self.reader.end(&self.scope).await?;
        let (scope, filter) = (self.scope.clone(), self.read.clone());
        let stream = self.reader.read(scope, filter, self.cursor.clone(), end.clone());
        (self.has_looked, self.is_last) = (true, is_over);
        self.stream = Some((stream, end));
        Ok(())
    }

    /// Whether nothing that is shown will come any more.
    fn is_over(&self) -> bool {
        let now = Timestamp::now();
        let is_quiet = now.since(self.last) >= QUIET;
        self.summary.status != RunStatus::Running
            || self.summary.inferred && is_quiet
            || self.show.until.is_some_and(|until| until < now)
    }

    /// Goes on at an ordinal, or at the end if there is no such entry.
    pub(super) async fn seek(&mut self, ordinal: u64) -> Result<(), ReadError> {
        let (cursor, ordinal) = self.reader.seek_ordinal(&self.scope, ordinal, self.include_system).await?;
        self.go_on(cursor, ordinal);
        Ok(())
    }

    /// Goes on at a cursor.
    pub(super) async fn seek_cursor(&mut self, wanted: &Cursor) -> Result<(), ReadError> {
        let end = self.reader.end(&self.scope).await?;
        let start = self.reader.start(&self.scope).await?;
        // Whatever the client says of other partitions, or of what is beyond the end, doesn't count.
        let place = start.iter().map(|(partition, epoch, floor)| {
            let least = (epoch, floor);
            let next = wanted.get(partition).unwrap_or(least).max(least);
            let next = end.get(partition).map_or(next, |end| next.min(end));
            (partition, next.0, next.1)
        });
        let place: Cursor = place.filter(|(partition, ..)| self.read.reads(partition.topic)).collect();
        let ordinal = self.ordinal_of(&place).await?;
        self.go_on(place, ordinal);
        Ok(())
    }

    /// How many entries lie before a place. Halves the run with probes, and counts the rest.
    async fn ordinal_of(&self, place: &Cursor) -> Result<u64, ReadError> {
        let (mut low, mut high) = (0, self.total + 1);
        let mut from = self.reader.start(&self.scope).await?;
        while high - low > COUNTED {
            let middle = low + (high - low) / 2;
            let (cursor, ordinal) = self.reader.seek_ordinal(&self.scope, middle, self.include_system).await?;
            if ordinal > low && is_before(&cursor, place) {
                (low, from) = (ordinal, cursor);
            } else {
                high = middle;
            }
        }
        let mut stream = self.reader.read(self.scope.clone(), self.read.clone(), from, place.clone());
        while let Some(item) = stream.recv().await.transpose()? {
            low += u64::from(matches!(item, ReadItem::Entry { .. }));
        }
        Ok(low)
    }

    fn go_on(&mut self, cursor: Cursor, ordinal: u64) {
        self.stream = None;
        (self.has_looked, self.is_last) = (false, false);
        (self.cursor, self.ordinal) = (cursor, ordinal);
        self.total = self.total.max(ordinal);
    }
}

/// Whether a cursor lies at or before a place in each of the place's partitions.
fn is_before(cursor: &Cursor, place: &Cursor) -> bool {
    place.iter().all(|(partition, epoch, next)| cursor.get(partition).is_none_or(|own| own <= (epoch, next)))
}
