//! The entries of one terminal: history, then live, and back to reading whenever live is too fast.
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
//! over exactly, so that nothing is missed or shown twice.

use std::collections::VecDeque;
use std::future::pending;
use std::mem::replace;
use std::time::Duration;

use agentworks_processors::reader::{ReadError, ReadFilter, ReadItem, ReadStream};
use agentworks_schemas::protocol::{ErrorCode, Lag, ServerMessage};
use agentworks_schemas::{Cursor, Timestamp};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::batch::Batch;
use super::error_frame;
use super::lag::{LagClock, lag};
use super::open::{Begun, Opened, Source, Start, begin, gap_frame, open};
use crate::hub::{Reason, Runs, Step, Watch, raise};
use crate::socket::{CloseCode, Closed, Frame, Waiting};

/// How long to wait after the first fault of reading, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// The entries of one terminal.
pub(super) struct Feed {
    source: Source,
    state: State,
    /// What is said once the stream has begun, before anything else.
    greeting: VecDeque<Frame>,
    has_begun: bool,
    /// Goes out before anything else that is read.
    queue: VecDeque<Frame>,
    watch: Option<Watch>,
    runs: Runs,
    /// Whether the client has paused the stream. It takes effect when there is a cursor to keep.
    is_paused: bool,
    lag: LagClock,
    /// The record timestamp of the last entry that was read.
    last: Option<Timestamp>,
    failures: u32,
}

enum State {
    Beginning {
        start: Start,
        beginning: BoxFuture<'static, Result<Begun, ReadError>>,
    },
    Opening {
        start: Start,
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
    pub(super) fn new(source: Source, start: Start, greeting: VecDeque<Frame>) -> Self {
        Feed {
            state: beginning(&source, start),
            source,
            greeting,
            has_begun: false,
            queue: VecDeque::new(),
            watch: None,
            runs: None,
            is_paused: false,
            lag: LagClock::default(),
            last: None,
            failures: 0,
        }
    }

    /// Keeps entries flowing. It ends only to say that the client has been greeted, and may be dropped and called again at
    /// any time.
    pub(super) async fn run(&mut self) {
        let had_greeted = self.has_greeted();
        while self.has_greeted() == had_greeted {
            if self.step().await == Err(Closed) {
                // The session will notice.
                pending::<()>().await;
            }
        }
    }

    /// Whether the client has been greeted.
    pub(super) fn has_greeted(&self) -> bool {
        self.greeting.is_empty()
    }

    /// Begins anew.
    pub(super) fn reopen(&mut self, start: Start) {
        self.watch = None;
        self.lag.pause();
        self.state = beginning(&self.source, start);
    }

    /// Stops the stream; the cursor is kept.
    pub(super) fn pause(&mut self) {
        self.is_paused = true;
        self.lag.pause();
        self.state = match replace(&mut self.state, State::Over) {
            State::Live => match self.watch.as_ref().and_then(Watch::detach) {
                Some(cursor) => State::Paused(cursor),
                // The hub has let go already, and the cursor is among its news.
                None => State::Live,
            },
            State::Pulling(cursor) | State::Reading { cursor, .. } => State::Paused(cursor),
            State::Waiting { then: Again::Pull(cursor), .. } => State::Paused(cursor),
            state => state,
        };
    }

    /// Goes on where the stream was paused.
    pub(super) fn resume(&mut self) {
        self.is_paused = false;
        if let State::Paused(cursor) = &mut self.state {
            self.state = State::Pulling(std::mem::take(cursor));
        }
    }

    /// Shows these runs alone from now on.
    pub(super) fn narrow(&mut self, runs: Runs) {
        if let (State::Live, Some(watch)) = (&self.state, &self.watch) {
            watch.narrow(runs.clone());
        }
        self.runs = runs;
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
            (State::Live | State::Paused(_), Some(watch)) => {
                watch.changed().await;
                Ok(())
            }
            // In a box, so that a stream that is live holds no memory for it.
            _ => Box::pin(self.move_on()).await,
        }
    }

    /// Sends what is queued, the greeting first.
    async fn send_queued(&mut self) -> Result<(), Closed> {
        loop {
            let is_greeting = self.has_begun && !self.has_greeted();
            let queue = if is_greeting { &mut self.greeting } else { &mut self.queue };
            let Some(frame) = queue.pop_front() else { return Ok(()) };
            if let Some(frame) = self.source.outbox.try_send(frame)? {
                queue.push_front(frame);
                self.source.outbox.room().await?;
            }
        }
    }

    /// One step towards live.
    async fn move_on(&mut self) -> Result<(), Closed> {
        match &mut self.state {
            State::Beginning { start, beginning } => {
                let begun = beginning.await;
                let start = start.clone();
                self.has_begun = true;
                match begun {
                    Ok(begun) => {
                        let opening = Box::pin(open(self.source.clone(), begun, start.clone()));
                        self.state = State::Opening { start, opening };
                    }
                    Err(error) => self.failed(error, Again::Open(start)),
                }
            }
            State::Opening { start, opening } => match opening.await {
                Ok(opened) => self.opened(opened),
                Err(error) => {
                    let start = start.clone();
                    self.failed(error, Again::Open(start));
                }
            },
            State::Pulling(_) => return self.pull().await,
            State::Reading { .. } => return self.read().await,
            State::Waiting { until, .. } => {
                sleep_until(*until).await;
                if let State::Waiting { then, .. } = replace(&mut self.state, State::Over) {
                    self.state = match then {
                        Again::Open(start) => beginning(&self.source, start),
                        Again::Pull(cursor) => State::Pulling(cursor),
                    };
                }
            }
            State::Live | State::Paused(_) | State::Over => pending().await,
        }
        Ok(())
    }

    fn opened(&mut self, opened: Opened) {
        let Opened { watch, complaint, history, active, cursor } = opened;
        self.failures = 0;
        if let Some(message) = complaint {
            self.queue.push_back(error_frame(ErrorCode::InvalidValue, message, None));
        }
        let mut batch = Batch::default();
        for item in history {
            self.show(item, &mut batch);
        }
        // Nothing that is shown lies between the last of them and there.
        batch.cover(&cursor);
        self.queue.extend(batch.finish());
        if let Some(data) = active.filter(|run| self.wants(&run.run_id)) {
            self.queue.push_back(Frame::message(&ServerMessage::RunSummary { data }));
        }
        self.watch = Some(watch);
        self.go_on(cursor);
    }

    /// Adds an item to a batch, and queues it if it is full; the cursor after the item.
    fn show(&mut self, item: ReadItem, batch: &mut Batch) -> Cursor {
        match item {
            ReadItem::Entry { entry, cursor } => {
                self.last = Some(entry.timestamp);
                let is_wanted = self.wants(&entry.entry.run_id) && self.source.allows(&entry.entry);
                if is_wanted && batch.push(entry.entry, &cursor) {
                    self.queue.extend(batch.finish());
                }
                cursor
            }
            ReadItem::Gap { partition, from, to, cursor } => {
                self.queue.extend(batch.finish());
                self.queue.push_back(gap_frame(partition, from, to));
                cursor
            }
        }
    }

    fn wants(&self, run: &str) -> bool {
        self.runs.as_ref().is_none_or(|runs| runs.contains(run))
    }

    /// Goes on from a cursor, unless the client has paused.
    fn go_on(&mut self, cursor: Cursor) {
        self.state = if self.is_paused { State::Paused(cursor) } else { State::Pulling(cursor) };
    }

    /// Looks at what the hub has to tell.
    fn take_news(&mut self) {
        let Some(news) = self.watch.as_ref().map(Watch::news) else { return };
        for (run, frame) in news.summaries {
            if self.wants(&run) {
                self.queue.push_back(frame);
            }
        }
        match (news.detached, &self.state) {
            // Where the log was made again, a position of the old one may look like one of the new.
            (Some((cursor, Reason::Reset)), State::Live) => {
                self.reopen(Start { position: Some(cursor), history: 0 });
            }
            (Some((cursor, Reason::Overflow | Reason::Extended)), State::Live) => self.go_on(cursor),
            _ => {}
        }
    }

    /// Takes from the hub's tails, and becomes live if that was all.
    async fn pull(&mut self) -> Result<(), Closed> {
        let (State::Pulling(cursor), Some(watch)) = (&mut self.state, &self.watch) else { return Ok(()) };
        let now = Instant::now();
        self.lag.behind(now);
        match watch.step(cursor, &self.runs) {
            Step::Live => {
                self.state = State::Live;
                if self.lag.ended() {
                    self.queue.push_back(lag_frame(Lag { entries: 0, seconds: 0 }));
                }
            }
            Step::More(end) => {
                if self.lag.is_due(now) {
                    self.queue.push_back(lag_frame(lag(cursor, &end, self.last, Timestamp::now())));
                }
                // Whatever the reason was, others get their turn.
                yield_now().await;
                self.source.outbox.room().await?;
            }
            Step::Behind(target) => {
                let (scope, filter) = (self.source.scope(), ReadFilter::default());
                let stream = self.source.reader.read(scope, filter, cursor.clone(), target.clone());
                self.state = State::Reading { cursor: std::mem::take(cursor), target, stream };
            }
        }
        Ok(())
    }

    /// Reads the tiers: as many items as are there and go into one frame.
    async fn read(&mut self) -> Result<(), Closed> {
        self.source.outbox.room().await?;
        let (State::Reading { stream, .. }, Some(watch)) = (&mut self.state, &self.watch) else { return Ok(()) };
        let due = self.lag.due().unwrap_or_else(Instant::now);
        let mut next = tokio::select! {
            item = stream.recv() => item.ok_or(TryRecvError::Disconnected),
            () = sleep_until(due) => Err(TryRecvError::Empty),
            () = watch.changed() => return Ok(()),
        };
        // From here on nothing waits, so that nothing is lost if this is dropped.
        let state = replace(&mut self.state, State::Over);
        let State::Reading { mut cursor, target, mut stream } = state else { return Ok(()) };
        if self.lag.is_due(Instant::now()) {
            self.queue.push_back(lag_frame(lag(&cursor, &target, self.last, Timestamp::now())));
        }
        let mut batch = Batch::default();
        let queued = self.queue.len();
        let end = loop {
            match next {
                Ok(Ok(item)) => {
                    self.failures = 0;
                    cursor = self.show(item, &mut batch);
                    if self.queue.len() > queued {
                        break None;
                    }
                }
                Ok(Err(error)) => break Some(Err(error)),
                Err(TryRecvError::Disconnected) => break Some(Ok(())),
                Err(TryRecvError::Empty) => break None,
            }
            next = stream.try_recv();
        };
        if let Some(Ok(())) = end {
            raise(&mut cursor, &target);
            batch.cover(&cursor);
        }
        self.queue.extend(batch.finish());
        match end {
            None => self.state = State::Reading { cursor, target, stream },
            Some(Ok(())) => self.state = State::Pulling(cursor),
            Some(Err(error)) => self.failed(error, Again::Pull(cursor)),
        }
        Ok(())
    }

    /// Reading failed; `again` is how it can be tried again.
    fn failed(&mut self, error: ReadError, again: Again) {
        warn!(%error, failures = self.failures, "a stream can't be read");
        let again = if matches!(error, ReadError::Epoch) {
            let message = format!("{error}; the stream goes on from its end");
            self.queue.push_back(error_frame(ErrorCode::InvalidValue, message, None));
            Again::Open(Start { position: None, history: 0 })
        } else if error.is_transient() {
            if self.failures == 0 {
                let message = "the log can't be read at the moment; trying again".to_owned();
                self.queue.push_back(error_frame(ErrorCode::Internal, message, None));
            }
            again
        } else {
            self.source.outbox.close(CloseCode::Internal, "the log can't be read", Waiting::Send);
            self.state = State::Over;
            return;
        };
        let wait = (RETRY.0 * 2u32.saturating_pow(self.failures.min(8))).min(RETRY.1);
        self.failures += 1;
        self.state = match again {
            Again::Pull(cursor) if self.is_paused => State::Paused(cursor),
            again => State::Waiting { until: Instant::now() + wait, then: again },
        };
    }
}

fn beginning(source: &Source, start: Start) -> State {
    State::Beginning { start, beginning: Box::pin(begin(source.clone())) }
}

fn lag_frame(data: Lag) -> Frame {
    Frame::message(&ServerMessage::Lag { data })
}
