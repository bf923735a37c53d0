//! Ending with partitions: for good, or until somebody has acted.
//!
//! Where a log has changed beneath its reader, what was read of it may be nowhere else any more. So the sinks take what waits
//! for them still, as far as it is sure to be of the log that was there before, and write it; then the partition stops.

use std::time::Instant;

use agentworks_schemas::TopicPartition;
use tracing::{error, info, warn};

use super::Driver;
use crate::runtime::lane::{Lane, Phase};
use crate::runtime::message::ToConsumer;
use crate::runtime::room::Room;
use crate::sink::SinkError;

/// A partition that is about to stop.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) reason: String,
    /// Until when to go on taking and writing.
    deadline: Instant,
    /// If set, what was read later may be of another log.
    read_before: Option<Instant>,
    /// Whether no more is taken.
    is_cut_short: bool,
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
        self.ending.insert(partition, Ending { reason, deadline, read_before, is_cut_short: false });
        self.publish();
    }

    /// Has the sinks take no more of a partition that is about to stop, for another reason beside.
    pub(super) fn cut_short(&mut self, partition: TopicPartition, reason: &str) {
        if let Some(ending) = self.ending.get_mut(&partition) {
            ending.is_cut_short = true;
            ending.reason = format!("{}; {reason}", ending.reason);
        }
    }

    /// Stops the partitions that were to end of which nothing waits any more, or has waited for too long.
    pub(super) async fn stop_ended(&mut self) {
        let now = Instant::now();
        let takes = |ending: &Ending| !ending.is_cut_short && now < ending.deadline;
        let ending = self.ending.iter().map(|(partition, ending)| (*partition, ending.deadline, takes(ending)));
        for (partition, deadline, takes) in ending.collect::<Vec<_>>() {
            let left = self.left(partition);
            if left.is_some() && takes {
                continue;
            }
            if let Some(from) = left {
                warn!(%partition, from, "the sinks have not taken all that was read: it is lost if the log has lost it");
            }
            self.close_sinks(partition, Some(deadline)).await;
            // Whoever opens it next is to know which log was read.
            let tail = self.lanes.get_mut(&partition).and_then(Lane::tail);
            self.log.keep_last(tail.map(|tail| (partition, tail)).into_iter().collect(), deadline).await;
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

    /// Stops a partition for all sinks.
    pub(super) fn stop_lane(&mut self, partition: TopicPartition, reason: String) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        error!(%partition, %reason, "partition stopped");
        for part in lane.sinks.iter().filter(|part| part.stopped.is_none()) {
            self.sinks[part.sink].close(partition);
        }
        // Those that had stopped before keep their own reasons.
        for part in &mut lane.sinks {
            part.stopped.get_or_insert_with(|| reason.clone());
        }
        lane.phase = Phase::Stopped(reason);
        lane.aside.clear();
        self.ending.remove(&partition);
        self.failed_letters.remove(&partition);
        let _ = self.consumer.send(ToConsumer::Stop { partition, assignment: lane.assignment });
        self.publish();
    }

    /// Stops a sink after a flush that failed for good: for the partition that the error names; or for all, since what is
    /// written together can't be told apart.
    pub(super) fn stop_sink(&mut self, sink: usize, error: SinkError) {
        if let SinkError::Position { partition, reason } = error {
            return self.stop_part(sink, partition, reason);
        }
        let reason = error.to_string();
        error!(sink = self.sinks[sink].name, %reason, "sink stopped");
        self.sinks[sink].stop(reason.clone());
        for partition in self.lanes.keys().copied().collect::<Vec<_>>() {
            self.stop_part(sink, partition, reason.clone());
        }
    }

    /// Stops a sink for one partition.
    pub(super) fn stop_part(&mut self, sink: usize, partition: TopicPartition, reason: String) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        let Some(part) = lane.sink_mut(sink).filter(|part| part.stopped.is_none()) else { return };
        part.stopped = Some(reason.clone());
        let name = part.name;
        error!(sink = name, %partition, %reason, "sink stopped for a partition");
        self.sinks[sink].close(partition);
        if lane.running().next().is_none() {
            self.stop_lane(partition, format!("{name}: {reason}"));
        }
        self.publish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::room::Waiting;

    #[test]
    fn what_was_read_since_a_topic_was_last_seen_may_be_of_another() {
        let waiting = Waiting::new(std::sync::mpsc::channel().0);
        let ending =
            |read_before| Ending { reason: String::new(), deadline: Instant::now(), read_before, is_cut_short: false };
        let before = waiting.add(1);
        std::thread::sleep(std::time::Duration::from_millis(1));
        let seen = Instant::now();
        let after = waiting.add(1);
        assert!(ending(Some(seen)).is_of_before(&before));
        assert!(!ending(Some(seen)).is_of_before(&after));
        assert!(ending(None).is_of_before(&after));
    }
}
