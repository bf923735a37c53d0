//! The thread that reads Kafka for the hub.
//!
//! It alone holds the consumer, and so alone has partitions join and leave: there is no moment at which a record of an
//! assignment that has ended could be taken for one of the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agentworks_bootstrap::create;
use agentworks_kafka::trace::Traced;
use agentworks_kafka::{KafkaError, KafkaSettings};
use agentworks_schemas::{Timestamp, TopicPartition};
use parking_lot::{Mutex, MutexGuard};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::sync::Notify;
use tracing::warn;

use super::core::Core;
use super::lanes::Command;
use super::tail::Raw;

/// How long the thread waits for records before it looks for commands. Records wake it at once.
const POLL: Duration = Duration::from_millis(20);
/// How many records are taken before what they brought is pushed, and others get the lock. More than a connection has room
/// for would make quick readers fall behind.
const BATCH: usize = 64;
/// How long after a batch the next one begins at the earliest. A record after a silence is pushed at once; where records
/// come all the time, those of this while share the waking of threads, which is the most of what one of them costs.
const PACE: Duration = Duration::from_millis(2);

/// What the thread works with.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) settings: KafkaSettings,
    pub(super) core: Arc<Mutex<Core>>,
    /// Told when a run of a watched card had an event.
    pub(super) runs: Arc<Notify>,
    /// Told when something may be wrong with positions.
    pub(super) suspicion: Arc<Notify>,
    pub(super) stop: Arc<AtomicBool>,
}

/// A consumer without partitions.
pub(super) fn connect(settings: &KafkaSettings) -> Result<BaseConsumer<Traced>, KafkaError> {
    let created = create(settings.live_tail(), Traced::new);
    created.map_err(|error| KafkaError::from_client(&error, "the live tail"))
}

impl Consumer {
    /// Reads until it is told to stop.
    pub(super) fn run(self, kafka: BaseConsumer<Traced>) {
        while !self.stop.load(Ordering::Relaxed) {
            match kafka.poll(POLL) {
                Some(Ok(message)) => {
                    let began = Instant::now();
                    let taken = self.batch(&kafka, &message);
                    // Of a full batch there is more already.
                    if taken < BATCH {
                        std::thread::sleep(PACE.saturating_sub(began.elapsed()));
                    }
                }
                Some(Err(error)) => self.fault(&error),
                None => {}
            }
            self.obey(&kafka);
        }
    }

    /// Takes a record and those that are there behind it, and pushes what they brought. Returns how many they were.
    fn batch(&self, kafka: &BaseConsumer<Traced>, first: &BorrowedMessage<'_>) -> usize {
        let now = Instant::now();
        let mut core = self.core.lock();
        self.take(&mut core, first, now);
        let mut taken = 1;
        while taken < BATCH {
            match kafka.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    self.take(&mut core, &message, now);
                    taken += 1;
                }
                Some(Err(error)) => {
                    self.fault(&error);
                    break;
                }
                None => break,
            }
        }
        core.flush();
        if !core.touched_runs.is_empty() {
            self.runs.notify_one();
        }
        // Without fairness the next batch would take the lock again before anybody who waits for it wakes up.
        MutexGuard::unlock_fair(core);
        taken
    }

    fn take(&self, core: &mut Core, message: &BorrowedMessage<'_>, now: Instant) {
        let Some(topic) = self.settings.topics.topic(message.topic()) else { return };
        let raw = Raw {
            offset: message.offset(),
            timestamp: Timestamp(message.timestamp().to_millis().unwrap_or_default()),
            key: message.key(),
            payload: message.payload(),
        };
        if !core.record(TopicPartition::new(topic, message.partition()), raw, now) {
            self.suspicion.notify_one();
        }
    }

    /// Has partitions join and leave.
    fn obey(&self, kafka: &BaseConsumer<Traced>) {
        loop {
            let next = self.core.lock().next_command();
            let Some((command, next)) = next else { return };
            let result = match (command, next) {
                (Command::Join(partition), Some(next)) => {
                    self.list(partition, Offset::Offset(next)).and_then(|list| kafka.incremental_assign(&list))
                }
                // It has been taken back, by a command that follows.
                (Command::Join(_), None) => Ok(()),
                (Command::Leave(partition), _) => {
                    self.list(partition, Offset::Invalid).and_then(|list| kafka.incremental_unassign(&list))
                }
            };
            if let Err(error) = result {
                warn!(?command, %error, "the live tail's partitions can't be changed");
                self.suspicion.notify_one();
            }
        }
    }

    fn list(&self, partition: TopicPartition, offset: Offset) -> Result<TopicPartitionList, ClientError> {
        let mut list = TopicPartitionList::with_capacity(1);
        let topic = self.settings.topics.name(partition.topic);
        list.add_partition_offset(&topic, partition.partition, offset)?;
        Ok(list)
    }

    fn fault(&self, error: &ClientError) {
        match error.rdkafka_error_code() {
            // librdkafka connects again by itself, and goes on where it was.
            Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::OperationTimedOut) => {}
            _ => {
                warn!(%error, "the live tail");
                self.suspicion.notify_one();
            }
        }
    }
}
