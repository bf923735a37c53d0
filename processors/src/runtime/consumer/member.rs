//! Joining the group.

use agentworks_bootstrap::create;
use agentworks_kafka::{KafkaError, KafkaSettings};
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::runtime::group::GroupContext;

/// As whom to join the group.
pub(super) struct Member {
    pub(super) group: String,
    pub(super) instance: Option<String>,
    pub(super) topics: Vec<String>,
}

impl Member {
    /// Joins the group, as a consumer without partitions.
    pub(super) fn join(&self, kafka: &KafkaSettings) -> Result<BaseConsumer<GroupContext>, KafkaError> {
        let failed = |error| KafkaError::from_client(&error, &self.group);
        let client = kafka.group_consumer(&self.group, self.instance.as_deref());
        let context = |bootstrap| GroupContext::new(kafka.topics.clone(), bootstrap);
        let consumer: BaseConsumer<_> = create(client, context).map_err(failed)?;
        consumer.subscribe(&self.topics.iter().map(String::as_str).collect::<Vec<_>>()).map_err(failed)?;
        Ok(consumer)
    }
}
