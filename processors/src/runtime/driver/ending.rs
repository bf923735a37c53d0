//! Ending with partitions whose logs have changed beneath their reader.
//!
//! What was read of such a log may be nowhere else any more. So the sinks take what waits for them still, as far as it is
//! sure to be of the log that was there before, and write it; then the partition stops.

use std::time::Instant;

use agentworks_schemas::TopicPartition;
use tracing::{info, warn};

use super::Driver;
use crate::runtime::lane::Phase;
use crate::runtime::message::{Room, ToConsumer};

/// A partition that is about to stop.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) reason: String,
    /// Until when to go on taking and writing.
    deadline: Instant,
    /// If set, what was read later may be of another log.
    read_before: Option<Instant>,
}

impl Ending {
    /// Whether a batch that takes up this room is of the log that was there before.
    pub(super) fn is_of_before(&self, room: &Room) -> bool {
        self.read_before.is_none_or(|before| room.since() < before)
    }
}

impl Driver {
    /// Begins to end with a partition. If `read_before` is set, what was read later is not taken any more.
    pub(super) fn end_with(&mut self, partition: TopicPartition, reason: String, read_before: Option<Instant>) {
        let Some(lane) = self.lanes.get(&partition).filter(|_| !self.ending.contains_key(&partition)) else { return };
        if !matches!(lane.phase, Phase::Reading) {
            return self.stop_lane(partition, reason);
        }
        info!(%partition, %reason, "the partition will stop when what was read of it is written");
        // If the thread has ended, so will this task.
        let _ = self.consumer.send(ToConsumer::Stop { partition, assignment: lane.assignment });
        let deadline = Instant::now() + self.drain_time;
        self.ending.insert(partition, Ending { reason, deadline, read_before });
        self.publish();
    }

    /// Ends with a partition at once, for another reason beside: it takes no more.
    pub(super) fn cut_short(&mut self, partition: TopicPartition, reason: &str) {
        if let Some(ending) = self.ending.get_mut(&partition) {
            ending.deadline = Instant::now();
            ending.reason = format!("{}; {reason}", ending.reason);
        }
    }

    /// Stops the partitions that were to end of which nothing waits any more, or has waited for too long.
    pub(super) async fn stop_ended(&mut self) {
        let now = Instant::now();
        let ended: Vec<_> = self.ending.iter().map(|(partition, ending)| (*partition, ending.deadline)).collect();
        for (partition, deadline) in ended {
            let left = self.left(partition);
            if left.is_some() && now < deadline {
                continue;
            }
            if let Some(from) = left {
                warn!(%partition, from, "the sinks did not take in time what had been read: it is lost if the log has lost it");
            }
            self.close_sinks(partition, Some(deadline)).await;
            if let Some(ending) = self.ending.remove(&partition) {
                self.stop_lane(partition, ending.reason);
            }
        }
    }

    /// The first offset of a partition that waits for the sinks.
    fn left(&self, partition: TopicPartition) -> Option<i64> {
        let lane = self.lanes.get(&partition)?;
        let aside = lane.aside.front().map(|(batch, _)| batch.from);
        aside.or_else(|| {
            let queued = self.queue.iter().find(|(assignment, ..)| *assignment == lane.assignment);
            queued.map(|(_, batch, _)| batch.from)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::message::Waiting;

    #[test]
    fn what_was_read_since_a_topic_was_last_seen_may_be_of_another() {
        let waiting = Waiting::default();
        let ending = |read_before| Ending { reason: String::new(), deadline: Instant::now(), read_before };
        let before = waiting.add(1);
        std::thread::sleep(std::time::Duration::from_millis(1));
        let seen = Instant::now();
        let after = waiting.add(1);
        assert!(ending(Some(seen)).is_of_before(&before));
        assert!(!ending(Some(seen)).is_of_before(&after));
        assert!(ending(None).is_of_before(&after));
    }
}
