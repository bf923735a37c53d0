//! What the gateway says.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::client::{LiveFilters, ReplayFilters};
use super::error::ErrorInfo;
use super::search::LogSearchResult;
use crate::entry::LogEntry;
use crate::position::Cursor;
use crate::time::Timestamp;

/// A message from the gateway to the terminal. It is read by [`ServerMessage::parse`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage<'a> {
    /// The first message of every connection.
    ConnectionEstablished {
        /// About the connection.
        data: ConnectionInfo,
    },
    /// One entry, live.
    LogEntry {
        /// The stream's cursor just after it.
        position: Cursor,
        /// The entry.
        data: LogEntry<'a>,
    },
    /// Entries in order: history, or live ones that came together.
    LogsBatch {
        /// The card that they are of.
        #[serde(rename = "cardId")]
        card_id: Cow<'a, str>,
        /// The card's cursor just after the last.
        position: Cursor,
        /// The entries.
        data: Vec<PositionedEntry<'a>>,
    },
    /// A range that no tier holds any more: entries may have been there.
    Gap {
        /// The card in whose stream it is; absent in a replay.
        #[serde(rename = "cardId", skip_serializing_if = "Option::is_none")]
        card_id: Option<Cow<'a, str>>,
        /// The replay in which it is; absent in a card's stream.
        #[serde(rename = "sessionId", skip_serializing_if = "Option::is_none")]
        session_id: Option<Cow<'a, str>>,
        /// Which.
        data: Gap,
    },
    /// A card's stream has fallen behind, or caught up again.
    Lag {
        /// The card.
        #[serde(rename = "cardId")]
        card_id: Cow<'a, str>,
        /// By how much.
        data: Lag,
    },
    /// A card is watched from now on: its history, and then its live entries follow.
    CardSubscribed {
        /// Which.
        data: CardInfo,
    },
    /// A card is watched no longer: nothing of it follows.
    CardUnsubscribed {
        /// Which.
        data: CardInfo,
    },
    /// What follows of a card is shown by these filters.
    FiltersSet {
        /// Which.
        data: FiltersInfo,
    },
    /// The connection goes on under a new token.
    TokenRefreshed {
        /// Until when.
        data: TokenInfo,
    },
    /// The gateway is about to end: connect again, to another one, with the last positions.
    Reconnect {
        /// When.
        data: ReconnectInfo,
    },
    /// A replay begins.
    ReplayStarted {
        /// About the replay.
        data: ReplayStartInfo,
    },
    /// One entry of a replay.
    ReplayLog {
        /// The replay's cursor just after it.
        position: Cursor,
        /// The entry and its place.
        data: ReplayEntry<'a>,
    },
    /// A replay was paused.
    ReplayPaused {
        /// Where it stands.
        data: ReplayStatus,
    },
    /// A replay goes on.
    ReplayResumed {
        /// Where it stands.
        data: ReplayStatus,
    },
    /// A replay was moved.
    ReplaySeeked {
        /// Where it stands.
        data: ReplaySeeked,
    },
    /// A replay plays at another pace.
    ReplaySpeedChanged {
        /// Which.
        data: ReplaySpeedInfo,
    },
    /// A replay has shown all that its run has yet, and goes on live.
    ReplayLive {
        /// Where it stands.
        data: ReplayStatus,
    },
    /// A replay has come to its end, or was stopped.
    ReplayCompleted {
        /// What it played.
        data: ReplayComplete,
    },
    /// A run's summary.
    RunSummary {
        /// The summary.
        data: RunSummary,
    },
    /// What a search has found.
    SearchResult {
        /// The entries, and what was counted.
        data: LogSearchResult<'a>,
    },
    /// Something that the client asked for can't be done.
    Error {
        /// What, and why.
        data: ErrorInfo,
    },
    /// The answer to `ping`.
    Pong {
        /// The ping's own.
        timestamp: i64,
    },
}

/// About a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionInfo {
    /// Its id, for logs and support.
    pub connection_id: String,
    /// The card that it was opened for.
    pub card_id: String,
    /// What this gateway can do: `live_logs`, `replay`, `filters`, `multi_card`, `search`.
    pub capabilities: Vec<String>,
    /// The gateway's clock.
    pub server_time: Timestamp,
}

/// A card of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CardInfo {
    /// The card.
    pub card_id: String,
}

/// The filters of a card's stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FiltersInfo {
    /// The card.
    pub card_id: String,
    /// The filters; none if all entries are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<LiveFilters>,
}

/// A token that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenInfo {
    /// When it ends; the connection is closed then, unless there is a newer one.
    pub expires_at: Timestamp,
}

/// How to connect again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReconnectInfo {
    /// How long to wait before, in milliseconds: another time for each client, so that they don't all come at once.
    pub after: u64,
    /// Why, in words.
    pub reason: String,
}

/// An entry within a batch, with the card's cursor just after it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PositionedEntry<'a> {
    /// The stream's cursor just after it.
    pub position: Cursor,
    /// The entry; its fields stand beside `position`.
    #[serde(flatten)]
    pub entry: LogEntry<'a>,
}

/// A range of the log that no tier holds any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset that is gone.
    pub from: i64,
    /// The first offset that is there again.
    pub to: i64,
}

/// How far a card's stream is behind. Both are 0 when it has caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    /// Records of the card's lanes between the stream and the end of the log: an upper bound of the card's own.
    pub entries: u64,
    /// Seconds between the last entry sent and now.
    pub seconds: u64,
}

/// A replay that begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayStartInfo {
    /// Its id, for control and seek.
    pub session_id: String,
    /// The run.
    pub run_id: String,
    /// The run's entries, filters aside.
    pub total_logs: u64,
    /// How long it will take, in milliseconds, idle times capped; 0 if the speed is 0.
    pub estimated_duration: u64,
    /// The filters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<ReplayFilters>,
}

/// An entry's place in a replay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayMetadata {
    /// Which replay.
    pub session_id: String,
    /// The entry's ordinal in the run, from 0.
    pub replay_position: u64,
    /// The run's entries.
    pub replay_total: u64,
    /// Position by total, in percent.
    pub replay_progress: f64,
    /// The entry's own timestamp.
    pub original_timestamp: Timestamp,
    /// When it was replayed.
    pub replay_timestamp: Timestamp,
}

/// An entry of a replay: the entry's fields and its place, side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplayEntry<'a> {
    /// The entry.
    #[serde(flatten)]
    pub entry: LogEntry<'a>,
    /// Its place.
    #[serde(flatten)]
    pub replay: ReplayMetadata,
}

/// Where a replay stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayStatus {
    /// The replay.
    pub session_id: String,
    /// The ordinal of the next entry.
    pub position: u64,
}

/// Where a replay stands after a seek.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplaySeeked {
    /// The replay.
    pub session_id: String,
    /// The ordinal of the next entry.
    pub position: u64,
    /// Position by total, in percent.
    pub progress: f64,
}

/// A replay's new pace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplaySpeedInfo {
    /// The replay.
    pub session_id: String,
    /// Multiplies the original pace; 0 is as fast as the client reads.
    pub speed: f64,
}

/// A replay that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayComplete {
    /// The replay.
    pub session_id: String,
    /// How many entries it showed.
    pub total_logs_played: u64,
    /// How long it took, in milliseconds.
    pub duration: u64,
    /// Whether the client stopped it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum RunStatus {
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RunStatus::Running => "running",
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
            RunStatus::Cancelled => "cancelled",
        })
    }
}

/// A run at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    /// The run.
    pub run_id: String,
    /// Its card.
    pub card_id: String,
    /// The agent first seen in it; empty if none was named.
    pub agent_id: String,
    /// How it stands.
    pub status: RunStatus,
    /// Whether status and times are inferred from entries, no event having said them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inferred: bool,
    /// Whether records of it may have been left out, because more of the log would have had to be looked through than is
    /// done for a summary: counts and sums may be larger, and its beginning earlier.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// Its first event's or entry's time.
    pub start_time: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// From start to end, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
    /// Its entries.
    pub log_count: u64,
    /// Those of level error or fatal.
    pub error_count: u64,
    /// Those of level warn.
    pub warning_count: u64,
    /// Money spent, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Tokens read and written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_used: Option<i64>,
    /// The exit status of the process that was the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it ended, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
