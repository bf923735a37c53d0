//! Consuming from Kafka, the way every part of AgentWorks does it.
//!
//! - [`settings`]: how to reach the brokers, and the librdkafka settings that matter, each with its reason.
//! - [`topics`]: creating topics, how many partitions they have, where they begin and end.
//! - [`batch`]: records of one partition, decoded in place.
//! - [`seek`]: reading a range of a partition by seeking: history, replay.
//! - [`dead_letter`]: rejected records: writing them to the dead-letter topic, reading it, producing them again.
//! - [`trace`]: librdkafka's log lines, as tracing events.
//!
//! Nothing here uses rdkafka's `StreamConsumer` or split partition queues: both have stalled for others.

pub mod batch;
pub mod dead_letter;
pub mod error;
mod headers;
pub mod seek;
pub mod settings;
pub mod topics;
pub mod trace;

pub use batch::{Batch, BatchBuilder, Content, Fingerprint, Record, RecordHeaders, Rejected};
pub use dead_letter::DeadLetters;
pub use error::KafkaError;
pub use seek::{SeekPool, SeekRequest};
pub use settings::{FetchBy, KafkaSettings};
pub use topics::grow::{Grown, grow_topics};
pub use topics::ids::TopicIds;
pub use topics::{TopicOptions, Watermarks, create_topics, create_topics_with, describe_topics, partition_count};
pub use trace::Traced;
