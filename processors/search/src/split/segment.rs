//! A segment that is made in memory: the index of its entries, and their bodies.

use tantivy::directory::RamDirectory;
use tantivy::{Index, IndexMeta, SingleSegmentIndexWriter};

use super::bodies::{BodiesWriter, Dictionary, Form, Order};
use crate::document::EntryDocument;
use crate::error::SearchError;
use crate::schema::{fields, settings, tokenizers};

/// Bodies that are written for the first time; merging takes more care.
const FORM: Form = Form { level: 1, block: 16 << 10 };

/// A segment in the making.
pub struct SegmentWriter {
    index: SingleSegmentIndexWriter<EntryDocument>,
    directory: RamDirectory,
    bodies: BodiesWriter<Vec<u8>>,
    body_bytes: usize,
}

/// A segment that is made.
#[derive(Debug)]
pub struct Built {
    pub(super) meta: IndexMeta,
    pub(super) directory: RamDirectory,
    pub(super) bodies: Vec<u8>,
}

impl SegmentWriter {
    /// A segment of nothing, whose index takes about `budget` bytes of memory, and whose bodies have a
    /// [`Dictionary`].
    ///
    /// # Errors
    /// If the index's library wants more memory.
    pub fn new(budget: usize, dictionary: Dictionary) -> Result<Self, SearchError> {
        let directory = RamDirectory::create();
        let builder = Index::builder()
            .schema(fields().schema.clone())
            .settings(settings())
            .tokenizers(tokenizers())
            .fast_field_tokenizers(tokenizers());
        let index = builder.single_segment_index_writer(directory.clone(), budget)?;
        let bodies = BodiesWriter::new(Vec::new(), FORM, dictionary);
        Ok(SegmentWriter { index, directory, bodies, body_bytes: 0 })
    }

    /// Adds an entry. After an error it can't be used.
    ///
    /// # Errors
    /// If the index or the bodies can't take it.
    pub fn add(&mut self, document: EntryDocument) -> Result<(), SearchError> {
        self.body_bytes += document.body().len();
        self.bodies.push(document.body()).map_err(SearchError::scratch("memory"))?;
        self.index.add_document(document)?;
        Ok(())
    }

    /// How many entries it has.
    pub fn docs(&self) -> usize {
        self.bodies.docs() as usize
    }

    /// How many bytes its entries' bodies have, not compressed.
    pub fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// How many bytes of memory it takes.
    pub fn memory(&self) -> usize {
        self.index.mem_usage() + self.bodies.memory() + self.bodies.written() as usize
    }

    /// Ends it.
    ///
    /// # Errors
    /// If the index can't be written.
    pub fn finish(self) -> Result<Built, SearchError> {
        let meta = self.index.finalize()?.load_metas()?;
        let bodies = self.bodies.finish(Order::default()).map_err(SearchError::scratch("memory"))?;
        Ok(Built { meta, directory: self.directory, bodies })
    }
}

impl Built {
    /// How many bytes of memory it takes.
    pub fn memory(&self) -> usize {
        self.directory.total_mem_usage() + self.bodies.len()
    }
}
