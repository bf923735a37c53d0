//! What can go wrong.

use std::path::PathBuf;

use object_store::Error;

/// Why a store can't be opened, or what has failed there. URLs are shown without user and query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectsError {
    /// The URL says nothing that could be opened.
    #[error("{url}: {reason}; give a folder (/var/lib/agentworks, file:///var/lib/agentworks) or s3://bucket/prefix")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An option doesn't fit the URL or another option.
    #[error("{url}: {option} {reason}")]
    Option {
        /// The store.
        url: String,
        /// The option's name in the configuration.
        option: &'static str,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The folder can't be made or entered.
    #[error("the folder {} can't be used: {error}; it must be writable for this process", .folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The store refuses its settings.
    #[error("{url} can't be opened: {error}")]
    Open {
        /// The store.
        url: String,
        /// Why.
        error: Error,
    },
    /// A call has failed.
    #[error("{url}: {error}")]
    Store {
        /// The store.
        url: String,
        /// Why.
        error: Error,
    },
}

impl ObjectsError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, ObjectsError::Store { error, .. } if is_transient(error))
    }

    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ObjectsError::Store { error: Error::NotFound { .. }, .. })
    }
}

/// Whether the same call may succeed later: a network or a disk that fails or is full, a busy server. What is refused for
/// good isn't: a missing object, missing permissions, a call that the store doesn't know.
pub fn is_transient(error: &Error) -> bool {
    matches!(error, Error::Generic { .. } | Error::JoinError { .. })
}
