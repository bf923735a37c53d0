//! What a runtime says of itself.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use agentworks_kafka::KafkaError;
use agentworks_schemas::{Timestamp, TopicPartition};
use parking_lot::Mutex;

/// How far a runtime has come, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct RuntimeStatus {
    /// Its consumer group.
    pub group: String,
    /// Whether it is a member of the group, perhaps one without partitions.
    pub joined: bool,
    /// How many partitions the group has given to this member.
    pub assigned: usize,
    /// Whether the consumer waits for the sinks.
    pub paused: bool,
    /// Why the runtime has ended, if it has and wasn't told to.
    pub fault: Option<String>,
    /// What is being tried again and again, and the last error: sinks by name, or the dead-letter topic.
    pub retrying: Vec<(&'static str, String)>,
    /// What Kafka complained of last, if it did within the last minute.
    pub kafka: Option<String>,
    /// These partitions, sorted. One that was given or taken a moment ago may be missing or here still.
    pub lanes: Vec<LaneStatus>,
}

impl RuntimeStatus {
    /// Why the runtime isn't ready, in words; empty if it is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<_> = self.fault.iter().map(|fault| format!("it has ended: {fault}")).collect();
        if !self.joined {
            problems.push(format!("it is not a member of group {}", self.group));
        }
        problems.extend(self.retrying.iter().map(|(what, error)| format!("{what}, tried again: {error}")));
        for LaneStatus { partition, state, problem, sinks, .. } in &self.lanes {
            match state {
                LaneState::Opening(None) => problems.push(format!("{partition} is being opened")),
                LaneState::Opening(Some(error)) => problems.push(format!("{partition} can't be opened yet: {error}")),
                LaneState::Stopped(reason) => problems.push(format!("{partition} has stopped: {reason}")),
                LaneState::Reading => {
                    problems.extend(problem.iter().map(|problem| format!("{partition}: {problem}")));
                    problems.extend(sinks.iter().filter_map(|sink| {
                        Some(format!("{partition} has stopped for {}: {}", sink.sink, sink.stopped.as_ref()?))
                    }));
                }
            }
        }
        if problems.is_empty() && !self.is_ready() {
            problems.push(format!("{} of {} partitions are being read", self.lanes.len(), self.assigned));
        }
        problems.extend(self.kafka.iter().filter(|_| !self.is_ready()).map(|error| format!("Kafka: {error}")));
        problems
    }

    /// Whether the runtime does its work; see [`RuntimeHandle::is_ready`](super::RuntimeHandle::is_ready).
    pub fn is_ready(&self) -> bool {
        let reads = |lane: &LaneStatus| {
            let is_whole = lane.problem.is_none() && lane.sinks.iter().all(|sink| sink.stopped.is_none());
            lane.state == LaneState::Reading && is_whole
        };
        let settled = self.joined && self.lanes.len() == self.assigned;
        settled && self.fault.is_none() && self.retrying.is_empty() && self.lanes.iter().all(reads)
    }
}

/// A partition, and what the sinks have of it.
#[derive(Clone, Debug)]
pub struct LaneStatus {
    /// Which.
    pub partition: TopicPartition,
    /// What is being done with it.
    pub state: LaneState,
    /// Why it isn't read as it should be although it is to be, if so.
    pub problem: Option<String>,
    /// The end of its log as last seen: the next record's offset.
    pub end: Option<i64>,
    /// The sinks that take its topic. Empty while it is being opened.
    pub sinks: Vec<SinkStatus>,
}

/// What is being done with a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneState {
    /// The sinks load their positions. If that is being tried again, the last error.
    Opening(Option<String>),
    /// It is being read.
    Reading,
    /// It is not read any more, for this reason.
    Stopped(String),
}

/// What a sink has of a partition.
#[derive(Clone, Debug)]
pub struct SinkStatus {
    /// The sink's name.
    pub sink: &'static str,
    /// The first offset that it holds; -1 if it couldn't say.
    pub low: i64,
    /// The first offset that it doesn't hold yet; -1 if it couldn't say.
    pub high: i64,
    /// How many offsets of the log it doesn't hold yet.
    pub lag: u64,
    /// For how long the oldest record that it doesn't hold yet has been on the log; zero if there is none.
    pub lag_time: Duration,
    /// Why it takes nothing more of this partition, if so.
    pub stopped: Option<String>,
}

/// Where the consumer's thread and the driver write down what they know.
#[derive(Debug)]
pub(super) struct Board {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    status: RuntimeStatus,
    kafka_at: Timestamp,
    /// Where logs end, as far as the consumer knows.
    ends: HashMap<TopicPartition, i64>,
    /// Where they end as was asked beside it.
    asked: HashMap<TopicPartition, i64>,
    /// Why partitions are not read that should be: as far as the consumer knows, and as the answer to that question was.
    problems: [HashMap<TopicPartition, String>; 2],
    lanes: BTreeMap<TopicPartition, LaneView>,
}

/// A partition as the driver knows it.
#[derive(Clone, Debug)]
pub(super) struct LaneView {
    pub(super) state: LaneState,
    /// Why it isn't read as it should be, if so.
    pub(super) problem: Option<String>,
    /// The timestamp of the last record that was handed to the sinks; before the first, when the partition was opened.
    pub(super) last: Timestamp,
    /// The offset up to which all sinks hold everything.
    pub(super) held: Option<i64>,
    pub(super) sinks: Vec<SinkView>,
}

/// A sink's part of a partition as the driver knows it.
#[derive(Clone, Debug)]
pub(super) struct SinkView {
    pub(super) sink: &'static str,
    pub(super) low: i64,
    pub(super) high: i64,
    /// The timestamp of the first record that was handed over and isn't held yet.
    pub(super) oldest: Option<Timestamp>,
    pub(super) stopped: Option<String>,
}

/// How long an error of Kafka is shown.
const SHOWN: Duration = Duration::from_secs(60);

impl Board {
    pub(super) fn new(group: &str) -> Self {
        let status = RuntimeStatus {
            group: group.to_owned(),
            joined: false,
            assigned: 0,
            paused: false,
            fault: None,
            retrying: Vec::new(),
            kafka: None,
            lanes: Vec::new(),
        };
        let state = State {
            status,
            kafka_at: Timestamp::default(),
            ends: HashMap::new(),
            asked: HashMap::new(),
            problems: Default::default(),
            lanes: BTreeMap::new(),
        };
        Board { state: Mutex::new(state) }
    }

    /// The consumer: whether it is a member of the group, and how many partitions it was given.
    pub(super) fn set_member(&self, joined: bool, assigned: usize) {
        let mut state = self.state.lock();
        (state.status.joined, state.status.assigned) = (joined, assigned);
    }

    /// The consumer: back-pressure.
    pub(super) fn set_paused(&self, paused: bool) {
        self.state.lock().status.paused = paused;
    }

    /// The consumer: where the logs of its partitions end, and why those are not read that should be.
    pub(super) fn set_ends(&self, ends: HashMap<TopicPartition, i64>, problems: HashMap<TopicPartition, String>) {
        let mut state = self.state.lock();
        state.ends = ends;
        state.problems[0] = problems;
    }

    /// Whoever asks for the ends of logs: the answer. What passes is no news, and the last answer stays.
    pub(super) fn set_asked(&self, answer: BTreeMap<TopicPartition, Result<i64, KafkaError>>) {
        let State { asked, problems: [_, problems], lanes, .. } = &mut *self.state.lock();
        for (partition, end) in answer {
            match end {
                Ok(end) => {
                    asked.insert(partition, end);
                    problems.remove(&partition);
                }
                Err(error) if error.is_transient() => {}
                Err(error) => {
                    problems.insert(partition, format!("where its log ends can't be found out: {error}"));
                }
            }
        }
        asked.retain(|partition, _| lanes.contains_key(partition));
        problems.retain(|partition, _| lanes.contains_key(partition));
    }

    /// Where logs ended when last asked for.
    pub(super) fn asked(&self) -> HashMap<TopicPartition, i64> {
        self.state.lock().asked.clone()
    }

    /// The driver's partitions.
    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        self.state.lock().lanes.keys().copied().collect()
    }

    /// The consumer: Kafka complained.
    pub(super) fn set_kafka(&self, error: String) {
        let mut state = self.state.lock();
        (state.status.kafka, state.kafka_at) = (Some(error), Timestamp::now());
    }

    /// Either: the runtime has ended of itself. The first reason stays.
    pub(super) fn set_fault(&self, reason: impl Into<String>) {
        self.state.lock().status.fault.get_or_insert_with(|| reason.into());
    }

    /// The driver: its partitions, and what it tries again.
    pub(super) fn set_driver(&self, lanes: BTreeMap<TopicPartition, LaneView>, retrying: Vec<(&'static str, String)>) {
        let mut state = self.state.lock();
        state.lanes = lanes;
        state.status.retrying = retrying;
    }

    /// The offsets up to which all sinks hold everything, per partition.
    pub(super) fn held(&self) -> Vec<(TopicPartition, i64)> {
        let state = self.state.lock();
        state.lanes.iter().filter_map(|(partition, view)| Some((*partition, view.held?))).collect()
    }

    pub(super) fn status(&self) -> RuntimeStatus {
        let state = self.state.lock();
        let now = Timestamp::now();
        let mut status = state.status.clone();
        if now.since(state.kafka_at) > SHOWN {
            status.kafka = None;
        }
        let lane = |(partition, view): (&TopicPartition, &LaneView)| {
            let mut lane = lane_status(*partition, view, state.ends.get(partition).copied(), now);
            let others = state.problems.iter().find_map(|problems| problems.get(partition));
            lane.problem = lane.problem.or_else(|| others.cloned());
            lane
        };
        status.lanes = state.lanes.iter().map(lane).collect();
        status
    }
}

fn lane_status(partition: TopicPartition, view: &LaneView, end: Option<i64>, now: Timestamp) -> LaneStatus {
    let sinks = view.sinks.iter().map(|sink| {
        let lag = end.map_or(0, |end| u64::try_from(end - sink.high).unwrap_or(0));
        // The next record isn't known while it isn't here; it is younger than the last one that is.
        let oldest = Some(sink.oldest.unwrap_or(view.last)).filter(|_| lag > 0);
        SinkStatus {
            sink: sink.sink,
            low: sink.low,
            high: sink.high,
            lag,
            lag_time: oldest.map_or(Duration::ZERO, |oldest| now.since(oldest)),
            stopped: sink.stopped.clone(),
        }
    });
    let (state, problem) = (view.state.clone(), view.problem.clone());
    LaneStatus { partition, state, problem, end, sinks: sinks.collect() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::Topic;

    use super::*;

    const LANE: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };

    fn board(state: LaneState, high: i64, oldest: Option<Timestamp>) -> Board {
        let board = Board::new("store");
        let sink = SinkView { sink: "hot", low: 0, high, oldest, stopped: None };
        let last = Timestamp(Timestamp::now().millis() - 5_000);
        let view = LaneView { state, problem: None, last, held: Some(high), sinks: vec![sink] };
        board.set_driver([(LANE, view)].into(), Vec::new());
        board.set_member(true, 1);
        board.set_ends([(LANE, 100)].into(), HashMap::new());
        board
    }

    #[test]
    fn lag_counts_offsets_and_the_age_of_the_oldest() {
        let oldest = Timestamp(Timestamp::now().millis() - 60_000);
        let status = board(LaneState::Reading, 90, Some(oldest)).status();
        let sink = &status.lanes[0].sinks[0];
        assert_eq!(sink.lag, 10);
        assert!((60..61).contains(&sink.lag_time.as_secs()), "{:?}", sink.lag_time);

        let behind = board(LaneState::Reading, 90, None).status();
        assert_eq!(behind.lanes[0].sinks[0].lag_time.as_secs(), 5, "the next record is younger than the last");

        let even = board(LaneState::Reading, 100, None).status();
        assert_eq!((even.lanes[0].sinks[0].lag, even.lanes[0].sinks[0].lag_time), (0, Duration::ZERO));
    }

    #[test]
    fn ready_means_that_all_is_being_read() {
        assert!(board(LaneState::Reading, 0, None).status().is_ready());
        assert_eq!(board(LaneState::Reading, 0, None).status().problems(), [] as [String; 0]);
        let stopped = board(LaneState::Stopped("the reason".into()), 0, None).status();
        assert_eq!(stopped.problems(), ["agent-logs[0] has stopped: the reason"]);
        assert!(!board(LaneState::Opening(None), 0, None).status().is_ready());
        assert!(!board(LaneState::Stopped("?".into()), 0, None).status().is_ready());
        let board = board(LaneState::Reading, 0, None);
        board.set_member(true, 2);
        assert!(!board.status().is_ready(), "one is still to be opened");
        assert_eq!(board.status().problems(), ["1 of 2 partitions are being read"]);
        board.set_member(true, 1);
        board.set_paused(true);
        assert!(board.status().is_ready(), "back-pressure is no fault");
        board.set_fault("the first");
        board.set_fault("the second");
        assert_eq!(board.status().fault.as_deref(), Some("the first"));
        assert!(!board.status().is_ready());
    }
}
