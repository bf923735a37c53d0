//! Packing a split: its files are written one after the other into a local file, which then is what is uploaded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::MmapOptions;
use tantivy::directory::OwnedBytes;
use tantivy::index::SegmentId;
use tantivy::{Directory, IndexMeta};

use super::directory::{Files, SplitFile};
use super::filter::{self, FilterPlace};
use super::footer::{self, FileEntry};
use super::meta::{LaneRange, SplitId, SplitMeta, WorkspaceMeta};
use super::open::open_files;
use super::packed::{PackedFile, pack};
use super::segment::Built;
use crate::error::SearchError;
use crate::schema::{fields, settings};

/// The file of the index library that names the segments.
pub(super) const META: &str = "meta.json";

/// What is packed if anything is: postings and positions, and what is of so little use that it shouldn't take any room. Terms
/// are compressed already, and columns are read as they lie.
const PACKED: [&str; 4] = ["idx", "pos", "fieldnorm", "store"];

/// The name of the file with a segment's bodies.
pub(super) fn bodies_name(segment: SegmentId) -> PathBuf {
    format!("{}.bodies", segment.uuid_string()).into()
}

/// A split that is being packed. Its file is removed when it is dropped.
#[derive(Debug)]
pub struct SplitWriter {
    id: SplitId,
    scratch: Scratch,
    file: File,
    length: u64,
    entries: Vec<FileEntry>,
    meta: IndexMeta,
    files: Files,
    /// Once it is finished.
    filter: Option<FilterPlace>,
}

/// A split that is packed. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct Packed {
    /// Its id.
    pub id: SplitId,
    /// How long its object is.
    pub bytes: u64,
    /// See [`SplitMeta::footer`](super::SplitMeta::footer).
    pub footer: String,
    /// See [`SplitMeta::filter`](super::SplitMeta::filter).
    pub filter: Option<FilterPlace>,
    scratch: Scratch,
}

/// A local file that goes with whoever has it.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // If it stays, it is removed at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl SplitWriter {
    /// A split without segments, to be packed in `folder`, which must be there.
    ///
    /// # Errors
    /// If no file can be made there.
    pub fn new(folder: &Path) -> Result<Self, SearchError> {
        let id = SplitId::new();
        let path = folder.join(format!("{id}.making"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(SearchError::scratch(&path))?;
        let mut meta = IndexMeta::with_schema(fields().schema.clone());
        meta.index_settings = settings();
        let (entries, files) = (Vec::new(), Files::new());
        Ok(SplitWriter { id, scratch: Scratch(path), file, length: 0, entries, meta, files, filter: None })
    }

    /// Its id.
    pub fn id(&self) -> &SplitId {
        &self.id
    }

    /// How long it is so far, in bytes.
    pub fn bytes(&self) -> u64 {
        self.length
    }

    /// How many segments it has so far.
    pub fn segments(&self) -> usize {
        self.meta.segments.len()
    }

    /// Adds a segment. After an error it is as before.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn add(&mut self, segment: &Built) -> Result<(), SearchError> {
        self.add_index(&segment.meta, &segment.directory, &segment.bodies, false)
    }

    /// Adds the one segment of an index that lies in `directory`, with its bodies, packed where that saves something.
    pub(super) fn add_index(
        &mut self,
        index: &IndexMeta,
        directory: &dyn Directory,
        bodies: &[u8],
        is_packed: bool,
    ) -> Result<(), SearchError> {
        let (length, entries) = (self.length, self.entries.len());
        let result = self.add_files(index, directory, bodies, is_packed);
        match result {
            Ok(files) => {
                self.files.extend(files);
                self.meta.segments.extend(index.segments.iter().cloned());
                Ok(())
            }
            Err(error) => {
                self.entries.truncate(entries);
                self.length = length;
                Err(error)
            }
        }
    }

    fn add_files(
        &mut self,
        index: &IndexMeta,
        directory: &dyn Directory,
        bodies: &[u8],
        is_packed: bool,
    ) -> Result<Files, SearchError> {
        let mut names: Vec<_> =
            index.list_segment_files().into_iter().filter(|name| name.as_os_str() != META).collect();
        names.sort();
        let mut added = Files::with_capacity(names.len() + 1);
        for name in names {
            // The list has files that a segment may have and ours haven't, of deleted documents above all.
            if !directory.exists(&name).map_err(tantivy::TantivyError::from)? {
                continue;
            }
            let slice = directory.open_read(&name).map_err(tantivy::TantivyError::from)?;
            let bytes = slice.read_bytes().map_err(SearchError::scratch(&self.scratch.0))?;
            let file = match is_packed && PACKED.iter().any(|kind| name.extension() == Some(kind.as_ref())) {
                true => self.add_packed(&name, &bytes)?,
                false => self.add_plain(&name, &bytes)?,
            };
            added.insert(name, file);
        }
        for segment in &index.segments {
            let name = bodies_name(segment.id());
            let file = self.add_plain(&name, bodies)?;
            added.insert(name, file);
        }
        Ok(added)
    }

    /// Adds a file in blocks, unless that saves too little to be worth it.
    fn add_packed(&mut self, name: &Path, bytes: &[u8]) -> Result<SplitFile, SearchError> {
        use std::os::unix::fs::FileExt;

        let (mut end, mut crc) = (self.length, crc32fast::Hasher::new());
        pack(bytes, |packed| {
            self.file.write_all_at(packed, end)?;
            end += packed.len() as u64;
            crc.update(packed);
            Ok(())
        })
        .map_err(SearchError::scratch(&self.scratch.0))?;
        let (length, unpacked) = (end - self.length, bytes.len() as u64);
        if length >= unpacked - unpacked / 16 {
            return self.add_plain(name, bytes);
        }
        let packed = self.map(length)?;
        self.enter(name, length, crc.finalize(), Some(unpacked));
        let file = PackedFile::open(packed, unpacked);
        Ok(SplitFile::Packed(Arc::new(file.map_err(|reason| SearchError::Abandoned(reason.into()))?)))
    }

    fn add_plain(&mut self, name: &Path, bytes: &[u8]) -> Result<SplitFile, SearchError> {
        use std::os::unix::fs::FileExt;

        self.file.write_all_at(bytes, self.length).map_err(SearchError::scratch(&self.scratch.0))?;
        let file = self.map(bytes.len() as u64)?;
        self.enter(name, bytes.len() as u64, crc32fast::hash(bytes), None);
        Ok(SplitFile::Plain(file))
    }

    /// So many bytes that were written behind the last file.
    fn map(&self, length: u64) -> Result<OwnedBytes, SearchError> {
        if length == 0 {
            return Ok(OwnedBytes::empty());
        }
        // SAFETY: the file is ours alone, under a name that nobody else makes, and what was written to it is never
        // changed. Whoever changes it all the same has the user's rights and could change this process, too.
        let map = unsafe { MmapOptions::new().offset(self.length).len(length as usize).map(&self.file) };
        Ok(OwnedBytes::new(map.map_err(SearchError::scratch(&self.scratch.0))?))
    }

    /// Puts what was written behind the last file into the directory.
    fn enter(&mut self, name: &Path, length: u64, crc32: u32, unpacked: Option<u64>) {
        let name = name.to_string_lossy().into_owned();
        self.entries.push(FileEntry { name, offset: self.length, length, crc32, unpacked });
        self.length += length;
    }

    /// The files so far, with all segments, to be searched. They stay readable when this is dropped.
    ///
    /// # Errors
    /// If the segments can't be named.
    pub(crate) fn files(&self) -> Result<Files, SearchError> {
        let mut files = self.files.clone();
        files.insert(META.into(), SplitFile::Plain(OwnedBytes::new(self.meta_file()?)));
        Ok(files)
    }

    fn meta_file(&self) -> Result<Vec<u8>, SearchError> {
        serde_json::to_vec(&self.meta).map_err(|error| SearchError::Abandoned(error.to_string()))
    }

    /// Ends the split: with the filter of its terms, which all of its dictionaries are gone through for. After an error it is
    /// as before.
    ///
    /// # Errors
    /// If the file can't be written, or a segment not be read.
    pub fn finish(&mut self) -> Result<(u64, String), SearchError> {
        let (length, entries) = (self.length, self.entries.len());
        let result = self.write_end();
        if result.is_err() {
            self.entries.truncate(entries);
            self.length = length;
        }
        result
    }

    fn write_end(&mut self) -> Result<(u64, String), SearchError> {
        let meta = self.meta_file()?;
        self.add_plain(Path::new(META), &meta)?;
        self.append_filter()?;
        let (footer, digest) =
            footer::encode(&self.entries).map_err(|error| SearchError::Abandoned(error.to_string()))?;
        use std::os::unix::fs::FileExt;
        self.file.write_all_at(&footer, self.length).map_err(SearchError::scratch(&self.scratch.0))?;
        self.length += footer.len() as u64;
        // What an attempt that failed may have left behind the end.
        self.file.set_len(self.length).map_err(SearchError::scratch(&self.scratch.0))?;
        self.file.flush().map_err(SearchError::scratch(&self.scratch.0))?;
        Ok((self.length, digest))
    }

    fn append_filter(&mut self) -> Result<(), SearchError> {
        let (_, index) = open_files(self.files()?)?;
        let Some(keys) = filter::keys_of(&index)? else { return Ok(()) };
        let (contents, partitions) = filter::encode(keys);
        self.filter = Some(FilterPlace { offset: self.length, bytes: contents.len() as u64, partitions });
        self.add_plain(Path::new(filter::FILE), &contents)?;
        Ok(())
    }

    /// The packed split.
    ///
    /// # Errors
    /// As [`SplitWriter::finish`]; the split is lost then.
    pub fn pack(mut self) -> Result<Packed, SearchError> {
        let (bytes, footer) = self.finish()?;
        Ok(self.packed(bytes, footer))
    }

    /// The packed split, once it was finished so.
    pub(crate) fn packed(self, bytes: u64, footer: String) -> Packed {
        Packed { id: self.id, bytes, footer, filter: self.filter, scratch: self.scratch }
    }
}

impl Packed {
    /// What the manifest says of it, in which so much is.
    pub fn meta(
        &self,
        docs: u64,
        tier: u8,
        lanes: Vec<LaneRange>,
        workspaces: BTreeMap<String, WorkspaceMeta>,
        apart: BTreeSet<String>,
    ) -> SplitMeta {
        let Packed { id, bytes, footer, filter, .. } = self;
        let (id, bytes, footer, filter) = (id.clone(), *bytes, footer.clone(), *filter);
        SplitMeta { id, bytes, footer, docs, tier, lanes, workspaces, apart, filter }
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.scratch.0
    }

    /// The file's contents, mapped into memory.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn contents(&self) -> Result<bytes::Bytes, SearchError> {
        let file = File::open(self.path()).map_err(SearchError::scratch(self.path()))?;
        // SAFETY: as above.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(SearchError::scratch(self.path()))?;
        Ok(bytes::Bytes::from_owner(map))
    }
}
