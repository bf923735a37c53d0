//! What a search ends with instead of an answer.

use agentworks_query::ast::QueryError;
use agentworks_query::request::RequestError;
use tantivy::TantivyError;

use crate::error::SearchError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// It may not be asked.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The query may not be asked.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// It took too long.
    #[error("the search took longer than it may; narrow its time, or name a card, a run or a field")]
    Deadline,
    /// The patterns stand for too many words.
    #[error("`{clause}` stands for more than {max} different words; write more of its beginning")]
    Expansions {
        /// Which clause, in the query language.
        clause: String,
        /// How many they may be.
        max: usize,
    },
    /// `data` has too many names.
    #[error(
        "`data` has more than {max} different names here, too many to search all; name one, like `data.http_status`"
    )]
    Paths {
        /// How many there may be.
        max: usize,
    },
    /// What lies before the offset, and the page, are too much.
    #[error("the entries up to the end of this page take more than {} MiB; go on with the cursor of the last page", .max >> 20)]
    Bytes {
        /// How many bytes they may have.
        max: usize,
    },
    /// A column that isn't there, or holds what it can't.
    #[error("the index is damaged: {0}")]
    Damaged(String),
    /// The index.
    #[error(transparent)]
    Index(#[from] TantivyError),
    /// The index's files.
    #[error("the index: {0}")]
    Io(#[from] std::io::Error),
}

impl ExecError {
    /// Whether the bearer asked for what can't be had, and not the index is at fault.
    pub fn is_asked_too_much(&self) -> bool {
        !matches!(self, ExecError::Damaged(_) | ExecError::Index(_) | ExecError::Io(_))
    }
}

impl From<ExecError> for SearchError {
    fn from(error: ExecError) -> Self {
        match error {
            ExecError::Request(error) => SearchError::Request(error),
            ExecError::Deadline => SearchError::Deadline,
            ExecError::Index(error) => SearchError::Index(error),
            error => SearchError::Exec(error),
        }
    }
}
