//! Ending with partitions that others read on, or nobody.

use std::time::Instant;

use agentworks_schemas::TopicPartition;
use tracing::{info, warn};

use super::Driver;
use crate::runtime::lane::Phase;
use crate::runtime::message::{Assignment, ToConsumer};
use crate::runtime::retry::Retry;

impl Driver {
    /// Gives partitions up: writes what is pending for them until the deadline, if there is one. Returns the offsets up to
    /// which all sinks hold everything.
    pub(super) async fn close_all(
        &mut self,
        partitions: Vec<TopicPartition>,
        deadline: Option<Instant>,
    ) -> Vec<(TopicPartition, i64)> {
        let (mut all, mut tails) = (Vec::new(), Vec::new());
        for partition in partitions {
            self.close_sinks(partition, deadline).await;
            let Some(mut lane) = self.lanes.remove(&partition) else { continue };
            self.ending.remove(&partition);
            self.failed_letters.remove(&partition);
            self.letters_to.remove(&partition);
            let held = lane.held();
            info!(%partition, held, flushed = deadline.is_some(), "partition given up");
            all.extend(held.map(|offset| (partition, offset)));
            tails.extend(lane.tail().map(|tail| (partition, tail)));
        }
        if let Some(deadline) = deadline {
            self.log.keep_last(tails, deadline).await;
        }
        all
    }

    /// Has the sinks end with a partition, with their pending data written until the deadline, if there is one.
    pub(super) async fn close_sinks(&mut self, partition: TopicPartition, deadline: Option<Instant>) {
        let Some(lane) = self.lanes.get(&partition) else { return };
        let running: Vec<_> = lane.running().map(|part| part.sink).collect();
        if let Some(deadline) = deadline {
            for sink in &running {
                self.flush_last(*sink, partition, deadline).await;
            }
        }
        for sink in running {
            self.sinks[sink].close(partition);
        }
    }

    /// Has the sinks end with a partition that will be opened anew, and forgets what was put aside of it: it is read again.
    /// Returns its assignment.
    pub(super) async fn suspend(
        &mut self,
        partition: TopicPartition,
        deadline: Instant,
        phase: Phase,
    ) -> Option<Assignment> {
        self.close_sinks(partition, Some(deadline)).await;
        let lane = self.lanes.get_mut(&partition)?;
        lane.phase = phase;
        lane.sinks.clear();
        lane.aside.clear();
        let assignment = lane.assignment;
        self.publish();
        Some(assignment)
    }

    async fn flush_last(&mut self, sink: usize, partition: TopicPartition, deadline: Instant) {
        let mut retry = None;
        loop {
            let begun = Instant::now();
            let error = match self.sinks[sink].flush_last(partition).await {
                Ok(held) => {
                    let offsets = self.hold(sink, &held);
                    return self.metrics.flushed(self.sinks[sink].name, offsets, begun.elapsed());
                }
                Err(error) => error,
            };
            let next = Retry::after(retry.take(), error.to_string());
            if !error.is_transient() || next.at > deadline {
                let sink = self.sinks[sink].name;
                warn!(sink, %partition, %error, "pending data is left to whoever reads the partition next");
                return;
            }
            tokio::time::sleep_until(next.at.into()).await;
            retry = Some(next);
        }
    }

    /// Ends with everything.
    pub(super) async fn finish(mut self, deadline: Instant) {
        let held = self.close_all(self.lanes.keys().copied().collect(), Some(deadline)).await;
        self.publish();
        self.show();
        // If the thread has ended, nobody waits for this.
        let _ = self.consumer.send(ToConsumer::Drained { held });
    }
}
