//! What a record's fields may hold, beyond what its schema says.

use super::reject::Reject;
use crate::entry::LogEntry;
use crate::event::RunEvent;
use crate::text::{Text, excerpt};
use crate::time::Timestamp;

/// The longest id, in bytes: each of the ids is part of some key.
pub const MAX_ID: usize = 512;

/// How many tags an entry may have.
pub const MAX_TAGS: usize = 1024;

/// Whether an entry may be on the log. Whatever passes is taken back by [`decode_entry`](super::decode_entry), as long as
/// its encoded form is not too large.
pub fn check_entry(entry: &LogEntry<'_>) -> Result<(), Reject> {
    id("id", &entry.id)?;
    required_id("runId", &entry.run_id)?;
    required_id("cardId", &entry.card_id)?;
    required_id("workspaceId", &entry.workspace_id)?;
    timestamp(entry.timestamp)?;
    not_negative("sequence", Some(entry.sequence))?;
    optional_id("agentId", &entry.agent_id)?;
    optional_id("userId", &entry.user_id)?;
    optional_id("correlationId", &entry.correlation_id)?;
    optional_id("parentSpanId", &entry.parent_span_id)?;
    optional_id("traceId", &entry.trace_id)?;
    match &entry.tags {
        Some(tags) if tags.len() > MAX_TAGS => {
            Err(field("tags", format_args!("{} of them; at most {MAX_TAGS} are taken", tags.len())))
        }
        _ => Ok(()),
    }
}

/// Whether an event may be on the log; see [`check_entry`].
pub fn check_event(event: &RunEvent<'_>) -> Result<(), Reject> {
    id("id", &event.id)?;
    required_id("runId", &event.run_id)?;
    required_id("cardId", &event.card_id)?;
    required_id("workspaceId", &event.workspace_id)?;
    timestamp(event.timestamp)?;
    optional_id("agentId", &event.agent_id)?;
    optional_id("userId", &event.user_id)?;
    optional_id("traceId", &event.trace_id)?;
    not_negative("inputTokens", event.input_tokens)?;
    not_negative("outputTokens", event.output_tokens)?;
    match event.cost {
        Some(cost) if !(cost.is_finite() && cost >= 0.0) => {
            Err(field("cost", format_args!("{cost} is not a sum of money")))
        }
        _ => Ok(()),
    }
}

/// The key of a record must be its card, for the key alone says to which lane it belongs.
pub(super) fn check_key(key: Option<&[u8]>, card_id: &str) -> Result<(), Reject> {
    match key {
        Some(key) if key != card_id.as_bytes() => {
            // Bounded before it is converted: a key may be as long as a record.
            let key = String::from_utf8_lossy(&key[..key.len().min(256)]);
            let (key, card_id) = (excerpt(&key), excerpt(card_id));
            Err(field("cardId", format_args!("{card_id:?}, but the record's key is {key:?}")))
        }
        _ => Ok(()),
    }
}

fn id(name: &'static str, id: &Text<'_>) -> Result<(), Reject> {
    if id.len() > MAX_ID {
        return Err(field(name, format_args!("has {} bytes; at most {MAX_ID} are taken", id.len())));
    }
    Ok(())
}

fn optional_id(name: &'static str, value: &Option<Text<'_>>) -> Result<(), Reject> {
    value.as_ref().map_or(Ok(()), |value| id(name, value))
}

fn required_id(name: &'static str, value: &Text<'_>) -> Result<(), Reject> {
    if value.is_empty() {
        return Err(field(name, "is empty"));
    }
    id(name, value)
}

fn timestamp(timestamp: Timestamp) -> Result<(), Reject> {
    if !Timestamp::RANGE.contains(&timestamp.millis()) {
        let (first, last) = (Timestamp(*Timestamp::RANGE.start()), Timestamp(*Timestamp::RANGE.end()));
        let millis = timestamp.millis();
        return Err(field("timestamp", format_args!("{millis} ms is not within {first} and {last}")));
    }
    Ok(())
}

fn not_negative(name: &'static str, value: Option<i64>) -> Result<(), Reject> {
    match value {
        Some(value) if value < 0 => Err(field(name, format_args!("{value} is negative"))),
        _ => Ok(()),
    }
}

/// The reject of a field.
pub(super) fn field(name: &'static str, reason: impl ToString) -> Reject {
    Reject::Field { field: name, reason: reason.to_string() }
}
