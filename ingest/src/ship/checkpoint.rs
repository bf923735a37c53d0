//! Where in a file shipping goes on after a restart.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The beginning of a file, by which a file that was written anew is told from one that grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    length: usize,
    hash: u64,
}

impl Default for Head {
    /// Of a file of which nothing has been read.
    fn default() -> Self {
        Head { length: 0, hash: fnv(&[]) }
    }
}

/// FNV-1a.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

impl Head {
    /// So much of a file is looked at, in bytes.
    const LENGTH: usize = 256;

    /// The head of a file of which `offset` bytes have been read.
    pub(super) fn of(file: &File, offset: u64) -> io::Result<Head> {
        let mut bytes = [0; Head::LENGTH];
        let length = usize::try_from(offset).unwrap_or(usize::MAX).min(Head::LENGTH);
        file.read_exact_at(&mut bytes[..length], 0)?;
        Ok(Head { length, hash: fnv(&bytes[..length]) })
    }

    /// Whether more of the file would make it surer.
    pub(super) fn is_short(self) -> bool {
        self.length < Head::LENGTH
    }

    /// Whether the file still begins so.
    pub(super) fn matches(self, file: &File) -> io::Result<bool> {
        match Head::of(file, self.length as u64) {
            Ok(head) => Ok(head == self),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A place in a file. The file is known by its device and inode, so that it is found again under another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The device.
    pub device: u64,
    /// The inode.
    pub inode: u64,
    /// How the file begins.
    pub head: Head,
    /// So many bytes lie before the place.
    pub offset: u64,
}

impl Place {
    /// The beginning of a file.
    pub(super) fn beginning(metadata: &Metadata) -> Self {
        Place { device: metadata.dev(), inode: metadata.ino(), head: Head::default(), offset: 0 }
    }

    /// Whether it is a place in this file.
    pub(super) fn is_in(&self, metadata: &Metadata) -> bool {
        (self.device, self.inode) == (metadata.dev(), metadata.ino())
    }
}

/// What a restart needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    version: u32,
    /// All lines before are in the log.
    pub place: Place,
    /// The run that they belong to.
    pub run: String,
    /// The number of the run's next entry: lines that a crash ships again have the numbers that they had.
    pub sequence: i64,
}

const VERSION: u32 = 1;

/// The file that holds the checkpoint.
#[derive(Clone, Debug)]
pub struct CheckpointFile {
    path: PathBuf,
}

impl CheckpointFile {
    /// The checkpoint in `path`, or to be there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        CheckpointFile { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it; `None` if there is none yet.
    pub fn load(&self) -> io::Result<Option<Checkpoint>> {
        let text = match std::fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result?,
        };
        let checkpoint: Checkpoint = serde_json::from_slice(&text)?;
        if checkpoint.version != VERSION {
            return Err(io::Error::other(format!("version {} is not known here", checkpoint.version)));
        }
        Ok(Some(checkpoint))
    }

    /// Writes it, whole or not at all.
    pub fn store(&self, place: Place, run: &str, sequence: i64) -> io::Result<()> {
        let checkpoint = Checkpoint { version: VERSION, place, run: run.into(), sequence };
        let mut name = self.path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(&checkpoint)?)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_was_stored_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let file = CheckpointFile::new(folder.path().join("state"));
        assert_eq!(file.load().unwrap(), None);
        let place = Place { device: 1, inode: 2, head: Head { length: 3, hash: u64::MAX }, offset: 4 };
        for sequence in [5, 6] {
            file.store(place, "run", sequence).unwrap();
            assert_eq!(file.load().unwrap().unwrap(), Checkpoint { version: 1, place, run: "run".into(), sequence });
        }
        std::fs::write(file.path(), "{\"version\":2").unwrap();
        file.load().unwrap_err();
    }

    #[test]
    fn a_head_tells_growth_from_writing_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "first line\n").unwrap();
        let head = Head::of(&File::open(&path).unwrap(), 11).unwrap();
        std::fs::write(&path, "first line\nsecond line\n").unwrap();
        assert!(head.matches(&File::open(&path).unwrap()).unwrap());
        std::fs::write(&path, "other line\nsecond line\n").unwrap();
        assert!(!head.matches(&File::open(&path).unwrap()).unwrap());
        std::fs::write(&path, "first").unwrap();
        assert!(!head.matches(&File::open(&path).unwrap()).unwrap());
    }
}
