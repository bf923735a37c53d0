//! What may go wrong in reading a log.

use kafka_protocol::ResponseError;

/// A fault of a broker, or of the way to it. Whoever follows partitions is told, and reading is tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// A broker can't be reached, or doesn't answer.
    #[error("broker {broker}: {reason}")]
    Unreachable {
        /// Its address.
        broker: String,
        /// What became of trying.
        reason: String,
    },
    /// A broker has closed the connection, as it does with those that lie idle, and when it ends.
    #[error("broker {broker} closed the connection")]
    Closed {
        /// Its address.
        broker: String,
    },
    /// There is no TLS with a broker: one side doesn't believe the other's certificate, or has nothing in common with it.
    #[error("there is no TLS with broker {broker}: {reason}")]
    Tls {
        /// Its address.
        broker: String,
        /// How so.
        reason: String,
    },
    /// A broker doesn't let us in.
    #[error("broker {broker} refused the login: {reason}")]
    Login {
        /// Its address.
        broker: String,
        /// What it says.
        reason: String,
    },
    /// What answers there doesn't speak Kafka's protocol, or a version of it that we don't.
    #[error("broker {broker} can't be understood: {reason}")]
    Protocol {
        /// Its address.
        broker: String,
        /// How so.
        reason: String,
    },
    /// A broker says what is wrong with a request.
    #[error("broker {broker}: {error}")]
    Broker {
        /// Its address.
        broker: String,
        /// What it says.
        error: ResponseError,
    },
    /// A broker says what is wrong with a partition.
    #[error("{topic}[{number}]: {error}")]
    Partition {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        number: i32,
        /// What it says.
        error: ResponseError,
    },
}

impl FetchError {
    /// Whether it may pass by itself.
    pub fn is_transient(&self) -> bool {
        match self {
            FetchError::Unreachable { .. } | FetchError::Closed { .. } => true,
            FetchError::Tls { .. } | FetchError::Login { .. } | FetchError::Protocol { .. } => false,
            FetchError::Partition { error: ResponseError::UnknownTopicOrPartition, .. } => false,
            FetchError::Broker { error, .. } | FetchError::Partition { error, .. } => error.is_retriable(),
        }
    }

    /// Whether the topic or the partition isn't there.
    pub fn is_unknown_topic(&self) -> bool {
        matches!(self, FetchError::Partition { error: ResponseError::UnknownTopicOrPartition, .. })
    }

    /// Whether both say the same of a partition. Where no broker can be had, each of them in turn is not there.
    pub(crate) fn is_like(&self, other: &FetchError) -> bool {
        let is_away = |fault: &FetchError| matches!(fault, FetchError::Unreachable { .. } | FetchError::Closed { .. });
        self == other || (is_away(self) && is_away(other))
    }
}
