//! What can go wrong on the way to the log, before and after Kafka took an entry into its buffer.

use std::sync::Arc;

use agentworks_bootstrap::Refused;
use agentworks_schemas::Topic;
use agentworks_schemas::codec::Reject;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::budget::Cost;

/// The producer could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A setting that librdkafka does not take. Its value, which may be a password, is not told.
    #[error("Kafka's client does not take the setting {name}: {reason}")]
    Setting {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Settings that no client can be made of, as librdkafka says.
    #[error("Kafka's client cannot be made: {0}")]
    Kafka(String),
    /// The buffer could not hold even one entry of the largest size.
    #[error("the buffer has {bytes} bytes; it needs at least {least} and at most {most}")]
    Buffer {
        /// What was asked for.
        bytes: usize,
        /// The least there can be.
        least: usize,
        /// The most there can be.
        most: usize,
    },
}

impl From<KafkaError> for BuildError {
    fn from(error: KafkaError) -> Self {
        match (Refused::from_error(&error), error) {
            (Some(Refused { name, reason }), _) => BuildError::Setting { name, reason },
            (None, KafkaError::ClientCreation(reason)) => BuildError::Kafka(reason),
            (None, error) => BuildError::Kafka(error.to_string()),
        }
    }
}

/// An entry was not taken. Nothing of it has been or will be written, and its sequence is not spent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// Every reader of the log would refuse it; [`Reject::TooLarge`] is the usual one.
    #[error("not an entry that the log takes: {0}")]
    Refused(#[from] Reject),
    /// The buffer is full; only the `try_` methods say so, the others wait.
    #[error("the producer's buffer is full")]
    Full,
    /// The producer has been closed.
    #[error("the producer is closed")]
    Closed,
    /// The topic does not exist.
    #[error("topic {0} does not exist")]
    UnknownTopic(Topic),
    /// Kafka's client has lost what makes it idempotent, so it writes no more at all; make a new producer.
    #[error("the producer can write no more: {0}")]
    Fatal(Arc<str>),
    /// Any other answer of Kafka's client.
    #[error("Kafka's client did not take the entry: {0}")]
    Kafka(RDKafkaErrorCode),
}

impl SendError {
    /// A short stable name of the fault, for metric labels.
    pub fn kind(&self) -> &'static str {
        match self {
            SendError::Refused(_) => "refused",
            SendError::Full => "full",
            SendError::Closed => "closed",
            SendError::UnknownTopic(_) => "unknown_topic",
            SendError::Fatal(_) => "fatal",
            SendError::Kafka(_) => "kafka",
        }
    }
}

/// An attempt at sending went wrong: for want of room, or for good.
#[derive(Debug)]
pub(super) enum Missed {
    /// There is no room for so much.
    Full(Cost),
    Failed(SendError),
}

impl From<SendError> for Missed {
    fn from(error: SendError) -> Self {
        Missed::Failed(error)
    }
}

impl From<Missed> for SendError {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::Full(_) => SendError::Full,
            Missed::Failed(error) => error,
        }
    }
}

/// An entry was taken but is not known to be in the log.
///
/// [`DeliveryError::may_be_written`] tells the cases where it might be there all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// Kafka did not acknowledge it within the delivery timeout.
    #[error("Kafka did not acknowledge the entry in time")]
    TimedOut,
    /// The topic does not exist.
    #[error("the topic does not exist")]
    UnknownTopic,
    /// The broker takes no record of that size, although the log's format does: its `message.max.bytes` is too small.
    #[error("the broker does not take a record of that size: raise the topic's max.message.bytes")]
    TooLarge,
    /// The credentials may not write to the topic.
    #[error("not allowed to write to the topic")]
    Denied,
    /// The producer was closed or dropped first.
    #[error("the producer was closed before the entry was delivered")]
    Abandoned,
    /// Kafka's client has lost what makes it idempotent; every entry of its buffer fails so.
    #[error("the producer can write no more")]
    Fatal,
    /// Any other answer of a broker.
    #[error("Kafka did not write the entry: {0}")]
    Kafka(RDKafkaErrorCode),
}

impl DeliveryError {
    /// A short stable name of the fault, for metric labels.
    pub fn kind(&self) -> &'static str {
        match self {
            DeliveryError::TimedOut => "timed_out",
            DeliveryError::UnknownTopic => "unknown_topic",
            DeliveryError::TooLarge => "too_large",
            DeliveryError::Denied => "denied",
            DeliveryError::Abandoned => "abandoned",
            DeliveryError::Fatal => "fatal",
            DeliveryError::Kafka(_) => "kafka",
        }
    }

    /// Whether the entry may be in the log nevertheless, for the acknowledgement alone may be what was lost.
    pub fn may_be_written(&self) -> bool {
        !matches!(self, DeliveryError::UnknownTopic | DeliveryError::TooLarge | DeliveryError::Denied)
    }
}

impl From<RDKafkaErrorCode> for DeliveryError {
    fn from(code: RDKafkaErrorCode) -> Self {
        use RDKafkaErrorCode as Code;
        match code {
            Code::MessageTimedOut => DeliveryError::TimedOut,
            Code::UnknownTopic | Code::UnknownTopicOrPartition => DeliveryError::UnknownTopic,
            Code::MessageSizeTooLarge => DeliveryError::TooLarge,
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => DeliveryError::Denied,
            Code::PurgeQueue | Code::PurgeInflight => DeliveryError::Abandoned,
            Code::Fatal => DeliveryError::Fatal,
            other => DeliveryError::Kafka(other),
        }
    }
}

/// Entries that a flush or close leaves without an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pending} entries were not acknowledged in time, {failed} failed unnoticed before")]
pub struct Undelivered {
    /// Those that still were in the buffer when the time was over.
    pub pending: usize,
    /// Those that failed earlier, and whose [`Delivery`](super::Delivery) had been dropped so that nobody knows yet.
    pub failed: u64,
}
