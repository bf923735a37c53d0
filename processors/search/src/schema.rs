//! What the index keeps of an entry.
//!
//! | field | terms | column |
//! |---|---|---|
//! | `message` | words, with positions | |
//! | `component` | words, with positions | the whole |
//! | `data` | paths with their values; texts as words, with positions | |
//! | `workspace`, `id`, `agent`, `user`, `tags`, `correlation`, `trace`, `span` | the whole | |
//! | `card`, `run`, `provider`, `model`, `level`, `source` | the whole | the whole |
//! | `timestamp`, `record_time` | | milliseconds since the Unix epoch |
//! | `lane`, `epoch`, `offset` | | the entry's position; see [`lane_number`] |
//!
//! The entries themselves, their canonical Avro bodies, lie beside it; see [`crate::split::bodies`]. Nothing is there
//! twice, and nothing that no query needs: all bytes of the index are meant to be at most 0.30 of the entries' JSON once it is
//! merged.

use std::sync::LazyLock;

use agentworks_query::Keyword;
use agentworks_schemas::{Topic, TopicPartition};
use tantivy::schema::{
    Field, IndexRecordOption, JsonObjectOptions, NumericOptions, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::store::{Compressor, ZstdCompressor};
use tantivy::tokenizer::{RawTokenizer, TextAnalyzer, TokenizerManager};
use tantivy::{Index, IndexSettings};

use crate::tokenizer::{EntryTokenizer, TOKENIZER};

/// The tokenizer of fields whose term is the whole value.
pub const RAW: &str = "raw";

/// The fields.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the table above says what they are")]
pub struct Fields {
    pub schema: Schema,
    pub message: Field,
    pub component: Field,
    pub data: Field,
    pub workspace: Field,
    pub card: Field,
    pub run: Field,
    pub id: Field,
    pub agent: Field,
    pub user: Field,
    pub provider: Field,
    pub model: Field,
    pub tags: Field,
    pub correlation: Field,
    pub trace: Field,
    pub span: Field,
    pub source: Field,
    pub level: Field,
    pub timestamp: Field,
    pub record_time: Field,
    pub lane: Field,
    pub epoch: Field,
    pub offset: Field,
}

static FIELDS: LazyLock<Fields> = LazyLock::new(Fields::make);

/// The fields.
pub fn fields() -> &'static Fields {
    &FIELDS
}

impl Fields {
    /// The field of a keyword.
    pub fn of(&self, keyword: Keyword) -> Field {
        match keyword {
            Keyword::Id => self.id,
            Keyword::Card => self.card,
            Keyword::Run => self.run,
            Keyword::Agent => self.agent,
            Keyword::User => self.user,
            Keyword::Provider => self.provider,
            Keyword::Model => self.model,
            Keyword::Tags => self.tags,
            Keyword::Correlation => self.correlation,
            Keyword::Trace => self.trace,
            Keyword::Span => self.span,
            Keyword::Source => self.source,
            Keyword::Level => self.level,
        }
    }

    fn make() -> Self {
        let words = TextFieldIndexing::default()
            .set_tokenizer(TOKENIZER)
            .set_fieldnorms(false)
            .set_index_option(IndexRecordOption::WithFreqsAndPositions);
        let whole = TextFieldIndexing::default()
            .set_tokenizer(RAW)
            .set_fieldnorms(false)
            .set_index_option(IndexRecordOption::Basic);
        let text = TextOptions::default().set_indexing_options(words.clone());
        let term = TextOptions::default().set_indexing_options(whole);
        let term_and_column = term.clone().set_fast(RAW);
        let column = NumericOptions::default().set_fast();
        let mut schema = Schema::builder();
        Fields {
            message: schema.add_text_field("message", text.clone()),
            component: schema.add_text_field("component", text.set_fast(RAW)),
            data: schema.add_json_field(
                "data",
                JsonObjectOptions::default().set_indexing_options(words).set_expand_dots_enabled(),
            ),
            workspace: schema.add_text_field("workspace", term.clone()),
            card: schema.add_text_field("card", term_and_column.clone()),
            run: schema.add_text_field("run", term_and_column.clone()),
            id: schema.add_text_field("id", term.clone()),
            agent: schema.add_text_field("agent", term.clone()),
            user: schema.add_text_field("user", term.clone()),
            provider: schema.add_text_field("provider", term_and_column.clone()),
            model: schema.add_text_field("model", term_and_column.clone()),
            tags: schema.add_text_field("tags", term.clone()),
            correlation: schema.add_text_field("correlation", term.clone()),
            trace: schema.add_text_field("trace", term.clone()),
            span: schema.add_text_field("span", term),
            source: schema.add_text_field("source", term_and_column.clone()),
            level: schema.add_text_field("level", term_and_column),
            timestamp: schema.add_i64_field("timestamp", column.clone()),
            record_time: schema.add_i64_field("record_time", column.clone()),
            lane: schema.add_u64_field("lane", column.clone()),
            epoch: schema.add_u64_field("epoch", column.clone()),
            offset: schema.add_i64_field("offset", column),
            schema: schema.build(),
        }
    }
}

/// How all indexes are made.
pub fn settings() -> IndexSettings {
    IndexSettings {
        // Nothing is stored there, which is five bytes a document if it isn't compressed, and no thread is needed for that.
        docstore_compression: Compressor::Zstd(ZstdCompressor { compression_level: Some(1) }),
        docstore_compress_dedicated_thread: false,
        ..IndexSettings::default()
    }
}

/// The tokenizers that the schema names.
pub fn tokenizers() -> TokenizerManager {
    let manager = TokenizerManager::new();
    manager.register(RAW, TextAnalyzer::from(RawTokenizer::default()));
    // The library wants one for fields that have no text, too, and asks for it by this name.
    manager.register("default", TextAnalyzer::from(RawTokenizer::default()));
    manager.register(TOKENIZER, TextAnalyzer::from(EntryTokenizer::default()));
    manager
}

/// Makes an index know our tokenizers.
pub fn prepare(index: &mut Index) {
    index.set_tokenizers(tokenizers());
    index.set_fast_field_tokenizers(tokenizers());
}

/// A partition as the number in the column `lane`. Numbers are ordered as partitions are.
pub fn lane_number(partition: TopicPartition) -> u64 {
    u64::from(partition.topic as u8) << 32 | u64::from(partition.partition.unsigned_abs())
}

/// The partition with this number; `None` if there is none.
pub fn lane_of(number: u64) -> Option<TopicPartition> {
    let topic = u8::try_from(number >> 32).ok().and_then(Topic::from_u8)?;
    let partition = i32::try_from(number & u64::from(u32::MAX)).ok()?;
    Some(TopicPartition { topic, partition })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_survive_their_numbers() {
        for topic in Topic::ALL {
            for partition in [0, 1, 12, i32::MAX] {
                let partition = TopicPartition { topic, partition };
                assert_eq!(lane_of(lane_number(partition)), Some(partition));
            }
        }
        assert_eq!(lane_of(u64::MAX), None);
    }

    #[test]
    fn the_schema_names_tokenizers_that_there_are() {
        let manager = tokenizers();
        assert!(manager.get(RAW).is_some() && manager.get(TOKENIZER).is_some());
        assert_eq!(fields().schema.get_field_name(fields().offset), "offset");
    }
}
