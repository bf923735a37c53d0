//! Avro data of any schema that resolves to ours, read by field names.

use std::fmt;
use std::io::BufRead;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde_avro_fast::Schema;
use serde_avro_fast::de::read::SliceRead;
use serde_avro_fast::de::{DeserializerConfig, DeserializerState};

use super::check::{MAX_TAGS, check_entry, check_event, field};
use super::reject::Reject;
use crate::entry::{Level, LogEntry, Source};
use crate::event::{RunEvent, RunEventKind};
use crate::text::{JsonObject, Text, cut};
use crate::time::Timestamp;

/// Reads an entry that was written in `schema`.
pub(super) fn read_entry<'a>(schema: &Schema, datum: &'a [u8]) -> Result<LogEntry<'a>, Reject> {
    let entry: EntryDatum<'a> = read(schema, datum)?;
    let entry = LogEntry {
        id: entry.id,
        run_id: entry.run_id,
        card_id: entry.card_id,
        workspace_id: entry.workspace_id,
        timestamp: Timestamp(entry.timestamp),
        sequence: entry.sequence,
        level: entry.level.0,
        source: entry.source.0,
        component: entry.component,
        message: entry.message,
        data: entry.data.map(json_object).transpose()?,
        agent_id: entry.agent_id,
        provider: entry.provider,
        model: entry.model,
        user_id: entry.user_id,
        tags: entry.tags.map(|tags| tags.0),
        correlation_id: entry.correlation_id,
        parent_span_id: entry.parent_span_id,
        trace_id: entry.trace_id,
    };
    check_entry(&entry)?;
    Ok(entry)
}

/// Reads an event that was written in `schema`.
pub(super) fn read_event<'a>(schema: &Schema, datum: &'a [u8]) -> Result<RunEvent<'a>, Reject> {
    let event: EventDatum<'a> = read(schema, datum)?;
    let event = RunEvent {
        id: event.id,
        run_id: event.run_id,
        card_id: event.card_id,
        workspace_id: event.workspace_id,
        timestamp: Timestamp(event.timestamp),
        kind: event.kind.0,
        agent_id: event.agent_id,
        provider: event.provider,
        model: event.model,
        user_id: event.user_id,
        cost: event.cost,
        input_tokens: event.input_tokens,
        output_tokens: event.output_tokens,
        exit_code: event.exit_code,
        reason: event.reason,
        trace_id: event.trace_id,
    };
    check_event(&event)?;
    Ok(event)
}

/// What an entry's `data` holds.
pub(super) fn json_object(text: Text<'_>) -> Result<JsonObject<'_>, Reject> {
    JsonObject::parse(text.0).ok_or_else(|| field("data", JsonObject::EXPECTED))
}

fn read<'a, T: Deserialize<'a>>(schema: &Schema, datum: &'a [u8]) -> Result<T, Reject> {
    let mut config = DeserializerConfig::new(schema);
    // An array of nothings may claim any length in a few bytes. An honest one has no more elements than bytes.
    config.max_seq_size = datum.len();
    let mut state = DeserializerState::with_config(SliceRead::new(datum), config);
    let invalid = |reason: String| Reject::Avro { reason };
    // Bounded, for where a schema has another type than ours an error repeats what it found.
    let value = T::deserialize(state.deserializer()).map_err(|error| invalid(cut(error)))?;
    match state.into_reader().fill_buf() {
        Ok([]) => Ok(value),
        Ok(rest) => Err(invalid(format!("{} bytes too many", rest.len()))),
        Err(error) => Err(invalid(cut(error))),
    }
}

/// An entry, field by field as the schema has it. What the schema of an older writer lacks gets the schema's default.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryDatum<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    run_id: Text<'a>,
    #[serde(borrow)]
    card_id: Text<'a>,
    #[serde(borrow)]
    workspace_id: Text<'a>,
    timestamp: i64,
    sequence: i64,
    level: Symbol<Level>,
    source: Symbol<Source>,
    #[serde(borrow)]
    component: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow)]
    data: Option<Text<'a>>,
    #[serde(borrow)]
    agent_id: Option<Text<'a>>,
    #[serde(borrow)]
    provider: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    user_id: Option<Text<'a>>,
    #[serde(borrow)]
    tags: Option<Tags<'a>>,
    #[serde(borrow)]
    correlation_id: Option<Text<'a>>,
    #[serde(borrow)]
    parent_span_id: Option<Text<'a>>,
    #[serde(borrow)]
    trace_id: Option<Text<'a>>,
}

/// An event, likewise.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventDatum<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    run_id: Text<'a>,
    #[serde(borrow)]
    card_id: Text<'a>,
    #[serde(borrow)]
    workspace_id: Text<'a>,
    timestamp: i64,
    kind: Symbol<RunEventKind>,
    #[serde(borrow)]
    agent_id: Option<Text<'a>>,
    #[serde(borrow)]
    provider: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    user_id: Option<Text<'a>>,
    cost: Option<f64>,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    exit_code: Option<i32>,
    #[serde(borrow)]
    reason: Option<Text<'a>>,
    #[serde(borrow)]
    trace_id: Option<Text<'a>>,
}

/// The tags of an entry: no more than are taken, so that a run of empty ones asks for no more memory than that.
pub(super) struct Tags<'a>(pub(super) Vec<Text<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Tags<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TagsVisitor;

        impl<'de> Visitor<'de> for TagsVisitor {
            type Value = Tags<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of strings")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tags<'de>, A::Error> {
                let mut tags = Vec::new();
                while let Some(tag) = seq.next_element()? {
                    if tags.len() == MAX_TAGS {
                        return Err(A::Error::custom(format_args!("at most {MAX_TAGS} tags are taken")));
                    }
                    tags.push(tag);
                }
                Ok(Tags(tags))
            }
        }

        deserializer.deserialize_seq(TagsVisitor)
    }
}

/// The symbol of an enum. One that we don't know, from a schema that isn't ours, is the default of our enum, as Avro's
/// schema resolution has it.
struct Symbol<T>(T);

/// An Avro enum.
trait AvroEnum: FromStr {
    /// The default that its schema gives.
    const DEFAULT: Self;
}

impl AvroEnum for Level {
    const DEFAULT: Self = Level::Info;
}

impl AvroEnum for Source {
    const DEFAULT: Self = Source::Agent;
}

impl AvroEnum for RunEventKind {
    const DEFAULT: Self = RunEventKind::Usage;
}

impl<'de, T: AvroEnum> Deserialize<'de> for Symbol<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SymbolVisitor<T>(PhantomData<T>);

        impl<T: AvroEnum> Visitor<'_> for SymbolVisitor<T> {
            type Value = Symbol<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an enum")
            }

            fn visit_str<E: Error>(self, symbol: &str) -> Result<Symbol<T>, E> {
                Ok(Symbol(symbol.parse().unwrap_or(T::DEFAULT)))
            }
        }

        deserializer.deserialize_any(SymbolVisitor(PhantomData))
    }
}
