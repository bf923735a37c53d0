//! What the driver does about topics that were made again, and about what operators have said to that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_schemas::TopicPartition;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{info, warn};

use super::Driver;
use crate::epochs::{Epochs, Sight, Sights};
use crate::runtime::lane::{Lane, Phase};
use crate::runtime::message::{ToConsumer, ToDriver};

/// Looks at the topics again and again, until the driver has ended.
pub(super) async fn look(epochs: Epochs, every: Duration, driver: UnboundedSender<ToDriver>) {
    loop {
        tokio::time::sleep(every).await;
        let begun = Instant::now();
        match epochs.look().await {
            Ok(sights) => {
                if driver.send(ToDriver::Epochs { begun, sights }).is_err() {
                    return;
                }
            }
            // The next look may find out; partitions are not opened meanwhile.
            Err(error) => warn!(%error, "the topics' epochs can't be looked up"),
        }
    }
}

/// What is to be done with a partition whose topic was looked at.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Nothing,
    Stop(String),
    Reopen,
}

fn verdict(lane: &Lane, partition: TopicPartition, sight: &Sight) -> Verdict {
    // One that is being opened asks itself.
    let Some(opened) = lane.epoch.as_ref().filter(|_| !matches!(lane.phase, Phase::Opening(_))) else {
        return Verdict::Nothing;
    };
    if let Some(problem) = sight.problem(partition.topic) {
        // Whatever it has stopped for, this is the reason.
        let is_said = matches!(&lane.phase, Phase::Stopped(reason) if *reason == problem);
        return if is_said { Verdict::Nothing } else { Verdict::Stop(problem) };
    }
    let has_stopped = matches!(lane.phase, Phase::Stopped(_)) || lane.sinks.iter().any(|part| part.stopped.is_some());
    if opened.epoch != sight.recorded.epoch || has_stopped && opened.revision != sight.recorded.revision {
        return Verdict::Reopen;
    }
    Verdict::Nothing
}

impl Driver {
    /// Stops the partitions of topics that have been made again, and opens those anew that have been adopted. The topics
    /// were looked at after `begun`.
    pub(super) async fn compare_epochs(&mut self, begun: Instant, sights: &Arc<Sights>) {
        let deadline = Instant::now() + self.drain_time;
        for partition in self.lanes.keys().copied().collect::<Vec<_>>() {
            if self.ending.contains_key(&partition) {
                continue;
            }
            let Some((lane, sight)) = self.lanes.get_mut(&partition).zip(sights.get(&partition.topic)) else {
                continue;
            };
            match verdict(lane, partition, sight) {
                Verdict::Nothing => lane.is_as_recorded(sight, begun),
                Verdict::Stop(reason) => {
                    // What was read before it was last seen to be the old one is of the old one, and nowhere else any more.
                    let same_at = lane.same_at;
                    self.end_with(partition, reason, Some(same_at));
                }
                Verdict::Reopen => self.reopen(partition, sight, deadline).await,
            }
        }
    }

    async fn reopen(&mut self, partition: TopicPartition, sight: &Sight, deadline: Instant) {
        let Some(assignment) = self.suspend(partition, deadline, Phase::Opening(None)).await else { return };
        info!(%partition, epoch = sight.recorded.epoch, "an operator has acted: the partition is opened anew");
        // If the thread has ended, so will this task.
        let _ = self.consumer.send(ToConsumer::Reopen { partition, assignment });
    }
}

#[cfg(test)]
mod tests {
    use agentworks_schemas::{Timestamp, Topic};

    use super::*;
    use crate::epochs::Epoch;
    use crate::runtime::lane::LaneSink;

    const LANE: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };

    fn recorded(epoch: u32, revision: u32, id: &str) -> Epoch {
        Epoch { epoch, revision, as_is: 0, topic_id: Some(id.to_owned()), adopted: Timestamp(0) }
    }

    fn lane(phase: Phase) -> Lane {
        let mut lane = Lane::new(1);
        (lane.epoch, lane.phase) = (Some(recorded(1, 5, "a")), phase);
        lane
    }

    fn of(lane: &Lane, recorded: Epoch, id: &str) -> Verdict {
        verdict(lane, LANE, &Sight { recorded, topic_id: Some(id.to_owned()) })
    }

    #[test]
    fn a_topic_made_again_stops_its_lanes_with_the_command_to_give() {
        let Verdict::Stop(reason) = of(&lane(Phase::Reading), recorded(1, 5, "a"), "b") else { panic!() };
        assert!(reason.contains("agentworks topics adopt agent-logs"), "{reason}");
        assert_eq!(of(&lane(Phase::Stopped(reason)), recorded(1, 5, "a"), "b"), Verdict::Nothing, "once is enough");
        let other = lane(Phase::Stopped("offsets went back".into()));
        assert!(matches!(of(&other, recorded(1, 5, "a"), "b"), Verdict::Stop(_)), "the reason behind it is said");
        assert_eq!(of(&lane(Phase::Opening(None)), recorded(1, 5, "a"), "b"), Verdict::Nothing);
    }

    #[test]
    fn what_was_adopted_is_opened_anew() {
        assert_eq!(of(&lane(Phase::Stopped("?".into())), recorded(2, 6, "b"), "b"), Verdict::Reopen);
        assert_eq!(of(&lane(Phase::Reading), recorded(2, 6, "b"), "b"), Verdict::Reopen);
        assert_eq!(of(&lane(Phase::Reading), recorded(1, 5, "a"), "a"), Verdict::Nothing);
    }

    #[test]
    fn what_has_stopped_is_tried_again_when_an_operator_has_acted() {
        let stopped = lane(Phase::Stopped("the log begins beyond".into()));
        assert_eq!(of(&stopped, recorded(1, 5, "a"), "a"), Verdict::Nothing);
        assert_eq!(of(&stopped, recorded(1, 6, "a"), "a"), Verdict::Reopen);
        let mut partly = lane(Phase::Reading);
        assert_eq!(of(&partly, recorded(1, 6, "a"), "a"), Verdict::Nothing, "nothing has stopped");
        partly.sinks.push(LaneSink::unopened(0, "hot", "lost".into()));
        assert_eq!(of(&partly, recorded(1, 6, "a"), "a"), Verdict::Reopen);
    }
}
