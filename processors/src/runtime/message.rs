//! What the consumer's thread and the driver tell each other.

use std::sync::Arc;
use std::time::Instant;

use agentworks_kafka::{Batch, KafkaError, Watermarks};
use agentworks_schemas::TopicPartition;
use agentworks_store::StoreError;

use super::retry::Retry;
use super::room::Room;
use crate::epochs::{Epoch, EpochError, Sights};
use crate::tails::Tail;

/// The number of an assignment of a partition. It counts up, and tells what belongs to an assignment that is over.
pub(super) type Assignment = u64;

/// To the driver.
#[derive(Debug)]
pub(super) enum ToDriver {
    /// The group has given a partition to this member: open it.
    Open { partition: TopicPartition, assignment: Assignment },
    /// The log of a partition that is being opened.
    Log { partition: TopicPartition, assignment: Assignment, answer: Result<Answer, EpochError> },
    /// The topics as they are, and as they are recorded; looked at after `begun`.
    Epochs { begun: Instant, sights: Arc<Sights> },
    /// A partition that was read up to `next` may not have the log any more that was read: answer with
    /// [`ToConsumer::Compared`]. If that was tried before, how.
    Doubt { partition: TopicPartition, assignment: Assignment, next: i64, retry: Option<Retry> },
    /// Nothing has come of a partition for a while, from this offset on, although its log is said to go on.
    Quiet { partition: TopicPartition, assignment: Assignment, from: i64 },
    /// Records.
    Batch { assignment: Assignment, batch: Arc<Batch>, room: Room },
    /// The rejects of a partition's batch that ends before `to` in this epoch have been written, or couldn't be.
    Letters { partition: TopicPartition, assignment: Assignment, to: (u32, i64), result: Result<(), KafkaError> },
    /// The tails of partitions have been kept, or couldn't be.
    Tails { kept: Vec<(TopicPartition, Assignment, Tail)>, result: Result<(), StoreError> },
    /// It is time to open a partition anew that waits.
    Again { partition: TopicPartition, assignment: Assignment },
    /// Partitions are taken away: write what is pending for them until the deadline, or nothing, and answer with
    /// [`ToConsumer::Closed`].
    Close { partitions: Vec<TopicPartition>, deadline: Option<Instant>, number: u64 },
    /// A partition can't be read any further.
    Stop { partition: TopicPartition, assignment: Assignment, reason: String },
    /// No more will come: write everything until the deadline, and answer with [`ToConsumer::Drained`].
    Drain { deadline: Instant },
}

/// What is known of the log of a partition that is being opened.
#[derive(Debug)]
pub(super) struct Answer {
    /// Where it begins and ends.
    pub(super) marks: Watermarks,
    /// What is recorded of its topic.
    pub(super) recorded: Epoch,
    /// Why nothing may be taken of it, if so.
    pub(super) problem: Option<String>,
}

/// To the consumer's thread.
#[derive(Debug)]
pub(super) enum ToConsumer {
    /// All sinks have opened a partition: read it from here.
    Read { partition: TopicPartition, assignment: Assignment, epoch: u32, from: i64 },
    /// Have a partition opened anew, if it is still of this assignment.
    Reopen { partition: TopicPartition, assignment: Assignment },
    /// The answer to [`ToDriver::Quiet`]: there is no record in `from..to`. If that is empty, ask again.
    Cover { partition: TopicPartition, assignment: Assignment, from: i64, to: i64 },
    /// A partition is not wanted any more, since no sink takes it.
    Stop { partition: TopicPartition, assignment: Assignment },
    /// The answer to [`ToDriver::Doubt`]: why the partition can't be read any further, if its log has changed.
    Compared { partition: TopicPartition, assignment: Assignment, changed: Option<String> },
    /// The answer to the [`ToDriver::Close`] with this number; up to which offsets all sinks hold everything.
    Closed { number: u64, held: Vec<(TopicPartition, i64)> },
    /// The answer to [`ToDriver::Drain`]; up to which offsets all sinks hold everything.
    Drained { held: Vec<(TopicPartition, i64)> },
    /// There is room again, for which it has asked; it may have gone on since.
    Room,
    /// End in order.
    Shutdown { deadline: Instant },
    /// End at once.
    Abort,
}
