//! A real MinIO of a test's own, where there is one.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use agentworks_objects::S3Options;
use tokio::process::{Child, Command};

use crate::support::{Scratch, eventually};

const KEY: &str = "tests-of-agentworks";
const BUCKET: &str = "bucket";

/// A server, killed when this is dropped.
pub struct Minio {
    binary: PathBuf,
    port: u16,
    child: Child,
    folder: Scratch,
}

impl Minio {
    /// Starts one, with a bucket. `None` where it isn't installed: `AGENTWORKS_MINIO` names it, `make minio` builds it.
    pub async fn start() -> Option<Minio> {
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/minio");
        let binary = std::env::var_os("AGENTWORKS_MINIO").map_or(built, PathBuf::from);
        if !binary.exists() {
            return None;
        }
        let folder = Scratch::new("minio");
        // A folder of its folder is a bucket.
        std::fs::create_dir_all(folder.path().join(BUCKET)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = spawn(&binary, port, folder.path());
        let minio = Minio { binary, port, child, folder };
        minio.answers().await;
        Some(minio)
    }

    /// Where objects go.
    pub fn url(&self) -> String {
        format!("s3://{BUCKET}/prefix")
    }

    /// How to speak to it.
    pub fn options(&self) -> S3Options {
        S3Options {
            endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
            region: Some("us-east-1".into()),
            access_key_id: Some(KEY.into()),
            secret_access_key: Some(KEY.into()),
            session_token: None,
            allow_http: true,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// As `kill -9`.
    pub async fn kill_9(&mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
    }

    /// Starts it again, with what it had.
    pub async fn restart(&mut self) {
        self.child = spawn(&self.binary, self.port, self.folder.path());
        self.answers().await;
    }

    async fn answers(&self) {
        let url = format!("http://127.0.0.1:{}/minio/health/live", self.port);
        eventually(Duration::from_secs(30), async || reqwest::get(&url).await.ok()?.error_for_status().ok()).await;
    }
}

fn spawn(binary: &Path, port: u16, folder: &Path) -> Child {
    Command::new(binary)
        .args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")])
        .arg(folder)
        .envs([("MINIO_ROOT_USER", KEY), ("MINIO_ROOT_PASSWORD", KEY), ("MINIO_BROWSER", "off")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
