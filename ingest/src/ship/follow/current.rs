//! The file that is being read.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::super::checkpoint::{Head, Place};
use super::super::input::PIECE;

pub(super) struct Current {
    /// The name that it was opened by; rotation may have given it another since.
    pub(super) name: PathBuf,
    pub(super) file: File,
    pub(super) place: Place,
    /// When it had last been modified as it was opened, or was truncated while it had the name.
    pub(super) modified: i64,
    /// How long it was as it was opened.
    pub(super) length: u64,
    /// Whether it was finished before, and has grown since.
    pub(super) late: bool,
    /// When there last was something new, or it was opened.
    pub(super) grown: Instant,
}

pub(super) enum Found {
    /// The bytes, and the head of the file if it is known better than before.
    Bytes(Vec<u8>, Option<Head>),
    Nothing,
    /// The file was truncated, or written anew.
    Anew,
}

/// When a file was last modified, in nanoseconds since 1970.
pub(super) fn modified(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

impl Current {
    pub(super) fn open(name: &Path) -> io::Result<Self> {
        let file = File::open(name)?;
        let metadata = file.metadata()?;
        Ok(Current {
            name: name.into(),
            place: Place::beginning(&file)?,
            modified: modified(&metadata),
            length: metadata.len(),
            late: false,
            grown: Instant::now(),
            file,
        })
    }

    /// Whether that is the same file.
    pub(super) fn is(&self, other: &Current) -> bool {
        (self.place.device, self.place.inode) == (other.place.device, other.place.inode)
    }

    /// Goes to the end, or where the last line has begun but not ended, to its beginning.
    pub(super) fn skip_to_end(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let mut last = vec![0; usize::try_from(length).unwrap_or(PIECE).min(PIECE)];
        let before = length - last.len() as u64;
        self.file.read_exact_at(&mut last, before)?;
        let line = last.iter().rposition(|byte| *byte == b'\n').map(|end| before + end as u64 + 1);
        // A line that is longer than that is taken from its middle.
        self.place.offset = line.unwrap_or(if before == 0 { 0 } else { length });
        Ok(())
    }

    pub(super) fn read(&mut self) -> io::Result<Found> {
        let metadata = self.file.metadata()?;
        let Place { head, offset, .. } = self.place;
        // Also when it is as long as before: it may have been truncated and grown to the same length since.
        if metadata.len() < offset || !head.matches(&self.file)? {
            self.place = Place::beginning(&self.file)?;
            self.grown = Instant::now();
            return Ok(Found::Anew);
        }
        if metadata.len() == offset {
            return Ok(Found::Nothing);
        }
        let mut bytes = vec![0; PIECE];
        let count = loop {
            match self.file.read_at(&mut bytes, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if count == 0 {
            return Ok(Found::Nothing);
        }
        bytes.truncate(count);
        self.place.offset += count as u64;
        self.grown = Instant::now();
        // Should the file be truncated just now, the next reading will notice.
        let better = if head.is_short() { Head::of(&self.file, metadata.len()).ok() } else { None };
        self.place.head = better.unwrap_or(head);
        Ok(Found::Bytes(bytes, better))
    }
}
