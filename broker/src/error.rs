//! Why there is no broker.

use std::io;
use std::path::{Path, PathBuf};

/// Why Kafka could not be started, or is not running any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program that we need is not installed.
    #[error("{tool} is missing: {how}")]
    Missing {
        /// What it is called.
        tool: &'static str,
        /// How to get it, in one line.
        how: &'static str,
    },
    /// There is a Java, and Kafka doesn't run on it.
    #[error("Java 17 or later is needed, and {} is Java {found}: {how}", .program.display())]
    OldJava {
        /// Which Java.
        program: PathBuf,
        /// Its version.
        found: u32,
        /// How to get a later one, in one line.
        how: &'static str,
    },
    /// Maven failed.
    #[error("could not fetch {title} with Maven: {reason}")]
    Fetch {
        /// What should have been fetched.
        title: &'static str,
        /// What Maven said.
        reason: String,
    },
    /// Another live process uses the data folder.
    #[error("{} is in use by {}; stop that one or choose another folder", .folder.display(), holder(*.pid))]
    InUse {
        /// The data folder.
        folder: PathBuf,
        /// Who uses it; unknown only in the instant in which it takes the folder.
        pid: Option<u32>,
    },
    /// The port that was asked for is another program's.
    #[error("port {0} is taken by another program; choose another one, or 0 for any that is free")]
    PortTaken(u16),
    /// What an earlier run left behind does not end.
    #[error("Kafka from an earlier run (process {pid}) could not be ended: {reason}")]
    Leftover {
        /// The process.
        pid: u32,
        /// Why not.
        reason: String,
    },
    /// Kafka could not lay out its data folder; what it said.
    #[error("could not format Kafka's data folder: {0}")]
    Format(String),
    /// Kafka died again and again, or never served; with the last lines of its log.
    #[error("{0}")]
    Failed(String),
    /// It was stopped before it served.
    #[error("Kafka was stopped before it was ready")]
    Stopped,
    /// The operating system refused.
    #[error("could not {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or program.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: what was being done, to which file, when the operating system refused.
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, path: path.as_ref().to_owned(), source }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
