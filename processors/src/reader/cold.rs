//! The tier for what no other has any more, behind a trait, so that who doesn't archive doesn't link what it takes.

use std::fmt;

use agentworks_schemas::TopicPartition;
use async_trait::async_trait;

use super::{ReadFilter, Scope};
use crate::blocks::{Last, StoredEntry};
use crate::lane::Held;
use crate::sink::SinkError;

/// A range of a lane, and what is wanted of it.
#[derive(Clone, Copy, Debug)]
pub struct ColdRange<'a> {
    /// Whose entries.
    pub scope: &'a Scope,
    /// Which of them; entries that don't pass may be given all the same.
    pub filter: &'a ReadFilter,
    /// The lane.
    pub partition: TopicPartition,
    /// Which making of its topic.
    pub epoch: u32,
    /// The first offset.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
}

/// Reads what is kept for longest: `agentworks-archive` has one.
#[async_trait]
pub trait ColdTier: fmt::Debug + Send + Sync + 'static {
    /// What it holds of a partition, as far as a workspace goes, in one making of its topic; `None` if it has never seen that.
    /// It is asked for every chunk of a reading, and may be some seconds behind.
    async fn held(&self, partition: TopicPartition, epoch: u32, workspace: &str) -> Result<Option<Held>, SinkError>;

    /// The same in all makings before one, from the first on. It is asked wherever a reading begins in a topic that was made
    /// again.
    async fn earlier(&self, partition: TopicPartition, epoch: u32, workspace: &str) -> Result<Vec<Held>, SinkError>;

    /// The first `limit` entries of a range that is held, by offset; fewer only if there are no more, or if they weigh
    /// [`CHUNK_BYTES`](super::CHUNK_BYTES). There are none only if the range has none.
    async fn forward(&self, range: ColdRange<'_>, limit: usize) -> Result<Vec<StoredEntry>, SinkError>;

    /// The last `limit` entries of a range that is held, likewise.
    async fn backward(&self, range: ColdRange<'_>, limit: usize) -> Result<Last, SinkError>;
}
