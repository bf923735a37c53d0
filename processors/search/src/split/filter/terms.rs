//! The terms of a split's segments, as keys of its filter.

use agentworks_query::Keyword;
use tantivy::error::DataCorruption;
use tantivy::schema::{Field, Type};
use tantivy::{Searcher, SegmentReader};

use super::{Kind, key};
use crate::exec::END_OF_PATH;
use crate::schema::fields;

/// No filter is made of more keys, which take eight bytes of memory each: who has so many words has nothing that is rare.
const MAX_KEYS: usize = 64 << 20;

/// The keys of all terms in an index, in no order, some of them several times; `None` if there are too many.
///
/// # Errors
/// If a dictionary can't be read.
pub(crate) fn keys_of(index: &Searcher) -> tantivy::Result<Option<Vec<u64>>> {
    let fields = fields();
    let mut keys = Vec::new();
    for segment in index.segment_readers() {
        if segment_terms(segment)? > MAX_KEYS.saturating_sub(keys.len()) {
            return Ok(None);
        }
        for keyword in Keyword::ALL {
            if let Some(kind) = Kind::of(keyword) {
                each_term(segment, fields.of(keyword), &mut keys, |term| Some(key(kind, term)))?;
            }
        }
        for field in [fields.message, fields.component] {
            each_term(segment, field, &mut keys, |term| Some(key(Kind::Word, term)))?;
        }
        each_term(segment, fields.data, &mut keys, |term| word_of_data(term).map(|word| key(Kind::Word, word)))?;
    }
    Ok(Some(keys))
}

/// How many terms a segment has, in all fields.
fn segment_terms(segment: &SegmentReader) -> tantivy::Result<usize> {
    let terms = |(field, _)| Ok(segment.inverted_index(field)?.terms().num_terms());
    fields().schema.fields().filter(|(_, entry)| entry.is_indexed()).map(terms).sum()
}

/// Adds the keys of a field's terms.
fn each_term(
    segment: &SegmentReader,
    field: Field,
    keys: &mut Vec<u64>,
    key: impl Fn(&[u8]) -> Option<u64>,
) -> tantivy::Result<()> {
    let index = segment.inverted_index(field)?;
    let (mut terms, mut count) = (index.terms().stream()?, 0);
    keys.reserve(index.terms().num_terms());
    while terms.advance() {
        count += 1;
        keys.extend(key(terms.key()));
    }
    match count == index.terms().num_terms() {
        true => Ok(()),
        false => Err(DataCorruption::comment_only("a dictionary has fewer terms than it says").into()),
    }
}

/// The word that a term of `data` is, whatever its path; `None` if it is a number or a truth value.
fn word_of_data(term: &[u8]) -> Option<&[u8]> {
    let end = term.iter().position(|byte| *byte == END_OF_PATH)?;
    let (code, word) = term[end + 1..].split_first()?;
    (*code == Type::Str.to_code()).then_some(word)
}
