//! Publishing files and positions together, by compare-and-swap.
//!
//! The kernel doesn't compare positions: a writer that has been overtaken would take them back. So every attempt looks at
//! the latest snapshot, requires that each position is still what the writer set out from, and commits exactly the
//! version after that snapshot, which only one writer can. After a conflict all of that is done again. An error leaves
//! open whether the version was written: the next look at the table tells.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use arrow_array::StructArray;
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::expressions::Scalar;
use delta_kernel::transaction::{CommitResult, Transaction, UpdateTableOperation};
use delta_kernel::{FileMeta, KernelError, SnapshotRef};
use delta_kernel_default_engine::build_add_file_metadata;
use delta_kernel_default_engine::parquet::DataFileMetadata;

use super::fault::sort;
use super::{CHECKPOINT_EVERY, ENGINE, Table};
use crate::error::ArchiveError;
use crate::schema::DATE;

/// For so long a commit is tried before whoever waits for it is told.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file that has been written and is to be published.
#[derive(Clone, Debug)]
pub(crate) struct NewFile {
    /// Its path within the table.
    pub(crate) path: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// When it was written, in milliseconds since the Unix epoch.
    pub(crate) written: i64,
    /// Its day, in days since the Unix epoch.
    pub(crate) date: i32,
    /// What [`Table::statistics`] gathered.
    pub(crate) stats: StructArray,
}

/// A position that is moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    /// The name under which it is recorded.
    pub(crate) name: String,
    /// What must be recorded now.
    pub(crate) from: Option<i64>,
    /// What shall be.
    pub(crate) to: i64,
}

/// What kind of change it is, for the table's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Rows come.
    Append,
    /// The same rows in other files.
    Rewrite,
    /// Rows go.
    Delete,
}

/// What is to be published at once.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) operation: Operation,
    pub(crate) add: Vec<NewFile>,
    /// Paths of files, all of which must still be there.
    pub(crate) remove: Vec<String>,
    pub(crate) moves: Vec<Move>,
    /// What is recorded beside.
    pub(crate) record: Vec<(String, i64)>,
}

/// Why a change is not published.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// These positions are not what the writer set out from: name, and what is recorded.
    Moved(Vec<(String, Option<i64>)>),
    /// Files that were to be removed have gone already.
    Gone(Vec<String>),
    /// A fault. It may have been published all the same; the same call finds out.
    Fault(ArchiveError),
}

impl From<ArchiveError> for CommitError {
    fn from(error: ArchiveError) -> Self {
        CommitError::Fault(error)
    }
}

impl From<KernelError> for CommitError {
    fn from(error: KernelError) -> Self {
        CommitError::Fault(sort(error))
    }
}

/// What one attempt came to.
enum Attempt {
    Done(u64),
    Conflict,
    /// It may have been written or not.
    Unknown(ArchiveError),
}

impl Table {
    /// Publishes a change; returns the version that has it. If the same change was published before, that is found out,
    /// and it is not done twice.
    pub(crate) async fn commit(&self, change: Change) -> Result<u64, CommitError> {
        let table = self.clone();
        let done = tokio::task::spawn_blocking(move || table.commit_now(&change)).await;
        done.unwrap_or_else(
            |error| Err(ArchiveError::Unavailable(format!("the commit's thread ended: {error}")).into()),
        )
    }

    fn commit_now(&self, change: &Change) -> Result<u64, CommitError> {
        let _one_at_a_time = self.inner.committing.lock();
        let began = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            let reason = match self.attempt(change) {
                Ok(Attempt::Done(version)) => return Ok(version),
                Ok(Attempt::Conflict) => "others keep committing".to_owned(),
                Ok(Attempt::Unknown(error)) => error.to_string(),
                Err(CommitError::Fault(error)) if error.is_transient() => error.to_string(),
                Err(error) => return Err(error),
            };
            if began.elapsed() > PATIENCE {
                return Err(ArchiveError::Unavailable(reason).into());
            }
            // Spread, so that many that met once don't meet again.
            sleep(pause.mul_f64(rand::random_range(0.5..1.5)));
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    fn attempt(&self, change: &Change) -> Result<Attempt, CommitError> {
        let began = Instant::now();
        let snapshot = self.refresh()?;
        if self.is_published(&snapshot, change)? {
            return Ok(Attempt::Done(snapshot.version()));
        }
        let transaction = self.prepare(&snapshot, change)?;
        match transaction.commit(&self.inner.engine) {
            Ok(CommitResult::Committed(committed)) => {
                let version = committed.commit_version();
                if let Some(snapshot) = committed.post_commit_snapshot() {
                    self.know(began, snapshot);
                    if committed.post_commit_stats().commits_since_checkpoint >= CHECKPOINT_EVERY {
                        self.checkpoint(snapshot);
                    }
                }
                Ok(Attempt::Done(version))
            }
            Ok(CommitResult::Conflicted(_)) => Ok(Attempt::Conflict),
            Ok(CommitResult::Retryable(retryable)) => Ok(Attempt::Unknown(sort(retryable.error))),
            // Whatever it says: the version may be there.
            Err(error) => match sort(error) {
                error @ ArchiveError::Refused(_) => Err(error.into()),
                error => Ok(Attempt::Unknown(error)),
            },
        }
    }

    /// Whether the change is in the table already. If it isn't, all that it builds on must be as it was.
    fn is_published(&self, snapshot: &SnapshotRef, change: &Change) -> Result<bool, CommitError> {
        let mut moved = Vec::new();
        let mut done = 0;
        for step in &change.moves {
            let found = snapshot.get_app_id_version(&step.name, &self.inner.engine)?;
            if found == Some(step.to) && step.from != Some(step.to) {
                done += 1;
                moved.push((step.name.clone(), found));
            } else if found != step.from {
                moved.push((step.name.clone(), found));
            }
        }
        if !change.moves.is_empty() && done == change.moves.len() {
            return Ok(true);
        }
        if !moved.is_empty() {
            return Err(CommitError::Moved(moved));
        }
        if change.remove.is_empty() {
            return Ok(false);
        }
        let there = self.paths(snapshot)?;
        let gone: Vec<_> = change.remove.iter().filter(|path| !there.contains(*path)).cloned().collect();
        if gone.is_empty() {
            return Ok(false);
        }
        // Paths are unique for ever: files that are there were published by this very change.
        let is_ours = gone.len() == change.remove.len() && change.add.iter().all(|file| there.contains(&file.path));
        if is_ours && !change.add.is_empty() { Ok(true) } else { Err(CommitError::Gone(gone)) }
    }

    fn prepare(&self, snapshot: &SnapshotRef, change: &Change) -> Result<Transaction, CommitError> {
        let engine = &self.inner.engine;
        let (operation, is_change) = match change.operation {
            Operation::Append => (UpdateTableOperation::Write, true),
            Operation::Rewrite => (UpdateTableOperation::Optimize, false),
            Operation::Delete => (UpdateTableOperation::Delete, true),
        };
        let builder = snapshot.clone().update_table(operation, ENGINE, is_change);
        let mut transaction = builder.build(engine, Box::new(FileSystemCommitter::new()))?;
        for step in &change.moves {
            transaction = transaction.with_transaction_id(step.name.clone(), step.to);
        }
        for (name, value) in &change.record {
            transaction = transaction.with_transaction_id(name.clone(), *value);
        }
        if !change.add.is_empty() {
            let state = transaction.write_state()?;
            for file in &change.add {
                let values = HashMap::from([(DATE.to_owned(), Scalar::Date(file.date))]);
                let context = state.write_context_builder().with_partition_values(values).build()?;
                let location = self.inner.url.join(&file.path).map_err(KernelError::from)?;
                let meta = DataFileMetadata::new(FileMeta::new(location, file.written, file.size), file.stats.clone());
                transaction.add_files(build_add_file_metadata(meta, &context)?);
            }
        }
        for files in self.choose(snapshot, &change.remove)? {
            transaction.remove_files(files);
        }
        Ok(transaction)
    }

    /// Writes a checkpoint and a checksum. Should it fail, the next commit does it, for it looks at how many commits there
    /// were since the last one.
    fn checkpoint(&self, snapshot: &SnapshotRef) {
        let engine = &self.inner.engine;
        let written = snapshot.checkpoint(engine, None).and_then(|(_, snapshot)| snapshot.write_checksum(engine));
        match written {
            Ok((_, snapshot)) => self.know(Instant::now(), &snapshot),
            Err(error) => {
                tracing::warn!(table = self.inner.spec.name, version = snapshot.version(), %error, "no checkpoint yet");
            }
        }
    }
}
