//! VictoriaLogs, beside which the index is measured.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::servers::go;
use crate::support::{Scratch, eventually};

/// The last release of the module that both were in, and what is wanted of it.
const MODULE: &str = "github.com/VictoriaMetrics/VictoriaMetrics@v1.121.0";
const PACKAGE: &str = "./app/victoria-logs";

pub struct Victoria {
    child: Child,
    url: String,
    data: PathBuf,
    client: reqwest::Client,
    _folder: Scratch,
}

impl Victoria {
    /// An empty one, as it comes; `None`, and a line that says so, where there is no Go.
    pub async fn start() -> Option<Victoria> {
        let (program, folder) = (build().await?, Scratch::new("victoria"));
        let data = folder.path().join("data");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        command.arg(format!("-storageDataPath={}", data.display())).arg(format!("-httpListenAddr=127.0.0.1:{port}"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().unwrap();
        let (url, client) = (format!("http://127.0.0.1:{port}"), reqwest::Client::new());
        let health = format!("{url}/health");
        let is_up = async || client.get(&health).send().await.ok()?.error_for_status().ok().map(drop);
        eventually(Duration::from_secs(30), is_up).await;
        Some(Victoria { child, url, data, client, _folder: folder })
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Hands it lines of JSON. A card is one of its streams.
    pub async fn insert(&self, lines: Vec<u8>) {
        let fields = "_stream_fields=cardId&_time_field=timestamp&_msg_field=message";
        let request = self.client.post(format!("{}/insert/jsonline?{fields}", self.url)).body(lines);
        request.send().await.unwrap().error_for_status().unwrap();
    }

    /// Makes all that it was handed searchable.
    pub async fn flush(&self) {
        let request = self.client.get(format!("{}/internal/force_flush", self.url));
        request.send().await.unwrap().error_for_status().unwrap();
    }

    /// What it answers to a request.
    pub async fn ask(&self, path: &str, parameters: &[(&str, String)]) -> String {
        let request = self.client.get(format!("{}{path}", self.url)).query(parameters);
        request.send().await.unwrap().error_for_status().unwrap().text().await.unwrap()
    }

    /// How many bytes it has on disk.
    pub fn bytes(&self) -> u64 {
        bytes(&self.data)
    }
}

/// The bytes of all files below a folder.
fn bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    // What goes away meanwhile has none.
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes(&entry.path()),
        data => data.map_or(0, |data| data.len()),
    };
    entries.map(of).sum()
}

async fn build() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("victoria-logs");
    let program = folder.join("victoria-logs");
    if program.exists() {
        return Some(program);
    }
    std::fs::create_dir_all(&folder).unwrap();
    let go = go("VictoriaLogs").await?;
    let fetch = Command::new(go).args(["mod", "download", "-json", MODULE]).current_dir("/").output().await.unwrap();
    assert!(fetch.status.success(), "{MODULE} can't be fetched: {}", String::from_utf8_lossy(&fetch.stderr));
    let module: serde_json::Value = serde_json::from_slice(&fetch.stdout).unwrap();
    // Built where it lies: its go.mod replaces modules, which `go install` refuses.
    let mut build = Command::new(go);
    build
        .args(["build", "-mod=readonly", "-o"])
        .arg(&program)
        .arg(PACKAGE)
        .current_dir(module["Dir"].as_str().unwrap());
    assert!(build.status().await.unwrap().success(), "{MODULE} does not build");
    Some(program)
}
