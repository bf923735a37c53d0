//! The data folder of one machine: what lies where, and who may use it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::lock;

/// A data folder, held by this process until it is dropped or dies.
#[derive(Debug)]
pub(super) struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Opens the folder, makes it if it isn't there, and takes it for this process alone.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make the data folder {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("cannot open the data folder {}", path.display()))?;
        let taken = lock::take(&path).with_context(|| format!("cannot write to the data folder {}", path.display()))?;
        let Some(lock) = taken else {
            bail!(
                "the data folder {} is in use by another `agentworks dev`: stop that one, or choose another with --data",
                path.display()
            );
        };
        let folder = DataFolder { path, _lock: lock };
        folder.remove_env_file()?;
        Ok(folder)
    }

    /// Removes what says that everything is ready: it speaks of ports that are gone.
    pub(super) fn remove_env_file(&self) -> anyhow::Result<()> {
        match fs::remove_file(self.env_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.env_file().display()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn kafka(&self) -> PathBuf {
        self.path.join("kafka")
    }

    pub(super) fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    pub(super) fn objects(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// Scratch space of the search index.
    pub(super) fn search(&self) -> PathBuf {
        self.path.join("search")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("agentworks.log")
    }

    /// The key that signs this machine's tokens.
    pub(super) fn secret(&self) -> PathBuf {
        self.path.join("jwt.secret")
    }

    /// What clients need to know, as `NAME=value` lines.
    pub(super) fn env_file(&self) -> PathBuf {
        self.path.join("dev.env")
    }

    /// Writes a file that only its owner may read, all of it or nothing.
    pub(super) fn write_private(path: &Path, contents: &str) -> anyhow::Result<()> {
        let temporary = path.with_extension("tmp");
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
            file.write_all(contents.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}
