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
    pub(super) fn beginning(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        // One that can't be read, or has just been truncated, is seen when it is read.
        let head = Head::of(file, metadata.len()).unwrap_or_default();
        Ok(Place { device: metadata.dev(), inode: metadata.ino(), head, offset: 0 })
    }

    /// Whether it is a place in this file, which has been there all the time.
    pub(super) fn is_in(&self, metadata: &Metadata) -> bool {
        (self.device, self.inode) == (metadata.dev(), metadata.ino())
    }

    /// The place as it is now, if `file` is what it was a place in: an inode may be another file's since. The number of a
    /// device changes with reboots and mounts, so that it says nothing against a head that is full.
    pub(super) fn found_in(&self, file: &File) -> io::Result<Option<Place>> {
        let metadata = file.metadata()?;
        let could_be = self.inode == metadata.ino()
            && (self.device == metadata.dev() || !self.head.is_short())
            && self.offset <= metadata.len();
        let is = could_be && self.head.matches(file)?;
        Ok(is.then(|| Place { device: metadata.dev(), ..*self }))
    }

    /// Whether `file` looks like a copy of what it was a place in: it begins with the same full head, and a line ends here.
    pub(super) fn is_copied_to(&self, file: &File) -> io::Result<bool> {
        if self.head.is_short() || self.offset == 0 {
            return Ok(false);
        }
        let mut before = [0];
        match file.read_exact_at(&mut before, self.offset - 1) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            result => result.and_then(|()| Ok(before == *b"\n" && self.head.matches(file)?)),
        }
    }
}

/// What was read of the files that rotation has put aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Files that were last modified before aren't to be read, in nanoseconds since 1970; 0 if that isn't known.
    pub since: i64,
    /// How far the last of those were read that are done with, the newest last.
    pub finished: Vec<Place>,
}

impl History {
    /// So many are remembered.
    const FINISHED: usize = 12;

    /// Remembers a file that was read up to `place`.
    pub(super) fn finish(&mut self, place: Place) {
        // One with the same inode is the same file, or gone.
        self.finished.retain(|other| other.inode != place.inode);
        self.finished.push(place);
        let over = self.finished.len().saturating_sub(History::FINISHED);
        self.finished.drain(..over);
    }
}

/// What a restart needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    version: u32,
    /// All lines before are in the log.
    pub place: Place,
    /// What is known of the other files; nothing if an older version has written this.
    #[serde(default)]
    pub history: History,
    /// The run that the lines belong to.
    pub run: String,
    /// The number of the run's next entry: lines that a crash ships again have the numbers that they had.
    pub sequence: i64,
    /// Whether the event that the run began is still to be written.
    #[serde(default)]
    pub unstarted: bool,
}

impl Checkpoint {
    const VERSION: u32 = 1;

    /// A checkpoint of a run that has been started.
    pub fn new(place: Place, history: History, run: impl Into<String>, sequence: i64) -> Self {
        Checkpoint { version: Checkpoint::VERSION, place, history, run: run.into(), sequence, unstarted: false }
    }
}

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
        if checkpoint.version != Checkpoint::VERSION {
            return Err(io::Error::other(format!("version {} is not known here", checkpoint.version)));
        }
        Ok(Some(checkpoint))
    }

    /// Writes it, whole or not at all.
    pub fn store(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(checkpoint)?)?;
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
            let checkpoint = Checkpoint::new(place, History { since: 7, finished: vec![place] }, "run", sequence);
            file.store(&checkpoint).unwrap();
            assert_eq!(file.load().unwrap().unwrap(), checkpoint);
        }
        std::fs::write(file.path(), "{\"version\":2").unwrap();
        file.load().unwrap_err();
    }

    #[test]
    fn what_an_older_version_stored_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let file = CheckpointFile::new(folder.path().join("state"));
        let text = r#"{"version":1,"place":{"device":1,"inode":2,"head":{"length":3,"hash":18446744073709551615},"offset":4},
            "run":"run","sequence":5}"#;
        std::fs::write(file.path(), text).unwrap();
        let place = Place { device: 1, inode: 2, head: Head { length: 3, hash: u64::MAX }, offset: 4 };
        assert_eq!(file.load().unwrap().unwrap(), Checkpoint::new(place, History::default(), "run", 5));
    }

    #[test]
    fn a_file_is_found_again_by_its_inode_and_head() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let long = "a line\n".repeat(100);
        std::fs::write(&path, &long).unwrap();
        let file = File::open(&path).unwrap();
        let place = Place { offset: 70, ..Place::beginning(&file).unwrap() };
        assert_eq!(place.found_in(&file).unwrap(), Some(place));
        let mounted_anew = Place { device: place.device + 1, ..place };
        assert_eq!(mounted_anew.found_in(&file).unwrap(), Some(place));
        let short = Place { head: Head::of(&file, 20).unwrap(), ..mounted_anew };
        assert_eq!(short.found_in(&file).unwrap(), None, "too little to know it by");
        assert_eq!(Place { inode: place.inode + 1, ..place }.found_in(&file).unwrap(), None);
        assert_eq!(Place { offset: 701, ..place }.found_in(&file).unwrap(), None, "it is shorter now");

        let copy = folder.path().join("copy");
        std::fs::copy(&path, &copy).unwrap();
        let copy = File::open(copy).unwrap();
        let copied = |offset| Place { offset, ..place }.is_copied_to(&copy).unwrap();
        assert_eq!([0, 69, 70, 700, 707].map(copied), [false, false, true, true, false]);

        std::fs::write(&path, long.to_uppercase()).unwrap();
        assert_eq!(place.found_in(&file).unwrap(), None, "the inode is another file's");
    }

    #[test]
    fn the_last_finished_files_are_remembered() {
        let mut history = History::default();
        let place = |inode, offset| Place { device: 1, inode, head: Head::default(), offset };
        for inode in 0..20 {
            history.finish(place(inode, 1));
        }
        history.finish(place(10, 2));
        let known: Vec<_> = history.finished.iter().map(|place| (place.inode, place.offset)).collect();
        let expected: Vec<_> = (8..20).filter(|inode| *inode != 10).map(|inode| (inode, 1)).chain([(10, 2)]).collect();
        assert_eq!(known, expected);
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
