//! Writing the bodies of documents that are merged: those of a card's runs beside each other, wherever they come from.
//!
//! What one run wrote in minutes lies in as many chunks as were indexed meanwhile. Here it comes together: who looks for the
//! lines of a card unpacks a few blocks instead of one for each chunk, and what entries of a run have in common is
//! compressed once. The bodies of each source are sorted in pieces already, which are read side by side.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::OpenOptions;
use std::io::{self, BufWriter};
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
use tantivy::DocId;
use tantivy::columnar::StrColumn;
use tantivy::index::SegmentReader;

use super::bodies::{Bodies, BodiesReader, BodiesWriter, Dictionary, Form, Order};
use super::group::half;
use super::meta::SplitId;
use crate::error::SearchError;

/// About how many bodies a dictionary is made of.
const SAMPLES: usize = 1024;
/// In how many pieces a segment's bodies are read side by side at most, each of which has a block unpacked. An indexer makes
/// one for each chunk.
const PIECES: usize = 64;

/// The documents of a segment that stay, and where their bodies are.
pub(super) struct Part<'a> {
    pub(super) split: &'a SplitId,
    pub(super) bodies: &'a Bodies,
    pub(super) groups: Groups,
    /// In the order of the segment; so they follow each other in what is merged.
    pub(super) docs: Vec<DocId>,
}

/// The groups of a segment's documents; see [`group`](super::group::group).
pub(super) struct Groups {
    cards: Halves,
    runs: Halves,
}

/// Halves of groups, by the numbers that a column gives to what it has.
struct Halves {
    column: Option<StrColumn>,
    halves: Vec<u32>,
}

impl Groups {
    pub(super) fn open(segment: &SegmentReader) -> Result<Self, SearchError> {
        let open = |name| Halves::open(segment.fast_fields().str(name)?);
        Ok(Groups { cards: open("card")?, runs: open("run")? })
    }

    pub(super) fn of(&self, doc: DocId) -> u64 {
        u64::from(self.cards.of(doc)) << 32 | u64::from(self.runs.of(doc))
    }
}

impl Halves {
    fn open(column: Option<StrColumn>) -> Result<Self, SearchError> {
        let mut halves = Vec::new();
        if let Some(column) = &column {
            let mut texts = column.dictionary().stream().map_err(SearchError::scratch("a split"))?;
            while texts.advance() {
                halves.push(half(texts.key()));
            }
        }
        Ok(Halves { column, halves })
    }

    fn of(&self, doc: DocId) -> u32 {
        let number = self.column.as_ref().and_then(|column| column.ords().first(doc));
        number.and_then(|number| self.halves.get(number as usize)).copied().unwrap_or_default()
    }
}

impl Part<'_> {
    fn damaged(&self, error: &io::Error) -> SearchError {
        SearchError::split(self.split, format!("is damaged: {error}"))
    }

    /// Calls `with` for the bodies of every so manieth of the documents.
    fn each(&self, every: usize, mut with: impl FnMut(&[u8])) -> Result<(), SearchError> {
        let mut reader = self.bodies.scan().map_err(|error| self.damaged(&error))?;
        for doc in self.docs.iter().step_by(every) {
            with(reader.get(*doc).map_err(|error| self.damaged(&error))?);
        }
        Ok(())
    }

    /// Its documents as places in `docs`, in the order of their bodies, cut where the groups don't ascend.
    fn pieces(&self) -> Vec<Vec<Range<usize>>> {
        let (mut pieces, mut last) = (Vec::<Vec<Range<usize>>>::new(), u64::MAX);
        for piece in self.bodies.documents() {
            let place = |doc| self.docs.partition_point(|kept| *kept < doc);
            let (start, end) = (place(piece.start), place(piece.end));
            for at in start..end {
                let group = self.groups.of(self.docs[at]);
                match pieces.last_mut() {
                    Some(piece) if last <= group => match piece.last_mut() {
                        Some(range) if range.end == at => range.end += 1,
                        _ => piece.push(at..at + 1),
                    },
                    _ => pieces.push(std::iter::once(at..at + 1).collect()),
                }
                last = group;
            }
        }
        if pieces.len() <= PIECES {
            return pieces;
        }
        // In no order at all: sorted here, and read to and fro.
        let mut all: Vec<_> = pieces.into_iter().flatten().flatten().collect();
        all.sort_by_key(|at| self.groups.of(self.docs[*at]));
        vec![all.into_iter().map(|at| at..at + 1).collect()]
    }
}

/// Documents of a part whose groups ascend in the order of their bodies.
struct Source<'a> {
    part: &'a Part<'a>,
    /// Where the part's first document is in what is merged.
    base: usize,
    reader: BodiesReader<'a>,
    docs: std::iter::Flatten<std::vec::IntoIter<Range<usize>>>,
}

impl Source<'_> {
    /// The next document, as a place in the part's, and its group.
    fn next(&mut self) -> Option<(u64, usize)> {
        let at = self.docs.next()?;
        Some((self.part.groups.of(self.part.docs[at]), at))
    }
}

/// Writes the bodies of some documents into a new file, and maps it.
pub(super) fn merge_bodies(parts: &[Part<'_>], form: Form, path: &Path) -> Result<Mmap, SearchError> {
    let docs: usize = parts.iter().map(|part| part.docs.len()).sum();
    let (every, mut samples, mut bytes) = (docs.div_ceil(SAMPLES).max(1), Vec::new(), 0);
    for part in parts {
        part.each(every, |body| {
            bytes += body.len();
            samples.push(if body.len() <= Dictionary::LONGEST { body.to_vec() } else { Vec::new() });
        })?;
    }
    let dictionary = Dictionary::of(samples.iter().map(Vec::as_slice), bytes, bytes * every);
    let fault = || SearchError::scratch(path);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).map_err(fault())?;
    let mut writer = BodiesWriter::new(BufWriter::new(&file), form, dictionary);
    let mut order = Order::default();
    each_by_group(parts, |doc, body| {
        order.push(doc);
        writer.push(body).map_err(fault())
    })?;
    let buffer = writer.finish(order).map_err(fault())?;
    buffer.into_inner().map_err(|error| fault()(error.into_error()))?;
    // SAFETY: the folder is of this merge alone, and what was written is never changed.
    unsafe { Mmap::map(&file) }.map_err(fault())
}

/// Calls `with` for the bodies of all documents, by their groups, and with what their numbers are once they are merged.
fn each_by_group(
    parts: &[Part<'_>],
    mut with: impl FnMut(DocId, &[u8]) -> Result<(), SearchError>,
) -> Result<(), SearchError> {
    let (mut sources, mut heads, mut base) = (Vec::new(), BinaryHeap::new(), 0);
    for part in parts {
        for piece in part.pieces() {
            let reader = part.bodies.scan().map_err(|error| part.damaged(&error))?;
            let mut source = Source { part, base, reader, docs: piece.into_iter().flatten() };
            // Of one group, what comes from earlier sources comes first.
            heads.extend(source.next().map(|(group, at)| Reverse((group, sources.len(), at))));
            sources.push(source);
        }
        base += part.docs.len();
    }
    while let Some(Reverse((_, number, at))) = heads.pop() {
        let source = &mut sources[number];
        let part = source.part;
        let doc = DocId::try_from(source.base + at).map_err(|error| SearchError::Abandoned(error.to_string()))?;
        with(doc, source.reader.get(part.docs[at]).map_err(|error| part.damaged(&error))?)?;
        heads.extend(source.next().map(|(group, at)| Reverse((group, number, at))));
    }
    Ok(())
}
