//! Faults of Kafka.

use agentworks_bootstrap::Refused;
use agentworks_schemas::TopicPartition;
use rdkafka::error::RDKafkaErrorCode as Code;

/// A fault of Kafka, or of what it holds.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KafkaError {
    /// The brokers can't be reached, or answer with an error that may pass.
    #[error("Kafka is not available: {0}")]
    Unavailable(String),
    /// The topic is not there.
    #[error("topic {0} does not exist: create it with `agentworks topics create`")]
    NoTopic(String),
    /// The log no longer has, or does not yet have, the offset that was asked for.
    #[error("{partition} holds offsets {low} to {high}, not {offset}")]
    OutOfRange {
        /// Where.
        partition: TopicPartition,
        /// The offset that was asked for.
        offset: i64,
        /// The first offset there is.
        low: i64,
        /// The first offset that is not there yet.
        high: i64,
    },
    /// Anything that trying again won't mend.
    #[error("Kafka failed: {0}")]
    Failed(String),
}

impl KafkaError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, KafkaError::Unavailable(_))
    }

    /// What an error of librdkafka about `topic` means.
    pub fn from_client(error: &rdkafka::error::KafkaError, topic: &str) -> Self {
        use rdkafka::error::KafkaError as Client;
        if let Some(Refused { name, reason }) = Refused::from_error(error) {
            return KafkaError::Failed(format!("setting {name}: {reason}"));
        }
        match (error.rdkafka_error_code(), error) {
            (Some(code), _) => Self::from_code(code, topic),
            (None, Client::AdminOp(code)) => Self::from_code(*code, topic),
            // The calls whose errors carry no code fail on local state alone (an assignment, a setting).
            (None, error) => KafkaError::Failed(error.to_string()),
        }
    }

    /// What an error code about `topic` means.
    pub fn from_code(code: Code, topic: &str) -> Self {
        match code {
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
                KafkaError::NoTopic(topic.to_owned())
            }
            code if may_pass(code) => KafkaError::Unavailable(format!("{topic}: {code}")),
            code => KafkaError::Failed(format!("{topic}: {code}")),
        }
    }
}

/// Whether what caused the error may pass by itself.
fn may_pass(code: Code) -> bool {
    use Code::*;
    matches!(
        code,
        // Local: the brokers are away or slow, or a queue of ours is full.
        AllBrokersDown | BrokerTransportFailure | Resolve | OperationTimedOut | MessageTimedOut | TimedOutQueue | QueueFull
            | WaitingForCoordinator | Retry | InProgress | PreviousInProgress | Outdated | PurgeQueue | PurgeInflight
            | ISRInsufficient
        // From a broker, in the midst of a change.
            | LeaderNotAvailable | NotLeaderForPartition | ReplicaNotAvailable | BrokerNotAvailable | RequestTimedOut
            | NetworkException | CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator
            | NotEnoughReplicas | NotEnoughReplicasAfterAppend | NotController | RebalanceInProgress | KafkaStorageError
            | FencedLeaderEpoch | UnknownLeaderEpoch | OffsetNotAvailable | UnstableOffsetCommit | ThrottlingQuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rdkafka::ClientConfig;
    use rdkafka::error::KafkaError as Client;

    use super::*;

    #[test]
    fn errors_say_whether_trying_again_helps_and_what_to_do() {
        let of = |error| KafkaError::from_client(&error, "agent-logs");
        assert!(of(Client::MessageConsumption(Code::AllBrokersDown)).is_transient());
        assert!(of(Client::MetadataFetch(Code::LeaderNotAvailable)).is_transient());
        assert!(!of(Client::MessageProduction(Code::TopicAuthorizationFailed)).is_transient());
        let missing = of(Client::MetadataFetch(Code::UnknownTopicOrPartition)).to_string();
        assert_eq!(missing, "topic agent-logs does not exist: create it with `agentworks topics create`");
    }

    #[test]
    fn a_refused_setting_is_named_without_its_value() {
        let error = ClientConfig::new().set("sasl.pasword", "hunter2").create_native_config().err().unwrap();
        let error = KafkaError::from_client(&error, "the brokers").to_string();
        assert!(error.contains("sasl.pasword") && !error.contains("hunter2"), "{error}");
    }
}
