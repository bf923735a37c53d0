//! Where the bodies of documents stand, if not in the documents' order.
//!
//! Merging lays bodies of a card's runs beside each other, while documents keep the order of the segments that they come
//! from. What stays together on both sides is one piece: so many documents, one after the other, whose bodies follow each
//! other, too.

use std::ops::Range;

use tantivy::DocId;
use tantivy::directory::OwnedBytes;

use super::number_at;

/// A piece in a file: the number of its first document (4), and where the body of that stands among all (4).
const PIECE: usize = 8;

/// The order of bodies that are being written.
#[derive(Debug, Default)]
pub struct Order {
    /// Of each piece the first document, and where its body stands.
    pieces: Vec<(DocId, u32)>,
    /// The document that would go on with the last piece.
    next: DocId,
    bodies: u32,
}

impl Order {
    /// The next body is that of `doc`.
    pub fn push(&mut self, doc: DocId) {
        if self.pieces.is_empty() || doc != self.next {
            self.pieces.push((doc, self.bodies));
        }
        (self.next, self.bodies) = (doc + 1, self.bodies + 1);
    }

    /// As it stands in a file: pieces by their documents. Nothing, if that is the order of the bodies.
    pub(super) fn encode(mut self) -> Vec<u8> {
        if matches!(self.pieces[..], [] | [(0, 0)]) {
            return Vec::new();
        }
        self.pieces.sort_unstable();
        let bytes = |(doc, place): (DocId, u32)| [doc.to_le_bytes(), place.to_le_bytes()];
        self.pieces.into_iter().flat_map(bytes).flatten().collect()
    }
}

/// The order of the bodies in a file.
pub(super) struct Places(OwnedBytes);

impl Places {
    /// # Errors
    /// If it isn't one of documents that follow each other from the first on.
    pub(super) fn open(pieces: OwnedBytes) -> Result<Self, &'static str> {
        if !pieces.len().is_multiple_of(PIECE) {
            return Err("bodies have an order that is cut short");
        }
        let places = Places(pieces);
        let in_order = (1..places.len()).all(|number| places.piece(number - 1).0 < places.piece(number).0);
        match in_order && (places.len() == 0 || places.piece(0).0 == 0) {
            true => Ok(places),
            false => Err("bodies are of documents that don't follow each other"),
        }
    }

    fn len(&self) -> usize {
        self.0.len() / PIECE
    }

    fn piece(&self, number: usize) -> (DocId, u32) {
        let piece = &self.0[number * PIECE..(number + 1) * PIECE];
        (number_at(piece, 0), number_at(piece, 4))
    }

    /// Where the body of a document stands among all.
    pub(super) fn of(&self, doc: DocId) -> u32 {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.piece(middle).0 <= doc { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1).map_or(doc, |number| {
            let (first, place) = self.piece(number);
            place.saturating_add(doc - first)
        })
    }

    /// All of so many documents, in the order of their bodies.
    pub(super) fn documents(&self, docs: DocId) -> Vec<Range<DocId>> {
        let end = |number: usize| if number < self.len() { self.piece(number).0 } else { docs };
        let mut pieces: Vec<_> = (0..self.len()).map(|number| (self.piece(number), end(number + 1))).collect();
        pieces.sort_unstable_by_key(|((_, place), _)| *place);
        match pieces.is_empty() {
            true => std::iter::once(0..docs).collect(),
            false => pieces.into_iter().map(|((first, _), end)| first..end).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_document_has_its_place(docs in Just((0..60u32).collect::<Vec<_>>()).prop_shuffle(), sorted in 0..60usize) {
            let mut docs = docs;
            docs[sorted..].sort_unstable();
            let mut order = Order::default();
            docs.iter().for_each(|doc| order.push(*doc));
            let places = Places::open(OwnedBytes::new(order.encode())).map_err(TestCaseError::fail)?;
            for (place, doc) in docs.iter().enumerate() {
                prop_assert_eq!(places.of(*doc) as usize, place);
            }
            let again: Vec<_> = places.documents(60).into_iter().flatten().collect();
            prop_assert_eq!(again, docs);
        }
    }

    #[test]
    fn the_order_of_documents_takes_nothing() {
        let mut order = Order::default();
        (0..1000).for_each(|doc| order.push(doc));
        assert!(order.encode().is_empty() && Order::default().encode().is_empty());
    }
}
