//! The paths of `data` in a segment, which a word without a field is looked for in one by one.
//!
//! A segment never changes, so they are found once. Of a path with few words (what a tool is called, a status) those are
//! kept too: most words that are looked for are none of them, and the dictionary needn't be asked.

use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};

use lru::LruCache;
use parking_lot::Mutex;
use tantivy::index::SegmentId;
use tantivy::schema::{Field, Type};
use tantivy::{InvertedIndexReader, SegmentReader};

use super::terms::{END_OF_PATH, TERMS_A_LOOK};
use super::{Deadline, ExecError};

/// So many words, of so many bytes, are few.
const FEW: (usize, usize) = (128, 2048);
/// How many segments are remembered, those that were searched last.
const SEGMENTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);
/// Of a segment with more paths, or with longer ones, of so many bytes, none are remembered: nobody knows how many there may
/// be.
const MANY: (usize, usize) = (256, 64 << 10);
/// So many bytes of words are kept of a segment; they go to the first paths.
const WORDS: usize = 128 << 10;

/// A path.
#[derive(Debug)]
pub(super) struct KnownPath {
    /// What its terms begin with: itself and its end.
    pub(super) prefix: Vec<u8>,
    /// All of its words, ascending; `None` if they are many.
    words: Option<Vec<Box<[u8]>>>,
}

impl KnownPath {
    /// Whether a word may be among its terms.
    pub(super) fn may_have(&self, word: &[u8]) -> bool {
        self.words.as_ref().is_none_or(|words| words.binary_search_by(|known| (**known).cmp(word)).is_ok())
    }
}

/// The paths of a segment, ascending.
pub(super) type KnownPaths = Arc<[Arc<KnownPath>]>;

/// What is known of segments, whoever opened them: their ids are unique.
static KNOWN: LazyLock<Mutex<LruCache<SegmentId, KnownPaths>>> = LazyLock::new(|| Mutex::new(LruCache::new(SEGMENTS)));

/// The paths of a segment, of which it may have `max`.
pub(super) fn paths_of(
    segment: &SegmentReader,
    field: Field,
    max: usize,
    deadline: &Deadline,
) -> Result<KnownPaths, ExecError> {
    let known = KNOWN.lock().get(&segment.segment_id()).cloned();
    if let Some(known) = known {
        return if known.len() > max { Err(ExecError::Paths { max }) } else { Ok(known) };
    }
    let index = segment.inverted_index(field)?;
    let mut prefixes = Vec::<Vec<u8>>::new();
    let mut from = Vec::new();
    loop {
        let mut stream = index.terms().range().ge(&from).limit(1).into_stream()?;
        let Some((key, _)) = stream.next() else { break };
        let Some(end) = key.iter().position(|byte| *byte == END_OF_PATH) else {
            return Err(ExecError::Damaged("a term of `data` has no path".into()));
        };
        if prefixes.len() == max {
            return Err(ExecError::Paths { max });
        }
        if prefixes.len().is_multiple_of(TERMS_A_LOOK) {
            deadline.check()?;
        }
        let prefix = key[..=end].to_vec();
        // The next path is the first that doesn't begin with this one and its end.
        from.clone_from(&prefix);
        from[end] = END_OF_PATH + 1;
        prefixes.push(prefix);
    }
    let is_kept = prefixes.len() <= MANY.0 && prefixes.iter().map(Vec::len).sum::<usize>() <= MANY.1;
    // What isn't kept is looked for once.
    let mut room = if is_kept { WORDS } else { 0 };
    let known = |prefix: Vec<u8>| {
        let words = if room > 0 { few_words(&index, &prefix, room)? } else { None };
        room -= words.iter().flatten().map(|word| word.len()).sum::<usize>();
        Ok(Arc::new(KnownPath { prefix, words }))
    };
    let paths: KnownPaths = prefixes.into_iter().map(known).collect::<Result<_, ExecError>>()?;
    if is_kept {
        KNOWN.lock().put(segment.segment_id(), paths.clone());
    }
    Ok(paths)
}

/// The words of a path, if they are few and have room.
fn few_words(index: &InvertedIndexReader, prefix: &[u8], room: usize) -> Result<Option<Vec<Box<[u8]>>>, ExecError> {
    let typed = |code: u8| [prefix, &[code]].concat();
    let code = Type::Str.to_code();
    let (from, to) = (typed(code), typed(code + 1));
    let mut stream = index.terms().range().ge(&from).lt(&to).limit(FEW.0 as u64 + 1).into_stream()?;
    let (mut words, mut bytes) = (Vec::new(), 0);
    while let Some((key, _)) = stream.next() {
        let word = &key[from.len()..];
        bytes += word.len();
        if words.len() == FEW.0 || bytes > FEW.1.min(room) {
            return Ok(None);
        }
        words.push(word.into());
    }
    Ok(Some(words))
}
