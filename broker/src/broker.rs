//! The handle to a running Kafka.

use std::io;
use std::thread::{self, JoinHandle};

use tokio::sync::{oneshot, watch};

use crate::supervisor::Supervisor;
use crate::{Config, Error};

/// What Kafka is doing, as [`Broker::events`] shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The process is starting, for the first time or again.
    Starting,
    /// It serves.
    Ready {
        /// Its process id.
        pid: u32,
    },
    /// It died by itself, or never came to serve; it will be started again in a moment, on the same port and data.
    Restarting {
        /// What happened.
        reason: String,
    },
    /// It kept dying, so it isn't started again. Nothing runs any more.
    Failed {
        /// What happened last, with the last lines of Kafka's log.
        reason: String,
    },
    /// It was stopped, by us. Nothing runs any more.
    Stopped,
}

/// A real Kafka, run as a child process for as long as this value lives.
///
/// It listens on the loopback interface only. It is started again when it dies. Dropping this stops it too, without
/// waiting until it has ended, as [`Broker::stop`] does; and it ends when our process does, however that ends.
#[derive(Debug)]
pub struct Broker {
    port: u16,
    state: watch::Receiver<State>,
    /// Dropped to make the supervisor stop.
    stop: oneshot::Sender<()>,
    supervisor: JoinHandle<()>,
}

impl Broker {
    /// Starts Kafka in the folder of `config`, and returns when it serves: after 2 to 3 s, and 6 s more where its jars
    /// have to be fetched first. A Kafka that an earlier process left running there is ended first.
    ///
    /// Dropping the future stops what was started.
    ///
    /// # Errors
    /// Any [`Error`]; see there.
    pub async fn start(config: Config) -> Result<Broker, Error> {
        let (stop, stopped) = oneshot::channel();
        let (state_sender, mut state) = watch::channel(State::Starting);
        let (prepared_sender, prepared) = oneshot::channel();

        // A thread of its own: the child ends with the thread that spawned it.
        let supervise = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(prepared_sender.send(Err(thread_error(error)))),
            };
            runtime.block_on(async {
                match Supervisor::prepare(config, state_sender, stopped).await {
                    Ok(supervisor) => {
                        // Nobody waits for this any more if the caller gave up; then `stopped` says so, too.
                        let _ = prepared_sender.send(Ok(supervisor.port()));
                        supervisor.run().await;
                    }
                    Err(error) => drop(prepared_sender.send(Err(error))),
                }
            });
        };
        let supervisor =
            thread::Builder::new().name("kafka-supervisor".to_owned()).spawn(supervise).map_err(thread_error)?;

        let port = prepared.await.map_err(|_| Error::Stopped)??;
        let settled = state.wait_for(|state| !matches!(state, State::Starting | State::Restarting { .. })).await;
        match settled.as_deref() {
            Ok(State::Failed { reason }) => return Err(Error::Failed(reason.clone())),
            Ok(State::Stopped) | Err(_) => return Err(Error::Stopped),
            Ok(_) => {}
        }
        drop(settled);
        Ok(Broker { port, state, stop, supervisor })
    }

    /// What clients connect to: `127.0.0.1:PORT`. It stays the same over restarts.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kafka's process id, while it serves.
    pub fn pid(&self) -> Option<u32> {
        match *self.state.borrow() {
            State::Ready { pid } => Some(pid),
            _ => None,
        }
    }

    /// What Kafka is doing, from now on. A watcher sees the latest state; short ones in between may be skipped.
    pub fn events(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Stops Kafka and returns when it has ended: with SIGTERM, on which it closes its log in under a second, and after
    /// 10 s with SIGKILL.
    pub async fn stop(self) {
        let Broker { mut state, stop, supervisor, .. } = self;
        drop(stop);
        // The sender goes away with the supervisor; whatever the state is then is the last one.
        while state.changed().await.is_ok() {}
        if supervisor.join().is_err() {
            tracing::error!("the supervisor of Kafka panicked");
        }
    }
}

fn thread_error(source: io::Error) -> Error {
    Error::Io { action: "start", path: "the supervisor's thread".into(), source }
}
