//! An index that is open.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use tantivy::Searcher;

use super::columns::Columns;

/// What searches an index, with what has been opened of its segments. Cheap to clone; clones share that.
#[derive(Clone)]
pub struct Opened {
    searcher: Searcher,
    columns: Arc<[Columns]>,
}

impl Opened {
    /// An index of which nothing is opened yet.
    pub fn new(searcher: Searcher) -> Self {
        let columns = searcher.segment_readers().iter().map(|_| Columns::default()).collect();
        Opened { searcher, columns }
    }

    /// The columns of a segment, by its number.
    pub(super) fn columns(&self, segment: u32) -> &Columns {
        &self.columns[segment as usize]
    }
}

impl Deref for Opened {
    type Target = Searcher;

    fn deref(&self) -> &Searcher {
        &self.searcher
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("segments", &self.columns.len()).finish_non_exhaustive()
    }
}
