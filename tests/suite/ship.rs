//! `agentworks ship` and `agentworks run`, the real binary on real Kafka.

mod files;
mod lines;
mod programs;

use std::ffi::OsStr;
use std::process::{Output, Stdio};
use std::time::Duration;

use agentworks_schemas::{LogEntry, RunEvent, Topic, Topics};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::support::records::create_topics;
use crate::support::{agentworks, kafka, process, unique_prefix};
use crate::written;

/// Topics of a test's own.
struct Log {
    bootstrap: String,
    topics: Topics,
}

impl Log {
    async fn new() -> Self {
        let bootstrap = kafka().await.bootstrap();
        let topics = create_topics(&bootstrap, &unique_prefix(), 3).await;
        Log { bootstrap, topics }
    }

    /// One of the commands, writing to card `card`.
    fn command(&self, name: &str) -> Command {
        command(name, &self.bootstrap, self.topics.prefix())
    }

    /// Ships `input`, with these further arguments.
    async fn ship(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self.command("ship").args(arguments).spawn().unwrap();
        write(&mut child, input).await;
        child.wait_with_output().await.unwrap()
    }

    /// The card's entries, in the order of the log.
    async fn entries(&self) -> Vec<LogEntry<'static>> {
        let entries = written::entries(&self.bootstrap, &self.topics, Topic::AgentLogs).await;
        entries.into_iter().map(|written| written.entry).collect()
    }

    async fn messages(&self) -> Vec<String> {
        written::messages(&self.bootstrap, &self.topics, "card").await
    }

    async fn events(&self) -> Vec<RunEvent<'static>> {
        written::events(&self.bootstrap, &self.topics).await
    }
}

fn command(name: &str, bootstrap: &str, prefix: &str) -> Command {
    let mut command = Command::new(agentworks());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AGENTWORKS_")) {
        command.env_remove(name);
    }
    command.args([name, "--brokers", bootstrap, "--topic-prefix", prefix, "--workspace", "acme", "--card", "card"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Writes to a child's standard input, which it leaves open.
async fn write(child: &mut Child, input: &[u8]) {
    child.stdin.as_mut().unwrap().write_all(input).await.unwrap();
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    process::signal(child.id().unwrap(), signal);
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn numbered(range: std::ops::Range<usize>) -> String {
    range.map(|number| format!("line {number}\n")).collect()
}

/// Waits until Kafka has `count` entries or more.
async fn until_shipped(log: &Log, count: usize) {
    crate::support::eventually(Duration::from_secs(30), async || (log.entries().await.len() >= count).then_some(()))
        .await;
}

/// Arguments as a child takes them.
fn shell(script: &str) -> [&OsStr; 4] {
    ["--", "sh", "-c", script].map(OsStr::new)
}
