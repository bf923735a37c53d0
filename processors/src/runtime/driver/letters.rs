//! Writing rejects to the dead-letter topic.
//!
//! No sink takes a batch before its rejects are written, so that no position ever passes a reject that isn't there. They are
//! written beside everything else, and their partition's batches are put aside meanwhile: other partitions go on. Where that
//! fails, or takes so long that what was put aside would leave others no room in the queue, the partition is given back,
//! with what it holds written, and opened anew afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_kafka::{Batch, KafkaError, Rejected};
use agentworks_schemas::TopicPartition;
use tracing::warn;

use super::{DEAD_LETTERS, Driver};
use crate::runtime::lane::{Lane, Phase};
use crate::runtime::message::{Assignment, ToConsumer, ToDriver};
use crate::runtime::retry::Retry;

/// How long what a partition holds may take to be written when it is given back: others wait meanwhile, and it is read again.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// A partition whose rejects could not be written.
#[derive(Debug)]
pub(super) struct Failed {
    /// The offset after the batch that they are of.
    to: i64,
    pub(super) retry: Retry,
}

impl Driver {
    /// Whether the head of the queue, a batch of a partition that is read, has to wait for its rejects or for those before
    /// it. If so it is put aside, and its rejects are begun to be written.
    pub(super) async fn waits_for_letters(&mut self, partition: TopicPartition, batch: &Arc<Batch>) -> bool {
        let Some(letters) = &self.dead_letters else { return false };
        let Some(lane) = self.lanes.get_mut(&partition) else { return false };
        let is_written = |rejected: &Rejected| {
            let to = self.letters_to.get(&partition);
            to.is_some_and(|(epoch, to)| rejected.position.epoch == *epoch && rejected.position.offset < *to)
        };
        // Of a batch, those come first that are written: it may begin where another began before, and be longer.
        let written = batch.rejects().iter().take_while(|rejected| is_written(rejected)).count();
        if lane.aside.is_empty() {
            if written == batch.rejects().len() {
                return false;
            }
            let (letters, batch, to_self) = (letters.clone(), batch.clone(), self.to_self.clone());
            let assignment = lane.assignment;
            tokio::spawn(async move {
                let result = letters.write(&batch.rejects()[written..]).await;
                // The driver may have ended meanwhile.
                let _ = to_self.send(ToDriver::Letters { partition, assignment, to: (batch.epoch, batch.to), result });
            });
        }
        if let Some((_, batch, room)) = self.queue.pop_front() {
            lane.aside.push_back((batch, room));
        }
        // What can't be read again stays, as long as there is time for it.
        let is_too_much = lane.aside.iter().map(|(_, room)| room.bytes()).sum::<usize>() > self.aside;
        if is_too_much && !self.ending.contains_key(&partition) {
            self.give_back(partition, "its rejects are being written to the dead-letter topic".to_owned()).await;
        }
        true
    }

    /// Reads a partition no further for now: what it holds is written, if that is soon, and what was put aside is read again.
    async fn give_back(&mut self, partition: TopicPartition, reason: String) {
        let deadline = Instant::now() + LAST_WRITES.min(self.drain_time);
        let Some(assignment) = self.suspend(partition, deadline, Phase::Waiting(reason)).await else { return };
        // If the thread has ended, so will this task.
        let _ = self.consumer.send(ToConsumer::Stop { partition, assignment });
    }

    /// The first of the batches that a partition has put aside has its rejects written, or hasn't.
    pub(super) async fn letters_written(
        &mut self,
        partition: TopicPartition,
        assignment: Assignment,
        to: (u32, i64),
        result: Result<(), KafkaError>,
    ) {
        let waits = |lane: &&mut Lane| {
            lane.assignment == assignment && matches!(lane.phase, Phase::Reading | Phase::Waiting(_))
        };
        let Some(lane) = self.lanes.get_mut(&partition).filter(waits) else { return };
        let error = match result {
            Ok(()) => {
                // Also for when it is opened anew: it would come to them again and again.
                self.letters_to.insert(partition, to);
                self.failed_letters.remove(&partition);
                return match lane.phase {
                    Phase::Reading => self.take_back(partition),
                    _ => self.open_again(partition, assignment),
                };
            }
            Err(error) => error,
        };
        let reason = format!("rejected records can't be written to the dead-letter topic: {error}");
        if self.ending.contains_key(&partition) {
            return self.cut_short(partition, &reason);
        }
        if !error.is_transient() && !matches!(error, KafkaError::NoTopic(_)) {
            return self.stop_lane(partition, reason);
        }
        warn!(%partition, %error, "dead letters will be written again, and the partition waits");
        self.metrics.retry(DEAD_LETTERS);
        let before = self.failed_letters.remove(&partition).map(|failed| failed.retry);
        let retry = Retry::after(before, error.to_string());
        let (at, to_self) = (retry.at, self.to_self.clone());
        self.failed_letters.insert(partition, Failed { to: to.1, retry });
        self.give_back(partition, reason).await;
        tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            let _ = to_self.send(ToDriver::Again { partition, assignment });
        });
    }

    /// Opens a partition anew that waits, if it still does.
    pub(super) fn open_again(&self, partition: TopicPartition, assignment: Assignment) {
        let waits = |lane: &&Lane| lane.assignment == assignment && matches!(lane.phase, Phase::Waiting(_));
        if self.lanes.get(&partition).filter(waits).is_some() {
            let _ = self.consumer.send(ToConsumer::Reopen { partition, assignment });
        }
    }

    /// Notes that a partition has gone past an offset: whatever had failed before it is over.
    pub(super) fn letters_passed(&mut self, partition: TopicPartition, to: i64) {
        if self.failed_letters.get(&partition).is_some_and(|failed| failed.to <= to) {
            self.failed_letters.remove(&partition);
        }
    }

    /// Puts the batches that a partition has put aside before those of it that have come since.
    fn take_back(&mut self, partition: TopicPartition) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        let (assignment, aside) = (lane.assignment, std::mem::take(&mut lane.aside));
        // Of another partition, the head may be with the sinks already.
        let place = self.queue.front().map_or(0, |(of, ..)| usize::from(*of != assignment));
        for (batch, room) in aside.into_iter().rev() {
            self.queue.insert(place, (assignment, batch, room));
        }
    }
}
