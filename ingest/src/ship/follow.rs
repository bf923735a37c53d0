//! Reading a file that grows, through rotation and truncation.
//!
//! - *Renamed and made anew* (logrotate's default): the old file is read to its end, also what its writer still adds to it
//!   in the next second; then those that came between, if it was rotated more than once meanwhile; then the new one. What
//!   is added to an old file later is read when the next one is rotated.
//! - *Copied and truncated* (`copytruncate`): noticed when the file is shorter than what was read, or begins differently;
//!   reading goes on at its beginning. Lines that were written between the last reading and the copying are in the copy
//!   alone, as logrotate's manual warns; they are read if nobody was reading at that time, and the copy is there.
//!
//! Each file that has the name, or one that rotation gives, is one of these:
//!
//! - *current*: it is being read;
//! - *finished*: it was read up to a place in [`History::finished`], or lay there before the first start;
//! - *old*: it isn't finished, but was last modified before [`History::since`];
//! - *unread*: any other.
//!
//! What holds:
//!
//! 1. The file that has the name is opened when no other is unread, and of those the oldest goes first: lines come in
//!    their order.
//! 2. Where files aren't followed, the end is that of the file that has the name, or of the last one if that is empty.
//! 3. No unread file is older than `since`: it is when a file that is finished now had been modified as it was *opened*,
//!    so that what its writers add late moves no bound past a file that came after it.
//! 4. A finished file that has grown is read on, once for each file that is finished after it, and to what is its end
//!    then: one that goes on growing doesn't keep others waiting.
//! 5. The history that comes with a place is that of all that was handed over before: who has seen to that may keep both.
//! 6. What isn't sure is read, perhaps again: a file that can't be told from another, or that was forgotten.

mod current;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::checkpoint::{History, Place};
use super::input::{Input, Reader, Stop};
use current::{Current, Found, modified};

/// Where reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the file's first line.
    Beginning,
    /// With the first line that is yet to come.
    End,
    /// Where an earlier reading ended, in whichever file that was.
    At(Place, History),
}

/// How a file is read.
#[derive(Clone, Debug)]
pub struct Follow {
    /// The file's name.
    pub path: PathBuf,
    /// Where to begin.
    pub start: Start,
    /// Whether to wait for more at the end; otherwise the end of the file that has the name is the end.
    pub follow: bool,
}

/// How often a file is looked at that has nothing new.
const LOOK: Duration = Duration::from_millis(100);

/// So long a file must have been quiet, once another has its name, until that is read.
const QUIET: Duration = Duration::from_secs(1);

impl Reader {
    /// Reads a file. One that isn't there yet is waited for when it is to be followed.
    pub fn file(follow: Follow) -> io::Result<Self> {
        Reader::start("follow", move |stop, inputs| {
            Follower { follow, stop, inputs, history: History::default() }.run()
        })
    }
}

struct Follower<'a> {
    follow: Follow,
    stop: &'a Stop,
    inputs: &'a mpsc::Sender<Input>,
    /// What was read before the current file.
    history: History,
}

impl Follower<'_> {
    fn run(&mut self) -> io::Result<Input> {
        let Some(mut current) = self.first()? else { return Ok(Input::Stopped) };
        self.hand_over_place(&current);
        loop {
            let wait = match current.read()? {
                Found::Bytes(bytes, head) => {
                    if let Some(head) = head {
                        self.hand_over(Input::Head(head));
                    }
                    self.hand_over(Input::Bytes(bytes));
                    Duration::ZERO
                }
                Found::Anew => {
                    tracing::info!(path = %current.name.display(), "truncated: reading it from its beginning");
                    self.truncated(&mut current);
                    self.hand_over_place(&current);
                    Duration::ZERO
                }
                Found::Nothing => match self.successor(&current)? {
                    Some(next) => {
                        tracing::info!(next = %next.name.display(), "rotated: reading the next file");
                        self.history.finish(current.place);
                        if !current.late {
                            self.history.since = current.modified;
                        }
                        current = next;
                        self.hand_over_place(&current);
                        Duration::ZERO
                    }
                    None if !self.follow.follow => return Ok(Input::End),
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

    fn hand_over_place(&self, current: &Current) {
        self.hand_over(Input::Place(current.place, Arc::new(self.history.clone())));
    }

    /// Opens the file to begin with, waiting for it if need be; `None` when told to stop.
    fn first(&mut self) -> io::Result<Option<Current>> {
        let mut waited = false;
        loop {
            match self.open(waited) {
                Err(error) if self.follow.follow && error.kind() == io::ErrorKind::NotFound => waited = true,
                result => return result.map(Some),
            }
            if self.stop.wait(None, Some(LOOK))? {
                return Ok(None);
            }
        }
    }

    fn open(&mut self, waited: bool) -> io::Result<Current> {
        if let Start::At(place, history) = self.follow.start.clone() {
            self.history = history;
            return match self.find(&place)? {
                Some(current) => Ok(current),
                None => self.instead_of(&place),
            };
        }
        self.history = History::default();
        self.pass_over(i64::MAX, None);
        let mut current = Current::open(&self.follow.path)?;
        // All lines of a file that has only come since are yet to come.
        if self.follow.start == Start::End && !waited {
            current.skip_to_end()?;
        }
        self.history.since = current.modified;
        Ok(current)
    }

    /// The file that was read last, by its own name or that which rotation gave it.
    fn find(&mut self, place: &Place) -> io::Result<Option<Current>> {
        // The name first: should it be rotated just now, it is in the list.
        let named = Current::open(&self.follow.path);
        let rotated = self.rotated()?;
        for mut current in named.into_iter().chain(rotated.iter().filter_map(|name| Current::open(name).ok())) {
            let Some(place) = place.found_in(&current.file)? else { continue };
            current.place = place;
            if self.history.since == 0 {
                self.pass_over(current.modified, Some(&current));
                self.history.since = current.modified;
            }
            // What it was when it was first opened isn't known any more.
            current.modified = self.history.since;
            return Ok(Some(current));
        }
        Ok(None)
    }

    /// The file to begin with where that which was read last is gone, or holds something else now.
    fn instead_of(&mut self, place: &Place) -> io::Result<Current> {
        let named = Current::open(&self.follow.path);
        let unread = if self.history.since == 0 {
            // What an older version has noted doesn't tell which came later.
            self.pass_over(i64::MAX, None);
            None
        } else {
            self.unread(None)?
        };
        let next = match unread {
            Some(mut next) => {
                let truncated = named.is_ok_and(|named| named.place.inode == place.inode);
                if truncated && place.is_copied_to(&next.file)? {
                    next.place.offset = place.offset;
                }
                next
            }
            None => named?,
        };
        if self.history.since == 0 {
            self.history.since = next.modified;
        }
        tracing::warn!(
            path = %self.follow.path.display(),
            next = %next.name.display(),
            offset = next.place.offset,
            "the file that was read last is gone or truncated, and with it what it may have held beyond; going on with \
             the oldest that has come since"
        );
        Ok(next)
    }

    /// The file to be read after `current`, once that has been given up by its writer.
    fn successor(&self, current: &Current) -> io::Result<Option<Current>> {
        let path = &self.follow.path;
        match fs::metadata(path) {
            Ok(metadata) if current.place.is_in(&metadata) => return Ok(None),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if self.follow.follow && !current.late && current.grown.elapsed() < QUIET {
            return Ok(None);
        }
        // Before the others are listed: should it be rotated just now, it is among them.
        let named = match Current::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            result => Some(result?),
        };
        let unread = self.unread(Some(current))?;
        // A writer that has not noticed yet goes on with the old file; the new one can wait until there is something.
        Ok(unread.or(named.filter(|named| named.length > 0)))
    }

    /// The oldest of the rotated files that are unread or, after `current`, have grown since they were finished.
    fn unread(&self, current: Option<&Current>) -> io::Result<Option<Current>> {
        let History { mut since, ref finished } = self.history;
        if let Some(current) = current {
            // Should the clock have been set back, it is older now than it was.
            since = since.min(modified(&current.file.metadata()?));
        }
        let grown = current.is_some_and(|current| !current.late);
        let known = |inode| finished.iter().find(|place| place.inode == inode);
        let mut oldest: Option<Current> = None;
        for name in self.rotated()? {
            let mut other = match Current::open(&name) {
                Ok(other) => other,
                // It is gone, or needn't be read.
                Err(error) => match fs::metadata(&name) {
                    Ok(metadata) if modified(&metadata) >= since && known(metadata.ino()).is_none() => {
                        return Err(error);
                    }
                    _ => continue,
                },
            };
            if current.is_some_and(|current| other.is(current)) {
                continue;
            }
            let place = match known(other.place.inode) {
                Some(place) => place.found_in(&other.file)?,
                None => None,
            };
            match place {
                Some(place) if grown && other.length > place.offset => {
                    other.late = true;
                    // A short beginning may be another file's, too.
                    other.place.offset = if place.head.is_short() { 0 } else { place.offset };
                }
                Some(_) => continue,
                None if other.modified < since => continue,
                None => {}
            }
            if oldest.as_ref().is_none_or(|oldest| other.modified < oldest.modified) {
                oldest = Some(other);
            }
        }
        Ok(oldest)
    }

    /// Notes that a file was truncated. If it has its name, nothing beside it is unread, and one may be its copy.
    fn truncated(&mut self, current: &mut Current) {
        if let Ok(metadata) = fs::metadata(&self.follow.path)
            && current.place.is_in(&metadata)
        {
            self.pass_over(i64::MAX, None);
            current.modified = modified(&metadata);
            self.history.since = current.modified;
        }
    }

    /// Counts as finished what rotation has put aside and was last modified before a time, with one exception.
    fn pass_over(&mut self, before: i64, except: Option<&Current>) {
        // A folder that can't be listed is an error when something has been rotated, and not sooner.
        let names = self.rotated().unwrap_or_default();
        let to_pass_over = |other: &Current| {
            other.modified < before
                && self.history.finished.iter().all(|place| place.inode != other.place.inode)
                && except.is_none_or(|except| !other.is(except))
        };
        let opened = names.iter().filter_map(|name| Current::open(name).ok()).filter(to_pass_over);
        let mut ends: Vec<(i64, Place)> =
            opened.map(|other| (other.modified, Place { offset: other.length, ..other.place })).collect();
        ends.sort_by_key(|(modified, _)| *modified);
        for (_, end) in ends {
            self.history.finish(end);
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
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let suffix = name.as_encoded_bytes().strip_prefix(base.as_encoded_bytes());
            let counts = |suffix: &[u8]| {
                let (first, rest) = suffix.split_first().unwrap_or((&0, &[]));
                let digits = rest.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.' | b'T'));
                matches!(first, b'.' | b'-' | b'_') && digits && rest.iter().any(u8::is_ascii_digit)
            };
            if suffix.is_some_and(counts) && folder.join(&name).is_file() {
                names.push(folder.join(name));
            }
        }
        Ok(names)
    }
}
