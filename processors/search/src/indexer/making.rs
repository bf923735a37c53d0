//! The split in the making. All of it blocks, and runs on threads that may.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use agentworks_schemas::Position;

use super::page::Page;
use super::{IndexerConfig, MAX_SEGMENTS};
use crate::document::EntryDocument;
use crate::error::SearchError;
use crate::exec::Opened;
use crate::split::bodies::Dictionary;
use crate::split::{Built, Packed, SegmentWriter, SplitWriter, WorkspaceMeta, open_files};

/// The split in the making: segments that are written, and one that is built in memory.
pub(crate) struct Making {
    scratch: PathBuf,
    segment_docs: usize,
    segment_bytes: usize,
    split: Option<SplitWriter>,
    segment: Option<SegmentWriter>,
    /// A segment that could not be written yet.
    built: Option<Built>,
    docs: u64,
    workspaces: BTreeMap<String, WorkspaceMeta>,
    /// Set if what is being built is lost.
    lost: Option<String>,
}

/// What a split has, once it is packed.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) packed: Packed,
    pub(crate) docs: u64,
    pub(crate) workspaces: BTreeMap<String, WorkspaceMeta>,
}

impl Making {
    pub(crate) fn new(config: &IndexerConfig) -> Self {
        Making {
            scratch: config.scratch.clone(),
            segment_docs: config.segment_docs.max(1),
            segment_bytes: config.segment_bytes,
            split: None,
            segment: None,
            built: None,
            docs: 0,
            workspaces: BTreeMap::new(),
            lost: None,
        }
    }

    /// How much memory the segment in the making takes, in bytes, without the entries.
    pub(crate) fn memory(&self) -> usize {
        self.segment.as_ref().map_or(0, SegmentWriter::memory) + self.built.as_ref().map_or(0, Built::memory)
    }

    /// How many bytes the split has so far on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.split.as_ref().map_or(0, SplitWriter::bytes)
    }

    /// Whether no more should be added.
    pub(crate) fn is_full(&self) -> bool {
        self.split.as_ref().is_some_and(|split| split.segments() >= MAX_SEGMENTS)
    }

    /// Whether the segment in the making is large enough to be written.
    pub(crate) fn is_segment_full(&self) -> bool {
        self.built.is_some()
            || self.segment.as_ref().is_some_and(|segment| {
                segment.docs() >= self.segment_docs || segment.body_bytes() + segment.memory() >= self.segment_bytes
            })
    }

    /// Adds the entries of some pages to the segment in the making, those of a run one after the other: what they have in
    /// common then costs next to nothing, in bodies as in postings.
    pub(crate) fn index(&mut self, pages: &[Arc<Page>]) -> Result<(), SearchError> {
        self.check()?;
        if pages.iter().all(|page| page.is_empty()) {
            return Ok(());
        }
        let mut segment = match self.segment.take() {
            Some(segment) => segment,
            None => SegmentWriter::new(self.segment_bytes, dictionary_of(pages))?,
        };
        // If a part of it fails, what was built can't be used: nothing tells how much of it is in.
        self.lost = Some("an entry could not be added".into());
        for (position, taken, body) in Page::by_run(pages) {
            self.add(&mut segment, position, taken.timestamp, body)?;
        }
        self.lost = None;
        self.segment = Some(segment);
        Ok(())
    }

    fn add(
        &mut self,
        segment: &mut SegmentWriter,
        position: Position,
        time: agentworks_schemas::Timestamp,
        body: bytes::Bytes,
    ) -> Result<(), SearchError> {
        let document = EntryDocument::new(body, position, time)
            .map_err(|reject| SearchError::Entry { position, reason: reject.to_string() })?;
        let entry = document.entry();
        match self.workspaces.get_mut(entry.workspace_id.as_str()) {
            Some(known) => known.add(entry.timestamp, time),
            None => {
                let one = WorkspaceMeta::of(entry.timestamp, time);
                self.workspaces.insert(entry.workspace_id.to_string(), one);
            }
        }
        segment.add(document)?;
        self.docs += 1;
        Ok(())
    }

    /// Writes the segment in the making, if there is one. Returns what searches all that is written, if there is anything.
    /// After an error of the disk it can be called again.
    pub(crate) fn end_segment(&mut self) -> Result<Option<Opened>, SearchError> {
        self.check()?;
        // First one that could not be written before.
        self.write_built()?;
        if let Some(segment) = self.segment.take() {
            self.lost = Some("a segment could not be built".into());
            self.built = Some(segment.finish()?);
            self.lost = None;
            self.write_built()?;
        }
        let Some(split) = &self.split else { return Ok(None) };
        let (_, searcher) = open_files(split.files()?)?;
        Ok(Some(searcher))
    }

    fn write_built(&mut self) -> Result<(), SearchError> {
        if let Some(built) = &self.built {
            let split = match &mut self.split {
                Some(split) => split,
                None => self.split.insert(SplitWriter::new(&self.scratch)?),
            };
            split.add(built)?;
            self.built = None;
        }
        Ok(())
    }

    /// Ends the split, and begins anew. `None` if there is nothing in it. After an error of the disk it can be called again.
    pub(crate) fn seal(&mut self) -> Result<Option<(Contents, Opened)>, SearchError> {
        let Some(searcher) = self.end_segment()? else { return Ok(None) };
        let Some(mut split) = self.split.take() else { return Ok(None) };
        // If it doesn't come to an end at all, nothing is left of it, and nobody must think that there was nothing.
        self.lost = Some("a split could not be ended".into());
        let finished = split.finish();
        self.lost = None;
        let (bytes, footer) = match finished {
            Ok(finished) => finished,
            Err(error) => {
                self.split = Some(split);
                return Err(error);
            }
        };
        let packed = split.packed(bytes, footer);
        let (docs, workspaces) = (std::mem::take(&mut self.docs), std::mem::take(&mut self.workspaces));
        Ok(Some((Contents { packed, docs, workspaces }, searcher)))
    }

    fn check(&self) -> Result<(), SearchError> {
        match &self.lost {
            None => Ok(()),
            Some(reason) => {
                let reason = format!("{reason}: the split in the making is lost, and made again after a restart");
                Err(tantivy::TantivyError::InternalError(reason).into())
            }
        }
    }
}

/// What bodies like those in some pages have in common.
fn dictionary_of(pages: &[Arc<Page>]) -> Dictionary {
    let bodies = || pages.iter().flat_map(|page| page.bodies());
    let bytes = bodies().map(<[u8]>::len).sum();
    Dictionary::of(bodies(), bytes, bytes)
}
