//! Why a search has no answer.

use agentworks_query::request::ConvertError;
use agentworks_schemas::protocol::{ErrorCode, ErrorInfo};
use agentworks_search::SearchError;
use agentworks_search::exec::ExecError;

use crate::rest::ApiError;

/// Why a search has no answer, as its client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchFault {
    /// This gateway has no search.
    #[error("this gateway has no search: it is not configured with an index")]
    Unavailable,
    /// It can't be asked so.
    #[error("{0}")]
    Invalid(String),
    /// The query can't be read.
    #[error("{message}")]
    Query {
        /// What is wrong with it and what was expected.
        message: String,
        /// How many of its characters come before the fault.
        at: usize,
    },
    /// It is past a bound that only searching tells.
    #[error("{0}")]
    TooMuch(String),
    /// It took longer than it may.
    #[error("{0}")]
    TooLong(String),
    /// Too many at once.
    #[error("{0}")]
    Busy(String),
    /// The index, the log or the store can't be had now.
    #[error("the index, the log or the store is not available; try again")]
    Away,
    /// The gateway's own fault.
    #[error("the search failed; the gateway's log says more")]
    Failed,
}

impl SearchFault {
    /// The same on a stream.
    pub(crate) fn info(self) -> ErrorInfo {
        let code = match &self {
            SearchFault::Unavailable => ErrorCode::SearchUnavailable,
            SearchFault::Invalid(_) | SearchFault::Query { .. } => ErrorCode::InvalidValue,
            SearchFault::TooMuch(_) | SearchFault::TooLong(_) | SearchFault::Busy(_) => ErrorCode::LimitExceeded,
            SearchFault::Away | SearchFault::Failed => ErrorCode::Internal,
        };
        let at = match &self {
            SearchFault::Query { at, .. } => Some(*at),
            _ => None,
        };
        ErrorInfo { code, message: self.to_string(), in_reply_to: Some("search_logs".to_owned()), at }
    }
}

impl From<ConvertError> for SearchFault {
    fn from(error: ConvertError) -> Self {
        match error {
            ConvertError::Language(error) => {
                let at = error.position();
                SearchFault::Query { message: format!("q: at character {}: {}", at + 1, error.message()), at }
            }
            error => SearchFault::Invalid(error.to_string()),
        }
    }
}

impl From<SearchError> for SearchFault {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Request(error) => SearchFault::Invalid(error.to_string()),
            error @ SearchError::Deadline => SearchFault::TooLong(error.to_string()),
            SearchError::Exec(error @ ExecError::Deadline) => SearchFault::TooLong(error.to_string()),
            SearchError::Exec(error) if error.is_asked_too_much() => SearchFault::TooMuch(error.to_string()),
            error => {
                let transient = error.is_transient();
                tracing::warn!(%error, transient, "a search has no answer");
                if transient { SearchFault::Away } else { SearchFault::Failed }
            }
        }
    }
}

impl From<SearchFault> for ApiError {
    fn from(fault: SearchFault) -> Self {
        match fault {
            SearchFault::Unavailable => ApiError::NoSearch,
            SearchFault::Invalid(message) => ApiError::Invalid(message),
            SearchFault::Query { message, at } => ApiError::Query { message, at },
            SearchFault::TooMuch(message) | SearchFault::TooLong(message) => ApiError::TooMuch(message),
            SearchFault::Busy(message) => ApiError::Busy(message),
            SearchFault::Away => ApiError::Unavailable,
            SearchFault::Failed => ApiError::Internal,
        }
    }
}
