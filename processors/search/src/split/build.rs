//! Making a split of the documents of others, or of some of them: for merging, erasing, expiring, and for leaving out a
//! lane that was lost.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use agentworks_schemas::{Position, Timestamp};
use tantivy::columnar::{Column, StrColumn};
use tantivy::directory::{MmapDirectory, OwnedBytes};
use tantivy::fastfield::{AliveBitSet, write_alive_bitset};
use tantivy::index::SegmentReader;
use tantivy::indexer::merge_filtered_segments;
use tantivy::{BitSet, DocId, Segment};

use super::bodies::Form;
use super::merge::{Groups, Part, merge_bodies};
use super::meta::{LaneRange, SplitMeta, WorkspaceMeta};
use super::open::Split;
use super::unpacked::apart;
use super::writer::{Packed, SplitWriter};
use crate::error::SearchError;
use crate::exec::Positions;
use crate::schema::{fields, settings};

/// How bodies are written that are merged. Those of a split that is large are seldom merged again, and read for long: they
/// are worth twice the time.
fn form(docs: u64) -> Form {
    Form { level: if docs < 500_000 { 3 } else { 6 }, block: 32 << 10 }
}

/// What is known of a document when it is decided whether it stays.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Where its entry lies.
    pub position: Position,
    /// Its workspace.
    pub workspace: &'a str,
    /// Its run.
    pub run: &'a str,
    /// Its record timestamp.
    pub record_time: Timestamp,
}

/// Makes one split with one segment of the documents of `parts` that `keeps` says stay. `None` if none stays.
///
/// What the split's meta says of lanes is the union of the ranges given. Runs for seconds: call it on a thread of its own.
///
/// # Errors
/// If a part can't be read or the scratch folder can't be written.
pub fn rebuild(
    parts: &[Split],
    lanes: impl IntoIterator<Item = LaneRange>,
    tier: u8,
    scratch: &Path,
    keeps: &mut dyn FnMut(&Found<'_>) -> bool,
) -> Result<Option<(Packed, SplitMeta)>, SearchError> {
    let (mut segments, mut alive, mut bodies) = (Vec::<Segment>::new(), Vec::new(), Vec::new());
    let mut workspaces = BTreeMap::<String, WorkspaceMeta>::new();
    let mut docs = 0;
    for part in parts {
        let readers = part.searcher().segment_readers();
        for segment in part.index().searchable_segments()? {
            let number = readers.iter().position(|reader| reader.segment_id() == segment.id());
            let number = number.ok_or_else(|| SearchError::split(&part.meta().id, "has a segment that isn't open"))?;
            let reader = &readers[number];
            let kept = keep(reader, &mut workspaces, keeps)?;
            if kept.is_empty() {
                continue;
            }
            docs += kept.len() as u64;
            let all = kept.len() == reader.max_doc() as usize;
            alive.push(if all { None } else { Some(alive_bits(&kept, reader.max_doc())?) });
            let (split, groups) = (&part.meta().id, Groups::open(reader)?);
            bodies.push(Part { split, bodies: part.searcher().bodies(number as u32), groups, docs: kept });
            segments.push(segment);
        }
    }
    if segments.is_empty() {
        return Ok(None);
    }
    let folder = scratch.join(format!("{}.merging", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir_all(&folder).map_err(SearchError::scratch(&folder))?;
    let result = apart(|| merge_into(&folder, &segments, alive, &bodies, docs, scratch));
    // If it stays, it is removed at the next start.
    let _ = std::fs::remove_dir_all(&folder);
    let packed = result?;
    let lanes = LaneRange::union(lanes);
    for (name, workspace) in &mut workspaces {
        let own = ranges_of(parts, &lanes, name);
        workspace.lanes = if own == lanes { Vec::new() } else { own };
    }
    let apart = parts.iter().flat_map(|part| &part.meta().apart);
    // What has nothing left here, and has entries of some ranges elsewhere, must not be taken for having had none.
    let gone = parts.iter().flat_map(|part| part.meta().workspaces.keys());
    let gone = gone.filter(|name| ranges_of(parts, &lanes, name) != lanes);
    let apart = apart.chain(gone).filter(|name| !workspaces.contains_key(*name)).cloned().collect();
    let meta = packed.meta(docs, tier, lanes, workspaces, apart);
    Ok(Some((packed, meta)))
}

/// The ranges of which no other splits than these have entries of a workspace, as far as they lie in `lanes`: what lies
/// beyond may have been lost since.
fn ranges_of(parts: &[Split], lanes: &[LaneRange], workspace: &str) -> Vec<LaneRange> {
    let own = LaneRange::union(parts.iter().flat_map(|part| part.meta().ranges_of(workspace).iter().copied()));
    LaneRange::common(&own, lanes)
}

fn alive_bits(kept: &[DocId], max_doc: DocId) -> Result<AliveBitSet, SearchError> {
    let mut set = BitSet::with_max_value(max_doc);
    for doc in kept {
        set.insert(*doc);
    }
    let mut bytes = Vec::new();
    write_alive_bitset(&set, &mut bytes).map_err(SearchError::scratch("memory"))?;
    Ok(AliveBitSet::open(OwnedBytes::new(bytes)))
}

fn merge_into(
    folder: &Path,
    segments: &[Segment],
    alive: Vec<Option<AliveBitSet>>,
    bodies: &[Part<'_>],
    docs: u64,
    scratch: &Path,
) -> Result<Packed, SearchError> {
    let directory = MmapDirectory::open(folder).map_err(tantivy::TantivyError::from)?;
    // Documents follow each other as their segments do.
    let merged = merge_filtered_segments(segments, settings(), alive, directory.clone())?;
    let path = folder.join("bodies");
    let bodies = merge_bodies(bodies, form(docs), &path)?;
    let mut writer = SplitWriter::new(scratch)?;
    // The bare directory: what the index's own gives of a file lacks the file's footer.
    writer.add_index(&merged.load_metas()?, &directory, &bodies, true)?;
    writer.pack()
}

/// The documents of a segment that stay, which are counted by workspace.
fn keep(
    reader: &SegmentReader,
    workspaces: &mut BTreeMap<String, WorkspaceMeta>,
    keeps: &mut dyn FnMut(&Found<'_>) -> bool,
) -> Result<Vec<DocId>, SearchError> {
    let columns = Columns::open(reader)?;
    let (mut kept, mut runs) = (Vec::new(), HashMap::new());
    let owners = workspaces_of(reader)?;
    for doc in 0..reader.max_doc() {
        let workspace = owners.names.get(owners.of[doc as usize] as usize).map_or("", String::as_str);
        let run = columns.run(doc, &mut runs)?;
        let (time, record_time) = (columns.time(&columns.timestamp, doc), columns.time(&columns.record_time, doc));
        let position = columns.positions.get(doc)?;
        if keeps(&Found { position, workspace, run, record_time }) {
            kept.push(doc);
            match workspaces.get_mut(workspace) {
                Some(known) => known.add(time, record_time),
                None => drop(workspaces.insert(workspace.to_owned(), WorkspaceMeta::of(time, record_time))),
            }
        }
    }
    Ok(kept)
}

struct Owners {
    names: Vec<String>,
    /// By document.
    of: Vec<u32>,
}

/// Which workspace each document is of: by the terms, for it has no column.
fn workspaces_of(reader: &SegmentReader) -> Result<Owners, SearchError> {
    use tantivy::schema::IndexRecordOption;
    use tantivy::{DocSet, TERMINATED};

    let (mut names, mut of) = (Vec::new(), vec![u32::MAX; reader.max_doc() as usize]);
    let inverted = reader.inverted_index(fields().workspace)?;
    let mut terms = inverted.terms().stream().map_err(SearchError::scratch("a split"))?;
    while let Some((term, info)) = terms.next() {
        let mut postings = inverted
            .read_postings_from_terminfo(info, IndexRecordOption::Basic)
            .map_err(SearchError::scratch("a split"))?;
        let mut doc = postings.doc();
        while doc != TERMINATED {
            of[doc as usize] = names.len() as u32;
            doc = postings.advance();
        }
        names.push(String::from_utf8_lossy(term).into_owned());
    }
    Ok(Owners { names, of })
}

struct Columns {
    positions: Positions,
    timestamp: Column<i64>,
    record_time: Column<i64>,
    run: Option<StrColumn>,
}

impl Columns {
    fn open(reader: &SegmentReader) -> Result<Self, SearchError> {
        let columns = reader.fast_fields();
        Ok(Columns {
            positions: Positions::of(reader)?,
            timestamp: columns.i64("timestamp")?,
            record_time: columns.i64("record_time")?,
            run: columns.str("run")?,
        })
    }

    fn time(&self, column: &Column<i64>, doc: DocId) -> Timestamp {
        Timestamp(column.first(doc).unwrap_or_default())
    }

    /// A document's run. Those that were looked up before are in `known`, by their numbers in the segment.
    fn run<'k>(&self, doc: DocId, known: &'k mut HashMap<u64, String>) -> Result<&'k str, SearchError> {
        let number = self.run.as_ref().and_then(|column| Some((column, column.ords().first(doc)?)));
        let Some((column, number)) = number else { return Ok("") };
        match known.entry(number) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let mut run = String::new();
                column.ord_to_str(number, &mut run).map_err(SearchError::scratch("a split"))?;
                Ok(entry.insert(run))
            }
        }
    }
}
