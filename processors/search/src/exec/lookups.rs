//! Terms that were looked up.
//!
//! A look into a dictionary unpacks a block of it, and a search for a word in any field takes a dozen of them in each
//! segment. Who watches asks the same again: the next page, its histogram, the same query some seconds later. A segment
//! never changes, so what was found in it stays true.

use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};

use lru::LruCache;
use parking_lot::Mutex;
use tantivy::index::SegmentId;
use tantivy::postings::TermInfo;
use tantivy::schema::Field;
use tantivy::{InvertedIndexReader, SegmentReader};

use super::ExecError;

/// How many terms are remembered, of all segments together: 32 MiB of ids.
const TERMS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(131_071);
/// Longer keys aren't remembered.
const MAX_KEY: usize = 256;

type Key = (SegmentId, Field, Box<[u8]>);

/// What was found, and what was not, whoever looked: the ids of segments are unique.
static KNOWN: LazyLock<Mutex<LruCache<Key, Option<TermInfo>>>> = LazyLock::new(|| Mutex::new(LruCache::new(TERMS)));

/// The dictionary of a field in one segment. Cheap to clone.
#[derive(Clone)]
pub(super) struct Dictionary {
    segment: SegmentId,
    pub(super) field: Field,
    pub(super) index: Arc<InvertedIndexReader>,
}

impl Dictionary {
    pub(super) fn of(segment: &SegmentReader, field: Field) -> Result<Self, ExecError> {
        Ok(Dictionary { segment: segment.segment_id(), field, index: segment.inverted_index(field)? })
    }

    /// Where the documents of the term with these bytes are; `None` if there is no such term.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<TermInfo>, ExecError> {
        if key.len() > MAX_KEY {
            return Ok(self.index.terms().get(key)?);
        }
        let known = (self.segment, self.field, key.into());
        if let Some(found) = KNOWN.lock().get(&known) {
            return Ok(found.clone());
        }
        let found = self.index.terms().get(key)?;
        KNOWN.lock().put(known, found.clone());
        Ok(found)
    }
}
