//! The dead letter: a record that could not be taken, with where it came from and why.

use serde::{Deserialize, Serialize};

use crate::text::Text;
use crate::time::Timestamp;

/// The largest payload that is kept whole in the dead-letter topic, in bytes. Of a larger one the first so many are kept.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// The headers of a record in the dead-letter topic, named as Kafka Connect names them
/// (`org.apache.kafka.connect.runtime.errors.DeadLetterQueueReporter`), and some of our own.
#[allow(missing_docs, reason = "the names say it")]
pub mod header {
    pub const TOPIC: &str = "__connect.errors.topic";
    pub const PARTITION: &str = "__connect.errors.partition";
    pub const OFFSET: &str = "__connect.errors.offset";
    pub const EXCEPTION_CLASS: &str = "__connect.errors.exception.class.name";
    pub const EXCEPTION_MESSAGE: &str = "__connect.errors.exception.message";
    /// The epoch of the origin's topic.
    pub const EPOCH: &str = "agentworks.origin.epoch";
    /// The record timestamp of the origin, in milliseconds.
    pub const TIMESTAMP: &str = "agentworks.origin.timestamp";
    /// The original length of a payload that was cut.
    pub const LENGTH: &str = "agentworks.payload.length";
    /// The SHA-256 of a payload that was cut, in hex.
    pub const SHA256: &str = "agentworks.payload.sha256";
    /// The original length of a key that was cut.
    pub const KEY_LENGTH: &str = "agentworks.key.length";
    /// How many of the record's own headers were left out.
    pub const HEADERS_LEFT_OUT: &str = "agentworks.headers.left-out";
    /// On a record that was produced again from the dead-letter topic: where it lay before, as a position is written.
    pub const REDRIVEN_FROM: &str = "agentworks.redriven.from";
    /// In the dead-letter topic, on a record that is no dead letter but says that the one of its origin has been produced
    /// again: when, in milliseconds.
    pub const REDRIVEN_AT: &str = "agentworks.redriven.at";
    /// In the dead-letter topic, on a record that is no dead letter but holds an erasure, as JSON, which covers dead letters
    /// before it: the erasure's id.
    pub const ERASURE: &str = "agentworks.erasure";
}

/// A rejected record, as tools show and export it; on the dead-letter topic it is spread over key, value and headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter<'a> {
    /// The topic that it came from.
    #[serde(borrow)]
    pub topic: Text<'a>,
    /// The partition that it came from.
    pub partition: i32,
    /// Which making of that topic.
    pub epoch: i64,
    /// Its offset there.
    pub offset: i64,
    /// Its record timestamp there.
    pub timestamp: Timestamp,
    /// Which kind of fault, one of [`crate::codec::Reject::code`].
    #[serde(borrow)]
    pub code: Text<'a>,
    /// The fault in words.
    #[serde(borrow)]
    pub reason: Text<'a>,
    /// The record's key, if it is text.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub key: Option<Text<'a>>,
    /// The payload's original length, in bytes.
    pub length: i64,
}
