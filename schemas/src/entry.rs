//! The log entry: one line that an agent, its orchestrator, its model provider or the system wrote.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::{JsonObject, Text, excerpt};
use crate::time::Timestamp;

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the field's own")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

/// Who wrote a line. It also chooses the topic: see [`crate::Topic::of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the field's own")]
pub enum Source {
    Orchestrator,
    Provider,
    Agent,
    System,
}

/// The text is none of the names.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is none of {names}")]
pub struct UnknownName {
    text: String,
    names: &'static str,
}

impl UnknownName {
    pub(crate) fn new(text: &str, names: &'static str) -> Self {
        UnknownName { text: excerpt(text).into(), names }
    }
}

impl Level {
    /// All levels, from the least grave.
    pub const ALL: [Level; 5] = [Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];

    /// The name on every wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Fatal => "fatal",
        }
    }
}

impl Source {
    /// All sources.
    pub const ALL: [Source; 4] = [Source::Orchestrator, Source::Provider, Source::Agent, Source::System];

    /// The name on every wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Orchestrator => "orchestrator",
            Source::Provider => "provider",
            Source::Agent => "agent",
            Source::System => "system",
        }
    }
}

impl FromStr for Level {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let found = Level::ALL.into_iter().find(|level| level.as_str() == text);
        found.ok_or_else(|| UnknownName::new(text, "debug, info, warn, error, fatal"))
    }
}

impl FromStr for Source {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let found = Source::ALL.into_iter().find(|source| source.as_str() == text);
        found.ok_or_else(|| UnknownName::new(text, "orchestrator, provider, agent, system"))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One line of a log, with all that is known of it.
///
/// Its serde form is the JSON that clients see; [`crate::codec`] writes and reads it on the log. An entry's identity is
/// its [`Position`](crate::Position); `id` and `sequence` are what its producer claims.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry<'a> {
    /// The producer's id, a UUIDv7 from our own producers.
    #[serde(borrow)]
    pub id: Text<'a>,
    /// The run that wrote it.
    #[serde(borrow)]
    pub run_id: Text<'a>,
    /// The card (unit of work) that a terminal watches. The record's key.
    #[serde(borrow)]
    pub card_id: Text<'a>,
    /// The tenant. All other ids are unique only within it.
    #[serde(borrow)]
    pub workspace_id: Text<'a>,

    /// When it was written, by the producer's clock. Data: nothing is keyed or ordered by it.
    pub timestamp: Timestamp,
    /// The producer's count within the run, from 0; a hole shows loss before the log.
    pub sequence: i64,

    /// How grave it is.
    pub level: Level,
    /// Who wrote it.
    pub source: Source,
    /// Which part of the source wrote it.
    #[serde(borrow)]
    pub component: Text<'a>,
    /// The line.
    #[serde(borrow)]
    pub message: Text<'a>,
    /// What else the line says, structured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<JsonObject<'a>>,

    /// The agent.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<Text<'a>>,
    /// The model provider.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Text<'a>>,
    /// The model.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub model: Option<Text<'a>>,
    /// On whose behalf.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Text<'a>>,

    /// Free labels.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Text<'a>>>,
    /// Ties together what belongs to one request.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Text<'a>>,
    /// OpenTelemetry's parent span.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<Text<'a>>,
    /// OpenTelemetry's trace.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<Text<'a>>,
}

impl LogEntry<'_> {
    /// The same entry, owning its bytes.
    pub fn into_owned(self) -> LogEntry<'static> {
        LogEntry {
            id: self.id.into_owned(),
            run_id: self.run_id.into_owned(),
            card_id: self.card_id.into_owned(),
            workspace_id: self.workspace_id.into_owned(),
            timestamp: self.timestamp,
            sequence: self.sequence,
            level: self.level,
            source: self.source,
            component: self.component.into_owned(),
            message: self.message.into_owned(),
            data: self.data.map(JsonObject::into_owned),
            agent_id: self.agent_id.map(Text::into_owned),
            provider: self.provider.map(Text::into_owned),
            model: self.model.map(Text::into_owned),
            user_id: self.user_id.map(Text::into_owned),
            tags: self.tags.map(|tags| tags.into_iter().map(Text::into_owned).collect()),
            correlation_id: self.correlation_id.map(Text::into_owned),
            parent_span_id: self.parent_span_id.map(Text::into_owned),
            trace_id: self.trace_id.map(Text::into_owned),
        }
    }
}
