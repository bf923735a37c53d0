//! What the gateway says of faults.

use serde::{Deserialize, Serialize};

/// What kind of fault an error is. Stable: clients may branch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The message isn't JSON, or not one of the protocol's.
    InvalidMessage,
    /// The `type` is none of the protocol's.
    UnknownType,
    /// A field's value can't be.
    InvalidValue,
    /// There is no such run or replay, or the card or run is not subscribed to.
    NotFound,
    /// The token doesn't allow it, or can't take the place of the connection's.
    AccessDenied,
    /// There is no search here.
    SearchUnavailable,
    /// One more than a limit allows.
    LimitExceeded,
    /// A part of the history can't be read, and won't be until an operator has mended it; the message says which.
    HistoryDamaged,
    /// The gateway's own fault; trying again may help.
    Internal,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: [ErrorCode; 9] = [
        ErrorCode::InvalidMessage,
        ErrorCode::UnknownType,
        ErrorCode::InvalidValue,
        ErrorCode::NotFound,
        ErrorCode::AccessDenied,
        ErrorCode::SearchUnavailable,
        ErrorCode::LimitExceeded,
        ErrorCode::HistoryDamaged,
        ErrorCode::Internal,
    ];
}

/// A fault, told to the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorInfo {
    /// Which kind.
    pub code: ErrorCode,
    /// In words, with the remedy.
    pub message: String,
    /// The type of the message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
    /// Of a query that can't be read: how many of its characters come before the fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<usize>,
}
