//! An index that is open.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use tantivy::Searcher;

use super::columns::Columns;
use crate::split::bodies::Bodies;

/// What searches an index, with what has been opened of its segments. Cheap to clone; clones share that.
#[derive(Clone)]
pub struct Opened {
    searcher: Searcher,
    columns: Arc<[Columns]>,
    bodies: Arc<[Bodies]>,
}

impl Opened {
    /// An index with the bodies of each of its segments, of which nothing is opened yet.
    pub(crate) fn new(searcher: Searcher, bodies: Vec<Bodies>) -> Self {
        let columns = searcher.segment_readers().iter().map(|_| Columns::default()).collect();
        Opened { searcher, columns, bodies: bodies.into() }
    }

    /// The bodies of a segment's documents, by its number.
    pub fn bodies(&self, segment: u32) -> &Bodies {
        &self.bodies[segment as usize]
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
