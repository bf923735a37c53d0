//! A process of its own: this test binary, started again for one ignored test, with an order in its environment. What it is
//! told comes line by line on its standard input; what it tells, on its standard output among whatever else is there.

use std::io::Write;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::mpsc;

use crate::support::process;

/// Where a child finds its order.
const ORDER: &str = "AGENTWORKS_EXACTNESS_ORDER";
/// What a line begins with by which a child tells its parent something.
const TOLD: &str = "@told ";

/// A running child. It is killed when this is dropped.
#[derive(Debug)]
pub struct Child {
    process: tokio::process::Child,
    stdin: ChildStdin,
    told: mpsc::UnboundedReceiver<String>,
}

impl Child {
    /// Starts the test of this name.
    pub fn start(test: &str, order: &impl Serialize) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env(ORDER, serde_json::to_string(order).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (teller, told) = mpsc::unbounded_channel();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(line) = line.strip_prefix(TOLD)
                    && teller.send(line.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Child { stdin: process.stdin.take().unwrap(), process, told }
    }

    pub fn pid(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid(), signal);
    }

    /// Tells it something. It may have died.
    pub async fn say(&mut self, line: &str) -> std::io::Result<()> {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await
    }

    /// The next thing that it tells; `None` when it has ended.
    pub async fn told(&mut self) -> Option<String> {
        self.told.recv().await
    }

    /// Waits until it has ended.
    pub async fn wait(&mut self) -> ExitStatus {
        self.process.wait().await.unwrap()
    }

    /// Waits until it has ended by itself, for at most so long. Returns what it told last, if it has ended.
    pub async fn ended(&mut self, within: Duration) -> Option<Option<String>> {
        tokio::time::timeout(within, self.wait()).await.ok()?;
        let mut last = None;
        while let Some(line) = self.told().await {
            last = Some(line);
        }
        Some(last)
    }

    /// Has a member leave its group in order.
    pub async fn leave(&mut self) {
        // It may have died.
        let _ = self.say("leave").await;
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill_9(mut self) {
        self.process.start_kill().unwrap();
        self.wait().await;
    }
}

/// In a child: its order; `None` if somebody else has started the test.
pub fn order<T: DeserializeOwned>() -> Option<T> {
    std::env::var(ORDER).ok().map(|order| serde_json::from_str(&order).unwrap())
}

/// In a child: does what its order says, and ends. Nothing, if somebody else has started the test. What it logs where
/// `RUST_LOG` asks for it goes to standard error.
pub fn run<T: DeserializeOwned>(work: impl AsyncFnOnce(T)) {
    let Some(order) = order() else { return };
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work(order));
    // Nothing that is left matters, and a thread may still read from the parent.
    std::process::exit(0);
}

/// In a child: tells the parent.
pub fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    // The parent may be gone.
    let _ = writeln!(out, "{TOLD}{line}").and_then(|()| out.flush());
}
