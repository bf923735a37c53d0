//! Reading what the gateway says.
//!
//! By hand, for serde's tagged and flattened types go through a buffer that neither borrows nor keeps the digits of an
//! entry's `data`. What stands side by side in one object is read from its text once for each.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::search::{LogSearchQuery, LogSearchResult, SearchCounts, TimelinePoint};
use super::server::{PositionedEntry, ReplayEntry, ServerMessage};
use crate::position::Cursor;
use crate::text::Text;

/// A message from the gateway can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// It is not JSON, or not as this version knows it.
    #[error("a message from the gateway can't be read: {0}")]
    Json(#[from] serde_json::Error),
    /// This version doesn't know its type; a newer gateway may send such. It can be skipped.
    #[error("a message of the unknown type {0:?}")]
    UnknownType(String),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Deserialize)]
struct AtPosition<T> {
    position: Cursor,
    data: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch<'a> {
    card_id: String,
    position: Cursor,
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

/// What is of a card's stream.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfCard<T> {
    card_id: String,
    data: T,
}

/// What is of a card's stream or of a replay.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfEither<T> {
    card_id: Option<String>,
    session_id: Option<String>,
    data: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SearchParts<'a> {
    #[serde(borrow)]
    logs: Vec<&'a RawValue>,
    total_count: Option<u64>,
    query: LogSearchQuery,
    execution_time: u64,
    #[serde(default)]
    level_distribution: BTreeMap<String, u64>,
    #[serde(default)]
    source_distribution: BTreeMap<String, u64>,
    #[serde(default)]
    timeline_data: Vec<TimelinePoint>,
    cursor: Option<String>,
    #[serde(default)]
    incomplete: Vec<String>,
}

#[derive(Deserialize)]
struct Pong {
    timestamp: i64,
}

impl<'a> ServerMessage<'a> {
    /// Reads a message, as far as this version knows it: fields that it doesn't know are skipped.
    pub fn parse(text: &'a str) -> Result<Self, ProtocolError> {
        let Envelope { kind } = serde_json::from_str(text)?;
        Ok(match kind.as_str() {
            "connection_established" => ServerMessage::ConnectionEstablished { data: data(text)? },
            "log_entry" => {
                let AtPosition { position, data } = serde_json::from_str(text)?;
                ServerMessage::LogEntry { position, data }
            }
            "logs_batch" => {
                let Batch { card_id, position, data } = serde_json::from_str(text)?;
                let data = data.into_iter().map(positioned_entry).collect::<Result<_, _>>()?;
                ServerMessage::LogsBatch { card_id: Cow::Owned(card_id), position, data }
            }
            "gap" => {
                let OfEither { card_id, session_id, data } = serde_json::from_str(text)?;
                ServerMessage::Gap { card_id: card_id.map(Cow::Owned), session_id: session_id.map(Cow::Owned), data }
            }
            "lag" => {
                let OfCard { card_id, data } = serde_json::from_str(text)?;
                ServerMessage::Lag { card_id: Cow::Owned(card_id), data }
            }
            "card_subscribed" => ServerMessage::CardSubscribed { data: data(text)? },
            "card_unsubscribed" => ServerMessage::CardUnsubscribed { data: data(text)? },
            "filters_set" => ServerMessage::FiltersSet { data: data(text)? },
            "token_refreshed" => ServerMessage::TokenRefreshed { data: data(text)? },
            "reconnect" => ServerMessage::Reconnect { data: data(text)? },
            "replay_started" => ServerMessage::ReplayStarted { data: data(text)? },
            "replay_log" => {
                let AtPosition { position, data } = serde_json::from_str::<AtPosition<&'a RawValue>>(text)?;
                ServerMessage::ReplayLog { position, data: replay_entry(data)? }
            }
            "replay_paused" => ServerMessage::ReplayPaused { data: data(text)? },
            "replay_resumed" => ServerMessage::ReplayResumed { data: data(text)? },
            "replay_seeked" => ServerMessage::ReplaySeeked { data: data(text)? },
            "replay_speed_changed" => ServerMessage::ReplaySpeedChanged { data: data(text)? },
            "replay_live" => ServerMessage::ReplayLive { data: data(text)? },
            "replay_completed" => ServerMessage::ReplayCompleted { data: data(text)? },
            "run_summary" => ServerMessage::RunSummary { data: data(text)? },
            "search_result" => ServerMessage::SearchResult { data: search_result(data(text)?)? },
            "error" => ServerMessage::Error { data: data(text)? },
            "pong" => {
                let Pong { timestamp } = serde_json::from_str(text)?;
                ServerMessage::Pong { timestamp }
            }
            unknown => return Err(ProtocolError::UnknownType(unknown.to_owned())),
        })
    }
}

fn data<'a, T: Deserialize<'a>>(text: &'a str) -> serde_json::Result<T> {
    serde_json::from_str(text).map(|Data { data }| data)
}

fn positioned_entry(raw: &RawValue) -> serde_json::Result<PositionedEntry<'_>> {
    #[derive(Deserialize)]
    struct Place {
        position: Cursor,
    }
    let Place { position } = serde_json::from_str(raw.get())?;
    Ok(PositionedEntry { position, entry: serde_json::from_str(raw.get())? })
}

fn replay_entry(raw: &RawValue) -> serde_json::Result<ReplayEntry<'_>> {
    Ok(ReplayEntry { entry: serde_json::from_str(raw.get())?, replay: serde_json::from_str(raw.get())? })
}

fn search_result(parts: SearchParts<'_>) -> serde_json::Result<LogSearchResult<'_>> {
    let counts = parts.total_count.map(|total_count| SearchCounts {
        total_count,
        level_distribution: parts.level_distribution,
        source_distribution: parts.source_distribution,
        timeline_data: parts.timeline_data,
    });
    Ok(LogSearchResult {
        logs: parts.logs.into_iter().map(positioned_entry).collect::<Result<_, _>>()?,
        counts,
        query: parts.query,
        execution_time: parts.execution_time,
        cursor: parts.cursor,
        incomplete: parts.incomplete,
    })
}
