//! Sets of documents of one segment as queries.

use std::fmt;
use std::sync::Arc;

use tantivy::query::{BitSetDocSet, ConstScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::schema::IndexRecordOption;
use tantivy::{BitSet, DocId, DocSet, InvertedIndexReader, Score, SegmentReader};

use super::terms::Found;
use crate::schema::fields;

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

/// What a query finds, without how well each fits, which the library would reckon even if nobody asks.
pub(super) struct Unscored(pub(super) Box<dyn Query>);

impl Clone for Unscored {
    fn clone(&self) -> Self {
        Unscored(self.0.box_clone())
    }
}

impl fmt::Debug for Unscored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Query for Unscored {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        self.0.weight(EnableScoring::disabled_from_schema(&fields().schema))
    }
}

/// The documents of a term that was looked up already; the library's own query would look it up again. They all count the
/// same. It is asked of the segment alone that it was made for.
#[derive(Clone)]
pub(super) struct OfTerm {
    pub(super) index: Arc<InvertedIndexReader>,
    pub(super) found: Found,
}

impl fmt::Debug for OfTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OfTerm({:?}, {} documents)", self.found.term, self.found.info.doc_freq)
    }
}

impl Query for OfTerm {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(self.clone()))
    }
}

impl Weight for OfTerm {
    fn scorer(&self, _: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let postings = self.index.read_postings_from_terminfo(&self.found.info, IndexRecordOption::Basic)?;
        Ok(Box::new(ConstScorer::new(postings, boost)))
    }

    fn count(&self, segment: &SegmentReader) -> tantivy::Result<u32> {
        match segment.alive_bitset() {
            Some(alive) => Ok(self.scorer(segment, 1.0)?.count(alive)),
            None => Ok(self.found.info.doc_freq),
        }
    }

    fn explain(&self, segment: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        let mut docs = self.scorer(segment, 1.0)?;
        let has = docs.doc() == doc || docs.doc() < doc && docs.seek(doc) == doc;
        Ok(Explanation::new("OfTerm", if has { 1.0 } else { 0.0 }))
    }
}
