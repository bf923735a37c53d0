//! What a sink is.

#[cfg(test)]
pub(crate) mod faulty;

use agentworks_kafka::Batch;
use agentworks_schemas::{Topic, TopicPartition};
use agentworks_store::StoreError;
use async_trait::async_trait;

use crate::lane::Held;

/// A fault of a sink.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SinkError {
    /// Its store. A transient one is tried again. Any other stops the partition that was being opened or taken; in a flush,
    /// which writes of many partitions together, it stops the sink.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What stops this partition alone, whatever the call: the log and the sink's position don't fit together (offsets went
    /// back, or the log begins beyond the position), or its own data can't be read or written.
    #[error("{partition}: {reason}")]
    Position {
        /// Where.
        partition: TopicPartition,
        /// What doesn't fit, and what to do.
        reason: String,
    },
    /// The sink's own data can't be read. It stops what a store's fault stops.
    #[error("{0}")]
    Corrupt(String),
}

impl SinkError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, SinkError::Store(error) if error.is_transient())
    }

    /// The same, as a fault of one partition alone, unless it passes.
    pub(crate) fn of(self, partition: TopicPartition) -> Self {
        match self {
            error if error.is_transient() => error,
            error => SinkError::Position { partition, reason: error.reason() },
        }
    }

    /// What has happened, without the partition.
    pub(crate) fn reason(self) -> String {
        match self {
            SinkError::Position { reason, .. } => reason,
            error => error.to_string(),
        }
    }
}

/// Which of its pending data a sink is to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// What has reached its age or size.
    Due,
    /// The same, but there is more to take: what takes long is begun, and goes on beside the calls that follow, of which
    /// this one and [`Flush::Due`] tell what has become of it.
    Begin,
    /// The largest, until at least so many bytes are free.
    Free(usize),
    /// All of one partition.
    Partition(TopicPartition),
}

/// Takes batches, keeps them pending for a while, and writes them so that what it holds of each partition is always one
/// range `[low, high)`, published with the data.
///
/// The runtime calls a sink from one task, never twice at once, and runs every call to its end unless it drops the sink.
/// A call that fails with a transient error is made again with the same arguments; a sink must not have lost pending data
/// by then, nor taken anything twice.
#[async_trait]
pub trait Sink: Send {
    /// Its name, under which its positions are kept: `hot`, `runs`.
    fn name(&self) -> &'static str;

    /// The topics that it takes.
    fn topics(&self) -> &'static [Topic];

    /// Begins with a partition: loads what the sink holds of it, and forgets whatever was pending for it. If it holds
    /// nothing, it begins at `log_start`, and publishes the empty range so that readers know.
    async fn open(&mut self, partition: TopicPartition, epoch: u32, log_start: i64) -> Result<Held, SinkError>;

    /// Takes a batch of an open partition. Records below what it has are skipped. What it takes is only buffered, but a
    /// sink may have to load what it must know of the records; it fails if it can't, and goes on from there when it is given
    /// the batch again. It never fails for the sake of a record.
    async fn take(&mut self, batch: &Batch) -> Result<(), SinkError>;

    /// How much memory its pending data holds, in bytes.
    fn pending(&self) -> usize;

    /// Writes pending data, then the positions that this moves. Returns the ranges that have moved. [`Flush::Due`] and
    /// [`Flush::Begin`] are cheap when nothing is due: call one of them a few times a second.
    async fn flush(&mut self, what: Flush) -> Result<Vec<Held>, SinkError>;

    /// Ends with a partition; what is still pending for it is dropped.
    fn close(&mut self, partition: TopicPartition);
}
