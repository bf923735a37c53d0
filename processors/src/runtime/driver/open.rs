//! Opening a partition: first it is found out which epoch the topic is in and where the log begins and ends, then every
//! sink is asked where it goes on.

use std::time::Instant;

use agentworks_kafka::{KafkaError, Watermarks};
use agentworks_schemas::TopicPartition;
use tracing::{error, info, warn};

use super::{Driver, Log};
use crate::epochs::EpochError;
use crate::runtime::lane::{Lane, LaneSink, Phase};
use crate::runtime::message::{Answer, Assignment, ToConsumer, ToDriver};
use crate::runtime::retry::Retry;
use crate::tails;

impl Driver {
    /// Begins to open a partition.
    pub(super) fn open(&mut self, partition: TopicPartition, assignment: Assignment) {
        self.lanes.insert(partition, Lane::new(assignment));
        self.ending.remove(&partition);
        self.ask_log(partition, assignment, None);
        self.publish();
    }

    /// Asks which epoch it is, and where the log begins and ends; the answer comes as a message.
    fn ask_log(&self, partition: TopicPartition, assignment: Assignment, at: Option<Instant>) {
        let (log, to_self) = (self.log.clone(), self.to_self.clone());
        tokio::spawn(async move {
            if let Some(at) = at {
                tokio::time::sleep_until(at.into()).await;
            }
            let answer = ask(&log, partition).await;
            // The driver may have ended meanwhile.
            let _ = to_self.send(ToDriver::Log { partition, assignment, answer });
        });
    }

    /// Opens a partition in the sinks, and has it read.
    pub(super) async fn open_sinks(
        &mut self,
        partition: TopicPartition,
        assignment: Assignment,
        answer: Result<Answer, EpochError>,
    ) {
        let is_opening = |lane: &&mut Lane| lane.assignment == assignment && matches!(lane.phase, Phase::Opening(_));
        let Some(lane) = self.lanes.get_mut(&partition).filter(is_opening) else { return };
        // Whatever ails Kafka or the store, opening waits for it.
        let parts = match answer {
            Ok(Answer { marks, recorded, problem }) => {
                let epoch = recorded.epoch;
                lane.epoch = Some(recorded);
                if let Some(reason) = problem {
                    return self.stop_lane(partition, reason);
                }
                self.parts(partition, epoch, marks).await.map(|parts| (parts, marks, epoch))
            }
            Err(error) => Err(error.to_string()),
        };
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        match parts {
            Ok((parts, marks, epoch)) => {
                lane.sinks = parts;
                let from = lane.running().map(|part| part.start).min();
                match from {
                    Some(from) => {
                        info!(%partition, epoch, from, log_start = marks.low, log_end = marks.high, "partition opened");
                        lane.phase = Phase::Reading;
                        let _ = self.consumer.send(ToConsumer::Read { partition, assignment, epoch, from });
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
    async fn parts(
        &mut self,
        partition: TopicPartition,
        epoch: u32,
        marks: Watermarks,
    ) -> Result<Vec<LaneSink>, String> {
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
            let mut part = match sink.open(partition, epoch, marks.low).await {
                Ok(held) => LaneSink::new(index, name, &held),
                Err(error) if error.is_transient() => {
                    self.metrics.retry(name);
                    return Err(error.to_string());
                }
                Err(error) => {
                    // The others may be in order.
                    let reason = error.reason();
                    error!(sink = name, %partition, %reason, "partition stopped");
                    sink.close(partition);
                    parts.push(LaneSink::unopened(index, name, reason));
                    continue;
                }
            };
            let mut marks = marks;
            if part.high > marks.high {
                // Since the log was asked, both may have gone on in other hands, if this process stood still.
                marks = self.log.seek.watermarks(partition).await.map_err(|error| error.to_string())?;
            }
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

/// Which epoch a partition's topic is in, then where its log begins and ends, and whether it is the one that was read before.
async fn ask(log: &Log, partition: TopicPartition) -> Result<Answer, EpochError> {
    let sights = log.epochs.recent().await?;
    let missing = || KafkaError::NoTopic(log.seek.settings().topics.name(partition.topic));
    let sight = sights.get(&partition.topic).ok_or_else(missing)?.clone();
    let marks = log.seek.watermarks(partition).await?;
    let mut problem = sight.problem(partition.topic);
    if problem.is_none()
        && let Some(tail) = tails::load(&*log.store, &log.group, partition).await?
        && tail.counts(&sight)
        && tail.is_replaced(&log.seek, partition, marks).await?
    {
        problem = Some(tails::cut_back(partition, tail.record.offset));
    }
    Ok(Answer { marks, recorded: sight.recorded, problem })
}
