//! Opening a partition: first the log is asked where it begins and ends, then every sink where it goes on.

use std::time::Instant;

use agentworks_kafka::{KafkaError, Watermarks};
use agentworks_schemas::TopicPartition;
use tracing::{error, info, warn};

use super::Driver;
use crate::runtime::lane::{Lane, LaneSink, Phase};
use crate::runtime::message::{Assignment, ToConsumer, ToDriver};
use crate::runtime::retry::Retry;
use crate::sink::SinkError;

impl Driver {
    /// Begins to open a partition.
    pub(super) fn open(&mut self, partition: TopicPartition, assignment: Assignment) {
        self.lanes.insert(partition, Lane::new(assignment));
        self.ask_log(partition, assignment, None);
        self.publish();
    }

    /// Asks where the log begins and ends; the answer comes as a message.
    fn ask_log(&self, partition: TopicPartition, assignment: Assignment, at: Option<Instant>) {
        let (seek, to_self) = (self.seek.clone(), self.to_self.clone());
        tokio::spawn(async move {
            if let Some(at) = at {
                tokio::time::sleep_until(at.into()).await;
            }
            let marks = seek.watermarks(partition).await;
            // The driver may have ended meanwhile.
            let _ = to_self.send(ToDriver::Log { partition, assignment, marks });
        });
    }

    /// Opens a partition in the sinks, and has it read.
    pub(super) async fn open_sinks(
        &mut self,
        partition: TopicPartition,
        assignment: Assignment,
        marks: Result<Watermarks, KafkaError>,
    ) {
        let is_opening = |lane: &&mut Lane| lane.assignment == assignment && matches!(lane.phase, Phase::Opening(_));
        if self.lanes.get_mut(&partition).filter(is_opening).is_none() {
            return;
        }
        // Whatever ails Kafka, opening waits for it.
        let parts = match marks {
            Ok(marks) => self.parts(partition, marks).await.map(|parts| (parts, marks)).map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        match parts {
            Ok((parts, marks)) => {
                lane.sinks = parts;
                let from = lane.running().map(|part| part.start).min();
                match from {
                    Some(from) => {
                        info!(%partition, from, log_start = marks.low, log_end = marks.high, "partition opened");
                        lane.phase = Phase::Reading;
                        let _ = self.consumer.send(ToConsumer::Read { partition, assignment, from });
                    }
                    None => {
                        let reasons = lane.sinks.iter().filter_map(|part| part.stopped.as_deref());
                        let reason = reasons.collect::<Vec<_>>().join("; ");
                        self.stop_lane(partition, reason);
                    }
                }
            }
            Err(reason) => {
                warn!(%partition, %reason, "opening will be tried again");
                let Phase::Opening(before) = &mut lane.phase else { return };
                let retry = Retry::after(before.take(), reason);
                let at = retry.at;
                *before = Some(retry);
                self.ask_log(partition, assignment, Some(at));
            }
        }
        self.publish();
    }

    /// Opens a partition in each sink that takes it. An error may pass; sinks that won't recover are among the parts.
    async fn parts(&mut self, partition: TopicPartition, marks: Watermarks) -> Result<Vec<LaneSink>, SinkError> {
        let mut parts = Vec::new();
        for index in 0..self.sinks.len() {
            let sink = &mut self.sinks[index];
            let name = sink.name;
            if !sink.takes(partition.topic) {
                continue;
            }
            if let Some(reason) = &sink.stopped {
                parts.push(LaneSink::unopened(index, name, reason.clone()));
                continue;
            }
            let mut part = match sink.open(partition, self.epoch, marks.low).await {
                Ok(held) => LaneSink::new(index, name, &held),
                Err(error) if error.is_transient() => {
                    self.metrics.retry(name);
                    return Err(error);
                }
                Err(error) => {
                    self.stop_sink(index, &error);
                    parts.push(LaneSink::unopened(index, name, error.to_string()));
                    continue;
                }
            };
            part.stopped = part.misfit(partition, marks);
            if let Some(reason) = &part.stopped {
                error!(sink = name, %partition, %reason, "partition stopped");
                self.sinks[index].close(partition);
            }
            parts.push(part);
        }
        Ok(parts)
    }
}
