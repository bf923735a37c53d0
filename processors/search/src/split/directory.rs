//! A split's files as the index library reads them: nothing is ever written.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{DirectoryLock, FileHandle, Lock, OwnedBytes, WatchCallback, WatchHandle, WritePtr};
use tantivy::{Directory, HasLen};

use super::packed::PackedFile;

/// The files of a split, by their names.
pub(crate) type Files = HashMap<PathBuf, SplitFile>;

/// A file in memory or mapped into it.
#[derive(Clone, Debug)]
pub(crate) enum SplitFile {
    /// As it is.
    Plain(OwnedBytes),
    /// In blocks that are unpacked as they are read.
    Packed(Arc<PackedFile>),
}

impl SplitFile {
    fn handle(&self) -> Arc<dyn FileHandle> {
        match self {
            SplitFile::Plain(bytes) => Arc::new(bytes.clone()),
            SplitFile::Packed(file) => file.clone(),
        }
    }

    /// All of it.
    pub(super) fn bytes(&self) -> io::Result<OwnedBytes> {
        match self {
            SplitFile::Plain(bytes) => Ok(bytes.clone()),
            SplitFile::Packed(file) => file.read_bytes(0..file.len()),
        }
    }
}

/// Files in memory or mapped into it. Clones share them.
#[derive(Clone, Default)]
pub struct SplitDirectory {
    files: Arc<Files>,
}

impl SplitDirectory {
    /// These files.
    pub(crate) fn new(files: Files) -> Self {
        SplitDirectory { files: Arc::new(files) }
    }

    fn file(&self, path: &Path) -> Result<&SplitFile, OpenReadError> {
        self.files.get(path).ok_or_else(|| OpenReadError::FileDoesNotExist(path.to_owned()))
    }
}

impl fmt::Debug for SplitDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitDirectory").field("files", &self.files.len()).finish()
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "splits are never written to")
}

impl Directory for SplitDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        Ok(self.file(path)?.handle())
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        Err(DeleteError::IoError { io_error: Arc::new(read_only()), filepath: path.to_owned() })
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.files.contains_key(path))
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::IoError { io_error: Arc::new(read_only()), filepath: path.to_owned() })
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let failed = |error| OpenReadError::wrap_io_error(error, path.to_owned());
        Ok(self.file(path)?.bytes().map_err(failed)?.as_slice().to_vec())
    }

    fn atomic_write(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn acquire_lock(&self, _: &Lock) -> Result<DirectoryLock, LockError> {
        // Nobody changes anything.
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}
