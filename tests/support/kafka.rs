//! Real Kafka: one for all tests, and how a test starts one of its own.

use std::fs;
use std::path::{Path, PathBuf};

use agentworks_broker::{Broker, Config};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::process;

const SHARED: &str = "shared-kafka-";

/// The Kafka that all tests of this binary share, started by whoever asks first. Take topics of your own
/// ([`unique_prefix`]). It ends with the test process; its folder, with its log, is kept until the next run.
pub async fn kafka() -> &'static Broker {
    static KAFKA: OnceCell<Broker> = OnceCell::const_new();
    KAFKA
        .get_or_init(|| async {
            remove_folders_of_earlier_runs(SHARED);
            let folder = scratch_root().join(format!("{SHARED}{}", std::process::id()));
            Broker::start(Config::new(folder)).await.unwrap_or_else(|error| panic!("{error}"))
        })
        .await
}

/// A prefix for the names of topics, groups or cards that no other test has.
pub fn unique_prefix() -> String {
    format!("t{}-", &Uuid::new_v4().simple().to_string()[..12])
}

/// A folder of a test's own, removed when the test succeeds, and kept, with the logs in it, when it fails.
pub struct Scratch(TempDir);

impl Scratch {
    /// A new one whose name begins with `name`.
    pub fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(scratch_root());
        Scratch(folder.expect("the target folder can be written"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            eprintln!("kept {}", self.path().display());
        }
    }
}

/// In the target folder, and so on a real file system.
pub(super) fn scratch_root() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Of what is shared by all tests of a process, whose id ends the folder's name.
pub(super) fn remove_folders_of_earlier_runs(prefix: &str) {
    let entries = fs::read_dir(scratch_root()).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse().ok());
        if pid.is_some_and(|pid| !process::is_running(pid)) {
            // Another run may be doing the same.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
