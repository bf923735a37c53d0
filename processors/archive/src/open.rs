//! Opening files: footers and claims, kept for a while, for a file never changes.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::file::metadata::PageIndexPolicy;

use crate::claims::{self, Claim};
use crate::error::ArchiveError;
use crate::object::ObjectReader;
use crate::schema::TableSpec;
use crate::sums::{self, Sums};
use crate::table::{ActiveFile, Table};

/// How many footers are kept; each takes some tens of KiB.
const FOOTERS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// A file's footer.
#[derive(Clone, Debug)]
pub(crate) struct Footer {
    pub(crate) meta: ArrowReaderMetadata,
    pub(crate) claims: Arc<Vec<Claim>>,
    pub(crate) sums: Arc<Sums>,
}

/// Footers by path.
#[derive(Debug)]
pub(crate) struct Footers {
    recent: Mutex<LruCache<String, Footer>>,
    /// Small, and asked for at every reading: of all files.
    claims: Mutex<HashMap<String, Arc<Vec<Claim>>>>,
}

impl Default for Footers {
    fn default() -> Self {
        Footers { recent: Mutex::new(LruCache::new(FOOTERS)), claims: Mutex::default() }
    }
}

impl Footers {
    /// A file's claims.
    pub(crate) async fn claims(&self, table: &Table, file: &ActiveFile) -> Result<Arc<Vec<Claim>>, ArchiveError> {
        if let Some(claims) = self.claims.lock().get(&file.path) {
            return Ok(claims.clone());
        }
        let footer = self.footer(table, file).await?;
        self.claims.lock().insert(file.path.clone(), footer.claims.clone());
        Ok(footer.claims)
    }

    /// A file's footer.
    pub(crate) async fn footer(&self, table: &Table, file: &ActiveFile) -> Result<Footer, ArchiveError> {
        if let Some(footer) = self.recent.lock().get(&file.path) {
            return Ok(footer.clone());
        }
        let footer = load(table, file).await?;
        self.recent.lock().put(file.path.clone(), footer.clone());
        Ok(footer)
    }

    /// Forgets files that are not among these, once they are about as many as these: it is asked at every reading.
    pub(crate) fn keep(&self, files: &[ActiveFile]) {
        let mut claims = self.claims.lock();
        if claims.len() > 2 * files.len() + 16 {
            let paths: std::collections::HashSet<_> = files.iter().map(|file| file.path.as_str()).collect();
            claims.retain(|path, _| paths.contains(path.as_str()));
        }
    }
}

fn reader(table: &Table, file: &ActiveFile) -> ObjectReader {
    ObjectReader { store: table.store().clone(), path: table.object(&file.path), size: file.size }
}

async fn load(table: &Table, file: &ActiveFile) -> Result<Footer, ArchiveError> {
    let (mut reader, spec, path) = (reader(table, file), table.spec(), file.path.clone());
    let name = path.clone();
    guarded(&path, async move {
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let meta = ArrowReaderMetadata::load_async(&mut reader, options).await?;
        check(spec, &meta)?;
        let tail = sums::tail(meta.metadata()).min(reader.size);
        if !sums::is_named(&name, &reader.get_bytes(tail..reader.size).await?) {
            return Err(ArchiveError::Corrupt("its footer is not what was written".into()));
        }
        let file = meta.metadata().file_metadata();
        let (claims, sums) = (Arc::new(claims::from_footer(file)?), Arc::new(sums::from_footer(file)?));
        Ok(Footer { meta, claims, sums })
    })
    .await
}

/// Whether a file's columns are what this program writes.
fn check(spec: &TableSpec, meta: &ArrowReaderMetadata) -> Result<(), ArchiveError> {
    let ours = spec.arrow();
    for field in meta.schema().fields() {
        match ours.field_with_name(field.name()) {
            Ok(known) if known.data_type() == field.data_type() => {}
            Ok(known) => {
                let (name, is, should) = (field.name(), field.data_type(), known.data_type());
                return Err(ArchiveError::Corrupt(format!("its column {name} is {is} and should be {should}")));
            }
            // Of a newer version.
            Err(_) => {}
        }
    }
    Ok(())
}

/// A reader of a file's rows.
pub(crate) fn rows(table: &Table, file: &ActiveFile, footer: &Footer) -> ParquetRecordBatchStreamBuilder<ObjectReader> {
    ParquetRecordBatchStreamBuilder::new_with_metadata(reader(table, file), footer.meta.clone())
}

/// Runs a reading of a file as a task of its own. Decoders have been seen to panic at damaged data; that is an error like
/// any other then.
pub(crate) async fn guarded<T: Send + 'static>(
    path: &str,
    work: impl Future<Output = Result<T, ArchiveError>> + Send + 'static,
) -> Result<T, ArchiveError> {
    let done = tokio::spawn(work).await;
    let done = done.unwrap_or_else(|error| match error.is_panic() {
        true => Err(ArchiveError::Corrupt("its decoder failed".into())),
        false => Err(ArchiveError::Unavailable("the reading was ended".into())),
    });
    done.map_err(|error| error.at(path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Archive;
    use crate::testing::{NOON, fill, folder, lane};

    #[tokio::test(flavor = "multi_thread")]
    async fn of_files_that_are_gone_no_claims_are_kept_for_long() {
        let (_folder, objects) = folder();
        let archive = Archive::open(&objects).await.unwrap();
        for step in 0..20 {
            fill(&archive, &[lane(0)], step * 5, step * 5 + 5, NOON).await;
        }
        let files = archive.entries.version().await.unwrap().files(&archive.entries).await.unwrap();
        let footers = Footers::default();
        for file in &files {
            footers.claims(&archive.entries, file).await.unwrap();
        }
        footers.keep(&files);
        assert_eq!(footers.claims.lock().len(), 20);
        footers.keep(&files[..1]);
        let kept: Vec<_> = footers.claims.lock().keys().cloned().collect();
        assert_eq!(kept, [files[0].path.clone()]);
    }
}
