//! Tantivy alone: our schema, and the entries' bodies in its own store.

use std::time::Duration;

use agentworks_schemas::codec::encode_entry_body;
use agentworks_schemas::{Position, Topic, TopicPartition};
use agentworks_search::document::{EntryDocument, Fields, Members, Value};
use agentworks_search::indexer::IndexerConfig;
use agentworks_search::schema::{fields, settings, tokenizers};
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use tantivy::directory::RamDirectory;
use tantivy::schema::document::{ReferenceValue, ReferenceValueLeaf};
use tantivy::schema::{Document, Field, STORED, Schema};
use tantivy::store::{Compressor, ZstdCompressor};
use tantivy::{Index, IndexSettings};

use super::corpus::Corpus;

/// Lines per CPU-second, from entries in memory into segments as large as ours, in memory too.
pub fn rate(corpus: &Corpus) -> f64 {
    let entries = corpus.entries.min(200_000);
    let bodies = corpus.entries().take(entries).map(|entry| {
        let mut body = Vec::new();
        encode_entry_body(&entry, &mut body);
        (Bytes::from(body), entry.timestamp)
    });
    let bodies: Vec<_> = bodies.collect();
    let config = IndexerConfig::new("");
    let (schema, field) = schema();
    let began = thread_time();
    for (segment, bodies) in bodies.chunks(config.segment_docs).enumerate() {
        let builder = Index::builder().schema(schema.clone()).settings(stored()).tokenizers(tokenizers());
        let builder = builder.fast_field_tokenizers(tokenizers());
        let mut index = builder.single_segment_index_writer(RamDirectory::create(), config.segment_bytes).unwrap();
        for (number, (body, time)) in bodies.iter().enumerate() {
            let offset = (segment * config.segment_docs + number) as i64;
            let position = Position { partition: TopicPartition::new(Topic::AgentLogs, 0), epoch: 0, offset };
            let entry = EntryDocument::new(body.clone(), position, *time).unwrap();
            index.add_document(Whole { entry, field }).unwrap();
        }
        index.finalize().unwrap();
    }
    entries as f64 / (thread_time() - began).as_secs_f64()
}

/// Our schema, and a field for bodies, which comes last.
fn schema() -> (Schema, Field) {
    let mut schema = Schema::builder();
    for (_, entry) in fields().schema.fields() {
        schema.add_field(entry.clone());
    }
    let field = schema.add_bytes_field("body", STORED);
    (schema.build(), field)
}

fn stored() -> IndexSettings {
    IndexSettings {
        docstore_compression: Compressor::Zstd(ZstdCompressor { compression_level: Some(3) }),
        docstore_blocksize: 32 << 10,
        ..settings()
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// An entry with its body.
struct Whole {
    entry: EntryDocument,
    field: Field,
}

#[derive(Clone, Copy, Debug)]
enum WholeValue<'a> {
    Of(Value<'a>),
    Body(&'a [u8]),
}

struct WholeMembers<'a>(Members<'a>);

impl<'a> Iterator for WholeMembers<'a> {
    type Item = (&'a str, WholeValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (name, WholeValue::Of(value)))
    }
}

impl<'a> tantivy::schema::Value<'a> for WholeValue<'a> {
    type ArrayIter = std::iter::Empty<Self>;
    type ObjectIter = WholeMembers<'a>;

    fn as_value(&self) -> ReferenceValue<'a, Self> {
        match self {
            WholeValue::Body(body) => ReferenceValue::Leaf(ReferenceValueLeaf::Bytes(body)),
            WholeValue::Of(value) => match value.as_value() {
                ReferenceValue::Leaf(leaf) => ReferenceValue::Leaf(leaf),
                ReferenceValue::Object(members) => ReferenceValue::Object(WholeMembers(members)),
                ReferenceValue::Array(_) => ReferenceValue::Array(std::iter::empty()),
            },
        }
    }
}

impl Document for Whole {
    type Value<'a> = WholeValue<'a>;
    type FieldsValuesIter<'a> = std::iter::Chain<
        std::iter::Map<Fields<'a>, fn((Field, Value<'a>)) -> (Field, WholeValue<'a>)>,
        std::iter::Once<(Field, WholeValue<'a>)>,
    >;

    fn iter_fields_and_values(&self) -> Self::FieldsValuesIter<'_> {
        let body = std::iter::once((self.field, WholeValue::Body(self.entry.body())));
        let of: fn((Field, Value<'_>)) -> (Field, WholeValue<'_>) = |(field, value)| (field, WholeValue::Of(value));
        self.entry.iter_fields_and_values().map(of).chain(body)
    }
}
