//! `token`, `tail` and `replay` as users run them: the real binary against a real gateway.

mod proxy;
mod refused;
mod replayed;
mod tailed;

use std::process::{Output, Stdio};

use agentworks_schemas::access::Role;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::agentworks;
use crate::support::stack::Stack;

/// A command with nothing of ours in its environment.
fn bare(args: &[&str]) -> Command {
    let mut command = Command::new(agentworks());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AGENTWORKS_")) {
        command.env_remove(name);
    }
    for name in ["NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.args(args).env("TZ", "UTC").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A command for the gateway at `address`, with a viewer's token for workspace `acme`.
fn command_at(stack: &Stack, address: &str, args: &[&str]) -> Command {
    let mut command = bare(args);
    command.env("AGENTWORKS_URL", format!("http://{address}"));
    command.env("AGENTWORKS_TOKEN", stack.token("acme", Role::Viewer));
    command
}

fn command(stack: &Stack, args: &[&str]) -> Command {
    command_at(stack, &stack.address, args)
}

/// What a command prints, if it succeeds.
async fn printed(stack: &Stack, args: &[&str]) -> String {
    let output = command(stack, args).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The messages of lines of JSON.
fn messages(lines: &str) -> Vec<String> {
    lines.lines().map(message).collect()
}

fn message(line: &str) -> String {
    let entry: Value = serde_json::from_str(line).unwrap();
    assert!(entry["position"].is_string(), "{line}");
    entry["message"].as_str().unwrap().to_owned()
}

/// A command that goes on, and the lines that it prints.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(crate::support::terminal::PATIENCE, self.lines.next_line());
        line.await.expect("a line in time").unwrap().expect("a line")
    }

    async fn messages(&mut self, count: usize) -> Vec<String> {
        let mut messages = Vec::new();
        while messages.len() < count {
            messages.push(message(&self.line().await));
        }
        messages
    }

    /// Interrupts it, as Ctrl-C does, and gives its exit code.
    async fn interrupt(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.child.wait().await.unwrap().code()
    }
}
