//! Sinks that keep their positions beside what they write, and not in the store.

use std::fmt;

use agentworks_schemas::TopicPartition;
use async_trait::async_trait;

use crate::lane::Held;
use crate::sink::SinkError;

/// The positions of such a sink.
#[async_trait]
pub trait SinkPositions: fmt::Debug + Send + Sync + 'static {
    /// The sink's name.
    fn sink(&self) -> &'static str;

    /// Where it stands in a partition, in the newest making of its topic that it has seen; `None` if it never began.
    async fn position(&self, partition: TopicPartition) -> Result<Option<Held>, SinkError>;

    /// Has it go on at `to`, where the log begins, because what lies before was deleted untaken.
    async fn skip_lost(&self, partition: TopicPartition, epoch: u32, to: i64) -> Result<(), SinkError>;
}
