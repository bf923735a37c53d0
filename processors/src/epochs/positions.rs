//! Sinks that keep their positions beside what they write, and not in the store.

use std::fmt;

use agentworks_schemas::{Topic, TopicPartition};
use async_trait::async_trait;

use crate::lane::Held;
use crate::sink::SinkError;

/// What tells which making of a topic such sinks have come to: where the store was lost, nobody else knows.
#[async_trait]
pub trait SinkEpochs: fmt::Debug + Send + Sync + 'static {
    /// The newest making of a topic that was taken in any of its partitions; `None` if none ever was.
    async fn newest(&self, topic: Topic) -> Result<Option<u32>, SinkError>;
}

/// The positions of such a sink.
#[async_trait]
pub trait SinkPositions: SinkEpochs {
    /// The sink's name.
    fn sink(&self) -> &'static str;

    /// Where it stands in a partition, in the newest making of its topic that it has seen; `None` if it never began.
    async fn position(&self, partition: TopicPartition) -> Result<Option<Held>, SinkError>;

    /// Has it go on at `to`, where the log begins, because what lies before was deleted untaken.
    async fn skip_lost(&self, partition: TopicPartition, epoch: u32, to: i64) -> Result<(), SinkError>;
}
