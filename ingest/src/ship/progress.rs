//! Writing the checkpoint while shipping goes on.
//!
//! 1. It is of a place only once everything before is acknowledged: places go the same way as lines, in their order.
//! 2. It is written before anything is sent: what comes into the file from then on is found by the next start, whether
//!    Kafka was there or not. If that fails, nothing was sent that the next start would send again.
//! 3. Later it may fall behind, and shipping goes on when it can't be written; at the end it is up to date, or that is an
//!    error.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::checkpoint::{Checkpoint, CheckpointFile, History, Place};

/// How often a checkpoint is written.
const INTERVAL: Duration = Duration::from_millis(200);

/// So long after one couldn't be written it is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How far shipping has come.
pub(super) struct Reached {
    pub(super) place: Place,
    pub(super) history: Arc<History>,
    /// The number of the next entry.
    pub(super) sequence: i64,
}

impl Reached {
    /// Writes the checkpoint of a run, of which the start is still to be written or isn't.
    pub(super) async fn store(&self, file: &CheckpointFile, run: &str, unstarted: bool) -> io::Result<()> {
        let mut checkpoint = Checkpoint::new(self.place, History::clone(&self.history), run, self.sequence);
        checkpoint.unstarted = unstarted;
        let file = file.clone();
        tokio::task::spawn_blocking(move || file.store(&checkpoint)).await.map_err(io::Error::other).flatten()
    }
}

/// A checkpoint that is to be written.
pub(super) struct Pending<'a> {
    file: Option<&'a CheckpointFile>,
    run: &'a str,
    reached: Option<Reached>,
    /// Not before.
    due: Instant,
    /// Whether the last one couldn't be written.
    failed: bool,
}

impl<'a> Pending<'a> {
    /// Nothing yet, of a run that is started before the first.
    pub(super) fn new(file: Option<&'a CheckpointFile>, run: &'a str) -> Self {
        Pending { file, run, reached: None, due: Instant::now(), failed: false }
    }

    /// Replaces what is to be written.
    pub(super) fn reach(&mut self, reached: Option<Reached>) {
        if reached.is_some() {
            self.reached = reached;
        }
    }

    /// Awaits something, and writes meanwhile what is due.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return result,
                () = sleep_until(self.due), if self.reached.is_some() => self.store().await,
            }
        }
    }

    async fn store(&mut self) {
        let (Some(file), Some(reached)) = (self.file, self.reached.take()) else { return };
        let result = reached.store(file, self.run, false).await;
        self.due = Instant::now() + if result.is_ok() { INTERVAL } else { RETRY };
        if let Err(error) = &result {
            if !self.failed {
                tracing::warn!(
                    "cannot write the state; shipping goes on, and it is tried again every {} s: {error}",
                    RETRY.as_secs()
                );
            }
            self.reached = Some(reached);
        }
        self.failed = result.is_err();
    }

    /// Writes what is left.
    pub(super) async fn finish(self) -> io::Result<()> {
        match (self.file, self.reached) {
            (Some(file), Some(reached)) => reached.store(file, self.run, false).await,
            _ => Ok(()),
        }
    }
}
