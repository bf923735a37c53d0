//! The consumer's thread: polls Kafka, builds batches, and answers the group.

mod fetched;
mod lanes;
mod member;
mod pressure;
mod source;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use agentworks_kafka::{KafkaError, KafkaSettings};
use agentworks_schemas::TopicPartition;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use tracing::{debug, error, info, warn};

use super::RuntimeConfig;
use super::decode::Pipe;
use super::group::{self, GroupContext, Rebalanced};
use super::message::{ToConsumer, ToDriver};
use super::metrics::GroupMetrics;
use super::room::Waiting;
use super::status::Board;
use lanes::{Lanes, Taken};
use member::Member;
use source::Source;

/// How long a poll waits when nothing is being collected.
const POLL: Duration = Duration::from_millis(50);
/// How often it is looked whether there is room again, at least.
const ROOM: Duration = Duration::from_millis(5);
/// So many messages are taken in a row before looking at anything else.
const RUN: usize = 256;
/// How often the ends of the logs are noted.
const LOOK: Duration = Duration::from_secs(1);
/// How often offsets are committed.
const COMMIT: Duration = Duration::from_secs(5);
/// How much longer than the driver's deadline to wait for its answer: a call to a sink is let run to its end.
const MARGIN: Duration = Duration::from_secs(5);
/// How long to wait before joining the group anew.
const REJOIN: Duration = Duration::from_secs(1);

pub(super) struct Poller {
    kafka: KafkaSettings,
    member: Member,
    consumer: BaseConsumer<GroupContext>,
    source: Source,
    lanes: Lanes,
    /// Partitions to be given up, until the driver has written what is pending.
    revocations: HashMap<u64, Revocation>,
    next_number: u64,
    pipe: Pipe,
    from_driver: Receiver<ToConsumer>,
    waiting: Waiting,
    queue: usize,
    drain: Duration,
    paused: bool,
    full_since: Option<Instant>,
    committed: HashMap<TopicPartition, i64>,
    next_look: Instant,
    next_commit: Instant,
    /// Set when the runtime is shutting down: until when to wait for the driver.
    ending: Option<Instant>,
    board: Arc<Board>,
    metrics: GroupMetrics,
}

struct Revocation {
    partitions: Vec<TopicPartition>,
    until: Instant,
}

/// The thread is to end.
struct End;

impl Poller {
    pub(super) fn new(
        config: &RuntimeConfig,
        pipe: Pipe,
        (to_consumer, from_driver): (Sender<ToConsumer>, Receiver<ToConsumer>),
        board: Arc<Board>,
    ) -> Result<Self, KafkaError> {
        let kafka = config.kafka.clone();
        let topics: HashSet<_> = config.sinks.iter().flat_map(|sink| sink.topics()).copied().collect();
        let member = Member {
            group: config.group.clone(),
            instance: config.instance.clone(),
            topics: topics.into_iter().map(|topic| kafka.topics.name(topic)).collect(),
        };
        let consumer = member.join(&kafka)?;
        let source = Source::new(&kafka, &config.group)?;
        let waiting = Waiting::new(to_consumer);
        // It counts pauses; sinks are the driver's.
        let metrics = GroupMetrics::new(config.metrics.clone(), &config.group, Vec::new());
        Ok(Poller {
            lanes: Lanes::new(config, pipe.clone(), waiting.clone()),
            kafka,
            member,
            consumer,
            source,
            revocations: HashMap::new(),
            next_number: 0,
            pipe,
            from_driver,
            waiting,
            // With less it would never be half empty.
            queue: config.queue.max(2),
            drain: config.drain,
            paused: false,
            full_since: None,
            committed: HashMap::new(),
            next_look: Instant::now(),
            next_commit: Instant::now() + COMMIT,
            ending: None,
            board,
            metrics,
        })
    }

    /// Works until the runtime ends.
    pub(super) fn run(mut self) {
        // Should this thread panic, that is seen.
        let guard = Guard(self.board.clone());
        while self.round().is_ok() {}
        // The consumer polls itself while it is dropped.
        self.consumer.context().close();
        let group = self.board.status().group;
        drop(self.consumer);
        info!(group, "left the group");
        std::mem::forget(guard);
    }

    fn round(&mut self) -> Result<(), End> {
        while let Ok(message) = self.from_driver.try_recv() {
            self.receive(message)?;
        }
        for rebalanced in self.consumer.context().take() {
            self.rebalanced(rebalanced);
        }
        let now = Instant::now();
        self.give_up_overdue(now);
        self.lanes.ship_due(now);
        self.look(now);
        match self.ending {
            Some(until) if now > until => {
                warn!("the sinks did not finish in time");
                return Err(End);
            }
            None if self.pipe.is_closed() || self.source.has_ended() => {
                self.board.set_fault("the driver, the decoder or the fetcher has ended");
                return Err(End);
            }
            _ => {}
        }
        if self.wait_for_room(now)? {
            return Ok(());
        }
        self.poll()
    }

    fn poll(&mut self) -> Result<(), End> {
        let mut timeout = self.lanes.until_due(Instant::now()).min(POLL);
        if let Source::Fetcher(_) = self.source {
            if !self.paused {
                return self.poll_fetcher(timeout);
            }
            // Nothing is lost by pausing, so it ends as soon as there is room.
            timeout = timeout.min(ROOM);
        }
        for _ in 0..RUN {
            match self.consumer.poll(timeout) {
                None => return Ok(()),
                Some(Ok(message)) => {
                    if let Taken::Backwards(partition, reason) = self.lanes.take(&message) {
                        drop(message);
                        self.stop(partition, reason);
                    }
                }
                Some(Err(error)) => return self.fault(&error),
            }
            timeout = Duration::ZERO;
        }
        Ok(())
    }

    fn receive(&mut self, message: ToConsumer) -> Result<(), End> {
        match message {
            ToConsumer::Read { partition, assignment, epoch, from } => {
                if self.lanes.read(partition, assignment, epoch, from) {
                    self.assign(partition, from);
                }
            }
            ToConsumer::Reopen { partition, assignment } => {
                if self.lanes.assignment(partition) == Some(assignment) {
                    if self.lanes.stop(partition, None) {
                        self.leave(&[partition]);
                    }
                    self.committed.remove(&partition);
                    self.lanes.open(partition);
                }
            }
            ToConsumer::Cover { partition, assignment, from, to } => {
                self.lanes.cover(partition, assignment, from, to);
            }
            ToConsumer::Stop { partition, assignment } => {
                if self.lanes.stop(partition, Some(assignment)) {
                    self.leave(&[partition]);
                }
            }
            ToConsumer::Compared { partition, assignment, changed: None } => {
                if let Some(next) = self.lanes.trust(partition, assignment) {
                    self.assign(partition, next);
                }
            }
            ToConsumer::Compared { partition, assignment, changed: Some(reason) } => {
                if self.lanes.assignment(partition) == Some(assignment) {
                    self.stop(partition, reason);
                }
            }
            ToConsumer::Closed { number, held } => {
                if let Some(revocation) = self.revocations.remove(&number) {
                    self.commit(held);
                    group::unassign(&self.consumer, &self.kafka.topics, &revocation.partitions);
                }
            }
            ToConsumer::Drained { held } => {
                self.commit(held);
                return Err(End);
            }
            // Whatever waited goes on.
            ToConsumer::Room => {}
            ToConsumer::Shutdown { deadline } => {
                self.lanes.end();
                self.pause();
                self.ending = Some(deadline + MARGIN);
                self.pipe.tell(ToDriver::Drain { deadline });
            }
            ToConsumer::Abort => return Err(End),
        }
        Ok(())
    }

    fn assign(&mut self, partition: TopicPartition, from: i64) {
        match self.source.follow(&self.consumer, &self.kafka, partition, from) {
            Ok(()) if self.paused => self.pause(),
            Ok(()) => {}
            Err(error) => self.stop(partition, format!("librdkafka refused to read it from {from}: {error}")),
        }
    }

    /// Reads partitions no longer.
    fn leave(&mut self, partitions: &[TopicPartition]) {
        self.source.leave(&self.consumer, &self.kafka, partitions);
    }

    /// Answers the group.
    fn rebalanced(&mut self, rebalanced: Rebalanced) {
        match rebalanced {
            Rebalanced::Assigned(partitions) => {
                info!(partitions = partitions.len(), "partitions assigned");
                group::assign_nothing(&self.consumer);
                for partition in partitions {
                    self.lanes.open(partition);
                }
                self.board.set_member(true, self.lanes.partitions().count());
            }
            Rebalanced::Revoked { partitions, lost } => {
                info!(partitions = partitions.len(), lost, "partitions revoked");
                let until = Instant::now() + self.drain;
                // What is pending is written even of those that are lost. If they are others', the positions see to it that
                // it does no harm; but partitions of a topic that was deleted are lost to nobody, and so is what was in them.
                let number = self.close(&partitions, Some(until), !lost);
                if lost {
                    // There is nothing to wait for.
                    group::unassign(&self.consumer, &self.kafka.topics, &partitions);
                } else {
                    self.revocations.insert(number, Revocation { partitions, until: until + MARGIN });
                }
            }
        }
    }

    /// Ends with partitions, of which what is pending is written until the deadline, if there is one. Unless this `is_member`
    /// still, it is none until the group says otherwise.
    fn close(&mut self, partitions: &[TopicPartition], deadline: Option<Instant>, is_member: bool) -> u64 {
        self.next_number += 1;
        for partition in partitions {
            self.lanes.close(*partition);
            self.committed.remove(partition);
        }
        // By librdkafka they are left when the group is answered, which may be later.
        if let Source::Fetcher(_) = self.source {
            self.leave(partitions);
        }
        self.board.set_member(is_member, self.lanes.partitions().count());
        let (partitions, number) = (partitions.to_vec(), self.next_number);
        self.pipe.tell(ToDriver::Close { partitions, deadline, number });
        number
    }

    /// Gives up partitions whose pending data took too long to write. What is written later does no harm.
    fn give_up_overdue(&mut self, now: Instant) {
        for (_, revocation) in self.revocations.extract_if(|_, revocation| revocation.until < now) {
            warn!(partitions = revocation.partitions.len(), "given up before the sinks were done");
            group::unassign(&self.consumer, &self.kafka.topics, &revocation.partitions);
        }
    }

    /// Stops a partition that can't be read any further. What was read of it may be nowhere else any more.
    fn stop(&mut self, partition: TopicPartition, reason: String) {
        let Some(assignment) = self.lanes.assignment(partition) else { return };
        self.lanes.ship(partition);
        if self.lanes.stop(partition, None) {
            self.leave(&[partition]);
            self.pipe.tell(ToDriver::Stop { partition, assignment, reason });
        }
    }

    /// What librdkafka couldn't do.
    fn fault(&mut self, error: &ClientError) -> Result<(), End> {
        match (error, error.rdkafka_error_code()) {
            (ClientError::PartitionEOF(number), _) => {
                // librdkafka's wrapper doesn't say of which topic. One that isn't at its end gets its next message soon, and is
                // no more taken to be there.
                for partition in self.lanes.reading().filter(|of| of.partition == *number).collect::<Vec<_>>() {
                    let end = self.source.end(&self.consumer, &self.kafka, partition);
                    self.lanes.at_end(partition, end);
                }
            }
            // librdkafka doesn't say of which partition, and reads that one no more.
            (_, Some(RDKafkaErrorCode::AutoOffsetReset)) => self.doubt(None),
            (_, Some(RDKafkaErrorCode::PollExceeded)) => {
                // This thread stood still. The group has given the partitions to others; that comes as a revocation too.
                let lost: Vec<_> = self.lanes.partitions().collect();
                error!(partitions = lost.len(), "not polled for too long: the partitions are lost");
                self.close(&lost, None, false);
                self.board.set_kafka(error.to_string());
            }
            (ClientError::MessageConsumptionFatal(code), _) => return self.rejoin(*code),
            _ => {
                warn!(%error, "Kafka");
                self.board.set_kafka(error.to_string());
                if !KafkaError::from_client(error, "a topic").is_transient() {
                    // It is said once, however long it lasts.
                    self.lanes.blame(None, &error.to_string());
                }
            }
        }
        Ok(())
    }

    /// This consumer is of no use any more; another takes its place.
    ///
    /// A member with an instance name is fenced when another process joins with the same name. But a coordinator that was
    /// killed and has come back may also have forgotten our last joining, and then nobody else is there who would go on.
    /// Should there be somebody, the two fence each other in turn, which loses nothing, and each says so.
    fn rejoin(&mut self, code: RDKafkaErrorCode) -> Result<(), End> {
        let reason = match code {
            RDKafkaErrorCode::FencedInstanceId => {
                "the coordinator knows another member of the same instance name; if this repeats, two processes have it"
                    .into()
            }
            code => code.to_string(),
        };
        warn!(reason, "the consumer has ended; it joins the group anew");
        self.board.set_kafka(reason);
        self.close(&self.lanes.partitions().collect::<Vec<_>>(), None, false);
        self.revocations.clear();
        std::thread::sleep(REJOIN);
        self.consumer.context().close();
        match self.member.join(&self.kafka) {
            Ok(consumer) => {
                self.consumer = consumer;
                Ok(())
            }
            Err(error) => {
                error!(%error, "the consumer can't join anew");
                self.board.set_fault(error.to_string());
                Err(End)
            }
        }
    }

    /// A partition's next offset isn't in its log, or what lies before it isn't what was read; or some partition's, whichever.
    /// So it isn't read until the driver has compared it with its log.
    fn doubt(&mut self, partition: Option<TopicPartition>) {
        let doubted = self.lanes.doubt(partition);
        let partitions: Vec<_> = doubted.iter().map(|(partition, ..)| *partition).collect();
        self.leave(&partitions);
        for (partition, assignment, next) in doubted {
            self.pipe.tell(ToDriver::Doubt { partition, assignment, next, retry: None });
        }
    }

    /// Notes where the logs end, and commits.
    fn look(&mut self, now: Instant) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK;
        let known = |partition| self.source.end(&self.consumer, &self.kafka, partition);
        let ends = self.lanes.ends(known, &self.board.asked());
        self.board.set_ends(ends, self.lanes.problems());
        // A consumer that is paused or full has its own reasons for standing still.
        if !self.paused && self.full_since.is_none() && self.ending.is_none() {
            for (partition, assignment, from) in self.lanes.still(known) {
                self.pipe.tell(ToDriver::Quiet { partition, assignment, from });
            }
        }
        if now >= self.next_commit {
            self.next_commit = now + COMMIT;
            self.commit(self.board.held());
        }
    }

    /// Commits offsets, as advice for whoever watches the group's lag. Nothing reads them back.
    fn commit(&mut self, held: Vec<(TopicPartition, i64)>) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in held {
            if self.committed.insert(partition, offset) != Some(offset) {
                let name = self.kafka.topics.name(partition.topic);
                // Fails for offsets that aren't any.
                let _ = list.add_partition_offset(&name, partition.partition, rdkafka::Offset::Offset(offset));
            }
        }
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            debug!(%error, "offsets were not committed");
        }
    }
}

/// Notes a panic of the consumer's thread.
struct Guard(Arc<Board>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set_fault("the consumer's thread panicked");
    }
}
