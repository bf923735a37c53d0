//! Reading a file that grows, through rotation and truncation.
//!
//! - *Renamed and made anew* (logrotate's default): the old file is read to its end, also what its writer still adds to it
//!   in the next second; then those that came between, if it was rotated more than once meanwhile; then the new one.
//! - *Copied and truncated* (`copytruncate`): noticed when the file is shorter than what was read, or begins differently;
//!   reading goes on at its beginning. Lines that were written between the last reading and the copying are in the copy
//!   alone, as logrotate's manual warns.

#[cfg(test)]
mod tests;

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::checkpoint::{Head, Place};
use super::input::{Input, PIECE, Reader, Stop};

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the file's first line.
    Beginning,
    /// With the first line that is yet to come.
    End,
    /// Where an earlier reading ended, in whichever file that was.
    At(Place),
}

/// How a file is read.
#[derive(Clone, Debug)]
pub struct Follow {
    /// The file's name.
    pub path: PathBuf,
    /// Where to begin.
    pub start: Start,
    /// Whether to wait for more at the end; otherwise the end of the file is the end.
    pub follow: bool,
}

/// How often a file is looked at that has nothing new.
const LOOK: Duration = Duration::from_millis(100);

/// So long a file must have been quiet, once another has its name, until that is read.
const QUIET: Duration = Duration::from_secs(1);

impl Reader {
    /// Reads a file. One that isn't there yet is waited for when it is to be followed.
    pub fn file(follow: Follow) -> io::Result<Self> {
        Reader::start("follow", move |stop, inputs| Follower { follow, stop, inputs }.run())
    }
}

struct Follower<'a> {
    follow: Follow,
    stop: &'a Stop,
    inputs: &'a mpsc::Sender<Input>,
}

impl Follower<'_> {
    fn run(&self) -> io::Result<Input> {
        let Some(mut current) = self.first()? else { return Ok(Input::Stopped) };
        self.hand_over(Input::Place(current.place));
        loop {
            let wait = match current.read()? {
                Found::Bytes(bytes, head) => {
                    self.hand_over(Input::Bytes(bytes));
                    if let Some(head) = head {
                        self.hand_over(Input::Head(head));
                    }
                    Duration::ZERO
                }
                Found::Anew => {
                    tracing::info!(path = %self.follow.path.display(), "truncated: reading it from its beginning");
                    self.hand_over(Input::Place(current.place));
                    Duration::ZERO
                }
                Found::Nothing if !self.follow.follow => return Ok(Input::End),
                Found::Nothing => match self.successor(&current)? {
                    Some(next) => {
                        tracing::info!(path = %self.follow.path.display(), "rotated: reading the next file");
                        current = next;
                        self.hand_over(Input::Place(current.place));
                        Duration::ZERO
                    }
                    None => LOOK,
                },
            };
            if self.stop.wait(None, Some(wait))? || self.inputs.is_closed() {
                return Ok(Input::Stopped);
            }
        }
    }

    fn hand_over(&self, input: Input) {
        // That nobody listens any more is noticed by `run`.
        let _ = self.inputs.blocking_send(input);
    }

    /// Opens the file to begin with, waiting for it if need be; `None` when told to stop.
    fn first(&self) -> io::Result<Option<Current>> {
        let Follow { path, start, follow } = &self.follow;
        loop {
            if let Start::At(place) = start
                && let Some(current) = self.find(place)?
            {
                return Ok(Some(current));
            }
            match Current::open(path) {
                Err(error) if *follow && error.kind() == io::ErrorKind::NotFound => {}
                result => {
                    let mut current = result?;
                    match start {
                        Start::Beginning => {}
                        Start::End => current.skip_to_end()?,
                        Start::At(_) => tracing::warn!(
                            path = %path.display(),
                            "the file that was read last is gone, and with it what it may have held beyond; beginning \
                             with the one that is there"
                        ),
                    }
                    return Ok(Some(current));
                }
            }
            if self.stop.wait(None, Some(LOOK))? {
                return Ok(None);
            }
        }
    }

    /// The file that was read last, by its own name or that which rotation gave it.
    fn find(&self, place: &Place) -> io::Result<Option<Current>> {
        let names = std::iter::once(self.follow.path.clone()).chain(self.rotated()?);
        for name in names {
            let Ok(mut current) = Current::open(&name) else { continue };
            if place.is_in(&current.file.metadata()?) {
                current.place = *place;
                return Ok(Some(current));
            }
        }
        Ok(None)
    }

    /// The file to be read after `current`, once that has been given up by its writer.
    fn successor(&self, current: &Current) -> io::Result<Option<Current>> {
        let metadata = match std::fs::metadata(&self.follow.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result?,
        };
        if current.place.is_in(&metadata) || current.grown.elapsed() < QUIET {
            return Ok(None);
        }
        let since = modified(&current.file.metadata()?);
        let mut between: Vec<(i128, PathBuf)> = Vec::new();
        for name in self.rotated()? {
            let Ok(other) = std::fs::metadata(&name) else { continue };
            if modified(&other) > since && !current.place.is_in(&other) {
                between.push((modified(&other), name));
            }
        }
        match between.into_iter().min() {
            Some((_, name)) => Current::open(&name).map(Some),
            // A writer that has not noticed yet goes on with the old file; the new one can wait until there is something.
            None if metadata.len() == 0 => Ok(None),
            None => Current::open(&self.follow.path).map(Some),
        }
    }

    /// The names in the file's folder that rotation gives: the file's own, and then digits, of a count or a date.
    fn rotated(&self) -> io::Result<Vec<PathBuf>> {
        let Some(base) = self.follow.path.file_name() else { return Ok(Vec::new()) };
        let folder = match self.follow.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name();
            let suffix = name.as_encoded_bytes().strip_prefix(base.as_encoded_bytes());
            let counts = |suffix: &[u8]| {
                let (first, rest) = suffix.split_first().unwrap_or((&0, &[]));
                let digits = rest.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.' | b'T'));
                matches!(first, b'.' | b'-' | b'_') && digits && rest.iter().any(u8::is_ascii_digit)
            };
            if suffix.is_some_and(counts) {
                names.push(folder.join(name));
            }
        }
        Ok(names)
    }
}

/// When a file was modified, in nanoseconds.
fn modified(metadata: &Metadata) -> i128 {
    i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
}

/// The file that is being read.
struct Current {
    file: File,
    place: Place,
    /// When there last was something new, or it was opened.
    grown: Instant,
}

enum Found {
    /// The bytes, and the head of the file if it is known better than before.
    Bytes(Vec<u8>, Option<Head>),
    Nothing,
    /// The file was truncated, or written anew.
    Anew,
}

impl Current {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let place = Place::beginning(&file.metadata()?);
        Ok(Current { file, place, grown: Instant::now() })
    }

    /// Goes to the end, or where the last line has begun but not ended, to its beginning.
    fn skip_to_end(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let mut last = vec![0; usize::try_from(length).unwrap_or(PIECE).min(PIECE)];
        let before = length - last.len() as u64;
        self.file.read_exact_at(&mut last, before)?;
        let line = last.iter().rposition(|byte| *byte == b'\n').map(|end| before + end as u64 + 1);
        // A line that is longer than that is taken from its middle.
        self.place.offset = line.unwrap_or(if before == 0 { 0 } else { length });
        self.place.head = Head::of(&self.file, self.place.offset)?;
        Ok(())
    }

    fn read(&mut self) -> io::Result<Found> {
        let length = self.file.metadata()?.len();
        let Place { head, offset, .. } = self.place;
        // Also when it is as long as before: it may have been truncated and grown to the same length since.
        if length < offset || !head.matches(&self.file)? {
            (self.place.head, self.place.offset, self.grown) = (Head::default(), 0, Instant::now());
            return Ok(Found::Anew);
        }
        if length == offset {
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
        let better = if head.is_short() { Head::of(&self.file, self.place.offset).ok() } else { None };
        self.place.head = better.unwrap_or(head);
        Ok(Found::Bytes(bytes, better))
    }
}
