//! The partitions of the consumer's thread, and the batches being collected.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_fetch::records::{Reader, RecordsError};
use agentworks_kafka::BatchBuilder;
use agentworks_schemas::{TopicPartition, Topics};
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;

use crate::runtime::RuntimeConfig;
use crate::runtime::decode::Pipe;
use crate::runtime::message::{Assignment, ToDriver};
use crate::runtime::room::Waiting;

/// What may be collected over all partitions, in bytes.
const COLLECTED: usize = 4 * 1024 * 1024;

/// The partitions that the group has given to this member.
#[derive(Debug)]
pub(super) struct Lanes {
    topics: Topics,
    linger: Duration,
    lanes: HashMap<TopicPartition, Lane>,
    next_assignment: Assignment,
    /// The bytes in all builders.
    collected: usize,
    /// When the first batch is due, at the earliest.
    due: Option<Instant>,
    pipe: Pipe,
    waiting: Waiting,
}

#[derive(Debug)]
struct Lane {
    assignment: Assignment,
    /// While the partition is being read.
    reading: Option<Reading>,
    /// Where its log ended when last seen.
    end: Option<i64>,
}

#[derive(Debug)]
struct Reading {
    builder: BatchBuilder,
    /// When what has been collected is to be shipped.
    due: Option<Instant>,
    /// Where the log was said to end when nothing more came of it: behind the last record there may be offsets without one.
    at_end: Option<i64>,
    /// Where it stood when last looked at, if the log is said to go on.
    still: Option<Still>,
    /// Whether nothing is taken until the log has been compared with what was read of it.
    is_doubted: bool,
    /// What couldn't be done since the last record came. librdkafka doesn't say of which partition.
    fault: Option<Arc<str>>,
    /// The offset from which on it is fetched again, since what came was damaged.
    again: Option<i64>,
}

impl Lane {
    /// While the partition is being read, and isn't doubted.
    fn trusted(&mut self) -> Option<&mut Reading> {
        self.reading.as_mut().filter(|reading| !reading.is_doubted)
    }
}

impl Reading {
    /// Goes on after something was collected. `first` is when the first batch of all partitions is due. Returns whether this
    /// one is full.
    fn went_on(&mut self, linger: Duration, first: &mut Option<Instant>) -> bool {
        self.at_end = None;
        self.fault = None;
        if self.due.is_none() {
            let due = Instant::now() + linger;
            self.due = Some(due);
            first.get_or_insert(due);
        }
        self.builder.is_full()
    }
}

/// A partition of which nothing comes.
#[derive(Clone, Copy, Debug)]
struct Still {
    next: i64,
    end: i64,
    /// Whether it is being looked into.
    is_asked: bool,
}

/// What became of a message.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is collected, or of a partition that isn't read any more.
    Yes,
    /// It lies before one that was already taken, for which there is no good reason.
    Backwards(TopicPartition, String),
}

/// What became of what was fetched.
#[derive(Debug)]
pub(super) enum Filled {
    /// It is collected, or of a partition that isn't read any more.
    Yes,
    /// There is no room for all of it.
    Partly,
    /// It can't be used from this offset on: it may have been damaged on its way, or doesn't follow on what was collected.
    Again(i64),
    /// It is damaged again: that is how it lies in the log.
    Broken(String),
}

impl Lanes {
    pub(super) fn new(config: &RuntimeConfig, pipe: Pipe, waiting: Waiting) -> Self {
        Lanes {
            topics: config.kafka.topics.clone(),
            linger: config.linger,
            lanes: HashMap::new(),
            next_assignment: 0,
            collected: 0,
            due: None,
            pipe,
            waiting,
        }
    }

    /// Has a partition opened by the driver.
    pub(super) fn open(&mut self, partition: TopicPartition) {
        self.next_assignment += 1;
        let assignment = self.next_assignment;
        self.close(partition);
        self.lanes.insert(partition, Lane { assignment, reading: None, end: None });
        self.pipe.tell(ToDriver::Open { partition, assignment });
    }

    /// Begins to collect a partition of this epoch from `from`. Returns whether it is to be read at all.
    pub(super) fn read(&mut self, partition: TopicPartition, assignment: Assignment, epoch: u32, from: i64) -> bool {
        let wanted = self.lanes.get_mut(&partition).filter(|lane| lane.assignment == assignment);
        let Some(lane) = wanted else { return false };
        let builder = BatchBuilder::new(partition, epoch, from);
        lane.reading = Some(Reading {
            builder,
            due: None,
            at_end: None,
            still: None,
            is_doubted: false,
            fault: None,
            again: None,
        });
        true
    }

    /// Collects no more of a partition, if it is still of this assignment. Returns whether it was being read.
    pub(super) fn stop(&mut self, partition: TopicPartition, assignment: Option<Assignment>) -> bool {
        let Some(lane) = self.lanes.get_mut(&partition) else { return false };
        if assignment.is_some_and(|assignment| assignment != lane.assignment) {
            return false;
        }
        let reading = lane.reading.take();
        self.collected -= reading.as_ref().map_or(0, |reading| reading.builder.bytes());
        reading.is_some()
    }

    /// Forgets a partition.
    pub(super) fn close(&mut self, partition: TopicPartition) {
        self.stop(partition, None);
        self.lanes.remove(&partition);
    }

    /// Ships everything, and collects no more.
    pub(super) fn end(&mut self) {
        self.ship_all();
        for partition in self.partitions().collect::<Vec<_>>() {
            self.stop(partition, None);
        }
    }

    pub(super) fn assignment(&self, partition: TopicPartition) -> Option<Assignment> {
        self.lanes.get(&partition).map(|lane| lane.assignment)
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.lanes.keys().copied()
    }

    /// The partitions being read, but those that are doubted.
    pub(super) fn reading(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        let is_read = |lane: &Lane| lane.reading.as_ref().is_some_and(|reading| !reading.is_doubted);
        self.lanes.iter().filter(move |(_, lane)| is_read(lane)).map(|(partition, _)| *partition)
    }

    /// Ships everything, and takes nothing of a partition being read, or of any, until it is [trusted](Self::trust). Returns
    /// those that weren't doubted before, with each one's assignment and next offset.
    pub(super) fn doubt(&mut self, only: Option<TopicPartition>) -> Vec<(TopicPartition, Assignment, i64)> {
        self.ship_all();
        let mut doubted = Vec::new();
        for (partition, lane) in self.lanes.iter_mut().filter(|(of, _)| only.is_none_or(|only| only == **of)) {
            let assignment = lane.assignment;
            let Some(reading) = lane.trusted() else { continue };
            reading.is_doubted = true;
            doubted.push((*partition, assignment, reading.builder.next()));
        }
        doubted
    }

    /// Goes on with a partition that was doubted, if it is still of this assignment. Returns its next offset.
    pub(super) fn trust(&mut self, partition: TopicPartition, assignment: Assignment) -> Option<i64> {
        let lane = self.lanes.get_mut(&partition).filter(|lane| lane.assignment == assignment)?;
        let reading = lane.reading.as_mut().filter(|reading| reading.is_doubted)?;
        reading.is_doubted = false;
        Some(reading.builder.next())
    }

    /// Notes what couldn't be done of a partition, or of whichever.
    pub(super) fn blame(&mut self, only: Option<TopicPartition>, fault: &str) {
        let fault: Arc<str> = fault.into();
        for (_, lane) in self.lanes.iter_mut().filter(|(of, _)| only.is_none_or(|only| only == **of)) {
            if let Some(reading) = &mut lane.reading {
                reading.fault = Some(fault.clone());
            }
        }
    }

    /// Why partitions that should be read are not, as far as can be told. One whose log has nothing more isn't kept from
    /// anything.
    pub(super) fn problems(&self) -> HashMap<TopicPartition, String> {
        let problem = |lane: &Lane| {
            let reading = lane.reading.as_ref()?;
            if reading.is_doubted {
                return Some("its log may have changed: it is being compared with what was read of it".to_owned());
            }
            let fault = reading.fault.as_ref()?;
            let has_more = lane.end.is_none_or(|end| end > reading.builder.next());
            has_more.then(|| format!("nothing comes of it: {fault}"))
        };
        self.lanes.iter().filter_map(|(partition, lane)| Some((*partition, problem(lane)?))).collect()
    }

    /// Collects a message.
    pub(super) fn take(&mut self, message: &BorrowedMessage<'_>) -> Taken {
        let Some(topic) = self.topics.topic(message.topic()) else { return Taken::Yes };
        let partition = TopicPartition::new(topic, message.partition());
        // What comes of one that is doubted comes again.
        let Some(reading) = self.lanes.get_mut(&partition).and_then(Lane::trusted) else { return Taken::Yes };
        let (offset, next) = (message.offset(), reading.builder.next());
        if offset < next {
            let reason = format!(
                "offset {offset} came after {}: the log was cut back, or the topic made again, while it was being read",
                next - 1
            );
            return Taken::Backwards(partition, reason);
        }
        let before = reading.builder.bytes();
        reading.builder.push(message);
        self.collected += reading.builder.bytes() - before;
        let is_full = reading.went_on(self.linger, &mut self.due);
        self.ship_full(partition, is_full);
        Taken::Yes
    }

    /// Collects what was fetched of a partition, as long as there is room.
    pub(super) fn fill(
        &mut self,
        partition: TopicPartition,
        fetched: &mut Reader,
        has_room: impl Fn() -> bool,
    ) -> Filled {
        loop {
            // What comes of one that is doubted comes again.
            let Some(reading) = self.lanes.get_mut(&partition).and_then(Lane::trusted) else { return Filled::Yes };
            // A hole between two answers would be taken for one of the log, for good.
            let next = reading.builder.next();
            if fetched.next() > next {
                return Filled::Again(next);
            }
            let before = reading.builder.bytes();
            let filled = reading.builder.fill(fetched);
            self.collected += reading.builder.bytes() - before;
            let is_full = reading.went_on(self.linger, &mut self.due);
            self.ship_full(partition, is_full);
            match filled {
                Ok(true) if has_room() => {}
                Ok(true) => return Filled::Partly,
                Ok(false) => return Filled::Yes,
                Err(error) => return self.damaged(partition, &error),
            }
        }
    }

    /// What to do about a partition of which what is next can't be taken apart.
    pub(super) fn damaged(&mut self, partition: TopicPartition, error: &RecordsError) -> Filled {
        let Some(reading) = self.lanes.get_mut(&partition).and_then(Lane::trusted) else { return Filled::Yes };
        let next = reading.builder.next();
        if reading.again.replace(next) == Some(next) {
            return Filled::Broken(error.to_string());
        }
        Filled::Again(next)
    }

    /// Ships everything if too much is collected; else a partition's if that is full.
    fn ship_full(&mut self, partition: TopicPartition, is_full: bool) {
        if self.collected >= COLLECTED {
            self.ship_all();
        } else if is_full {
            self.ship(partition);
        }
    }

    /// The end of a partition was reached, where the log is known to end there.
    pub(super) fn at_end(&mut self, partition: TopicPartition, known: Option<i64>) {
        if let Some(reading) = self.lanes.get_mut(&partition).and_then(|lane| lane.reading.as_mut()) {
            reading.at_end = known;
        }
    }

    /// Where the logs end: as fetching says, whose word counts where it goes as far as what was asked beside it, which is
    /// some seconds old. One that nothing more came of ends there as long as nothing else is said.
    pub(super) fn ends(
        &mut self,
        known: impl Fn(TopicPartition) -> Option<i64>,
        asked: &HashMap<TopicPartition, i64>,
    ) -> HashMap<TopicPartition, i64> {
        let mut ends = HashMap::with_capacity(self.lanes.len());
        for (partition, lane) in &mut self.lanes {
            let asked = asked.get(partition).copied();
            let end = match &lane.reading {
                Some(reading) => {
                    let (known, next) = (known(*partition), reading.builder.next());
                    let end = if known.is_some() && known == reading.at_end { Some(next) } else { known };
                    end.max(asked.filter(|asked| Some(*asked) > known)).map(|end| end.max(next))
                }
                None => asked,
            };
            lane.end = end.or(lane.end);
            ends.extend(lane.end.map(|end| (*partition, end)));
        }
        ends
    }

    /// The partitions of which nothing has come since the last call, although the log is said to go on: each one's
    /// assignment, and its next offset. Each is named once, until something has changed.
    pub(super) fn still(
        &mut self,
        known: impl Fn(TopicPartition) -> Option<i64>,
    ) -> Vec<(TopicPartition, Assignment, i64)> {
        let mut named = Vec::new();
        for (partition, lane) in &mut self.lanes {
            let assignment = lane.assignment;
            let Some(reading) = lane.trusted() else { continue };
            let next = reading.builder.next();
            let end = known(*partition).filter(|end| *end > next && reading.builder.is_empty());
            reading.still = match (reading.still, end) {
                (_, None) => None,
                (Some(still), Some(end)) if (still.next, still.end) == (next, end) => {
                    if !still.is_asked {
                        named.push((*partition, assignment, next));
                    }
                    Some(Still { is_asked: true, ..still })
                }
                (_, Some(end)) => Some(Still { next, end, is_asked: false }),
            };
        }
        named
    }

    /// Takes it that there is no record in `from..to`, if `from` is still next. An empty range is asked about again.
    pub(super) fn cover(&mut self, partition: TopicPartition, assignment: Assignment, from: i64, to: i64) {
        let lane = self.lanes.get_mut(&partition).filter(|lane| lane.assignment == assignment);
        let Some(reading) = lane.and_then(Lane::trusted) else { return };
        reading.still = None;
        if reading.builder.next() == from && to > from {
            reading.builder.cover(to);
            self.ship(partition);
        }
    }

    /// How long nothing is due.
    pub(super) fn until_due(&self, now: Instant) -> Duration {
        self.due.map_or(Duration::MAX, |due| due.saturating_duration_since(now))
    }

    /// Ships the batches that have lingered long enough.
    pub(super) fn ship_due(&mut self, now: Instant) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let due: Vec<_> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.reading.as_ref().and_then(|reading| reading.due).is_some_and(|due| due <= now))
            .map(|(partition, _)| *partition)
            .collect();
        for partition in due {
            self.ship(partition);
        }
        let rest = self.lanes.values().filter_map(|lane| lane.reading.as_ref()?.due);
        self.due = rest.min();
    }

    fn ship_all(&mut self) {
        for partition in self.partitions().collect::<Vec<_>>() {
            self.ship(partition);
        }
    }

    /// Has what was collected of a partition decoded and sent to the driver.
    pub(super) fn ship(&mut self, partition: TopicPartition) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        let is_worth_it = |reading: &&mut Reading| reading.builder.next() > reading.builder.from();
        let Some(reading) = lane.reading.as_mut().filter(is_worth_it) else { return };
        let full = reading.builder.split();
        reading.due = None;
        self.collected -= full.bytes();
        let room = self.waiting.add(full.bytes());
        self.pipe.ship(lane.assignment, full, room);
    }
}
