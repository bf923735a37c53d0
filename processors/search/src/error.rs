//! What can go wrong with the index.

use std::path::PathBuf;

use agentworks_objects::ObjectsError;
use agentworks_processors::sink::SinkError;
use agentworks_schemas::TopicPartition;
use agentworks_store::StoreError;

use crate::split::SplitId;

/// A fault of the index.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The objects' store.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// The store of leases and erasures.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A split is missing or damaged.
    #[error("split {id} {reason}; `agentworks reindex --split {id}` makes it again from the log")]
    Split {
        /// Which.
        id: SplitId,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the manifest can't be understood.
    #[error("the search manifest's version {version} {reason}")]
    Manifest {
        /// Which.
        version: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Others have published more of some lanes, or the lanes are of another epoch: whoever asked has lost them.
    #[error("{}", fenced(.0))]
    Fenced(Vec<Fence>),
    /// Splits that were to be replaced are not there any more: somebody else has replaced them.
    #[error("splits have been replaced meanwhile: {}", .0.iter().map(SplitId::as_str).collect::<Vec<_>>().join(", "))]
    Gone(Vec<SplitId>),
    /// Local scratch space can't be used.
    #[error("{}: {error}", .path.display())]
    Scratch {
        /// Where.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The index's library.
    #[error("the index: {0}")]
    Index(#[from] tantivy::TantivyError),
    /// An entry that was decoded when it was taken can't be decoded any more: memory is damaged, or this is a bug.
    #[error("the entry at {position} can't be indexed: {reason}")]
    Entry {
        /// Where it lies.
        position: agentworks_schemas::Position,
        /// Why.
        reason: String,
    },
    /// The request can't be asked.
    #[error(transparent)]
    Request(#[from] agentworks_query::request::RequestError),
    /// The search took too long.
    #[error("the search took longer than it may; ask for a shorter span of time, or for less")]
    Deadline,
    /// The search asks for too much, or the index is damaged.
    #[error(transparent)]
    Exec(crate::exec::ExecError),
    /// The log.
    #[error("the log: {reason}")]
    Log {
        /// Whether trying again may help.
        is_transient: bool,
        /// What is wrong.
        reason: String,
    },
    /// An indexer of another process gave no answer that can be used.
    #[error("{name} does not answer: {reason}")]
    Peer {
        /// Who.
        name: String,
        /// What came instead.
        reason: String,
    },
    /// A thread has ended before its work was done.
    #[error("the work was given up: {0}")]
    Abandoned(String),
}

/// A lane that somebody else has published more of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Which.
    pub partition: TopicPartition,
    /// The epoch and the position that were expected.
    pub expected: (u32, i64),
    /// Those that there are; `None` if nobody ever began with the lane.
    pub found: Option<(u32, i64)>,
}

impl Fence {
    /// What has happened, in words.
    pub fn reason(&self) -> String {
        let (epoch, from) = self.expected;
        match self.found {
            Some((other, at)) if other == epoch => {
                format!("search has been taken up to {at} by another process, while this one is to go on from {from}")
            }
            Some((other, at)) => {
                format!("search is at epoch {other}, offset {at}, not at epoch {epoch}, offset {from}")
            }
            None => format!("search has no position, and is to go on from {from}: was its manifest removed?"),
        }
    }
}

fn fenced(fences: &[Fence]) -> String {
    let each = fences.iter().map(|fence| format!("{}: {}", fence.partition, fence.reason()));
    each.collect::<Vec<_>>().join("; ")
}

impl SearchError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            SearchError::Objects(error) => error.is_transient(),
            SearchError::Store(error) => error.is_transient(),
            // A disk that is full, mostly.
            SearchError::Scratch { .. } | SearchError::Abandoned(_) | SearchError::Peer { .. } => true,
            SearchError::Index(error) => matches!(error, tantivy::TantivyError::IoError(_)),
            SearchError::Log { is_transient, .. } => *is_transient,
            SearchError::Split { .. }
            | SearchError::Request(_)
            | SearchError::Deadline
            | SearchError::Exec(_)
            | SearchError::Manifest { .. }
            | SearchError::Fenced(_)
            | SearchError::Gone(_)
            | SearchError::Entry { .. } => false,
        }
    }

    /// That a split is missing or damaged.
    pub(crate) fn split(id: &SplitId, reason: impl Into<String>) -> Self {
        SearchError::Split { id: id.clone(), reason: reason.into() }
    }

    /// A fault of the local disk.
    pub(crate) fn scratch(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| SearchError::Scratch { path, error }
    }
}

impl From<tokio::task::JoinError> for SearchError {
    fn from(error: tokio::task::JoinError) -> Self {
        SearchError::Abandoned(error.to_string())
    }
}

impl From<SearchError> for SinkError {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Store(error) => error.into(),
            SearchError::Fenced(fences) if !fences.is_empty() => {
                SinkError::Position { partition: fences[0].partition, reason: fences[0].reason() }
            }
            error if error.is_transient() => StoreError::Unavailable(error.to_string()).into(),
            error @ (SearchError::Split { .. } | SearchError::Manifest { .. } | SearchError::Entry { .. }) => {
                SinkError::Corrupt(error.to_string())
            }
            error => StoreError::Failed(error.to_string()).into(),
        }
    }
}
