//! Faults of the archive.

use agentworks_processors::sink::SinkError;
use agentworks_schemas::TopicPartition;
use agentworks_store::StoreError;

/// A fault of the archive.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The object store can't be reached, is full, or lost an answer: trying again may help.
    #[error("the archive can't be reached: {0}")]
    Unavailable(String),
    /// What lies in the archive can't be read, or isn't what was written.
    #[error("the archive is damaged: {0}")]
    Corrupt(String),
    /// The configuration, or the table that is there, can't be worked with.
    #[error("{0}")]
    Refused(String),
    /// The archive and whoever writes to it don't agree where a lane stands.
    #[error("{partition}: {reason}")]
    Position {
        /// Where.
        partition: TopicPartition,
        /// What doesn't fit, and what to do.
        reason: String,
    },
}

impl ArchiveError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, ArchiveError::Unavailable(_))
    }

    /// Adds to which file or table it happened.
    pub(crate) fn at(self, place: &str) -> Self {
        match self {
            ArchiveError::Unavailable(text) => ArchiveError::Unavailable(format!("{place}: {text}")),
            ArchiveError::Corrupt(text) => ArchiveError::Corrupt(format!("{place}: {text}")),
            other => other,
        }
    }
}

impl From<ArchiveError> for SinkError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Unavailable(_) => StoreError::Unavailable(error.to_string()).into(),
            ArchiveError::Refused(_) => StoreError::Failed(error.to_string()).into(),
            ArchiveError::Corrupt(text) => SinkError::Corrupt(text),
            ArchiveError::Position { partition, reason } => SinkError::Position { partition, reason },
        }
    }
}

impl From<object_store::Error> for ArchiveError {
    fn from(error: object_store::Error) -> Self {
        match error {
            // What is listed is never deleted before its grace is over.
            object_store::Error::NotFound { path, .. } => ArchiveError::Corrupt(format!("{path} is missing")),
            object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. } => {
                ArchiveError::Refused(error.to_string())
            }
            // Keys are renewed and disks are emptied: it is tried again, and shown.
            error => ArchiveError::Unavailable(error.to_string()),
        }
    }
}

impl From<parquet::errors::ParquetError> for ArchiveError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        match error {
            parquet::errors::ParquetError::External(source) => match source.downcast::<object_store::Error>() {
                Ok(error) => (*error).into(),
                Err(source) => ArchiveError::Corrupt(source.to_string()),
            },
            error => ArchiveError::Corrupt(error.to_string()),
        }
    }
}

impl From<arrow_schema::ArrowError> for ArchiveError {
    fn from(error: arrow_schema::ArrowError) -> Self {
        match error {
            arrow_schema::ArrowError::ExternalError(source) => {
                match source.downcast::<parquet::errors::ParquetError>() {
                    Ok(error) => (*error).into(),
                    Err(source) => ArchiveError::Corrupt(source.to_string()),
                }
            }
            error => ArchiveError::Corrupt(error.to_string()),
        }
    }
}
