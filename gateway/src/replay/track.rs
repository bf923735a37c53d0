//! A run's entries and their ordinals, read a little ahead, from any place.
//!
//! What is read ahead is bounded in entries and bytes. It is read in *windows*: a slow replay takes a few entries at a
//! time and holds nothing of the reader in between; for a fast one the windows grow. A seek finds a place at or before its
//! aim by the run's marks, and what lies between is passed over in the same reading that is shown from there on.

mod reading;

use std::future::pending;
use std::time::Duration;

use agentworks_processors::hot::StoredEntry;
use agentworks_processors::reader::{KnownRun, LogReader, Place, ReadError, ReadFilter, ReadStream};
use agentworks_schemas::protocol::{ReplayOptions, RunSummary, SeekTo};
use agentworks_schemas::{Cursor, Timestamp, Topic, TopicPartition};
use futures_util::future::BoxFuture;

use super::ahead::{Ahead, Item, Window};
use super::look::{Look, Looking, has_ended};
use super::seek::{Aim, At, Finder, Found};

/// A replay that has shown all that the log had so short a while ago is live.
const CAUGHT_UP: Duration = Duration::from_secs(1);

/// A run's entries, in order. An entry's ordinal counts all of the run's entries before it, whatever the filters let
/// through; those of system-logs only if they are shown.
pub(super) struct Track {
    reader: LogReader,
    run: KnownRun,
    /// Which topics are read.
    read: ReadFilter,
    /// Which of what is read is shown.
    show: ReadFilter,
    include_system: bool,
    /// How many entries the run is known to have.
    total: u64,
    /// The end of the log, when it was asked for.
    look: Look,
    /// All before has been read.
    place: Place,
    state: State,
    /// What is passed over before anything is shown.
    aim: Option<Aim>,
    ahead: Ahead,
    /// Just after what was shown last.
    shown: Place,
    is_live: bool,
    /// How often the end of the log was asked for since the last entry.
    vain: u32,
    /// How many entries in a row were not shown.
    misses: u64,
    window: Window,
    /// The record timestamp of the last entry read; until there is one, when the track was opened or moved.
    last: Timestamp,
}

enum State {
    /// The next window can be read.
    Ready,
    /// A place is being found.
    Finding(Finding),
    /// A window is being read, up to here; if there are several partitions, so many entries of it.
    Reading { stream: ReadStream, to: Cursor, left: u64 },
    /// The next entry that is shown is being looked for.
    Hunting(ReadStream),
    /// Whether there is more is being asked.
    Looking(BoxFuture<'static, Result<Look, ReadError>>),
    /// There is nothing more.
    Over,
}

struct Finding {
    found: BoxFuture<'static, Result<Found, ReadError>>,
    then: Then,
}

/// What to do at a place that was found.
enum Then {
    /// Go on to where the seek leads.
    Seek(Aim),
    /// Show that there is a gap before.
    Gap(TopicPartition, i64, i64),
    /// Show the entry before it.
    Show(Box<StoredEntry>),
    /// Just go on.
    Read,
}

impl Track {
    /// A run from its beginning, or from where the options begin.
    pub(super) fn open(reader: LogReader, run: KnownRun, options: &ReplayOptions) -> Self {
        let include_system = options.include_system_logs;
        let topics = if include_system { Topic::LOGS.to_vec() } else { vec![Topic::AgentLogs] };
        let read = ReadFilter { topics: Some(topics), ..ReadFilter::default() };
        let filters = options.filters.clone().unwrap_or_default();
        let show = ReadFilter {
            levels: filters.levels,
            sources: filters.sources,
            components: filters.components,
            since: options.start_time,
            until: options.end_time,
            ..read.clone()
        };
        let place = Place { cursor: run.start(include_system), ordinal: 0 };
        let look = Look::first(&run, include_system);
        let mut track = Track {
            total: run.entries(include_system),
            shown: place.clone(),
            state: State::Ready,
            aim: None,
            ahead: Ahead::default(),
            is_live: false,
            vain: 0,
            misses: 0,
            window: Window::default(),
            last: Timestamp::now(),
            reader,
            run,
            read,
            show,
            include_system,
            look,
            place,
        };
        if let Some(start) = options.start_time {
            track.find(SeekTo::Time(start), false);
        }
        track
    }

    pub(super) fn summary(&self) -> &RunSummary {
        &self.run.summary
    }

    /// How many entries the run is known to have.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The ordinal of the next entry.
    pub(super) fn ordinal(&self) -> u64 {
        let next = self.ahead.iter().find_map(|item| match item {
            Item::Entry(entry) => Some(entry.ordinal),
            Item::Seeked(ordinal) => Some(*ordinal),
            _ => None,
        });
        next.unwrap_or(match self.aim() {
            Some(Aim { at: At::Ordinal(ordinal), .. }) => ordinal.min(self.total),
            _ => self.place.ordinal,
        })
    }

    /// What is being sought, if something is.
    fn aim(&self) -> Option<Aim> {
        match &self.state {
            State::Finding(Finding { then: Then::Seek(aim), .. }) => Some(*aim),
            _ => self.aim,
        }
    }

    /// Whether a seek waits to be told where it led.
    pub(super) fn is_seeking(&self) -> bool {
        self.aim().is_some_and(|aim| aim.is_asked) || self.ahead.iter().any(|item| matches!(item, Item::Seeked(_)))
    }

    /// What comes next, if it has been read.
    pub(super) fn front(&self) -> Option<&Item> {
        self.ahead.front()
    }

    /// Takes what comes next.
    pub(super) fn pop(&mut self) -> Option<Item> {
        let item = self.ahead.pop()?;
        match &item {
            Item::Entry(entry) => self.shown = Place { cursor: entry.cursor.clone(), ordinal: entry.ordinal + 1 },
            Item::Gap { place, .. } => self.shown = place.clone(),
            Item::Seeked(_) | Item::Live | Item::End => {}
        }
        Some(item)
    }

    /// Gives back what was read ahead and not shown.
    pub(super) fn release(&mut self) {
        if !self.is_seeking() {
            self.is_live &= !self.ahead.iter().any(|item| matches!(item, Item::Live));
            self.go_on(self.shown.clone());
        }
    }

    /// Moves to another place. Of several calls only the last one is answered.
    pub(super) fn seek(&mut self, to: SeekTo) {
        self.is_live = false;
        self.find(to, true);
    }

    /// Moves to the end of what the run has now.
    pub(super) fn jump_live(&mut self) {
        self.is_live = false;
        let found = self.finder().end(self.looking(Duration::ZERO));
        self.finding(Then::Seek(Aim { at: At::Here, is_asked: true }), found);
    }

    fn find(&mut self, to: SeekTo, is_asked: bool) {
        let at = At::new(&to, self.total);
        let found = self.finder().seek(to, at);
        self.finding(Then::Seek(Aim { at, is_asked }), found);
    }

    fn finder(&self) -> Finder {
        Finder { reader: self.reader.clone(), run: self.run.clone(), include_system: self.include_system }
    }

    fn finding(&mut self, then: Then, found: impl Future<Output = Result<Found, ReadError>> + Send + 'static) {
        if let Then::Seek(_) = then {
            // What was read ahead is not shown any more.
            (self.ahead, self.aim) = (Ahead::default(), None);
        }
        self.state = State::Finding(Finding { found: Box::pin(found), then });
    }

    /// Whether more should be read before what has been read is shown.
    pub(super) fn wants_more(&self) -> bool {
        match &self.state {
            State::Ready => self.ahead.is_low() && !self.is_at_end(),
            State::Finding(_) => true,
            State::Reading { .. } | State::Hunting(_) => self.ahead.has_room(),
            State::Looking(_) | State::Over => false,
        }
    }

    /// Does the next step of reading ahead. May be dropped and called again.
    pub(super) async fn fill(&mut self) -> Result<(), ReadError> {
        match &mut self.state {
            State::Ready => self.step(),
            State::Finding(finding) => {
                let found = finding.found.as_mut().await?;
                self.found(found);
            }
            State::Reading { stream, .. } => {
                let item = stream.recv().await.transpose()?;
                self.take(item);
                // What lies ready costs no waiting.
                while let State::Reading { stream, .. } = &mut self.state
                    && self.ahead.has_room()
                    && let Ok(item) = stream.try_recv()
                {
                    self.take(Some(item?));
                }
            }
            State::Hunting(stream) => {
                let item = stream.recv().await.transpose()?;
                self.caught(item);
            }
            State::Looking(looking) => {
                let look = looking.as_mut().await?;
                self.state = State::Ready;
                self.looked(look);
            }
            State::Over => pending().await,
        }
        Ok(())
    }

    /// Decides what is done next.
    fn step(&mut self) {
        if !self.is_at_end() {
            return self.open_window();
        }
        if let Some(aim) = self.aim.take() {
            return self.reached(aim);
        }
        if self.look.is_over(self.summary(), self.last, self.vain) {
            self.ahead.push(Item::End);
            self.state = State::Over;
            return;
        }
        let may_be_over = has_ended(self.summary(), self.show.until) || self.look.is_quiet(self.summary(), self.last);
        if !self.is_live && !may_be_over && self.look.asked.elapsed() < CAUGHT_UP {
            self.is_live = true;
            return self.ahead.push(Item::Live);
        }
        let looking = self.looking(if self.is_live { Look::pause(self.vain) } else { Duration::ZERO });
        self.state = State::Looking(Box::pin(looking.look(false)));
    }

    fn looking(&self, after: Duration) -> Looking {
        Looking {
            reader: self.reader.clone(),
            run: self.run.clone(),
            include_system: self.include_system,
            known: self.look.known,
            until: self.show.until,
            after,
        }
    }

    fn looked(&mut self, mut look: Look) {
        if let Some(run) = look.run.take() {
            self.total = self.total.max(run.entries(self.include_system));
            self.run = run;
        }
        self.look = look;
        self.vain = self.vain.saturating_add(1);
    }

    fn is_at_end(&self) -> bool {
        let reached = |(partition, epoch, end)| self.place.cursor.get(partition).is_some_and(|at| at >= (epoch, end));
        self.look.end.iter().all(reached)
    }

    fn found(&mut self, Found { place, look, newest }: Found) {
        let State::Finding(Finding { then, .. }) = std::mem::replace(&mut self.state, State::Ready) else { return };
        if let Some(look) = look {
            self.looked(look);
        }
        self.total = self.total.max(place.ordinal);
        if let Then::Seek(_) = then {
            // What was read elsewhere says nothing of what lies here.
            self.last = Timestamp::now();
        }
        self.last = newest.unwrap_or(self.last);
        match then {
            Then::Seek(aim) => {
                self.go_on(place);
                self.window = Window::default();
                match aim.at {
                    At::Here => self.reached(aim),
                    At::Ordinal(_) | At::Time(_) => self.aim = Some(aim),
                }
            }
            Then::Gap(partition, from, to) => {
                self.ahead.push(Item::Gap { partition, range: (from, to), place: place.clone() });
                self.place = place;
            }
            Then::Show(entry) => {
                let ordinal = place.ordinal.saturating_sub(1);
                (self.last, self.vain) = (entry.timestamp, 0);
                self.place = place;
                self.number(entry, ordinal);
            }
            Then::Read => self.place = place,
        }
    }

    /// A seek has led to where the track stands.
    fn reached(&mut self, aim: Aim) {
        if aim.is_asked {
            self.ahead.push(Item::Seeked(self.place.ordinal));
        }
    }

    fn go_on(&mut self, place: Place) {
        (self.ahead, self.state, self.misses) = (Ahead::default(), State::Ready, 0);
        self.shown = place.clone();
        self.place = place;
    }
}
