//! The task of one replay.

use std::time::Duration;

use agentworks_processors::reader::ReadError;
use agentworks_schemas::Timestamp;
use agentworks_schemas::protocol::{
    ErrorCode, ReplayAction, ReplayComplete, ReplayEntry, ReplayMetadata, ReplayOptions, ReplaySeeked, ReplayStartInfo,
    ReplayStatus, RunSummary, SeekPosition, ServerMessage,
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::Shared;
use super::clock::{Clock, estimate};
use super::track::{Next, Numbered, Track};
use crate::session::{error_frame, gap_frame};
use crate::socket::{Closed, Frame};

/// What a client asks of a replay.
#[derive(Debug)]
pub(super) enum Command {
    Control(ReplayAction),
    Seek(SeekPosition),
}

/// Plays one replay.
pub(super) struct Player {
    shared: Shared,
    id: String,
    run: String,
    options: ReplayOptions,
    commands: mpsc::Receiver<Command>,
    clock: Clock,
    /// What is shown next, and when.
    head: Option<(Instant, Head)>,
    began: Instant,
    played: u64,
}

#[derive(Debug)]
enum Head {
    Entry(Box<Numbered>),
    Frame(Frame),
    End,
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
        Player { shared, id, run, options, commands, clock, head: None, began: Instant::now(), played: 0 }
    }

    /// Plays until the end. `card` helps to find the run.
    pub(super) async fn run(mut self, card: &str) {
        let _active = Active::new(&self.shared.metrics.replays_active);
        let stop = self.play(card).await.err();
        match stop {
            None => {
                self.shared.metrics.replay_completions.inc();
                self.completed(false).await;
            }
            Some(Stop::Stopped) => self.completed(true).await,
            Some(Stop::Closed) => {}
            Some(Stop::Failed(error)) => {
                warn!(%error, "a replay can't go on");
                self.shared.metrics.replay_errors.inc();
                let message = format!("replay {} can't go on: the run can't be read; try again", self.id);
                self.say(error_frame(ErrorCode::Internal, message, Some("replay_run"))).await;
            }
        }
    }

    async fn play(&mut self, card: &str) -> Result<(), Stop> {
        let (reader, claims) = (self.shared.reader.clone(), self.shared.claims.clone());
        let summary = reader.run_summary(&claims.workspace, &self.run, Some(card)).await?;
        // A run of a card that the token doesn't allow is as unknown as one that isn't there.
        let Some(summary) = summary.filter(|summary| claims.may_read(&claims.workspace, &summary.card_id)) else {
            let message = format!("there is no run {:?}", self.run);
            self.say(error_frame(ErrorCode::NotFound, message, Some("replay_run"))).await;
            return Err(Stop::Closed);
        };
        let mut track = Track::open(reader, &claims.workspace, summary, &self.options).await?;
        self.began = Instant::now();
        self.send(&ServerMessage::ReplayStarted { data: self.started(&track) }).await?;
        loop {
            tokio::select! {
                command = self.commands.recv() => self.obey(command.ok_or(Stop::Closed)?, &mut track).await?,
                head = advance(&mut self.head, &mut self.clock, &mut track, &self.shared) => match head? {
                    Head::Entry(entry) => self.show(*entry, track.total())?,
                    Head::Frame(frame) => self.queue(frame)?,
                    Head::End => return Ok(()),
                },
            }
        }
    }

    async fn obey(&mut self, command: Command, track: &mut Track) -> Result<(), Stop> {
        let now = Instant::now();
        match command {
            Command::Control(ReplayAction::Stop) => Err(Stop::Stopped),
            Command::Control(ReplayAction::Pause) => {
                self.clock.pause(now);
                self.send(&ServerMessage::ReplayPaused { data: self.status(track) }).await
            }
            Command::Control(ReplayAction::Resume) => {
                let stood = self.clock.resume(now);
                if let Some((due, _)) = &mut self.head {
                    *due += stood;
                }
                self.send(&ServerMessage::ReplayResumed { data: self.status(track) }).await
            }
            Command::Seek(position) => {
                self.head = None;
                self.clock.restart();
                match position {
                    SeekPosition::Ordinal(ordinal) => track.seek(ordinal).await?,
                    SeekPosition::Cursor(cursor) => track.seek_cursor(&cursor).await?,
                }
                let ReplayStatus { session_id, position } = self.status(track);
                let data = ReplaySeeked { session_id, position, progress: progress(position, track.total()) };
                self.send(&ServerMessage::ReplaySeeked { data }).await
            }
        }
    }

    fn started(&self, track: &Track) -> ReplayStartInfo {
        let time = time(track.summary(), &self.options);
        let estimate = estimate(time, track.total(), self.options.speed, self.shared.idle_cap);
        ReplayStartInfo {
            session_id: self.id.clone(),
            run_id: self.run.clone(),
            total_logs: track.total(),
            estimated_duration: millis(estimate),
            filters: self.options.filters.clone(),
        }
    }

    /// Where the replay stands: at the entry that is shown next.
    fn status(&self, track: &Track) -> ReplayStatus {
        let position = match &self.head {
            Some((_, Head::Entry(entry))) => entry.ordinal,
            _ => track.ordinal(),
        };
        ReplayStatus { session_id: self.id.clone(), position }
    }

    fn show(&mut self, numbered: Numbered, total: u64) -> Result<(), Stop> {
        let Numbered { entry, ordinal, cursor } = numbered;
        if !self.shared.claims.may_read(&entry.entry.workspace_id, &entry.entry.card_id) {
            return Ok(());
        }
        self.played += 1;
        let replay = ReplayMetadata {
            session_id: self.id.clone(),
            replay_position: ordinal,
            replay_total: total,
            replay_progress: progress(ordinal, total),
            original_timestamp: entry.entry.timestamp,
            replay_timestamp: Timestamp::now(),
        };
        let data = ReplayEntry { entry: entry.entry, replay };
        self.queue(Frame::message(&ServerMessage::ReplayLog { position: cursor, data }))
    }

    /// Queues a frame that there was room for a moment ago. If somebody else has taken the room, it waits as the head.
    fn queue(&mut self, frame: Frame) -> Result<(), Stop> {
        if let Some(frame) = self.shared.outbox.try_send(frame)? {
            self.head = Some((Instant::now(), Head::Frame(frame)));
        }
        Ok(())
    }

    async fn completed(&self, stopped: bool) {
        let data = ReplayComplete {
            session_id: self.id.clone(),
            total_logs_played: self.played,
            duration: millis(self.began.elapsed()),
            stopped,
        };
        self.say(Frame::message(&ServerMessage::ReplayCompleted { data })).await;
    }

    async fn send(&self, message: &ServerMessage<'_>) -> Result<(), Stop> {
        Ok(self.shared.outbox.send(Frame::message(message)).await?)
    }

    /// Queues the last that there is to say, unless the connection is over.
    async fn say(&self, frame: Frame) {
        let _ = self.shared.outbox.send(frame).await;
    }
}

/// Waits for what is next, until its time, and until there is room for it. May be dropped and called again.
async fn advance(
    head: &mut Option<(Instant, Head)>,
    clock: &mut Clock,
    track: &mut Track,
    shared: &Shared,
) -> Result<Head, Stop> {
    if head.is_none() {
        let next = track.next().await?;
        let now = Instant::now();
        *head = Some(match next {
            Next::Entry(entry) => (clock.due(entry.entry.entry.timestamp, now), Head::Entry(entry)),
            Next::Gap(partition, from, to) => (now, Head::Frame(gap_frame(partition, from, to))),
            Next::End => (now, Head::End),
        });
    }
    if clock.is_paused() {
        std::future::pending::<()>().await;
    }
    if let Some((due, _)) = head {
        if *due > Instant::now() {
            sleep_until(*due).await;
        }
        shared.outbox.room().await?;
    }
    head.take().map(|(_, head)| head).ok_or(Stop::Closed)
}

/// From the first to the last moment of what is shown.
fn time(summary: &RunSummary, options: &ReplayOptions) -> Duration {
    let end = summary.end_time.unwrap_or_else(Timestamp::now);
    let begin = options.start_time.map_or(summary.start_time, |start| start.max(summary.start_time));
    options.end_time.map_or(end, |until| until.min(end)).since(begin)
}

fn progress(position: u64, total: u64) -> f64 {
    if total == 0 { 100.0 } else { position as f64 / total as f64 * 100.0 }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
