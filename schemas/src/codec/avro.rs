//! The canonical body of a record: its bare Avro datum in the newest schema.
//!
//! Written and read by hand, field by field in the schema's order: the hot path of everything, several times as fast as
//! what goes by the schema, and writing can't fail. The tests hold it to what the schemas say.

use super::binary::{Reader, put_long, put_optional, put_optional_text, put_text, put_texts};
use super::check::{check_entry, check_event};
use super::datum::json_object;
use super::reject::Reject;
use crate::entry::{Level, LogEntry, Source};
use crate::event::{RunEvent, RunEventKind};
use crate::time::Timestamp;

/// Encodes the canonical body of an entry, appended to `out`.
///
/// What is written can be decoded if [`check_entry`](super::check_entry) passes the entry.
pub fn encode_entry_body(entry: &LogEntry<'_>, out: &mut Vec<u8>) {
    put_text(out, &entry.id);
    put_text(out, &entry.run_id);
    put_text(out, &entry.card_id);
    put_text(out, &entry.workspace_id);
    put_long(out, entry.timestamp.millis());
    put_long(out, entry.sequence);
    put_long(out, entry.level as i64);
    put_long(out, entry.source as i64);
    put_text(out, &entry.component);
    put_text(out, &entry.message);
    put_optional(out, entry.data.as_ref().map(|data| data.as_str()), put_text);
    put_optional_text(out, &entry.agent_id);
    put_optional_text(out, &entry.provider);
    put_optional_text(out, &entry.model);
    put_optional_text(out, &entry.user_id);
    put_optional(out, entry.tags.as_deref(), put_texts);
    put_optional_text(out, &entry.correlation_id);
    put_optional_text(out, &entry.parent_span_id);
    put_optional_text(out, &entry.trace_id);
}

/// Encodes the canonical body of an event, appended to `out`.
///
/// What is written can be decoded if [`check_event`](super::check_event) passes the event.
pub fn encode_event_body(event: &RunEvent<'_>, out: &mut Vec<u8>) {
    put_text(out, &event.id);
    put_text(out, &event.run_id);
    put_text(out, &event.card_id);
    put_text(out, &event.workspace_id);
    put_long(out, event.timestamp.millis());
    put_long(out, event.kind as i64);
    put_optional_text(out, &event.agent_id);
    put_optional_text(out, &event.provider);
    put_optional_text(out, &event.model);
    put_optional_text(out, &event.user_id);
    put_optional(out, event.cost, |out, cost| out.extend_from_slice(&cost.to_le_bytes()));
    put_optional(out, event.input_tokens, put_long);
    put_optional(out, event.output_tokens, put_long);
    put_optional(out, event.exit_code.map(i64::from), put_long);
    put_optional_text(out, &event.reason);
    put_optional_text(out, &event.trace_id);
}

/// Decodes a canonical body: exactly one entry, in the newest schema. Its text borrows from the body.
pub fn decode_entry_body(body: &[u8]) -> Result<LogEntry<'_>, Reject> {
    let mut reader = Reader::new(body);
    // Fields are read in the order in which they are written here, which is the schema's.
    let entry = LogEntry {
        id: reader.text()?,
        run_id: reader.text()?,
        card_id: reader.text()?,
        workspace_id: reader.text()?,
        timestamp: Timestamp(reader.long()?),
        sequence: reader.long()?,
        level: reader.symbol(&Level::ALL)?,
        source: reader.symbol(&Source::ALL)?,
        component: reader.text()?,
        message: reader.text()?,
        data: reader.optional_text()?.map(json_object).transpose()?,
        agent_id: reader.optional_text()?,
        provider: reader.optional_text()?,
        model: reader.optional_text()?,
        user_id: reader.optional_text()?,
        tags: reader.optional(Reader::texts)?,
        correlation_id: reader.optional_text()?,
        parent_span_id: reader.optional_text()?,
        trace_id: reader.optional_text()?,
    };
    reader.finish()?;
    check_entry(&entry)?;
    Ok(entry)
}

/// Decodes a canonical body: exactly one event, in the newest schema. Its text borrows from the body.
pub fn decode_event_body(body: &[u8]) -> Result<RunEvent<'_>, Reject> {
    let mut reader = Reader::new(body);
    let event = RunEvent {
        id: reader.text()?,
        run_id: reader.text()?,
        card_id: reader.text()?,
        workspace_id: reader.text()?,
        timestamp: Timestamp(reader.long()?),
        kind: reader.symbol(&RunEventKind::ALL)?,
        agent_id: reader.optional_text()?,
        provider: reader.optional_text()?,
        model: reader.optional_text()?,
        user_id: reader.optional_text()?,
        cost: reader.optional(Reader::double)?,
        input_tokens: reader.optional(Reader::long)?,
        output_tokens: reader.optional(Reader::long)?,
        exit_code: reader.optional(Reader::int)?,
        reason: reader.optional_text()?,
        trace_id: reader.optional_text()?,
    };
    reader.finish()?;
    check_event(&event)?;
    Ok(event)
}
