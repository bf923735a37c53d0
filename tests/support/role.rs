//! One role of an installation, as a process of its own.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{agentworks, eventually, process};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A role that runs. It is killed when this is dropped.
pub struct Role {
    url: String,
    child: Child,
    /// What it says on standard error, once it has ended.
    log: JoinHandle<String>,
}

impl Role {
    /// Starts `agentworks ARGS` on a free port, with these variables and none of this process's own configuration.
    /// Returns when it listens.
    pub async fn start(args: &[&str], variables: &[(&str, &str)]) -> Role {
        Role::start_at("127.0.0.1:0", args, variables).await
    }

    /// The same, at an address that others are to know before.
    pub async fn start_at(address: &str, args: &[&str], variables: &[(&str, &str)]) -> Role {
        let mut child = command(args, variables).args(["--listen", address]).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = tokio::spawn(async move {
            let mut log = String::new();
            let _ = stderr.read_to_string(&mut log).await;
            log
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.expect("it listens in time").unwrap();
        let Some(line) = line else { panic!("{args:?} ended: {}", log.await.unwrap()) };
        let url = line.rsplit(' ').next().unwrap().to_owned();
        Role { url, child, log }
    }

    /// What the role comes to that isn't expected to run: its status, and what it says on standard error.
    pub async fn ends(args: &[&str], variables: &[(&str, &str)]) -> (ExitStatus, String) {
        let child = command(args, variables).args(["--listen", "127.0.0.1:0"]).spawn().unwrap();
        let output = timeout(PATIENCE, child.wait_with_output()).await.expect("it ends in time").unwrap();
        (output.status, String::from_utf8(output.stderr).unwrap())
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// The status of a route, and its answer.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Waits until it says that it is ready. A connection may be closed in the moment in which it becomes so.
    pub async fn is_ready(&self) {
        let url = format!("{}/readyz", self.url);
        let ready = async || reqwest::get(&url).await.ok()?.error_for_status().ok().map(drop);
        eventually(PATIENCE, ready).await;
    }

    /// Waits until it says that it waits for something, in which these words are.
    pub async fn waits_for(&self, words: &str) {
        let waits = async || {
            let (status, reason) = self.get("/readyz").await;
            (status == 503 && reason.contains(words)).then_some(())
        };
        eventually(PATIENCE, waits).await;
    }

    /// A metric's samples that have a label, `sink="hot"`, or any, if it is empty.
    pub async fn samples(&self, name: &str, label: &str) -> Vec<f64> {
        let (_, text) = self.get("/metrics").await;
        let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let lines = text.lines().filter(of).filter(|line| line.contains(label));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    }

    /// The same, added up.
    pub async fn metric(&self, name: &str, label: &str) -> f64 {
        self.samples(name, label).await.iter().sum()
    }

    /// Posts lines with a token, and gives the answer.
    pub async fn post(&self, path: &str, token: &str, lines: String) -> Value {
        let request = reqwest::Client::new().post(format!("{}{path}", self.url)).bearer_auth(token).body(lines);
        serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap()
    }

    /// As `kill -9`.
    pub async fn kill_9(mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
    }

    /// SIGTERM. Returns its status, and what it has said on standard error.
    pub async fn terminate(self) -> (ExitStatus, String) {
        self.begin_to_terminate();
        self.ended().await
    }

    /// SIGTERM alone.
    pub fn begin_to_terminate(&self) {
        process::signal(self.pid(), Signal::TERM);
    }

    /// Waits for its end. Returns its status, and what it has said on standard error.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends in time").unwrap();
        (status, self.log.await.unwrap())
    }
}

/// The binary with these arguments, and of all configuration these variables alone.
pub fn command(args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(agentworks());
    let own = std::env::vars_os().map(|(name, _)| name);
    for name in own.filter(|name| name.to_string_lossy().starts_with("AGENTWORKS_")) {
        command.env_remove(name);
    }
    command.args(args).envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}
