//! Starts Kafka, and starts it again when it dies.
//!
//! All of it runs on one thread, which lives as long as Kafka does (see `tether`) and may therefore block.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::folder::Folder;
use crate::java::Java;
use crate::process::Process;
use crate::tether::{self, Tether};
use crate::{Config, Error, Jars, State, jars, port, probe};

/// How long Kafka may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);
/// The same for one that was left behind; it has been told to end before.
const LEFTOVER_GRACE: Duration = Duration::from_secs(5);
/// A Kafka that served for this long was not one that can't run here.
const STABLE: Duration = Duration::from_secs(1);
/// After so many lives in a row that weren't stable, we give up.
const MAX_FAILURES: u32 = 5;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// A Kafka that is to run until we are told to stop.
pub(crate) struct Supervisor {
    config: Config,
    folder: Folder,
    java: Java,
    jars: Jars,
    port: u16,
    cluster_id: String,
    state: watch::Sender<State>,
    /// Resolves when the handle is dropped.
    stopped: oneshot::Receiver<()>,
}

/// Why Kafka isn't running although it should.
struct Death {
    reason: String,
    /// Whether it had served for a while, so that it can be expected to serve again.
    stable: bool,
}

impl Supervisor {
    /// Everything up to the first start: tools and jars, the folder without leftovers, a port, formatted storage.
    pub(crate) async fn prepare(
        config: Config,
        state: watch::Sender<State>,
        stopped: oneshot::Receiver<()>,
    ) -> Result<Self, Error> {
        let java = Java::find()?;
        let jars = Jars::find_or_fetch(&config.cache, &jars::KAFKA)?;
        let folder = Folder::open(&config.data_dir)?;
        if let Some(leftover) = folder.running()? {
            let pid = leftover.pid();
            tracing::warn!(pid, "ending the Kafka that an earlier run left behind");
            leftover.end(LEFTOVER_GRACE).await.map_err(|reason| Error::Leftover { pid, reason })?;
        }
        let port = folder.choose_port(config.port)?;
        let mut supervisor = Supervisor { config, folder, java, jars, port, cluster_id: String::new(), state, stopped };
        supervisor.cluster_id = match supervisor.folder.cluster_id()? {
            Some(id) => id,
            None => supervisor.format().await?,
        };
        Ok(supervisor)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Runs Kafka until the handle is dropped, or until there is no point in trying again.
    pub(crate) async fn run(mut self) {
        let mut failures = 0;
        let last = loop {
            self.state.send_replace(State::Starting);
            let Death { reason, stable } = match self.live().await {
                Ok(()) => break State::Stopped,
                Err(death) => death,
            };
            failures = if stable { 0 } else { failures + 1 };
            if failures == MAX_FAILURES {
                let tail = self.folder.log_tail();
                tracing::error!(reason, "Kafka keeps dying; it is not started again");
                break State::Failed { reason: format!("Kafka failed {failures} times in a row: {reason}; {tail}") };
            }
            tracing::warn!(reason, "Kafka is started again");
            self.state.send_replace(State::Restarting { reason });
            tokio::select! {
                _ = &mut self.stopped => break State::Stopped,
                () = sleep(backoff(failures)) => {}
            }
        };
        // Whoever sees the last state may take the folder.
        let Supervisor { folder, state, .. } = self;
        drop(folder);
        state.send_replace(last);
    }

    /// One life of the process: `Ok` if we ended it.
    async fn live(&mut self) -> Result<(), Death> {
        let mut kafka = self.spawn().map_err(Death::early)?;
        let ready = tokio::select! {
            _ = &mut self.stopped => {
                kafka.end().await;
                return Ok(());
            }
            status = kafka.child.wait() => return Err(Death::early(describe(status))),
            ready = timeout(self.config.start_timeout, probe::until_ready(self.port, &self.cluster_id)) => ready,
        };
        if ready.is_err() {
            kafka.end().await;
            return Err(Death::early(format!("Kafka did not serve within {:?}", self.config.start_timeout)));
        }
        let since = Instant::now();
        tracing::info!(pid = kafka.pid, port = self.port, "Kafka is ready");
        self.state.send_replace(State::Ready { pid: kafka.pid });
        tokio::select! {
            _ = &mut self.stopped => {
                kafka.end().await;
                Ok(())
            }
            status = kafka.child.wait() => Err(Death { reason: describe(status), stable: since.elapsed() >= STABLE }),
        }
    }

    /// Starts the process.
    fn spawn(&self) -> Result<Kafka, String> {
        let start = || {
            self.write_properties()?;
            let log = self.folder.open_log()?;
            let errors = log.try_clone().map_err(Error::io("open", self.folder.path()))?;
            let mut command = self.java("kafka.Kafka");
            command
                .arg(self.folder.server_properties())
                .stdin(Stdio::null())
                .stdout(log)
                .stderr(errors)
                // Ctrl-C is for us: Kafka has to outlive those who still write to it.
                .process_group(0)
                .kill_on_drop(true);
            let (child, tether) = tether::spawn(&mut command).map_err(Error::io("run", self.java.program()))?;
            let pid = child.id().unwrap_or_default();
            if let Some(process) = Process::of(pid) {
                self.folder.note_process(&process)?;
            }
            Ok(Kafka { child, pid, _tether: tether })
        };
        start().map_err(|error: Error| error.to_string())
    }

    fn java(&self, main: &str) -> Command {
        let mut command = Command::new(self.java.program());
        command
            .args(self.config.jvm_flags())
            .arg("-cp")
            .arg(self.jars.class_path())
            .arg(main)
            .current_dir(self.folder.path())
            // The JVM's threads would each take an arena of their own.
            .env("MALLOC_ARENA_MAX", "2");
        command
    }

    /// The controller's port may change from start to start: nobody but Kafka knows it.
    fn write_properties(&self) -> Result<(), Error> {
        let controller_port = port::choose(Some(self.port)).ok_or(Error::PortTaken(0))?;
        let path = self.folder.server_properties();
        fs::write(&path, self.config.server_properties(self.port, controller_port)).map_err(Error::io("write", &path))
    }

    /// Lays out the storage, and returns the new cluster's id.
    async fn format(&self) -> Result<String, Error> {
        self.write_properties()?;
        let cluster_id = new_cluster_id();
        let output = self
            .java("kafka.tools.StorageTool")
            .args(["format", "-t", &cluster_id, "-c"])
            .arg(self.folder.server_properties())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(Error::io("run", self.java.program()))?;
        if output.status.success() {
            return Ok(cluster_id);
        }
        let text = String::from_utf8_lossy(&output.stderr);
        // Without stack frames, what is wrong comes last.
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('\t')).collect();
        Err(Error::Format(lines[lines.len().saturating_sub(3)..].join("\n")))
    }
}

impl Death {
    fn early(reason: String) -> Self {
        Death { reason, stable: false }
    }
}

/// The running process.
struct Kafka {
    child: Child,
    pid: u32,
    _tether: Tether,
}

impl Kafka {
    /// Ends it, gracefully if it can.
    async fn end(&mut self) {
        if let Some(process) = Process::of(self.pid)
            && let Err(reason) = process.end(GRACE).await
        {
            tracing::error!(pid = self.pid, reason, "Kafka does not end");
            return;
        }
        if let Err(error) = self.child.wait().await {
            tracing::error!(pid = self.pid, %error, "could not wait for Kafka to end");
        }
    }
}

fn describe(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match status.signal() {
            Some(signal) => format!("Kafka was killed by signal {signal}"),
            None => format!("Kafka ended by itself, with {status}"),
        },
        Err(error) => format!("could not wait for Kafka: {error}"),
    }
}

/// How long to wait before the next start, after so many failures in a row.
fn backoff(failures: u32) -> Duration {
    FIRST_BACKOFF * 2_u32.pow(failures.min(MAX_FAILURES))
}

/// A random id in the form that Kafka wants: URL-safe base64 of 16 bytes. Kafka's own never begin with a dash, so that
/// they can't be taken for an option.
fn new_cluster_id() -> String {
    loop {
        let id = URL_SAFE_NO_PAD.encode(Uuid::new_v4());
        if !id.starts_with('-') {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_are_what_kafka_takes() {
        for _ in 0..1000 {
            let id = new_cluster_id();
            assert_eq!(id.len(), 22);
            assert!(!id.starts_with('-'));
        }
    }

    #[test]
    fn the_waits_between_starts_grow() {
        let waits: Vec<_> = (0..MAX_FAILURES).map(|failures| backoff(failures).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600]);
    }
}
