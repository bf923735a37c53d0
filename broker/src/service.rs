//! Any other program as a child that ends with us, as Kafka does: for tests that need a service.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::oneshot;

use crate::process::Process;
use crate::{port, tether};

/// How long it may take to end by itself.
const GRACE: Duration = Duration::from_secs(20);

/// A program that runs as a child process. Dropping this ends it, without waiting; and it gets SIGTERM when our process
/// ends, however that ends.
#[derive(Debug)]
pub struct Service {
    pid: u32,
    /// Dropped to make it end.
    stop: oneshot::Sender<()>,
    /// It spawned the child, and so lives as long.
    keeper: JoinHandle<()>,
}

impl Service {
    /// Starts it, in a process group of its own: Ctrl-C is for us.
    ///
    /// # Errors
    /// If it can't be started.
    pub async fn start(mut command: Command) -> io::Result<Service> {
        let (started_sender, started) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        command.process_group(0).kill_on_drop(true);
        // A thread of its own: the child ends with the thread that spawned it.
        let keep = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started_sender.send(Err(error))),
            };
            runtime.block_on(async {
                let (mut child, _tether) = match tether::spawn(&mut command) {
                    Ok(spawned) => spawned,
                    Err(error) => return drop(started_sender.send(Err(error))),
                };
                let pid = child.id().unwrap_or_default();
                // Nobody waits for this any more if the caller gave up; then `stopped` says so, too.
                let _ = started_sender.send(Ok(pid));
                tokio::select! {
                    _ = child.wait() => return,
                    _ = stopped => {}
                }
                if let Some(process) = Process::of(pid)
                    && let Err(reason) = process.end(GRACE).await
                {
                    tracing::error!(pid, reason, "a service does not end");
                }
            });
        };
        let keeper = thread::Builder::new().name("service".to_owned()).spawn(keep)?;
        let pid = started.await.map_err(io::Error::other)??;
        Ok(Service { pid, stop, keeper })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        !self.keeper.is_finished()
    }

    /// Ends it, with SIGTERM first, and returns when it has ended.
    pub async fn stop(self) {
        let Service { stop, keeper, .. } = self;
        drop(stop);
        let joined = tokio::task::spawn_blocking(move || keeper.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the thread of a service panicked");
        }
    }
}

/// A port of the loopback interface on which nobody listens, and that no outgoing connection is given.
///
/// # Errors
/// If this machine seems to have none.
pub fn free_port() -> io::Result<u16> {
    port::choose(None).ok_or_else(|| io::ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn it_runs_until_it_is_stopped() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let service = Service::start(command).await.unwrap();
        let process = Process::of(service.pid()).unwrap();
        assert!(service.is_running());
        service.stop().await;
        assert!(!process.is_running());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_an_error() {
        assert!(Service::start(Command::new("/nonexistent/program")).await.is_err());
    }
}
