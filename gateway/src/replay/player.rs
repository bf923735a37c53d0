//! The task of one replay.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use agentworks_processors::reader::ReadError;
use agentworks_schemas::Timestamp;
use agentworks_schemas::protocol::{ErrorCode, ReplayAction, ReplayOptions, RunSummary, SeekTo};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::Shared;
use super::ahead::Item;
use super::clock::{Clock, estimate};
use super::frames::Frames;
use super::track::Track;
use crate::rest::damage;
use crate::session::error_frame;
use crate::socket::{Closed, Frame, Outbox};

/// How many frames wait for room before no more commands are taken.
const WAITING: usize = 16;
/// A replay that is paused for so long gives back what it has read ahead.
const KEEP: Duration = Duration::from_secs(5);

/// What a client asks of a replay.
#[derive(Debug)]
pub(super) enum Command {
    Control(ReplayAction),
    Seek(SeekTo),
    Speed(f64),
    JumpLive,
}

/// Plays one replay.
pub(super) struct Player {
    shared: Shared,
    run: String,
    options: ReplayOptions,
    commands: mpsc::Receiver<Command>,
    frames: Frames,
    /// Frames that wait for room. While there are any, nothing is shown.
    waiting: VecDeque<Frame>,
    pace: Pace,
    began: Instant,
    played: u64,
}

/// When the next entry is shown.
struct Pace {
    clock: Clock,
    /// When the next entry is due, once that is known.
    due: Option<Instant>,
    /// Whether entries are shown as they come.
    is_live: bool,
    /// If something was read ahead since the replay was paused: when it is given back.
    release: Option<Instant>,
}

/// What is to be done next.
enum Step {
    /// The next item can be shown.
    Show,
    /// What was read ahead is to be given back.
    Release,
}

/// Why a replay ends early.
#[derive(Debug)]
enum Stop {
    /// The connection is over, or the session is.
    Closed,
    /// The client wants it so.
    Stopped,
    /// The run can't be read.
    Failed(ReadError),
}

impl From<Closed> for Stop {
    fn from(_: Closed) -> Self {
        Stop::Closed
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Stop::Failed(error)
    }
}

/// Counts something as active until it is dropped.
struct Active(Gauge);

impl Active {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Active(gauge.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Player {
    pub(super) fn new(
        shared: Shared,
        id: String,
        run: String,
        options: ReplayOptions,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let clock = Clock::new(options.speed, shared.idle_cap);
        let pace = Pace { clock, due: None, is_live: false, release: None };
        let (frames, waiting) = (Frames::new(id), VecDeque::new());
        Player { shared, run, options, commands, frames, waiting, pace, began: Instant::now(), played: 0 }
    }

    /// Plays until the end. `card` helps to find the run.
    pub(super) async fn run(mut self, card: &str) {
        let _active = Active::new(&self.shared.metrics.replays_active);
        let stop = self.play(card).await.err();
        match stop {
            None => {
                self.shared.metrics.replay_completions.inc();
                self.shared.metrics.tenants.of(self.shared.grant.workspace()).replay_completed();
                self.completed(false).await;
            }
            Some(Stop::Stopped) => self.completed(true).await,
            Some(Stop::Closed) => {}
            Some(Stop::Failed(error)) => {
                warn!(%error, "a replay can't go on");
                self.shared.metrics.replay_errors.inc();
                self.shared.metrics.tenants.of(self.shared.grant.workspace()).replay_failed();
                let id = self.frames.id();
                let (code, message) = match damage(&error) {
                    Some(message) => (ErrorCode::HistoryDamaged, format!("replay {id} can't go on: {message}")),
                    None => (ErrorCode::Internal, format!("replay {id} can't go on: the run can't be read; try again")),
                };
                self.say(error_frame(code, message, Some("replay_run"))).await;
            }
        }
    }

    async fn play(&mut self, card: &str) -> Result<(), Stop> {
        let (reader, grant) = (self.shared.reader.clone(), self.shared.grant.clone());
        let run = reader.run(grant.workspace(), &self.run, Some(card)).await?;
        // A run of a card that the token doesn't allow is as unknown as one that isn't there.
        let Some(run) = run.filter(|run| grant.may_read(grant.workspace(), &run.summary.card_id)) else {
            let message = format!("there is no run {:?}", self.run);
            self.say(error_frame(ErrorCode::NotFound, message, Some("replay_run"))).await;
            return Err(Stop::Closed);
        };
        let mut track = Track::open(reader, run, &self.options);
        self.began = Instant::now();
        self.waiting.push_back(self.started(&track));
        loop {
            self.flush()?;
            let is_waiting = !self.waiting.is_empty();
            tokio::select! {
                command = self.commands.recv(), if self.waiting.len() < WAITING => {
                    self.obey(command.ok_or(Stop::Closed)?, &mut track)?;
                }
                room = self.shared.outbox.room(), if is_waiting => room?,
                step = self.pace.next(&mut track, &self.shared), if !is_waiting => match step? {
                    Step::Show => if self.show(&mut track) { return Ok(()) },
                    Step::Release => {
                        track.release();
                        self.pace.forget();
                    }
                },
            }
        }
    }

    /// Queues what waits, as far as there is room.
    fn flush(&mut self) -> Result<(), Stop> {
        while let Some(frame) = self.waiting.pop_front() {
            if let Some(frame) = self.shared.outbox.try_send(frame)? {
                self.waiting.push_front(frame);
                break;
            }
        }
        Ok(())
    }

    /// Does what is asked at once; the answer waits its turn.
    fn obey(&mut self, command: Command, track: &mut Track) -> Result<(), Stop> {
        let (now, pace) = (Instant::now(), &mut self.pace);
        match command {
            Command::Control(ReplayAction::Stop) => return Err(Stop::Stopped),
            Command::Control(ReplayAction::Pause) => {
                pace.pause(now);
                self.waiting.push_back(self.frames.paused(track.ordinal()));
            }
            Command::Control(ReplayAction::Resume) => {
                pace.resume(now);
                self.waiting.push_back(self.frames.resumed(track.ordinal()));
            }
            Command::Speed(speed) => {
                pace.set_speed(speed, now);
                self.waiting.push_back(self.frames.speed_changed(speed));
            }
            Command::Seek(to) => {
                pace.restart(now);
                track.seek(to);
            }
            Command::JumpLive => {
                pace.resume(now);
                pace.restart(now);
                track.jump_live();
            }
        }
        Ok(())
    }

    /// Shows what comes next. Whether that was the end.
    fn show(&mut self, track: &mut Track) -> bool {
        self.pace.due = None;
        let frame = match track.pop() {
            Some(Item::Entry(entry)) => {
                let card = &entry.entry.entry;
                if !self.shared.grant.may_read(&card.workspace_id, &card.card_id) {
                    return false;
                }
                self.played += 1;
                self.frames.log(*entry, track.total())
            }
            Some(Item::Gap { partition, range, .. }) => self.frames.gap(partition, range),
            Some(Item::Seeked(ordinal)) => self.frames.seeked(ordinal, track.total()),
            Some(Item::Live) => {
                self.pace.live();
                self.frames.live(track.ordinal())
            }
            Some(Item::End) => return true,
            None => return false,
        };
        self.waiting.push_back(frame);
        false
    }

    fn started(&self, track: &Track) -> Frame {
        let time = time(track.summary(), &self.options);
        let estimate = estimate(time, track.total(), self.options.speed, self.shared.idle_cap);
        self.frames.started(&self.run, track.total(), estimate, &self.options)
    }

    async fn completed(&mut self, stopped: bool) {
        // What was answered comes first.
        for frame in std::mem::take(&mut self.waiting) {
            self.say(frame).await;
        }
        self.say(self.frames.completed(self.played, self.began.elapsed(), stopped)).await;
    }

    /// Queues what there is to say in the end, unless the connection is over.
    async fn say(&self, frame: Frame) {
        let _ = self.shared.outbox.send(frame).await;
    }
}

impl Pace {
    /// Waits for what is next, until its time, and until there is room for it; reads ahead meanwhile. May be dropped and
    /// called again.
    async fn next(&mut self, track: &mut Track, shared: &Shared) -> Result<Step, Stop> {
        loop {
            if self.clock.is_paused() && !track.is_seeking() {
                match self.release {
                    Some(release) => sleep_until(release).await,
                    None => pending().await,
                }
                return Ok(Step::Release);
            }
            let due = match track.front() {
                None => {
                    track.fill().await?;
                    continue;
                }
                Some(Item::Entry(entry)) => {
                    let position = entry.entry.position;
                    let of = &entry.entry.entry;
                    let erased = shared.reader.erasures().view().await.map_err(ReadError::from)?;
                    if erased.hides(&of.workspace_id, &of.run_id, position) {
                        track.pop();
                        self.due = None;
                        continue;
                    }
                    self.due(of.timestamp)
                }
                Some(_) => Instant::now(),
            };
            if due <= Instant::now() {
                return self.room(&shared.outbox).await;
            }
            tokio::select! {
                biased;
                () = sleep_until(due) => {}
                filled = track.fill(), if track.wants_more() => filled?,
            }
        }
    }

    async fn room(&self, outbox: &Outbox) -> Result<Step, Stop> {
        outbox.room().await?;
        Ok(Step::Show)
    }

    /// When an entry is due.
    fn due(&mut self, timestamp: Timestamp) -> Instant {
        let (clock, is_live) = (&mut self.clock, self.is_live);
        *self.due.get_or_insert_with(|| {
            let now = Instant::now();
            if is_live { now } else { clock.due(timestamp, now) }
        })
    }

    fn pause(&mut self, now: Instant) {
        self.clock.pause(now);
        self.release = Some(now + KEEP);
    }

    fn resume(&mut self, now: Instant) {
        let stood = self.clock.resume(now);
        if let Some(due) = &mut self.due {
            *due += stood;
        }
        self.release = None;
    }

    fn set_speed(&mut self, speed: f64, now: Instant) {
        let due = self.clock.set_speed(speed, now);
        if self.due.is_some() && !self.is_live {
            self.due = due;
        }
    }

    /// What is shown next is due at once.
    fn restart(&mut self, now: Instant) {
        self.clock.restart();
        (self.due, self.is_live) = (None, false);
        self.release = self.clock.is_paused().then(|| now + KEEP);
    }

    /// Entries are shown as they come, from now on.
    fn live(&mut self) {
        self.clock.restart();
        self.is_live = true;
    }

    /// What comes next is read again later.
    fn forget(&mut self) {
        if self.due.take().is_some() && !self.is_live {
            self.clock.take_back();
        }
        self.release = None;
    }
}

/// From the first to the last moment of what is shown.
fn time(summary: &RunSummary, options: &ReplayOptions) -> Duration {
    let end = summary.end_time.unwrap_or_else(Timestamp::now);
    let begin = options.start_time.map_or(summary.start_time, |start| start.max(summary.start_time));
    options.end_time.map_or(end, |until| until.min(end)).since(begin)
}
