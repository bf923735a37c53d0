//! Search messages.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::server::PositionedEntry;
use crate::entry::{Level, Source};
use crate::time::Timestamp;

/// A range of time, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct TimeRange {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// A search of entries. The workspace is the token's; one in the query must equal it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are the reference's own")]
pub struct LogSearchQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The same in the query language, beyond the reference: `level:error "rate limit" since:2h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Vec<Level>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Vec<Source>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_range: Option<TimeRange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort_order: Option<String>,
    /// Where the last page ended, beyond the reference: the `cursor` of its result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Whether all that is found is counted, beyond the reference; it is unless this is false. A page alone costs less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<bool>,
}

/// What was found. The reference's, and where the next page begins.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the reference's own")]
pub struct LogSearchResult<'a> {
    /// Each with its position: the place just after it, of its own partition alone.
    pub logs: Vec<PositionedEntry<'a>>,
    /// Absent where it wasn't wanted.
    #[serde(flatten)]
    pub counts: Option<SearchCounts>,
    pub query: LogSearchQuery,
    /// In milliseconds.
    pub execution_time: u64,
    /// For the next page; absent after the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// What could not be searched, in words; absent if all was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<String>,
}

/// How many entries a search finds in all, and which, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the reference's own")]
pub struct SearchCounts {
    pub total_count: u64,
    pub level_distribution: BTreeMap<String, u64>,
    pub source_distribution: BTreeMap<String, u64>,
    pub timeline_data: Vec<TimelinePoint>,
}

/// A bucket of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are the reference's own")]
pub struct TimelinePoint {
    /// Its first instant.
    pub timestamp: Timestamp,
    pub count: u64,
}
