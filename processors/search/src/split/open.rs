//! An open split.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use tantivy::directory::OwnedBytes;
use tantivy::error::DataCorruption;
use tantivy::{Index, ReloadPolicy, TantivyError};

use super::bodies::Bodies;
use super::directory::{Files, SplitDirectory, SplitFile};
use super::footer::{self, FileEntry};
use super::meta::SplitMeta;
use super::packed::PackedFile;
use super::writer::bodies_name;
use crate::error::SearchError;
use crate::exec::Opened;
use crate::schema::{fields, prepare};

/// An open split. Cheap to clone.
#[derive(Clone)]
pub struct Split {
    meta: Arc<SplitMeta>,
    index: Index,
    searcher: Opened,
}

impl Split {
    /// Opens the split in a file, and checks every byte of it.
    ///
    /// # Errors
    /// [`SearchError::Split`] if it isn't there or is damaged; of the local disk, if the file can't be read.
    pub fn open(meta: Arc<SplitMeta>, path: &Path) -> Result<Self, SearchError> {
        let file = File::open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => SearchError::split(&meta.id, "is missing"),
            _ => SearchError::scratch(path)(error),
        })?;
        let length = file.metadata().map_err(SearchError::scratch(path))?.len();
        if length != meta.bytes {
            return Err(SearchError::split(&meta.id, format!("has {length} bytes and not {}", meta.bytes)));
        }
        // SAFETY: a split's file is never changed once it is there under its name: it is removed or replaced as a whole,
        // and then the mapping keeps the old one. What damaged it before shows in the checksums.
        let map = unsafe { Mmap::map(&file) }.map_err(SearchError::scratch(path))?;
        Self::open_bytes(meta, OwnedBytes::new(map))
    }

    /// Opens the split that these bytes are, and checks every one of them.
    ///
    /// # Errors
    /// [`SearchError::Split`] if it is damaged.
    pub fn open_bytes(meta: Arc<SplitMeta>, object: OwnedBytes) -> Result<Self, SearchError> {
        let damaged = |reason: String| SearchError::split(&meta.id, reason);
        let entries = footer::check(&object, Some(&meta.footer)).map_err(damaged)?;
        let file = |entry: FileEntry| {
            let bytes = object.slice(entry.range());
            let file = match entry.unpacked {
                None => SplitFile::Plain(bytes),
                Some(length) => SplitFile::Packed(Arc::new(PackedFile::open(bytes, length)?)),
            };
            Ok((PathBuf::from(entry.name), file))
        };
        let files = entries.into_iter().map(file).collect::<Result<_, &str>>();
        let files = files.map_err(|reason| damaged(reason.to_owned()))?;
        let (index, searcher) = open_files(files).map_err(|error| damaged(format!("can't be opened: {error}")))?;
        Ok(Split { meta, index, searcher })
    }

    /// What the manifest says of it.
    pub fn meta(&self) -> &Arc<SplitMeta> {
        &self.meta
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// What searches it.
    pub fn searcher(&self) -> &Opened {
        &self.searcher
    }
}

impl fmt::Debug for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Split").field("id", &self.meta.id).field("docs", &self.meta.docs).finish_non_exhaustive()
    }
}

/// Opens the index in some files.
pub(crate) fn open_files(files: Files) -> tantivy::Result<(Index, Opened)> {
    let bodies = files.clone();
    let mut index = Index::open(SplitDirectory::new(files))?;
    if index.schema() != fields().schema {
        return Err(tantivy::TantivyError::SchemaError("it has another schema than this version writes".into()));
    }
    prepare(&mut index);
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
    let searcher = reader.searcher();
    let bodies = searcher.segment_readers().iter().map(|segment| {
        let damaged = |reason: &str| TantivyError::DataCorruption(DataCorruption::comment_only(reason));
        let file = bodies.get(&bodies_name(segment.segment_id())).ok_or_else(|| damaged("a segment has no bodies"))?;
        let bodies = Bodies::open(file.bytes()?).map_err(damaged)?;
        match bodies.docs() == segment.max_doc() {
            true => Ok(bodies),
            false => Err(damaged("a segment has other bodies than documents")),
        }
    });
    let bodies = bodies.collect::<tantivy::Result<_>>()?;
    Ok((index, Opened::new(searcher, bodies)))
}
