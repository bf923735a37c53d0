//! The run event: that a run began or ended, and what it cost.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::entry::UnknownName;
use crate::text::Text;
use crate::time::Timestamp;

/// What happened to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunEventKind {
    /// It began.
    Started,
    /// It spent money or tokens; amounts are of this event alone and add up.
    Usage,
    /// It ended well.
    Completed,
    /// It ended in failure.
    Failed,
    /// It was ended from outside.
    Cancelled,
}

impl RunEventKind {
    /// All kinds.
    pub const ALL: [RunEventKind; 5] = [
        RunEventKind::Started,
        RunEventKind::Usage,
        RunEventKind::Completed,
        RunEventKind::Failed,
        RunEventKind::Cancelled,
    ];

    /// The name on every wire.
    pub fn as_str(self) -> &'static str {
        match self {
            RunEventKind::Started => "started",
            RunEventKind::Usage => "usage",
            RunEventKind::Completed => "completed",
            RunEventKind::Failed => "failed",
            RunEventKind::Cancelled => "cancelled",
        }
    }

    /// Whether the run is over after this.
    pub fn is_end(self) -> bool {
        matches!(self, RunEventKind::Completed | RunEventKind::Failed | RunEventKind::Cancelled)
    }
}

impl FromStr for RunEventKind {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let found = RunEventKind::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| UnknownName::new(text, "started, usage, completed, failed, cancelled"))
    }
}

/// One event in the life of a run, keyed by card as entries are, on `run-events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunEvent<'a> {
    /// The producer's id, a UUIDv7 from our own producers.
    #[serde(borrow)]
    pub id: Text<'a>,
    /// The run.
    #[serde(borrow)]
    pub run_id: Text<'a>,
    /// Its card. The record's key.
    #[serde(borrow)]
    pub card_id: Text<'a>,
    /// Its tenant.
    #[serde(borrow)]
    pub workspace_id: Text<'a>,
    /// When it happened, by the producer's clock.
    pub timestamp: Timestamp,
    /// What happened.
    pub kind: RunEventKind,
    /// The agent that runs.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<Text<'a>>,
    /// The model provider that was paid.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Text<'a>>,
    /// The model that was used.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub model: Option<Text<'a>>,
    /// On whose behalf.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Text<'a>>,
    /// Money spent in this event, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Tokens read by the model in this event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<i64>,
    /// Tokens written by the model in this event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<i64>,
    /// The exit status of the process that was the run; 128 + n when signal n ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it ended, in words.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text<'a>>,
    /// OpenTelemetry's trace.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<Text<'a>>,
}

impl RunEvent<'_> {
    /// The same event, owning its bytes.
    pub fn into_owned(self) -> RunEvent<'static> {
        RunEvent {
            id: self.id.into_owned(),
            run_id: self.run_id.into_owned(),
            card_id: self.card_id.into_owned(),
            workspace_id: self.workspace_id.into_owned(),
            timestamp: self.timestamp,
            kind: self.kind,
            agent_id: self.agent_id.map(Text::into_owned),
            provider: self.provider.map(Text::into_owned),
            model: self.model.map(Text::into_owned),
            user_id: self.user_id.map(Text::into_owned),
            cost: self.cost,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            exit_code: self.exit_code,
            reason: self.reason.map(Text::into_owned),
            trace_id: self.trace_id.map(Text::into_owned),
        }
    }
}
