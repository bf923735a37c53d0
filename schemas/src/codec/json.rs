//! JSON: what scripts write.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::check::{check_entry, check_event, check_key, field};
use super::datum::Tags;
use super::framing::{Defaults, MAX_JSON};
use super::reject::Reject;
use crate::entry::{Level, LogEntry, Source};
use crate::event::{RunEvent, RunEventKind};
use crate::surrogates::replace_lone;
use crate::text::{JsonObject, Text, describe, describe_at, excerpt};
use crate::time::Timestamp;

/// Whether these bytes are JSON's: an opening brace, after white space.
pub(super) fn is_json(payload: &[u8]) -> bool {
    payload.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) == Some(&b'{')
}

/// Decodes an entry from one JSON object, as a receiver gets it: in a request for `workspace`.
///
/// Required are `cardId`, `runId` and `message`. Left out, `id` and `timestamp` come from `defaults`, `sequence` is 0,
/// `level` is info, `source` is agent, `component` is empty. Unknown fields are skipped, and half of a surrogate pair is
/// read as U+FFFD.
///
/// # Errors
/// If `line` isn't such an object or has more than [`MAX_JSON`] bytes, or if its `workspaceId` is another one.
pub fn entry_from_json<'a>(line: &'a [u8], workspace: &str, defaults: Defaults<'_>) -> Result<LogEntry<'a>, Reject> {
    parse_entry(line, Given { key: None, workspace: Some(workspace), defaults })
}

/// Decodes an event from one JSON object, as [`entry_from_json`] does an entry. Required are `cardId`, `runId` and
/// `kind`.
pub fn event_from_json<'a>(line: &'a [u8], workspace: &str, defaults: Defaults<'_>) -> Result<RunEvent<'a>, Reject> {
    parse_event(line, Given { key: None, workspace: Some(workspace), defaults })
}

/// What is known of a record besides its text.
pub(super) struct Given<'d> {
    /// Its key on the log, which is its card.
    pub(super) key: Option<&'d [u8]>,
    /// Its tenant, where that is not for the text to say.
    pub(super) workspace: Option<&'d str>,
    pub(super) defaults: Defaults<'d>,
}

impl Given<'_> {
    fn id<'a>(&self, id: Option<Text<'a>>) -> Text<'a> {
        id.unwrap_or_else(|| Text::from(self.defaults.id.to_owned()))
    }

    fn timestamp(&self, raw: Option<&RawValue>) -> Result<Timestamp, Reject> {
        Ok(scalar("timestamp", raw)?.unwrap_or(self.defaults.timestamp))
    }

    fn card_id<'a>(&self, card_id: Option<Text<'a>>) -> Result<Text<'a>, Reject> {
        match (card_id, self.key) {
            (Some(card_id), key) => check_key(key, &card_id).map(|()| card_id),
            (None, None) => Err(required("cardId")),
            (None, Some(key)) => match std::str::from_utf8(key) {
                Ok(key) => Ok(Text::from(key.to_owned())),
                Err(_) => Err(field("cardId", "is missing, and the record's key is not UTF-8")),
            },
        }
    }

    fn workspace_id<'a>(&self, workspace_id: Option<Text<'a>>) -> Result<Text<'a>, Reject> {
        match (workspace_id, self.workspace) {
            (Some(found), Some(expected)) if found != expected => {
                Err(field("workspaceId", format_args!("{:?} is not the token's workspace", excerpt(&found))))
            }
            (Some(found), _) => Ok(found),
            (None, Some(expected)) => Ok(Text::from(expected.to_owned())),
            (None, None) => Err(required("workspaceId")),
        }
    }
}

/// An entry as scripts write it. Only text is taken at once; the rest by [`scalar`] and its like, so that errors name
/// their field.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryJson<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    run_id: Option<Text<'a>>,
    #[serde(borrow)]
    card_id: Option<Text<'a>>,
    #[serde(borrow)]
    workspace_id: Option<Text<'a>>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    sequence: Option<&'a RawValue>,
    #[serde(borrow)]
    level: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    component: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    agent_id: Option<Text<'a>>,
    #[serde(borrow)]
    provider: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    user_id: Option<Text<'a>>,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
    #[serde(borrow)]
    correlation_id: Option<Text<'a>>,
    #[serde(borrow)]
    parent_span_id: Option<Text<'a>>,
    #[serde(borrow)]
    trace_id: Option<Text<'a>>,
}

pub(super) fn parse_entry<'a>(payload: &'a [u8], given: Given<'_>) -> Result<LogEntry<'a>, Reject> {
    match tidy(payload)? {
        None => entry_from(payload, given),
        Some(payload) => entry_from(&payload, given).map(LogEntry::into_owned),
    }
}

fn entry_from<'a>(payload: &'a [u8], given: Given<'_>) -> Result<LogEntry<'a>, Reject> {
    let json: EntryJson<'a> = parse(payload)?;
    let entry = LogEntry {
        id: given.id(json.id),
        run_id: json.run_id.ok_or_else(|| required("runId"))?,
        card_id: given.card_id(json.card_id)?,
        workspace_id: given.workspace_id(json.workspace_id)?,
        timestamp: given.timestamp(json.timestamp)?,
        sequence: scalar("sequence", json.sequence)?.unwrap_or(0),
        level: scalar("level", json.level)?.unwrap_or(Level::Info),
        source: scalar("source", json.source)?.unwrap_or(Source::Agent),
        component: json.component.unwrap_or_default(),
        message: json.message.ok_or_else(|| required("message"))?,
        data: json.data.map(object).transpose()?,
        agent_id: json.agent_id,
        provider: json.provider,
        model: json.model,
        user_id: json.user_id,
        tags: json.tags.map(tags).transpose()?,
        correlation_id: json.correlation_id,
        parent_span_id: json.parent_span_id,
        trace_id: json.trace_id,
    };
    check_entry(&entry)?;
    Ok(entry)
}

/// An event, likewise.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventJson<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    run_id: Option<Text<'a>>,
    #[serde(borrow)]
    card_id: Option<Text<'a>>,
    #[serde(borrow)]
    workspace_id: Option<Text<'a>>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    agent_id: Option<Text<'a>>,
    #[serde(borrow)]
    provider: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    user_id: Option<Text<'a>>,
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    exit_code: Option<&'a RawValue>,
    #[serde(borrow)]
    reason: Option<Text<'a>>,
    #[serde(borrow)]
    trace_id: Option<Text<'a>>,
}

pub(super) fn parse_event<'a>(payload: &'a [u8], given: Given<'_>) -> Result<RunEvent<'a>, Reject> {
    match tidy(payload)? {
        None => event_from(payload, given),
        Some(payload) => event_from(&payload, given).map(RunEvent::into_owned),
    }
}

fn event_from<'a>(payload: &'a [u8], given: Given<'_>) -> Result<RunEvent<'a>, Reject> {
    let json: EventJson<'a> = parse(payload)?;
    let event = RunEvent {
        id: given.id(json.id),
        run_id: json.run_id.ok_or_else(|| required("runId"))?,
        card_id: given.card_id(json.card_id)?,
        workspace_id: given.workspace_id(json.workspace_id)?,
        timestamp: given.timestamp(json.timestamp)?,
        kind: scalar::<RunEventKind>("kind", json.kind)?.ok_or_else(|| required("kind"))?,
        agent_id: json.agent_id,
        provider: json.provider,
        model: json.model,
        user_id: json.user_id,
        cost: scalar("cost", json.cost)?,
        input_tokens: scalar("inputTokens", json.input_tokens)?,
        output_tokens: scalar("outputTokens", json.output_tokens)?,
        exit_code: scalar("exitCode", json.exit_code)?,
        reason: json.reason,
        trace_id: json.trace_id,
    };
    check_event(&event)?;
    Ok(event)
}

/// The text to be parsed instead of a payload that has lone surrogates: a script that cuts its lines writes them.
fn tidy(payload: &[u8]) -> Result<Option<Vec<u8>>, Reject> {
    if payload.len() > MAX_JSON {
        return Err(Reject::TooLarge { length: payload.len(), limit: MAX_JSON });
    }
    Ok(replace_lone(payload))
}

fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Reject> {
    // An array would be taken for the fields in their order.
    if !is_json(payload) {
        return Err(Reject::Json { reason: "not an object".to_owned() });
    }
    // Bounded, for an error may repeat what it found.
    serde_json::from_slice(payload).map_err(|error| Reject::Json { reason: describe_at(&error) })
}

fn required(name: &'static str) -> Reject {
    field(name, "is required")
}

/// A number, an instant, or a name. Its text is short: a long one isn't tried, so that no message about it grows.
fn scalar<'a, T: Deserialize<'a>>(name: &'static str, raw: Option<&'a RawValue>) -> Result<Option<T>, Reject> {
    let Some(text) = raw.map(RawValue::get) else {
        return Ok(None);
    };
    let parsed = if text.len() <= 128 { serde_json::from_str(text).map_err(Some) } else { Err(None) };
    parsed.map(Some).map_err(|error| match error {
        Some(error) => field(name, describe(&error)),
        None => field(name, format_args!("{}… is too long", excerpt(text))),
    })
}

fn tags<'a>(raw: &'a RawValue) -> Result<Vec<Text<'a>>, Reject> {
    if !raw.get().starts_with('[') {
        return Err(field("tags", "not an array of strings"));
    }
    let tags: Tags<'a> = serde_json::from_str(raw.get()).map_err(|error| field("tags", describe(&error)))?;
    Ok(tags.0)
}

fn object(raw: &RawValue) -> Result<JsonObject<'_>, Reject> {
    JsonObject::parse(Cow::Borrowed(raw.get())).ok_or_else(|| field("data", JsonObject::EXPECTED))
}
