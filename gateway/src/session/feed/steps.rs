//! The way of a stream from state to state.

use std::future::pending;
use std::mem::{replace, take};

use agentworks_processors::reader::{ReadError, ReadItem};
use agentworks_schemas::protocol::{ErrorCode, Lag, ServerMessage};
use agentworks_schemas::{Cursor, Timestamp};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::task::yield_now;
use tokio::time::{Duration, Instant, sleep_until};
use tracing::warn;

use super::super::error_frame;
use super::super::lag::lag;
use super::super::open::{Begun, Opened, gap_frame, open};
use super::super::start::Start;
use super::{Again, Feed, State, beginning};
use crate::hub::{Batch, Reason, Step, Watch, position_frame, raise};
use crate::rest::damage;
use crate::socket::{CloseCode, Closed, Frame, Waiting};

/// How long to wait after the first fault of reading, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

impl Feed {
    /// One step towards live.
    pub(super) async fn move_on(&mut self) -> Result<(), Closed> {
        match &mut self.state {
            State::Beginning { start, beginning } => {
                let begun = self.source.outbox.unless_closed(beginning).await?;
                let start = start.clone();
                self.has_begun = true;
                match begun {
                    Ok(Begun { watch, place }) => {
                        let opening = open(self.source.clone(), place.clone(), start.clone(), self.wanted.read());
                        self.state = State::Opening { start, watch, place, opening: Box::pin(opening) };
                    }
                    Err(error) => self.failed(error, Again::Open(start)),
                }
            }
            State::Opening { start, opening, .. } => match opening.await {
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
        let State::Opening { watch, .. } = replace(&mut self.state, State::Over) else { return };
        self.watch = Some(watch);
        let Opened { complaints, history, room, active, cursor } = opened;
        self.room = room;
        self.failures = 0;
        self.queue.extend(complaints.into_iter().map(|(code, message)| error_frame(code, message, None)));
        let mut batch = Batch::default();
        for item in history {
            self.show(item, &mut batch);
        }
        // Nothing that is shown lies between the last of them and there.
        batch.cover(&cursor);
        self.finish(&mut batch, &cursor);
        if let Some(data) = active.filter(|run| self.wanted.has_run(&run.run_id)) {
            self.queue.push_back(Frame::message(&ServerMessage::RunSummary { data }));
        }
        self.go_on(cursor);
    }

    /// Adds an item to a batch, and queues it if it is full; the cursor after the item.
    fn show(&mut self, item: ReadItem, batch: &mut Batch) -> Cursor {
        match item {
            ReadItem::Entry { entry, cursor } => {
                self.last = Some(entry.timestamp);
                // The reader has held it against the filters.
                let is_wanted = self.wanted.has_run(&entry.entry.run_id) && self.source.allows(&entry.entry);
                if is_wanted && batch.push(&entry.entry, &cursor) {
                    self.queue.extend(batch.finish(&self.source.card));
                }
                cursor
            }
            ReadItem::Gap { partition, from, to, cursor } => {
                self.queue.extend(batch.finish(&self.source.card));
                self.queue.push_back(gap_frame(&self.source.card, partition, from, to));
                cursor
            }
        }
    }

    /// Queues a batch that reaches up to `cursor`: an empty one too, for the client to know where it stands.
    fn finish(&mut self, batch: &mut Batch, cursor: &Cursor) {
        match batch.finish(&self.source.card) {
            Some(frame) => self.queue.push_back(frame),
            None if self.told != *cursor => {
                self.queue.push_back(position_frame(&self.source.card, cursor));
                self.told.clone_from(cursor);
            }
            None => {}
        }
    }

    /// Looks at what the hub has to tell.
    pub(super) fn take_news(&mut self) {
        let Some(news) = self.watch.as_ref().map(Watch::news) else { return };
        for (run, frame) in news.summaries {
            if self.wanted.has_run(&run) {
                self.queue.push_back(frame);
            }
        }
        match (news.detached, &self.state) {
            // Where the log was made again, a position of the old one may look like one of the new.
            (Some((cursor, Reason::Reset)), State::Live) => {
                self.reopen(Start { position: Some(cursor), history: 0 }, None);
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
        match watch.step(cursor, &self.wanted) {
            Step::Live => {
                self.state = State::Live;
                if self.lag.ended() {
                    self.say_lag(Lag { entries: 0, seconds: 0 });
                }
            }
            Step::More(end) => {
                if self.lag.is_due(now) {
                    let lag = lag(cursor, &end, self.last, Timestamp::now());
                    self.say_lag(lag);
                }
                // Whatever the reason was, others get their turn.
                yield_now().await;
                self.source.outbox.room().await?;
            }
            Step::Behind(target) => {
                let (scope, filter) = (self.source.scope(), self.wanted.read());
                let stream = self.source.reader.read(scope, filter, cursor.clone(), target.clone());
                self.state = State::Reading { cursor: take(cursor), target, stream };
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
        self.queue.extend(batch.finish(&self.source.card));
        if self.lag.is_due(Instant::now()) {
            if raise(&mut cursor, stream.passed()) {
                self.finish(&mut batch, &cursor);
            }
            self.say_lag(lag(&cursor, &target, self.last, Timestamp::now()));
        }
        match end {
            None => self.state = State::Reading { cursor, target, stream },
            Some(Ok(())) => self.state = State::Pulling(cursor),
            Some(Err(error)) => self.failed(error, Again::Pull(cursor)),
        }
        Ok(())
    }

    fn say_lag(&mut self, data: Lag) {
        self.source.presence.lags(&self.source.card, data);
        let card_id = self.source.card.as_str().into();
        self.queue.push_back(Frame::message(&ServerMessage::Lag { card_id, data }));
    }

    /// Reading failed; `again` is how it can be tried again.
    fn failed(&mut self, error: ReadError, again: Again) {
        warn!(%error, failures = self.failures, "a stream can't be read");
        let again = if matches!(error, ReadError::Epoch) {
            let message = format!("{error}; the stream goes on from its end");
            self.queue.push_back(error_frame(ErrorCode::InvalidValue, message, None));
            Again::Open(Start { position: None, history: 0 })
        } else if let Some(message) = damage(&error) {
            let message = format!("{message}; the stream goes on from its end");
            self.queue.push_back(error_frame(ErrorCode::HistoryDamaged, message, None));
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
