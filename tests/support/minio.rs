//! A real MinIO for all tests: an S3 server, where its program is there (`make minio` builds it).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use agentworks_broker::service::{Service, free_port};
use agentworks_objects::{Objects, ObjectsConfig, S3Options};
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::kafka::{remove_folders_of_earlier_runs, scratch_root};
use super::{eventually, process};

const SHARED: &str = "shared-minio-";
const BUCKET: &str = "tests";
const USER: &str = "agentworks";
const PASSWORD: &str = "agentworks-tests";
const START: Duration = Duration::from_secs(60);

/// A running MinIO. It ends with the test process, or when this is dropped.
#[derive(Debug)]
pub struct Minio {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    service: Service,
}

/// The one that all tests share; `None` if there is no such program here.
pub async fn minio() -> Option<&'static Minio> {
    static MINIO: OnceCell<Option<Minio>> = OnceCell::const_new();
    let start = async || {
        remove_folders_of_earlier_runs(SHARED);
        Minio::start(&scratch_root().join(format!("{SHARED}{}", std::process::id()))).await
    };
    MINIO.get_or_init(start).await.as_ref()
}

fn program() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/minio");
    std::env::var_os("AGENTWORKS_MINIO").map(PathBuf::from).or_else(|| built.exists().then_some(built))
}

impl Minio {
    /// One with its own folder, for tests that kill it; `None` if there is no such program here.
    pub async fn start(folder: &Path) -> Option<Minio> {
        let Some(program) = program() else {
            println!("there is no MinIO here: what it would show is left out. `make minio` builds it");
            return None;
        };
        // A folder in it is a bucket.
        std::fs::create_dir_all(folder.join("data").join(BUCKET)).unwrap();
        let port = free_port().unwrap();
        let service = serve(&program, folder, port).await;
        Some(Minio { program, folder: folder.to_owned(), port, service })
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// For signals.
    pub fn pid(&self) -> u32 {
        self.service.pid()
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill_9(&self) {
        process::kill_9(self.pid());
        eventually(START, async || (!self.service.is_running()).then_some(())).await;
    }

    /// Starts it again, where it was and with what it had.
    pub async fn restart(&mut self) {
        self.service = serve(&self.program, &self.folder, self.port).await;
    }
}

async fn serve(program: &Path, folder: &Path, port: u16) -> Service {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("minio.log")).unwrap();
    let mut command = Command::new(program);
    command.args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")]).arg(folder.join("data"));
    command.env("MINIO_ROOT_USER", USER).env("MINIO_ROOT_PASSWORD", PASSWORD).env("MINIO_BROWSER", "off");
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let service = Service::start(command).await.unwrap();
    let ready = format!("http://127.0.0.1:{port}/minio/health/ready");
    eventually(START, async || reqwest::get(&ready).await.ok()?.error_for_status().ok().map(drop)).await;
    service
}

/// What lies below a prefix in the bucket of the MinIO at `endpoint`.
pub fn objects(endpoint: &str, prefix: &str) -> Objects {
    let s3 = S3Options {
        endpoint: Some(endpoint.to_owned()),
        region: Some("us-east-1".into()),
        access_key_id: Some(USER.into()),
        secret_access_key: Some(PASSWORD.into()),
        session_token: None,
        allow_http: true,
    };
    Objects::open(&ObjectsConfig { url: format!("s3://{BUCKET}/{prefix}"), s3 }).unwrap()
}
