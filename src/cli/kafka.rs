//! Where Kafka is, for the commands that talk to it.

use agentworks_kafka::KafkaSettings;
use agentworks_schemas::Topics;
use clap::Args;

/// Where Kafka is, and how the topics are called.
#[derive(Clone, Debug, Args)]
pub(crate) struct KafkaArgs {
    /// Kafka's brokers, separated by commas
    #[arg(long, env = "AGENTWORKS_BROKERS", value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub(crate) brokers: String,
    /// What the names of the topics begin with
    #[arg(long, env = "AGENTWORKS_TOPIC_PREFIX", value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub(crate) topic_prefix: String,
}

impl KafkaArgs {
    /// The topics' names.
    pub(crate) fn topics(&self) -> Topics {
        Topics::with_prefix(&self.topic_prefix)
    }

    /// What clients of Kafka need.
    pub(crate) fn settings(&self) -> KafkaSettings {
        KafkaSettings { brokers: self.brokers.clone(), topics: self.topics(), extra: Vec::new() }
    }
}
