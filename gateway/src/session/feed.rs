//! The entries of one card: history, then live, and back to reading whenever live is too fast.
//!
//! ```text
//! Beginning ──► Opening ──► Pulling ──────────► Live        caught up
//!                           ▲  │  ▲               │
//!                           │  │  └───────────────┘         the hub let go: full, or more to read first
//!              read so far  │  ▼  behind the hub's tails
//!                          Reading
//! ```
//! *Beginning* settles the place in the log, after which the client is greeted: what is written from then on is shown.
//! In *Reading* the stream reads the tiers at its client's pace; in *Pulling* it takes from the hub's tails, at the same
//! pace; *Live* the hub pushes. A pause ends in *Paused*, which keeps the cursor. Each change of state carries the cursor
//! over exactly, so that nothing is missed or shown twice. Where the client changes what it wants, a stream that is live
//! or reading goes on from its cursor in *Pulling*, so that all before was shown by the old and all after by the new.
//!
//! - [`steps`]: the way from state to state.

mod steps;

use std::collections::VecDeque;
use std::mem::{replace, take};
use std::sync::Arc;
use std::time::Duration;

use agentworks_processors::reader::{ReadError, ReadStream};
use agentworks_schemas::protocol::{FiltersInfo, ServerMessage};
use agentworks_schemas::{Cursor, Timestamp};
use futures_util::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::lag::LagClock;
use super::open::{Begun, Opened, Place, Source, begin, open};
use super::start::Start;
use crate::hub::{Filters, Runs, Wanted, Watch};
use crate::roster::Watching;
use crate::socket::{Closed, Frame};

/// How often a client that is shown only some of the entries is told its position, if none of them told it.
const MARK: Duration = Duration::from_secs(5);
/// So many frames, or bytes of them, may wait in a stream that doesn't move before no more is asked of it.
const MAX_QUEUED: (usize, usize) = (64, 1 << 20);

/// The entries of one card.
pub(super) struct Feed {
    source: Source,
    _listed: Watching,
    state: State,
    /// What is said once the stream has begun, before anything else.
    greeting: VecDeque<Frame>,
    has_begun: bool,
    /// Goes out before anything else that is read. What is shown first is all in it, some MiB; later it gets a frame at a
    /// time, when there is room in the outbox.
    queue: VecDeque<Frame>,
    /// The room that what is shown first takes, until all of it was sent.
    room: Option<OwnedSemaphorePermit>,
    watch: Option<Watch>,
    wanted: Wanted,
    /// Whether the client has paused the stream. It takes effect when there is a cursor to keep.
    is_paused: bool,
    lag: LagClock,
    /// The record timestamp of the last entry that was read.
    last: Option<Timestamp>,
    /// The last position that was told without an entry, and when to do it next.
    told: Cursor,
    mark_at: Option<Instant>,
    failures: u32,
    /// How many bytes of answers may be among what waits: those that were queued since nothing waited.
    answers: usize,
}

enum State {
    Beginning {
        start: Start,
        beginning: BoxFuture<'static, Result<Begun, ReadError>>,
    },
    Opening {
        start: Start,
        watch: Watch,
        place: Place,
        opening: BoxFuture<'static, Result<Opened, ReadError>>,
    },
    Pulling(Cursor),
    Reading {
        cursor: Cursor,
        target: Cursor,
        stream: ReadStream,
    },
    Live,
    Paused(Cursor),
    /// Reading failed; it begins again later.
    Waiting {
        until: Instant,
        then: Again,
    },
    /// Nothing more can be done.
    Over,
}

#[derive(Debug)]
enum Again {
    Open(Start),
    Pull(Cursor),
}

impl Feed {
    /// A stream that begins with `start`, after the `greeting`.
    pub(super) fn new(
        source: Source,
        start: Start,
        wanted: Wanted,
        is_paused: bool,
        greeting: impl IntoIterator<Item = Frame>,
    ) -> Self {
        Feed {
            _listed: source.presence.watch(&source.card),
            state: beginning(&source, start),
            source,
            greeting: greeting.into_iter().collect(),
            has_begun: false,
            queue: VecDeque::new(),
            room: None,
            watch: None,
            wanted,
            is_paused,
            lag: LagClock::default(),
            last: None,
            told: Cursor::new(),
            mark_at: None,
            failures: 0,
            answers: 0,
        }
    }

    /// The card.
    pub(super) fn card(&self) -> &str {
        &self.source.card
    }

    /// Keeps entries flowing. It ends only to say that the client has been greeted, or that the connection is over, and may
    /// be dropped and called again at any time. Where it is `one_of_many`, the others get their turn after each of its steps.
    pub(super) async fn run(&mut self, one_of_many: bool) {
        let had_greeted = self.has_greeted();
        while self.has_greeted() == had_greeted {
            if self.step().await == Err(Closed) {
                // The session ends when it looks, and nothing else may wake it: until its client has been greeted, it
                // doesn't listen to it.
                return;
            }
            if one_of_many {
                yield_now().await;
            }
        }
    }

    /// Whether the client has been greeted.
    pub(super) fn has_greeted(&self) -> bool {
        self.greeting.is_empty()
    }

    /// Whether so much waits to be said that no more should be asked for.
    pub(super) fn is_crowded(&self) -> bool {
        let waiting = || self.queue.iter().chain(&self.greeting);
        waiting().count() >= MAX_QUEUED.0 || waiting().map(Frame::len).sum::<usize>() >= MAX_QUEUED.1
    }

    /// How many bytes of answers wait, at most.
    pub(super) fn answers(&self) -> usize {
        self.answers
    }

    /// Begins anew, after another greeting, and after what was read and not sent yet.
    pub(super) fn reopen(&mut self, start: Start, greeting: Option<Frame>) {
        self.watch = None;
        self.lag.pause();
        self.answers += greeting.as_ref().map_or(0, Frame::len);
        self.greeting.extend(self.queue.drain(..).chain(greeting));
        self.has_begun = false;
        self.state = beginning(&self.source, start);
    }

    /// What waits to be said of the stream's beginning, which is then said by somebody else.
    pub(super) fn take_greeting(&mut self) -> VecDeque<Frame> {
        take(&mut self.greeting)
    }

    /// Says something at this place of the stream.
    pub(super) fn say(&mut self, frame: Frame) {
        self.answers += frame.len();
        self.queue.push_back(frame);
    }

    /// Stops the stream; the cursor is kept.
    pub(super) fn pause(&mut self) {
        self.is_paused = true;
        self.lag.pause();
        // Where there is no cursor yet, it takes effect as soon as there is one.
        if let Some(cursor) = self.take_cursor() {
            self.state = State::Paused(cursor);
        }
    }

    /// Goes on where the stream was paused.
    pub(super) fn resume(&mut self) {
        self.is_paused = false;
        if let State::Paused(cursor) = &mut self.state {
            self.state = State::Pulling(take(cursor));
        }
    }

    /// Shows these runs alone from now on.
    pub(super) fn narrow(&mut self, runs: Runs) {
        self.wanted.runs = runs;
        self.want_anew();
    }

    /// Shows only what passes these filters from now on, and says so.
    pub(super) fn set_filters(&mut self, filters: Option<Arc<Filters>>) {
        self.wanted.filters = filters;
        self.want_anew();
        let data = FiltersInfo { card_id: self.source.card.clone(), filters: self.wanted.said() };
        self.say(Frame::message(&ServerMessage::FiltersSet { data }));
    }

    /// Goes on with what is wanted now, from just after what was shown.
    fn want_anew(&mut self) {
        self.mark_at = None;
        if let State::Opening { start, place, opening, .. } = &mut self.state {
            // What comes first is looked for again, in the same place.
            *opening = Box::pin(open(self.source.clone(), place.clone(), start.clone(), self.wanted.read()));
        } else if let Some(cursor) = self.take_cursor() {
            self.go_on(cursor);
        }
    }

    /// The cursor of a stream that has begun; it goes on in another state. If the hub has let go already, the cursor is
    /// among its news.
    fn take_cursor(&mut self) -> Option<Cursor> {
        match replace(&mut self.state, State::Over) {
            State::Pulling(cursor) | State::Reading { cursor, .. } | State::Paused(cursor) => Some(cursor),
            State::Waiting { then: Again::Pull(cursor), .. } => Some(cursor),
            state => {
                let is_live = matches!(state, State::Live);
                self.state = state;
                self.watch.as_ref().filter(|_| is_live).and_then(Watch::detach)
            }
        }
    }

    /// Goes on from a cursor, unless the client has paused.
    fn go_on(&mut self, cursor: Cursor) {
        self.state = if self.is_paused { State::Paused(cursor) } else { State::Pulling(cursor) };
    }

    /// One step. All that it knows is in `self` wherever it waits.
    async fn step(&mut self) -> Result<(), Closed> {
        let had_greeted = self.has_greeted();
        self.send_queued().await?;
        if !had_greeted && self.has_greeted() {
            return Ok(());
        }
        self.take_news();
        if !self.queue.is_empty() {
            return Ok(());
        }
        match (&self.state, &self.watch) {
            (State::Live, Some(watch)) if self.wanted.is_all() => watch.changed().await,
            (State::Paused(_), Some(watch)) => watch.changed().await,
            // In boxes, so that a stream that is live holds no memory for them.
            (State::Live, Some(_)) => Box::pin(self.mark()).await,
            _ => Box::pin(self.move_on()).await?,
        }
        Ok(())
    }

    /// Waits for news, and tells the client its position now and then: entries that it isn't shown tell none.
    async fn mark(&mut self) {
        let Some(watch) = &self.watch else { return };
        let due = *self.mark_at.get_or_insert_with(|| Instant::now() + MARK);
        tokio::select! {
            () = watch.changed() => {}
            () = sleep_until(due) => {
                self.mark_at = None;
                watch.mark(&mut self.told);
            }
        }
    }

    /// Sends what is queued, the greeting first.
    async fn send_queued(&mut self) -> Result<(), Closed> {
        loop {
            let is_greeting = self.has_begun && !self.has_greeted();
            let queue = if is_greeting { &mut self.greeting } else { &mut self.queue };
            let Some(frame) = queue.pop_front() else {
                // A greeting that can't be said yet may have some of it.
                if self.greeting.is_empty() {
                    (self.room, self.answers) = (None, 0);
                }
                return Ok(());
            };
            if let Some(frame) = self.source.outbox.try_send(frame)? {
                queue.push_front(frame);
                self.source.outbox.room().await?;
            }
        }
    }
}

fn beginning(source: &Source, start: Start) -> State {
    State::Beginning { start, beginning: Box::pin(begin(source.clone())) }
}

#[cfg(test)]
mod tests;
