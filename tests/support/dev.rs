//! `agentworks dev`, as a user starts it.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::{agentworks, eventually};

/// Kafka has to start, and after a crash to recover.
const READY: Duration = Duration::from_secs(90);

/// Everything, in one process beside Kafka. It is killed when this is dropped.
pub struct Dev {
    child: Child,
    env: HashMap<String, String>,
}

impl Dev {
    /// Starts it on these ports, of the API and of Kafka, and waits until it says that it is ready.
    pub async fn start(data: &Path, ports: (u16, u16)) -> Dev {
        // One that was killed has left its own.
        let _ = std::fs::remove_file(data.join("dev.env"));
        let child = Command::new(agentworks())
            .args(["dev", "--data", data.to_str().unwrap()])
            .args(["--http-port", &ports.0.to_string(), "--kafka-port", &ports.1.to_string()])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let ready = || async {
            let env = std::fs::read_to_string(data.join("dev.env")).ok()?;
            let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
            Some(env.lines().filter_map(pair).collect())
        };
        Dev { env: eventually(READY, ready).await, child }
    }

    pub fn url(&self) -> &str {
        &self.env["AGENTWORKS_URL"]
    }

    pub fn token(&self) -> &str {
        &self.env["AGENTWORKS_TOKEN"]
    }

    pub fn brokers(&self) -> &str {
        &self.env["AGENTWORKS_BROKERS"]
    }

    /// `kill -9`. Kafka goes with it.
    pub async fn kill_9(mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
    }

    /// One of the other commands, with `dev.env` in its environment, to its end.
    pub async fn command(&self, args: &[&str], stdin: &[u8]) -> Output {
        let mut child = Command::new(agentworks())
            .args(args)
            .envs(&self.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin).await.unwrap();
        child.wait_with_output().await.unwrap()
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
