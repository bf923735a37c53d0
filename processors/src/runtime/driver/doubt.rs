//! Logs that may have changed beneath their reader.
//!
//! It is reported that a log hasn't got what is to be read next; by librdkafka neither of which partition nor why. Retention
//! may have overtaken the reader. Or the log was cut back, as an election of a leader that lacked records does: then it may have
//! grown again since, the next offset is there, and who goes on at it never sees what was written before it instead. So the
//! last record that came of a partition is looked up: if it isn't there any more, nor is what was read.

use std::time::Instant;

use agentworks_kafka::{Fingerprint, KafkaError, SeekPool, SeekRequest};
use agentworks_schemas::TopicPartition;
use tracing::warn;

use super::Driver;
use crate::runtime::lane::{Lane, Phase, misfit};
use crate::runtime::message::{Assignment, ToConsumer, ToDriver};
use crate::runtime::retry::Retry;
use crate::tails::cut_back;

impl Driver {
    /// Compares a partition's log with what came of it up to `next`, until that is done; the answer goes to the consumer's
    /// thread. One of which nothing came is opened anew, which compares its log with what the sinks hold.
    pub(super) async fn compare(
        &mut self,
        partition: TopicPartition,
        assignment: Assignment,
        next: i64,
        before: Option<Retry>,
    ) {
        let is_read = |lane: &&Lane| lane.assignment == assignment && matches!(lane.phase, Phase::Reading);
        let Some(lane) = self.lanes.get(&partition).filter(is_read) else { return };
        if lane.seen.last().is_none() {
            let deadline = Instant::now() + self.drain_time;
            self.suspend(partition, deadline, Phase::Opening(None)).await;
            // If the thread has ended, so will this task.
            let _ = self.consumer.send(ToConsumer::Reopen { partition, assignment });
            return;
        }
        let epoch = lane.epoch.as_ref().map_or(0, |recorded| recorded.epoch);
        let read = Read { partition, epoch, next, last: lane.seen.last() };
        let (seek, consumer, to_self) = (self.log.seek.clone(), self.consumer.clone(), self.to_self.clone());
        tokio::spawn(async move {
            if let Some(before) = &before {
                tokio::time::sleep_until(before.at.into()).await;
            }
            match changed(&seek, read).await {
                // The thread may have ended meanwhile.
                Ok(changed) => drop(consumer.send(ToConsumer::Compared { partition, assignment, changed })),
                Err(error) => {
                    warn!(%partition, %error, "what was read can't be compared with the log; it will be tried again");
                    let retry = Retry::after(before, error.to_string());
                    // So may the driver.
                    drop(to_self.send(ToDriver::Doubt { partition, assignment, next, retry: Some(retry) }));
                }
            }
        });
    }
}

/// How far a partition was read.
#[derive(Clone, Copy, Debug)]
pub(in crate::runtime) struct Read {
    pub(in crate::runtime) partition: TopicPartition,
    pub(in crate::runtime) epoch: u32,
    /// The offset to be read next.
    pub(in crate::runtime) next: i64,
    /// The last record that came; `None` if none has since it was opened.
    pub(in crate::runtime) last: Option<Fingerprint>,
}

/// Why a partition can't be read any further, if its log isn't the one that was read.
pub(in crate::runtime) async fn changed(seek: &SeekPool, read: Read) -> Result<Option<String>, KafkaError> {
    let Read { partition, next, last, .. } = read;
    let marks = seek.watermarks(partition).await?;
    if let Some(reason) = misfit("the consumer has read", partition, next, marks) {
        return Ok(Some(reason));
    }
    // One that retention has taken says nothing. What was written since a log was cut back is too young for that.
    let Some(last) = last.filter(|last| last.offset >= marks.low) else { return Ok(None) };
    if is_there(seek, read, last).await? {
        return Ok(None);
    }
    Ok(Some(cut_back(partition, last.offset)))
}

/// Whether the last record that was read is there, and none behind it that wasn't. On topics that are compacted, one that is
/// gone may have been so by right: rather stop for nothing than lose records without a word.
async fn is_there(seek: &SeekPool, read: Read, last: Fingerprint) -> Result<bool, KafkaError> {
    let Read { partition, epoch, next, .. } = read;
    let mut batches = seek.read(SeekRequest { partition, epoch, from: last.offset, to: next, key: None });
    let mut found = None;
    while let Some(batch) = batches.recv().await {
        let batch = batch?;
        match batch.records().len() + batch.rejects().len() {
            0 => {}
            1 if found.is_none() => found = batch.last(),
            _ => return Ok(false),
        }
    }
    Ok(found == Some(last))
}
