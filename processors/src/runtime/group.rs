//! What happens to a member of a consumer group.

use agentworks_bootstrap::Bootstrap;
use agentworks_kafka::trace::{log_error, log_line};
use agentworks_schemas::{TopicPartition, Topics};
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tracing::debug;

/// A change of what the group has given to this member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rebalanced {
    /// Partitions were given.
    Assigned(Vec<TopicPartition>),
    /// Partitions are to be given up. They may be another member's already if they are `lost`, or of a topic that is gone.
    Revoked { partitions: Vec<TopicPartition>, lost: bool },
}

/// Notes rebalances down for the consumer's thread, which answers librdkafka in its own time. librdkafka waits for the
/// answer as long as the consumer is polled.
#[derive(Debug)]
pub(super) struct GroupContext {
    topics: Topics,
    noted: Mutex<Noted>,
    bootstrap: Bootstrap,
}

#[derive(Debug, Default)]
struct Noted {
    rebalances: Vec<Rebalanced>,
    closing: bool,
}

impl GroupContext {
    pub(super) fn new(topics: Topics, bootstrap: Bootstrap) -> Self {
        GroupContext { topics, noted: Mutex::default(), bootstrap }
    }

    /// What has been noted since the last call, in order.
    pub(super) fn take(&self) -> Vec<Rebalanced> {
        std::mem::take(&mut self.noted.lock().rebalances)
    }

    /// From now on everything is given up at once: the consumer is about to be dropped, and polls itself until that is
    /// done.
    pub(super) fn close(&self) {
        self.noted.lock().closing = true;
    }

    fn partitions(&self, list: &TopicPartitionList) -> Vec<TopicPartition> {
        let topic = |name| self.topics.topic(name);
        list.elements()
            .iter()
            .filter_map(|element| Some(TopicPartition::new(topic(element.topic())?, element.partition())))
            .collect()
    }
}

impl ClientContext for GroupContext {
    fn stats_raw(&self, statistics: &[u8]) {
        // SAFETY: the client, whose context this is, calls it.
        unsafe { self.bootstrap.look(statistics) };
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = self.partitions(list);
        let mut noted = self.noted.lock();
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS if noted.closing => assign_nothing(consumer),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                noted.rebalances.push(Rebalanced::Assigned(partitions));
            }
            _ if noted.closing => unassign(consumer, &self.topics, &partitions),
            _ => {
                let lost = consumer.assignment_lost();
                noted.rebalances.push(Rebalanced::Revoked { partitions, lost });
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            // Commits are advice, and fail for example during a rebalance.
            debug!(%error, "offsets were not committed");
        }
    }
}

/// Takes an assignment note of, without reading any partition yet.
pub(super) fn assign_nothing(consumer: &BaseConsumer<GroupContext>) {
    if let Err(error) = consumer.incremental_assign(&TopicPartitionList::new()) {
        debug!(%error, "an assignment was not acknowledged");
    }
}

/// Reads a partition from an offset.
pub(super) fn assign(
    consumer: &BaseConsumer<GroupContext>,
    topics: &Topics,
    partition: TopicPartition,
    from: i64,
) -> KafkaResult<()> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition_offset(&topics.name(partition.topic), partition.partition, Offset::Offset(from))?;
    consumer.incremental_assign(&list)
}

/// Gives partitions up, or says so of those that aren't being read.
pub(super) fn unassign(consumer: &BaseConsumer<GroupContext>, topics: &Topics, partitions: &[TopicPartition]) {
    // librdkafka refuses the whole list for the sake of one that isn't assigned.
    let result = consumer.assignment().and_then(|assigned| {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            let name = topics.name(partition.topic);
            if assigned.find_partition(&name, partition.partition).is_some() {
                list.add_partition(&name, partition.partition);
            }
        }
        consumer.incremental_unassign(&list)
    });
    if let Err(error) = result {
        debug!(%error, "partitions were not given up");
    }
}

/// A list of partitions, without offsets.
pub(super) fn list(topics: &Topics, partitions: impl Iterator<Item = TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&topics.name(partition.topic), partition.partition);
    }
    list
}
