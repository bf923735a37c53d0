//! Open splits, and local copies of those that lie elsewhere.
//!
//! Where the store is a local folder, splits are mapped where they lie. Else whole splits are downloaded into a folder of
//! bounded size, from which those go first that were not used for longest. Every byte is checked when a split is opened.
//! Whether it is worth it to download one, its filter says, of which a small part is read: see `filters`.

mod filters;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_objects::Objects;
use agentworks_objects::object_store::ObjectStoreExt;
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::spawn_blocking;

use crate::error::SearchError;
use crate::split::{END, OF_BEFORE, Split, SplitId, SplitMeta, is_of_before, object_name};
use filters::Filters;

/// How many splits are downloaded at once.
const DOWNLOADS: usize = 4;

/// A copy that turned out to be damaged isn't downloaded again for so long: it takes longer than a search may.
const DAMAGED: Duration = Duration::from_secs(60);

/// How splits are kept at hand.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// A local folder for copies, of this process alone. Whole copies in it are used again after a restart.
    pub folder: PathBuf,
    /// How many bytes copies may take. A split that is larger is downloaded all the same, and goes first.
    pub bytes: u64,
    /// How many splits are open at most.
    pub open: usize,
}

impl CacheConfig {
    /// 10 GB in `folder`, and 1,000 open splits.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        CacheConfig { folder: folder.into(), bytes: 10 << 30, open: 1000 }
    }
}

/// Splits at hand. Clones share them.
#[derive(Clone, Debug)]
pub struct SplitCache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    objects: Objects,
    config: CacheConfig,
    known: Mutex<Known>,
    downloads: Semaphore,
    opens: Semaphore,
    filters: Filters,
}

#[derive(Debug, Default)]
struct Known {
    open: HashMap<SplitId, Entry>,
    /// Copies: their bytes, and when they were last used.
    copies: HashMap<SplitId, (u64, u64)>,
    /// Those that were downloaded and are damaged: what is wrong with each, and since when that is known.
    damaged: HashMap<SplitId, (String, Instant)>,
    /// Counts uses.
    clock: u64,
}

impl Known {
    /// What is wrong with a split, if it was downloaded a moment ago.
    fn damage_of(&mut self, id: &SplitId) -> Option<String> {
        self.damaged.retain(|_, (_, since)| since.elapsed() < DAMAGED);
        self.damaged.get(id).map(|(reason, _)| reason.clone())
    }
}

#[derive(Debug)]
struct Entry {
    /// Those who want it wait for who came first.
    split: Arc<OnceCell<Split>>,
    used: u64,
}

impl SplitCache {
    /// A cache of the splits in `objects`.
    ///
    /// # Errors
    /// If the folder can't be used.
    pub fn new(objects: Objects, config: CacheConfig) -> Result<Self, SearchError> {
        let mut known = Known::default();
        std::fs::create_dir_all(&config.folder).map_err(SearchError::scratch(&config.folder))?;
        adopt(&config.folder, &mut known).map_err(SearchError::scratch(&config.folder))?;
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let (known, downloads, opens) = (Mutex::new(known), Semaphore::new(DOWNLOADS), Semaphore::new(threads));
        let filters = Filters::new();
        let shared = Shared { objects, config, known, downloads, opens, filters };
        let cache = SplitCache { shared: Arc::new(shared) };
        cache.shrink();
        Ok(cache)
    }

    /// A split, opened if it isn't yet. Opening goes on if nobody waits for it any more.
    ///
    /// # Errors
    /// [`SearchError::Split`] if it is missing or damaged; the store's or the local disk's.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn open(&self, meta: &Arc<SplitMeta>) -> Result<Split, SearchError> {
        let cell = {
            let mut known = self.shared.known.lock();
            known.clock += 1;
            let clock = known.clock;
            let fresh = || Entry { split: Arc::default(), used: clock };
            let entry = known.open.entry(meta.id.clone()).or_insert_with(fresh);
            entry.used = clock;
            let cell = entry.split.clone();
            if let Some((_, used)) = known.copies.get_mut(&meta.id) {
                *used = clock;
            }
            cell
        };
        if let Some(split) = cell.get() {
            return Ok(split.clone());
        }
        // Who asked may not wait that long: the next one finds it, or what there is of it, then.
        let (cache, meta) = (self.clone(), meta.clone());
        let opened = tokio::spawn(async move {
            let opened = cell.get_or_try_init(|| cache.load(&meta)).await.cloned();
            cache.shrink();
            opened
        });
        opened.await?
    }

    /// How many splits are open, and how many bytes of copies there are.
    pub fn size(&self) -> (usize, u64) {
        let known = self.shared.known.lock();
        (known.open.len(), known.copies.values().map(|(bytes, _)| bytes).sum())
    }

    async fn load(&self, meta: &Arc<SplitMeta>) -> Result<Split, SearchError> {
        let name = object_name(&meta.id);
        if let Some(path) = self.shared.objects.file(&name) {
            return self.open_file(meta, path).await;
        }
        let path = self.copy_of(&meta.id);
        if self.shared.known.lock().copies.contains_key(&meta.id) {
            match self.open_file(meta, path.clone()).await {
                // A copy that was damaged is made again.
                Err(SearchError::Split { .. }) => self.remove_copy(&meta.id),
                result => return result,
            }
        }
        if let Some(reason) = self.shared.known.lock().damage_of(&meta.id) {
            return Err(SearchError::split(&meta.id, reason));
        }
        let _turn = self.shared.downloads.acquire().await.map_err(|error| SearchError::Abandoned(error.to_string()))?;
        // Another may download it, too, whose place was taken meanwhile.
        let part = path.with_extension(format!("{}.part", uuid::Uuid::now_v7().simple()));
        // What is open stays readable, whoever makes room for others from now on.
        let opened = match self.download(meta, &part).await {
            Ok(()) => {
                let opened = self.open_file(meta, part.clone()).await;
                if let Err(SearchError::Split { reason, .. }) = &opened {
                    self.shared.known.lock().damaged.insert(meta.id.clone(), (reason.clone(), Instant::now()));
                }
                opened
            }
            Err(error) => Err(error),
        };
        let split = match opened {
            Ok(split) => split,
            Err(error) => {
                // If it can't be removed, it is at the next start.
                let _ = tokio::fs::remove_file(&part).await;
                return Err(error);
            }
        };
        tokio::fs::rename(&part, &path).await.map_err(SearchError::scratch(&part))?;
        let mut known = self.shared.known.lock();
        let clock = known.clock;
        known.copies.insert(meta.id.clone(), (meta.bytes, clock));
        Ok(split)
    }

    async fn download(&self, meta: &Arc<SplitMeta>, part: &Path) -> Result<(), SearchError> {
        let Shared { objects, .. } = &*self.shared;
        let path = objects.path(&object_name(&meta.id));
        // What can't be read needn't be downloaded to know. What else is wrong shows then.
        if let Ok(end) = objects.store().get_range(&path, meta.bytes.saturating_sub(END)..meta.bytes).await
            && is_of_before(&end)
        {
            return Err(SearchError::split(&meta.id, OF_BEFORE));
        }
        let result = match objects.store().get(&path).await {
            Ok(result) => result,
            Err(agentworks_objects::object_store::Error::NotFound { .. }) => {
                return Err(SearchError::split(&meta.id, "is missing"));
            }
            Err(error) => return Err(objects.error()(error).into()),
        };
        let mut file = tokio::fs::File::create(part).await.map_err(SearchError::scratch(part))?;
        let mut chunks = result.into_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(objects.error())?;
            file.write_all(&chunk).await.map_err(SearchError::scratch(part))?;
        }
        file.flush().await.map_err(SearchError::scratch(part))
    }

    /// Opens a split where it lies, in its turn: all of it is read.
    async fn open_file(&self, meta: &Arc<SplitMeta>, path: PathBuf) -> Result<Split, SearchError> {
        let _turn = self.shared.opens.acquire().await.map_err(|error| SearchError::Abandoned(error.to_string()))?;
        let meta = meta.clone();
        spawn_blocking(move || Split::open(meta, &path)).await?
    }

    fn copy_of(&self, id: &SplitId) -> PathBuf {
        self.shared.config.folder.join(format!("{id}.split"))
    }

    fn remove_copy(&self, id: &SplitId) {
        self.shared.known.lock().copies.remove(id);
        // If it can't be removed it is written over.
        let _ = std::fs::remove_file(self.copy_of(id));
    }

    /// Closes and removes what was not used for longest, until there is not too much. Whoever searches a split keeps it.
    fn shrink(&self) {
        let mut removed = Vec::new();
        {
            let mut known = self.shared.known.lock();
            let config = &self.shared.config;
            while known.open.len() > config.open.max(1) {
                let Some(id) = oldest(known.open.iter().map(|(id, entry)| (id, entry.used))) else { break };
                known.open.remove(&id);
            }
            let mut total: u64 = known.copies.values().map(|(bytes, _)| bytes).sum();
            while total > config.bytes && known.copies.len() > 1 {
                let Some(id) = oldest(known.copies.iter().map(|(id, (_, used))| (id, *used))) else { break };
                total -= known.copies.remove(&id).map_or(0, |(bytes, _)| bytes);
                known.open.remove(&id);
                removed.push(id);
            }
        }
        for id in removed {
            // If it can't be removed, it is found at the next start.
            let _ = std::fs::remove_file(self.copy_of(&id));
        }
    }
}

fn oldest<'a>(used: impl Iterator<Item = (&'a SplitId, u64)>) -> Option<SplitId> {
    used.min_by_key(|(_, used)| *used).map(|(id, _)| id.clone())
}

/// Finds the copies that are whole, and removes those that aren't.
fn adopt(folder: &Path, known: &mut Known) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(id) = name.strip_suffix(".split").and_then(|id| id.parse().ok()) {
            known.copies.insert(id, (entry.metadata()?.len(), 0));
        } else if name.ends_with(".part") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_objects::object_store::memory::InMemory;
    use agentworks_objects::object_store::path::Path as ObjectPath;
    use tantivy::collector::Count;
    use tantivy::query::AllQuery;

    use super::*;
    use crate::testing::{entries, packed};

    pub(crate) async fn uploaded(objects: &Objects, from: i64) -> Arc<SplitMeta> {
        let scratch = tempfile::tempdir().unwrap();
        let (packed, meta) = packed(scratch.path(), &[entries(0, from..from + 20)]);
        objects.put_large(&object_name(&meta.id), packed.contents().unwrap()).await.unwrap();
        Arc::new(meta)
    }

    pub(crate) fn elsewhere() -> Objects {
        Objects::of(Arc::new(InMemory::new()), ObjectPath::from("x"), "memory:///x/".parse().unwrap())
    }

    fn count(split: &Split) -> usize {
        split.searcher().search(&AllQuery, &Count).unwrap()
    }

    #[tokio::test]
    async fn copies_are_bounded_and_made_again() {
        let (folder, objects) = (tempfile::tempdir().unwrap(), elsewhere());
        let mut metas = Vec::new();
        for n in 0..5 {
            metas.push(uploaded(&objects, n * 20).await);
        }
        let config = CacheConfig { bytes: metas[0].bytes * 5 / 2, ..CacheConfig::new(folder.path()) };
        let cache = SplitCache::new(objects.clone(), config.clone()).unwrap();
        let mut held = Vec::new();
        for meta in metas.iter().chain(&metas) {
            held.push(cache.open(meta).await.unwrap());
            assert!(cache.size().1 <= config.bytes && std::fs::read_dir(folder.path()).unwrap().count() <= 2);
        }
        assert!(held.iter().all(|split| count(split) == 20), "what is held stays readable");
        // After a restart the copies are used, but for those that are damaged.
        std::fs::write(folder.path().join("half.part"), "x").unwrap();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let path = file.unwrap().path();
            let mut contents = std::fs::read(&path).unwrap();
            let middle = contents.len() / 2;
            contents[middle] ^= 1;
            // Another file, for the one before may be mapped.
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, contents).unwrap();
        }
        let cache = SplitCache::new(objects, config).unwrap();
        assert_eq!(cache.size().1, metas[3].bytes + metas[4].bytes);
        for meta in &metas {
            assert_eq!(count(&cache.open(meta).await.unwrap()), 20);
        }
    }

    #[tokio::test]
    async fn what_is_missing_or_damaged_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let local = tempfile::tempdir().unwrap();
        for objects in [elsewhere(), Objects::folder(local.path()).unwrap()] {
            let meta = uploaded(&objects, 0).await;
            let cache = SplitCache::new(objects.clone(), CacheConfig::new(folder.path())).unwrap();
            let name = object_name(&meta.id);
            let mut contents = objects.get(&name).await.unwrap().to_vec();
            contents[100] ^= 4;
            let good = objects.get(&name).await.unwrap();
            objects.put(&name, contents.into()).await.unwrap();
            let is_named = |error: &SearchError| matches!(error, SearchError::Split { id, .. } if *id == meta.id);
            let error = cache.open(&meta).await.unwrap_err();
            assert!(is_named(&error), "{error}");
            if objects.file(&name).is_none() {
                // It isn't downloaded again at once, whatever is there.
                objects.delete(&name).await.unwrap();
                let again = cache.open(&meta).await.unwrap_err();
                assert!(is_named(&again) && again.to_string() == error.to_string(), "{again}");
                cache.shared.known.lock().damaged.clear();
            } else {
                objects.delete(&name).await.unwrap();
            }
            let error = cache.open(&meta).await.unwrap_err();
            assert!(error.to_string().contains("is missing"), "{error}");
            objects.put(&name, good).await.unwrap();
            assert_eq!(count(&cache.open(&meta).await.unwrap()), 20, "once it is there again, it is opened");
        }
    }

    #[tokio::test]
    async fn many_who_want_one_open_it_once() {
        let (folder, objects) = (tempfile::tempdir().unwrap(), elsewhere());
        let meta = uploaded(&objects, 0).await;
        let cache = SplitCache::new(objects, CacheConfig { open: 1, ..CacheConfig::new(folder.path()) }).unwrap();
        let tasks = (0..8).map(|_| {
            let (cache, meta) = (cache.clone(), meta.clone());
            tokio::spawn(async move { count(&cache.open(&meta).await.unwrap()) })
        });
        for task in tasks.collect::<Vec<_>>() {
            assert_eq!(task.await.unwrap(), 20);
        }
        assert_eq!(cache.size().0, 1);
    }
}
