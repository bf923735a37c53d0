//! From records to columns.

use std::sync::Arc;

use agentworks_schemas::codec::{decode_entry_body, decode_event_body};
use agentworks_schemas::text::Text;
use agentworks_schemas::{LogEntry, RunEvent, Timestamp, Topic, TopicPartition};
use arrow_array::builder::{
    ArrayBuilder, BinaryBuilder, Float64Builder, Int32Builder, Int64Builder, ListBuilder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, SchemaRef};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::ArchiveError;
use crate::schema::{Kind, TableSpec};

/// How many bytes a row's hash has: enough that no damage passes, and a tenth of what a row takes.
const HASH: usize = 8;

/// A batch is built when it has so many rows.
const BATCH_ROWS: usize = 4096;
/// Or so many bytes.
const BATCH_BYTES: usize = 8 << 20;

/// The hash that is kept of a record: XXH3 (64 bits, without a seed) of its canonical body, in its canonical order of bytes.
/// It is to show damage. Whoever could forge a row could forge any hash that needs no key.
pub(crate) fn hash(body: &[u8]) -> [u8; HASH] {
    xxh3_64(body).to_be_bytes()
}

/// Whether `kept` was kept of a record with this body. Versions before kept the beginning of its SHA-256, the first of them
/// 16 bytes of it.
pub(crate) fn is_hash(body: &[u8], kept: &[u8]) -> bool {
    kept == hash(body) || kept.len() >= HASH && Sha256::digest(body).starts_with(kept)
}

/// Where a record lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) partition: TopicPartition,
    pub(crate) epoch: u32,
    pub(crate) offset: i64,
    pub(crate) time: Timestamp,
}

enum Column {
    Text(StringBuilder),
    Texts(ListBuilder<StringBuilder>),
    Long(Int64Builder),
    Int(Int32Builder),
    Double(Float64Builder),
    Instant(TimestampMicrosecondBuilder),
    Bytes(BinaryBuilder),
}

impl Column {
    fn new(kind: Kind) -> Option<Column> {
        Some(match kind {
            Kind::Text => Column::Text(StringBuilder::new()),
            Kind::Texts => {
                let element = Field::new("element", DataType::Utf8, true);
                Column::Texts(ListBuilder::new(StringBuilder::new()).with_field(element))
            }
            Kind::Long => Column::Long(Int64Builder::new()),
            Kind::Int => Column::Int(Int32Builder::new()),
            Kind::Double => Column::Double(Float64Builder::new()),
            Kind::Instant => Column::Instant(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            Kind::Bytes => Column::Bytes(BinaryBuilder::new()),
            Kind::Date => return None,
        })
    }

    /// What was built. The next is given room for as much, for what grows is copied again and again.
    fn finish(&mut self) -> ArrayRef {
        match self {
            Column::Text(builder) => {
                let next = StringBuilder::with_capacity(builder.len(), builder.values_slice().len());
                Arc::new(std::mem::replace(builder, next).finish())
            }
            Column::Texts(builder) => Arc::new(builder.finish()),
            Column::Long(builder) => {
                let next = Int64Builder::with_capacity(builder.len());
                Arc::new(std::mem::replace(builder, next).finish())
            }
            Column::Int(builder) => {
                let next = Int32Builder::with_capacity(builder.len());
                Arc::new(std::mem::replace(builder, next).finish())
            }
            Column::Double(builder) => Arc::new(builder.finish()),
            Column::Instant(builder) => {
                let next = TimestampMicrosecondBuilder::with_capacity(builder.len()).with_timezone("UTC");
                Arc::new(std::mem::replace(builder, next).finish())
            }
            Column::Bytes(builder) => {
                let next = BinaryBuilder::with_capacity(builder.len(), builder.values_slice().len());
                Arc::new(std::mem::replace(builder, next).finish())
            }
        }
    }
}

/// Fills a table's columns row by row, each in the order of the columns. A cell of another kind than its column's is left
/// out, and the batch then refused, for its columns differ in length.
pub(crate) struct RowBuilder {
    schema: SchemaRef,
    columns: Vec<Column>,
    next: usize,
    rows: usize,
    bytes: usize,
}

impl RowBuilder {
    /// For rows of a table.
    pub(crate) fn new(spec: &TableSpec) -> Self {
        let columns = spec.columns.iter().filter_map(|(_, kind)| Column::new(*kind)).collect();
        RowBuilder { schema: spec.arrow(), columns, next: 0, rows: 0, bytes: 0 }
    }

    fn cell(&mut self) -> Option<&mut Column> {
        self.next += 1;
        self.columns.get_mut(self.next - 1)
    }

    pub(crate) fn text(&mut self, value: Option<&str>) {
        self.bytes += value.map_or(0, str::len);
        if let Some(Column::Text(column)) = self.cell() {
            column.append_option(value);
        }
    }

    pub(crate) fn long(&mut self, value: Option<i64>) {
        if let Some(Column::Long(column)) = self.cell() {
            column.append_option(value);
        }
    }

    pub(crate) fn int(&mut self, value: Option<i32>) {
        if let Some(Column::Int(column)) = self.cell() {
            column.append_option(value);
        }
    }

    pub(crate) fn double(&mut self, value: Option<f64>) {
        if let Some(Column::Double(column)) = self.cell() {
            column.append_option(value);
        }
    }

    pub(crate) fn instant(&mut self, value: Option<Timestamp>) {
        if let Some(Column::Instant(column)) = self.cell() {
            column.append_option(value.map(|value| value.millis().saturating_mul(1000)));
        }
    }

    fn bytes(&mut self, value: &[u8]) {
        if let Some(Column::Bytes(column)) = self.cell() {
            column.append_value(value);
        }
    }

    fn texts(&mut self, value: Option<&[Text<'_>]>) {
        self.bytes += value.map_or(0, |texts| texts.iter().map(|text| text.len()).sum());
        if let Some(Column::Texts(column)) = self.cell() {
            for text in value.into_iter().flatten() {
                column.values().append_value(text.as_str());
            }
            column.append(value.is_some());
        }
    }

    /// Ends a row.
    pub(crate) fn end(&mut self) {
        (self.next, self.rows) = (0, self.rows + 1);
        self.bytes += 128;
    }

    /// Adds a record, from its canonical body.
    pub(crate) fn record(&mut self, place: Place, body: &[u8]) -> Result<(), ArchiveError> {
        let fault = |error| ArchiveError::Corrupt(format!("{}@{}: {error}", place.partition, place.offset));
        if Topic::LOGS.contains(&place.partition.topic) {
            self.entry(place, &decode_entry_body(body).map_err(fault)?, body);
        } else {
            self.event(place, &decode_event_body(body).map_err(fault)?, body);
        }
        Ok(())
    }

    fn head(&mut self, place: Place, ids: [&Text<'_>; 4], body: &[u8]) {
        let [workspace, card, run, id] = ids;
        self.text(Some(workspace));
        self.text(Some(card));
        self.text(Some(run));
        self.text(Some(place.partition.topic.as_str()));
        self.long(Some(place.epoch.into()));
        self.int(Some(place.partition.partition));
        self.long(Some(place.offset));
        self.instant(Some(place.time));
        self.bytes(&hash(body));
        self.text(Some(id));
    }

    fn entry(&mut self, place: Place, entry: &LogEntry<'_>, body: &[u8]) {
        self.head(place, [&entry.workspace_id, &entry.card_id, &entry.run_id, &entry.id], body);
        self.instant(Some(entry.timestamp));
        self.long(Some(entry.sequence));
        self.text(Some(entry.level.as_str()));
        self.text(Some(entry.source.as_str()));
        self.text(Some(&entry.component));
        self.text(Some(&entry.message));
        self.text(entry.data.as_ref().map(|data| data.as_str()));
        for text in [&entry.agent_id, &entry.provider, &entry.model, &entry.user_id] {
            self.text(text.as_deref());
        }
        self.texts(entry.tags.as_deref());
        for text in [&entry.correlation_id, &entry.parent_span_id, &entry.trace_id] {
            self.text(text.as_deref());
        }
        self.end();
    }

    fn event(&mut self, place: Place, event: &RunEvent<'_>, body: &[u8]) {
        self.head(place, [&event.workspace_id, &event.card_id, &event.run_id, &event.id], body);
        self.instant(Some(event.timestamp));
        self.text(Some(event.kind.as_str()));
        for text in [&event.agent_id, &event.provider, &event.model, &event.user_id] {
            self.text(text.as_deref());
        }
        self.double(event.cost);
        self.long(event.input_tokens);
        self.long(event.output_tokens);
        self.int(event.exit_code);
        self.text(event.reason.as_deref());
        self.text(event.trace_id.as_deref());
        self.end();
    }

    /// Whether it is time to build a batch.
    pub(crate) fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// Whether there are no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Builds a batch of the rows so far, and begins the next.
    pub(crate) fn build(&mut self) -> Result<RecordBatch, ArchiveError> {
        (self.rows, self.bytes) = (0, 0);
        let columns = self.columns.iter_mut().map(Column::finish).collect();
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_known_by_all_of_its_bytes_whichever_version_kept_it() {
        let of_before = Sha256::digest(b"body");
        for whole in [&of_before[..], &hash(b"body")] {
            for length in 0..=whole.len() {
                let mut kept = whole[..length].to_vec();
                assert_eq!(is_hash(b"body", &kept), length >= HASH, "{length}");
                for at in 0..length {
                    kept[at] ^= 1;
                    assert!(!is_hash(b"body", &kept), "{length}, {at}");
                    kept[at] ^= 1;
                }
            }
        }
        // As the specification of XXH3 has it of nothing: what is kept outlives the library that made it.
        assert_eq!(hash(b""), 0x2d06_8005_38d3_94c2_u64.to_be_bytes());
    }
}
