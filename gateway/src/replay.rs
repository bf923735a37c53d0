//! Replay: the one reader with a clock.
//!
//! A replay is a task of its session. It reads a run's entries a little ahead, waits for each one's time, and queues it in
//! the connection's outbox when there is room. So a client that doesn't read slows its replays down, and its live entries
//! still have their half of the outbox.
//!
//! - [`clock`]: when an entry is due.
//! - [`track`]: the run's entries and their ordinals, from any place, to the end and beyond while the run goes on.
//! - [`ahead`]: what was read and has yet to be shown; [`seek`]: finding places; [`look`]: whether the run goes on.
//! - [`player`]: the task; [`frames`]: what it says.

mod ahead;
mod clock;
mod frames;
mod look;
mod player;
mod seek;
mod track;

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use agentworks_processors::reader::LogReader;
use agentworks_schemas::protocol::{ErrorCode, ReplayAction, ReplayOptions, SeekTo};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use self::player::{Command, Player};
use crate::auth::Grant;
use crate::session::error_frame;
use crate::socket::{Frame, Outbox};
use crate::{Gateway, Metrics};

/// How many commands wait for a replay.
const COMMANDS: usize = 16;

/// What all replays of a connection share.
#[derive(Clone, Debug)]
struct Shared {
    reader: LogReader,
    grant: Grant,
    outbox: Arc<Outbox>,
    metrics: Arc<Metrics>,
    idle_cap: Duration,
}

/// The replays of one connection. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Replays {
    shared: Shared,
    limit: usize,
    commands: HashMap<String, mpsc::Sender<Command>>,
    /// Each ends with its id.
    tasks: JoinSet<String>,
}

impl Replays {
    pub(crate) fn new(gateway: &Gateway, grant: Grant, outbox: Arc<Outbox>) -> Self {
        let shared = Shared {
            reader: gateway.reader.clone(),
            grant,
            outbox,
            metrics: Arc::clone(&gateway.metrics),
            idle_cap: gateway.config.replay_idle_cap,
        };
        let limit = gateway.config.max_replays;
        Replays { shared, limit, commands: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Begins to replay a run; `card` helps to find it. Everything else is said by the replay itself.
    ///
    /// # Errors
    /// With what to answer, if there are too many already.
    pub(crate) fn start(&mut self, run: String, card: String, options: ReplayOptions) -> Result<(), Frame> {
        if self.tasks.len() >= self.limit {
            let message = format!("{} replays are open, which is the limit: stop one", self.limit);
            return Err(error_frame(ErrorCode::LimitExceeded, message, Some("replay_run")));
        }
        let id = format!("replay_{}", Uuid::now_v7().simple());
        let (sender, commands) = mpsc::channel(COMMANDS);
        self.commands.insert(id.clone(), sender);
        let player = Player::new(self.shared.clone(), id.clone(), run, options, commands);
        self.tasks.spawn(async move {
            player.run(&card).await;
            id
        });
        Ok(())
    }

    /// Pauses, resumes or stops a replay.
    ///
    /// # Errors
    /// With what to answer, if there is no such replay.
    pub(crate) fn control(&mut self, id: &str, action: ReplayAction) -> Result<(), Frame> {
        self.send(id, Command::Control(action), "replay_control")
    }

    /// Moves a replay.
    ///
    /// # Errors
    /// With what to answer, if there is no such replay.
    pub(crate) fn seek(&mut self, id: &str, to: SeekTo) -> Result<(), Frame> {
        self.send(id, Command::Seek(to), "replay_seek")
    }

    /// Changes a replay's pace.
    ///
    /// # Errors
    /// With what to answer, if there is no such replay.
    pub(crate) fn set_speed(&mut self, id: &str, speed: f64) -> Result<(), Frame> {
        self.send(id, Command::Speed(speed), "replay_speed")
    }

    /// Moves a replay to the end of what its run has now.
    ///
    /// # Errors
    /// With what to answer, if there is no such replay.
    pub(crate) fn jump_live(&mut self, id: &str) -> Result<(), Frame> {
        self.send(id, Command::JumpLive, "replay_jump_live")
    }

    fn send(&mut self, id: &str, command: Command, question: &str) -> Result<(), Frame> {
        use mpsc::error::TrySendError;

        let not_found = || error_frame(ErrorCode::NotFound, format!("there is no replay {id:?}"), Some(question));
        match self.commands.get(id).ok_or_else(not_found)?.try_send(command) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                let message = format!("{COMMANDS} commands wait for this replay already");
                Err(error_frame(ErrorCode::LimitExceeded, message, Some(question)))
            }
            Err(TrySendError::Closed(_)) => Err(not_found()),
        }
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Waits until a replay has ended, and clears up after it.
    pub(crate) async fn reap(&mut self) {
        match self.tasks.join_next().await {
            Some(Ok(id)) => drop(self.commands.remove(&id)),
            // One that panicked has lost its id, and its channel.
            Some(Err(_)) => self.commands.retain(|_, commands| !commands.is_closed()),
            None => pending().await,
        }
    }
}
