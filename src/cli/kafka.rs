//! Where Kafka is, for the commands that talk to it.

use std::path::PathBuf;

use agentworks_kafka::KafkaSettings;
use clap::Args;

use crate::config::{FlagValue, Layers, Loaded};

/// Where Kafka is, how to be let in, and how the topics are called: as the roles are told it, in the section `kafka` of
/// their configuration, or by these flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct KafkaArgs {
    /// Kafka's brokers, separated by commas: kafka.brokers of the configuration if not given
    #[arg(long, env = "AGENTWORKS_BROKERS", value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// What the names of the topics begin with: kafka.topic_prefix if not given
    #[arg(long, env = "AGENTWORKS_TOPIC_PREFIX", value_name = "PREFIX")]
    topic_prefix: Option<String>,
    /// The configuration's file, where it says how to be let in
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl KafkaArgs {
    /// What clients of Kafka need.
    ///
    /// # Errors
    /// If something is wrong with the configuration.
    pub(crate) fn settings(&self) -> anyhow::Result<KafkaSettings> {
        let given = [
            ("--brokers or AGENTWORKS_BROKERS", "kafka.brokers", &self.brokers),
            ("--topic-prefix or AGENTWORKS_TOPIC_PREFIX", "kafka.topic_prefix", &self.topic_prefix),
        ];
        let flags = given.into_iter().filter_map(|(flag, key, value)| {
            Some(FlagValue { flag: flag.to_owned(), key: key.to_owned(), value: value.clone()? })
        });
        let environment = std::env::vars_os().collect();
        let layers = Layers { file: self.config.clone(), environment, flags: flags.collect() };
        Ok(Loaded::from_layers(&layers)?.kafka()?)
    }
}
