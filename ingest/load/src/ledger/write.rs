//! Writing: a thread of its own, so that nobody waits for a disk but those who have to.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use agentworks_ingest::producer::{DeliveryError, RecordMetadata};
use tokio::sync::oneshot;

use super::read::Contents;
use super::{LedgerError, Sent, Written};
use crate::fleet::Record;

/// The longest that an acknowledgement waits until it is on disk, as long as the disk keeps up.
pub const ACK_INTERVAL: Duration = Duration::from_millis(100);

/// A ledger that is being written.
#[derive(Debug)]
pub struct Ledger {
    results: Results,
    next: u64,
    body: Vec<u8>,
}

/// The side of a ledger that results are noted on.
#[derive(Clone, Debug)]
pub struct Results {
    commands: Sender<Command>,
}

#[derive(Debug)]
enum Command {
    /// Lines that must be on disk before the answer.
    Durable(Vec<Written>, oneshot::Sender<Result<(), LedgerError>>),
    /// A line that may wait for the next such, or for [`ACK_INTERVAL`].
    Soon(Written),
}

impl Ledger {
    /// A new ledger; one that is there is overwritten.
    pub fn create(path: &Path) -> Result<Self, LedgerError> {
        let file = File::create(path)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Self::start(file, 0)
    }

    /// Goes on with a ledger that a crash may have left with a torn last line, which is cut off.
    pub fn resume(path: &Path) -> Result<Self, LedgerError> {
        let contents = Contents::read(path)?;
        let file = OpenOptions::new().append(true).open(path)?;
        file.set_len(contents.length())?;
        Self::start(file, contents.lines().len() as u64)
    }

    fn start(file: File, next: u64) -> Result<Self, LedgerError> {
        let (commands, received) = channel();
        std::thread::Builder::new().name("ledger".into()).spawn(move || write(file, &received))?;
        Ok(Ledger { results: Results { commands }, next, body: Vec::new() })
    }

    /// Notes that `records` are about to be sent, and returns the number of the first once that is on disk. Many at a time
    /// cost as much as one.
    pub async fn sent(&mut self, records: impl IntoIterator<Item = &Record>) -> Result<u64, LedgerError> {
        let first = self.next;
        let mut lines = Vec::new();
        for record in records {
            lines.push(Written::Sent(Sent::new(self.next, record, &mut self.body)));
            self.next += 1;
        }
        self.durable(lines).await?;
        Ok(first)
    }

    /// A handle to note results with, while this one goes on sending.
    pub fn results(&self) -> Results {
        self.results.clone()
    }

    /// Writes all to disk that was noted before.
    pub async fn close(self) -> Result<(), LedgerError> {
        self.durable(Vec::new()).await
    }

    async fn durable(&self, lines: Vec<Written>) -> Result<(), LedgerError> {
        let (done, result) = oneshot::channel();
        self.results.commands.send(Command::Durable(lines, done)).map_err(|_| LedgerError::Stopped)?;
        result.await.map_err(|_| LedgerError::Stopped)?
    }
}

impl Results {
    /// Notes what became of the record with number `n`. An error of the disk is told by the next [`Ledger::sent`] or
    /// [`Ledger::close`].
    pub fn settled(&self, n: u64, result: &Result<RecordMetadata, DeliveryError>) {
        let line = match result {
            Ok(RecordMetadata { partition, offset }) => {
                Written::Acked { n, partition: partition.partition, offset: *offset }
            }
            Err(error) => Written::Failed { n, error: error.to_string() },
        };
        // Fails only when the thread has ended with an error, which is told as said above.
        let _ = self.commands.send(Command::Soon(line));
    }
}

/// Writes until the ledger is dropped, or the disk fails: then the one that waits is told why, and all later ones that it
/// has stopped.
fn write(file: File, commands: &Receiver<Command>) {
    let mut out = BufWriter::with_capacity(256 * 1024, file);
    let mut dirty_since: Option<Instant> = None;
    loop {
        let wait = dirty_since.map_or(Duration::MAX, |since| ACK_INTERVAL.saturating_sub(since.elapsed()));
        let (result, reply) = match commands.recv_timeout(wait) {
            Ok(Command::Durable(lines, reply)) => {
                (lines.iter().try_for_each(|line| put(&mut out, line)).and_then(|()| sync(&mut out)), Some(reply))
            }
            Ok(Command::Soon(line)) => {
                let result = put(&mut out, &line);
                let since = *dirty_since.get_or_insert_with(Instant::now);
                match result {
                    Ok(()) if since.elapsed() < ACK_INTERVAL => continue,
                    Ok(()) => (sync(&mut out), None),
                    failed => (failed, None),
                }
            }
            Err(RecvTimeoutError::Timeout) => (sync(&mut out), None),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        dirty_since = None;
        let failed = result.is_err();
        match reply {
            Some(reply) => {
                // Whoever gave up waiting does not need the answer.
                let _ = reply.send(result);
            }
            None if failed => fail_next(commands, result),
            None => {}
        }
        if failed {
            return;
        }
    }
}

/// Tells an error to the next one that waits for the disk.
fn fail_next(commands: &Receiver<Command>, result: Result<(), LedgerError>) {
    let reply = commands.iter().find_map(|command| match command {
        Command::Durable(_, reply) => Some(reply),
        Command::Soon(_) => None,
    });
    if let Some(reply) = reply {
        let _ = reply.send(result);
    }
}

fn put(out: &mut BufWriter<File>, line: &Written) -> Result<(), LedgerError> {
    serde_json::to_writer(&mut *out, line).map_err(std::io::Error::from)?;
    Ok(out.write_all(b"\n")?)
}

fn sync(out: &mut BufWriter<File>) -> Result<(), LedgerError> {
    out.flush()?;
    Ok(out.get_ref().sync_data()?)
}
