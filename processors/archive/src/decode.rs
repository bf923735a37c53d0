//! Rows as the entries that they were, each held to its hash.

use agentworks_processors::reader::StoredEntry;
use agentworks_schemas::codec::{encode_entry_body, encode_event_body};
use agentworks_schemas::entry::UnknownName;
use agentworks_schemas::text::{JsonObject, Text};
use agentworks_schemas::{LogEntry, Position, RunEvent, Timestamp, Topic, TopicPartition};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BinaryArray, Float64Array, Int32Array, Int64Array, ListArray, PrimitiveArray, RecordBatch,
    StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow_schema::{FieldRef, SchemaRef};

use crate::error::ArchiveError;
use crate::rows::is_hash;

fn missing(column: &str) -> ArchiveError {
    ArchiveError::Corrupt(format!("there is no column {column} of the kind that it should be"))
}

pub(crate) fn texts<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a StringArray, ArchiveError> {
    rows.column_by_name(name).and_then(|column| column.as_string_opt()).ok_or_else(|| missing(name))
}

pub(crate) fn longs<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a Int64Array, ArchiveError> {
    numbers::<Int64Type>(rows, name)
}

pub(crate) fn numbers<'a, T: arrow_array::ArrowPrimitiveType>(
    rows: &'a RecordBatch,
    name: &str,
) -> Result<&'a PrimitiveArray<T>, ArchiveError> {
    rows.column_by_name(name).and_then(|column| column.as_primitive_opt::<T>()).ok_or_else(|| missing(name))
}

pub(crate) fn instants<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a TimestampMicrosecondArray, ArchiveError> {
    numbers::<TimestampMicrosecondType>(rows, name)
}

pub(crate) fn hashes(rows: &RecordBatch) -> Result<&BinaryArray, ArchiveError> {
    rows.column_by_name("hash").and_then(|column| column.as_binary_opt()).ok_or_else(|| missing("hash"))
}

/// A batch of a table as its schema is now: columns that an older file lacks are null.
pub(crate) fn complete(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArchiveError> {
    if batch.schema_ref().fields() == schema.fields() {
        return Ok(batch.clone());
    }
    let column = |field: &FieldRef| -> ArrayRef {
        match batch.column_by_name(field.name()) {
            Some(column) => column.clone(),
            None => new_null_array(field.data_type(), batch.num_rows()),
        }
    };
    Ok(RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect())?)
}

/// Whether a canonical body is the one whose hash was kept. Fields that a later version of the schema has added come last,
/// and lack a value in what was written before: then the body ended before them. (None that ends so early can be mistaken
/// for another: in its own version it is whole.)
pub(crate) fn is_written(body: &mut Vec<u8>, kept: &[u8]) -> bool {
    /// How Avro has a field without a value.
    const NONE: u8 = 0;
    /// More fields than this are not added.
    const ADDED: usize = 16;
    for _ in 0..ADDED {
        if is_hash(body, kept) {
            return true;
        }
        if body.pop_if(|last| *last == NONE).is_none() {
            return false;
        }
    }
    false
}

/// Holds a canonical body to the hash that was kept of the entry, or event, at `position`.
fn check_written(mut body: Vec<u8>, kept: &[u8], what: &str, position: Position) -> Result<(), ArchiveError> {
    match is_written(&mut body, kept) {
        true => Ok(()),
        false => Err(ArchiveError::Corrupt(format!("{position} is not the {what} that was written: its hash differs"))),
    }
}

/// The topic of this name.
pub(crate) fn topic(name: &str) -> Result<Topic, ArchiveError> {
    Topic::named(name).ok_or_else(|| ArchiveError::Corrupt(format!("{name:?} is no topic")))
}

/// Where rows lie in the log.
pub(crate) struct Positions<'a> {
    topics: &'a StringArray,
    epochs: &'a Int64Array,
    partitions: &'a Int32Array,
    offsets: &'a Int64Array,
}

impl<'a> Positions<'a> {
    /// The columns that these are.
    pub(crate) const COLUMNS: [&'static str; 4] = ["topic", "epoch", "partition", "offset"];

    pub(crate) fn new(rows: &'a RecordBatch) -> Result<Self, ArchiveError> {
        Ok(Positions {
            topics: texts(rows, "topic")?,
            epochs: longs(rows, "epoch")?,
            partitions: numbers::<Int32Type>(rows, "partition")?,
            offsets: longs(rows, "offset")?,
        })
    }

    /// Where a row lies.
    pub(crate) fn at(&self, row: usize) -> Result<Position, ArchiveError> {
        let epoch = u32::try_from(self.epochs.value(row))
            .map_err(|_| ArchiveError::Corrupt(format!("epoch {} of a row", self.epochs.value(row))))?;
        let partition = TopicPartition::new(topic(self.topics.value(row))?, self.partitions.value(row));
        Ok(Position { partition, epoch, offset: self.offsets.value(row) })
    }
}

/// Rows of `entries`.
pub(crate) struct Entries<'a> {
    positions: Positions<'a>,
    times: &'a TimestampMicrosecondArray,
    hashes: &'a BinaryArray,
    texts: [&'a StringArray; TEXTS.len()],
    timestamps: &'a TimestampMicrosecondArray,
    sequences: &'a Int64Array,
    tags: &'a ListArray,
}

const TEXTS: [&str; 16] = [
    "id",
    "run_id",
    "card_id",
    "workspace_id",
    "level",
    "source",
    "component",
    "message",
    "data",
    "agent_id",
    "provider",
    "model",
    "user_id",
    "correlation_id",
    "parent_span_id",
    "trace_id",
];

impl<'a> Entries<'a> {
    pub(crate) fn new(rows: &'a RecordBatch) -> Result<Self, ArchiveError> {
        let mut columns = Vec::with_capacity(TEXTS.len());
        for name in TEXTS {
            columns.push(texts(rows, name)?);
        }
        Ok(Entries {
            positions: Positions::new(rows)?,
            times: instants(rows, "record_time")?,
            hashes: hashes(rows)?,
            texts: columns.try_into().map_err(|_| missing("id"))?,
            timestamps: instants(rows, "timestamp")?,
            sequences: longs(rows, "sequence")?,
            tags: rows.column_by_name("tags").and_then(|column| column.as_list_opt()).ok_or_else(|| missing("tags"))?,
        })
    }

    /// An entry.
    ///
    /// # Errors
    /// If it isn't the one that was written.
    pub(crate) fn at(&self, row: usize) -> Result<StoredEntry, ArchiveError> {
        let position = self.positions.at(row)?;
        let entry = self.entry(row).map_err(|error| error.at(&position.to_string()))?;
        let mut body = Vec::with_capacity(1024);
        encode_entry_body(&entry, &mut body);
        check_written(body, self.hashes.value(row), "entry", position)?;
        Ok(StoredEntry { position, timestamp: millis(self.times, row), entry })
    }

    fn entry(&self, row: usize) -> Result<LogEntry<'static>, ArchiveError> {
        let own = |index: usize| Text::from(self.texts[index].value(row).to_owned());
        let maybe = |index: usize| self.texts[index].is_valid(row).then(|| own(index));
        let unknown = |error: UnknownName| ArchiveError::Corrupt(error.to_string());
        let data = maybe(8).map(|text| {
            let no_object = || ArchiveError::Corrupt("data is not a JSON object".into());
            JsonObject::parse(text.as_str().to_owned()).ok_or_else(no_object)
        });
        Ok(LogEntry {
            id: own(0),
            run_id: own(1),
            card_id: own(2),
            workspace_id: own(3),
            timestamp: millis(self.timestamps, row),
            sequence: self.sequences.value(row),
            level: self.texts[4].value(row).parse().map_err(unknown)?,
            source: self.texts[5].value(row).parse().map_err(unknown)?,
            component: own(6),
            message: own(7),
            data: data.transpose()?,
            agent_id: maybe(9),
            provider: maybe(10),
            model: maybe(11),
            user_id: maybe(12),
            tags: self.tags(row)?,
            correlation_id: maybe(13),
            parent_span_id: maybe(14),
            trace_id: maybe(15),
        })
    }

    fn tags(&self, row: usize) -> Result<Option<Vec<Text<'static>>>, ArchiveError> {
        if !self.tags.is_valid(row) {
            return Ok(None);
        }
        let tags = self.tags.value(row);
        let tags = tags.as_string_opt::<i32>().ok_or_else(|| missing("tags"))?;
        Ok(Some(tags.iter().flatten().map(|tag| Text::from(tag.to_owned())).collect()))
    }
}

/// An instant of a column.
pub(crate) fn millis(column: &TimestampMicrosecondArray, row: usize) -> Timestamp {
    Timestamp(column.value(row).div_euclid(1000))
}

/// An event and where it lies.
#[derive(Debug)]
pub(crate) struct StoredEvent {
    pub(crate) position: Position,
    /// The record's.
    pub(crate) timestamp: Timestamp,
    pub(crate) event: RunEvent<'static>,
}

/// Rows of `events`.
pub(crate) struct Events<'a> {
    positions: Positions<'a>,
    times: &'a TimestampMicrosecondArray,
    hashes: &'a BinaryArray,
    texts: [&'a StringArray; EVENT_TEXTS.len()],
    timestamps: &'a TimestampMicrosecondArray,
    costs: &'a Float64Array,
    tokens: [&'a Int64Array; 2],
    exit_codes: &'a Int32Array,
}

const EVENT_TEXTS: [&str; 11] = [
    "id",
    "run_id",
    "card_id",
    "workspace_id",
    "kind",
    "agent_id",
    "provider",
    "model",
    "user_id",
    "reason",
    "trace_id",
];

impl<'a> Events<'a> {
    pub(crate) fn new(rows: &'a RecordBatch) -> Result<Self, ArchiveError> {
        let mut columns = Vec::with_capacity(EVENT_TEXTS.len());
        for name in EVENT_TEXTS {
            columns.push(texts(rows, name)?);
        }
        Ok(Events {
            positions: Positions::new(rows)?,
            times: instants(rows, "record_time")?,
            hashes: hashes(rows)?,
            texts: columns.try_into().map_err(|_| missing("id"))?,
            timestamps: instants(rows, "timestamp")?,
            costs: numbers::<Float64Type>(rows, "cost")?,
            tokens: [longs(rows, "input_tokens")?, longs(rows, "output_tokens")?],
            exit_codes: numbers::<Int32Type>(rows, "exit_code")?,
        })
    }

    /// An event.
    ///
    /// # Errors
    /// If it isn't the one that was written.
    pub(crate) fn at(&self, row: usize) -> Result<StoredEvent, ArchiveError> {
        let position = self.positions.at(row)?;
        let event = self.event(row).map_err(|error| error.at(&position.to_string()))?;
        let mut body = Vec::with_capacity(256);
        encode_event_body(&event, &mut body);
        check_written(body, self.hashes.value(row), "event", position)?;
        Ok(StoredEvent { position, timestamp: millis(self.times, row), event })
    }

    fn event(&self, row: usize) -> Result<RunEvent<'static>, ArchiveError> {
        let own = |index: usize| Text::from(self.texts[index].value(row).to_owned());
        let maybe = |index: usize| self.texts[index].is_valid(row).then(|| own(index));
        let unknown = |error: UnknownName| ArchiveError::Corrupt(error.to_string());
        let tokens = |column: &Int64Array| column.is_valid(row).then(|| column.value(row));
        Ok(RunEvent {
            id: own(0),
            run_id: own(1),
            card_id: own(2),
            workspace_id: own(3),
            timestamp: millis(self.timestamps, row),
            kind: self.texts[4].value(row).parse().map_err(unknown)?,
            agent_id: maybe(5),
            provider: maybe(6),
            model: maybe(7),
            user_id: maybe(8),
            cost: self.costs.is_valid(row).then(|| self.costs.value(row)),
            input_tokens: tokens(self.tokens[0]),
            output_tokens: tokens(self.tokens[1]),
            exit_code: self.exit_codes.is_valid(row).then(|| self.exit_codes.value(row)),
            reason: maybe(9),
            trace_id: maybe(10),
        })
    }
}
