//! The data folder: what Kafka keeps in `data/`, and beside it our notes.
//!
//! ```text
//! lock               held while we live; who holds it
//! port               the port that clients know this broker by
//! kafka.pid          the last Kafka's process, so that one left behind by a crash of ours can be ended
//! server.properties  written anew at each start
//! data/              what Kafka keeps
//! logs/kafka.log     what Kafka prints; kafka.log.1 is what came before
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::port;
use crate::process::Process;

/// A larger log is set aside when Kafka starts.
const LOG_LIMIT: u64 = 8 * 1024 * 1024;
/// How much of the end of the log an error shows.
const LOG_TAIL: i64 = 4096;
const LOG_TAIL_LINES: usize = 12;

/// The data folder, ours alone while this value lives.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    lock: File,
}

impl Folder {
    /// Makes the folder if need be, and takes it for us.
    pub(crate) fn open(path: &Path) -> Result<Folder, Error> {
        let path = std::path::absolute(path).map_err(Error::io("resolve", path))?;
        fs::create_dir_all(path.join("logs")).map_err(Error::io("create", &path))?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(Error::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                lock.read_to_string(&mut holder).map_err(Error::io("read", &lock_path))?;
                return Err(Error::InUse { folder: path, pid: holder.trim().parse().ok() });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &lock_path)(error)),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(Error::io("write", &lock_path))?;
        Ok(Folder { path, lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn server_properties(&self) -> PathBuf {
        self.path.join("server.properties")
    }

    /// The id that Kafka's storage was formatted with; `None` before.
    pub(crate) fn cluster_id(&self) -> Result<Option<String>, Error> {
        let path = self.path.join("data").join("meta.properties");
        let text = read_if_there(&path)?;
        Ok(text.and_then(|text| text.lines().find_map(|line| line.strip_prefix("cluster.id=").map(str::to_owned))))
    }

    /// The port to serve on: `wanted`, or for 0 the one used before, or else any; noted for the next time.
    pub(crate) fn choose_port(&self, wanted: u16) -> Result<u16, Error> {
        if wanted != 0 {
            return if port::is_free(wanted) { Ok(wanted) } else { Err(Error::PortTaken(wanted)) };
        }
        let path = self.path.join("port");
        let before = read_if_there(&path)?.and_then(|text| text.trim().parse().ok());
        if let Some(port) = before.filter(|&port| port != 0 && port::is_free(port)) {
            return Ok(port);
        }
        let port = port::choose(None).ok_or(Error::PortTaken(0))?;
        fs::write(&path, format!("{port}\n")).map_err(Error::io("write", &path))?;
        Ok(port)
    }

    /// The Kafka that was started here last, if it still runs.
    pub(crate) fn running(&self) -> Result<Option<Process>, Error> {
        let note = read_if_there(&self.pid_path())?;
        Ok(note.and_then(|note| Process::parse(note.trim())).filter(Process::is_running))
    }

    /// Notes which process is Kafka.
    pub(crate) fn note_process(&self, process: &Process) -> Result<(), Error> {
        let path = self.pid_path();
        fs::write(&path, format!("{process}\n")).map_err(Error::io("write", &path))
    }

    /// Opens the log for Kafka to append to; one that has grown large is set aside first.
    pub(crate) fn open_log(&self) -> Result<File, Error> {
        let path = self.log_path();
        if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_LIMIT) {
            fs::rename(&path, path.with_extension("log.1")).map_err(Error::io("rename", &path))?;
        }
        OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("open", &path))
    }

    /// The last lines of the log, after a line that says where it is.
    pub(crate) fn log_tail(&self) -> String {
        let path = self.log_path();
        match tail(&path) {
            Ok(tail) => format!("the end of {}:\n{tail}", path.display()),
            Err(error) => format!("and {} can't be read: {error}", path.display()),
        }
    }

    fn pid_path(&self) -> PathBuf {
        self.path.join("kafka.pid")
    }

    fn log_path(&self) -> PathBuf {
        self.path.join("logs").join("kafka.log")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing the file would not do: a child that is just being forked holds it too until it runs its program.
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(folder = %self.path.display(), %error, "could not unlock the data folder");
        }
    }
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = i64::try_from(file.metadata()?.len()).unwrap_or(i64::MAX);
    file.seek(SeekFrom::End(-length.min(LOG_TAIL)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n"))
}

fn read_if_there(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_folder_has_one_user_and_the_second_is_told_who() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        let error = Folder::open(temp.path()).unwrap_err();
        assert!(matches!(error, Error::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
        drop(folder);
        Folder::open(temp.path()).unwrap();
    }

    #[test]
    fn a_port_is_kept_until_somebody_else_has_it() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        let port = folder.choose_port(0).unwrap();
        assert_eq!(folder.choose_port(0).unwrap(), port);
        let _other = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_ne!(folder.choose_port(0).unwrap(), port);
        assert!(matches!(folder.choose_port(port), Err(Error::PortTaken(taken)) if taken == port));
    }

    #[test]
    fn the_process_is_noted_and_only_one_that_runs_is_found() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        assert_eq!(folder.running().unwrap(), None);
        let this = Process::of(std::process::id()).unwrap();
        folder.note_process(&this).unwrap();
        assert_eq!(folder.running().unwrap(), Some(this.clone()));
        let earlier = Process::parse(&format!("{} long ago", this.pid())).unwrap();
        folder.note_process(&earlier).unwrap();
        assert_eq!(folder.running().unwrap(), None);
    }

    #[test]
    fn the_log_is_set_aside_when_large_and_its_end_can_be_shown() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        folder.open_log().unwrap().set_len(LOG_LIMIT + 1).unwrap();
        let mut log = folder.open_log().unwrap();
        for line in 0..1000 {
            writeln!(log, "line {line}").unwrap();
        }
        let tail = folder.log_tail();
        assert_eq!(tail.lines().count(), 1 + LOG_TAIL_LINES);
        assert!(tail.ends_with("line 998\nline 999"), "{tail}");
        assert!(temp.path().join("logs/kafka.log.1").exists());
    }
}
