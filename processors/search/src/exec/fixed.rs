//! A set of documents of one segment as a query.

use std::fmt;
use std::sync::Arc;

use tantivy::query::{BitSetDocSet, ConstScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::{BitSet, DocId, Score, SegmentReader};

/// These documents. It is asked of the segment alone that it was made for.
#[derive(Clone)]
pub(super) struct Fixed(pub(super) Arc<BitSet>);

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fixed({} documents)", self.0.len())
    }
}

impl Query for Fixed {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(self.clone()))
    }
}

impl Weight for Fixed {
    fn scorer(&self, _: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        Ok(Box::new(ConstScorer::new(BitSetDocSet::from((*self.0).clone()), boost)))
    }

    fn explain(&self, _: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        Ok(Explanation::new("Fixed", if self.0.contains(doc) { 1.0 } else { 0.0 }))
    }
}
