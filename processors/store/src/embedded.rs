//! The store in a folder of this process, on an LSM tree (`fjall`).
//!
//! **Durability.** A write has reached the operating system when the call returns: killing the process loses nothing. A
//! power failure may lose the last seconds of writes, always a suffix in the order in which the calls returned, for they
//! go through one journal, which is synced before any table is written from it. So a position never outlives the data
//! written before it; the sinks go on from the older position, and the log refills what was lost.
//!
//! **Versions.** A deleted row of a versioned table leaves its version behind for ever: versions come from the log, in
//! which there is no age at which an older write could no longer arrive. An expired row's version is forgotten when the
//! sweep removes it.
//!
//! **Expiry.** Rows are invisible from the instant they expire. Every expiring write also leaves a note in an index by
//! time, by which a background thread finds and removes what has expired, at a bounded rate.
//!
//! - `encode`: keys as bytes that keep their order.
//! - `row`: values as bytes.
//! - `disk`: the blocking operations.
//! - `sweep`: removing what has expired.

mod disk;
mod encode;
mod row;
mod sweep;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use self::disk::{Change, Disk};
use self::sweep::Sweeper;
use crate::key::Key;
use crate::store::{Row, Scan, Store, StoreError, Write};
use crate::table::Table;

/// How many calls may block on the disk at once; more wait their turn.
const BLOCKING_CALLS: usize = 32;

/// Where a store reads the time by which rows expire.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// The machine's.
    pub fn system() -> Self {
        Clock::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
    }

    /// A clock of one's own, for tests: milliseconds since the Unix epoch.
    pub fn new(now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Clock(Arc::new(now))
    }

    /// Milliseconds since the Unix epoch.
    pub fn now(&self) -> i64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// How an embedded store uses memory and disk.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// How many bytes of what lies on disk are cached in memory.
    pub cache: u64,
    /// How many bytes of a table's newest writes are kept in memory before they are sorted onto disk. A few such buffers
    /// per table may be waiting for the disk. Fixed for a table when it is created.
    pub write_buffer: u64,
    /// About how many bytes the journal takes on disk, at least 64 MiB. The next start reads as much.
    pub journal: u64,
    /// How often expired rows are removed.
    pub sweep_every: Duration,
    /// How many expired rows are removed a second, at most.
    pub sweep_rate: u32,
    /// The time by which rows expire.
    pub clock: Clock,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        EmbeddedConfig {
            cache: 64 << 20,
            write_buffer: 16 << 20,
            journal: 128 << 20,
            sweep_every: Duration::from_secs(30),
            sweep_rate: 5_000,
            clock: Clock::system(),
        }
    }
}

/// A store in a folder of this process. Dropping it writes everything through to the disk.
pub struct EmbeddedStore {
    // Before `disk`, so that the thread has ended when the folder is closed.
    _sweeper: Sweeper,
    disk: Arc<Disk>,
    calls: Arc<Semaphore>,
}

impl EmbeddedStore {
    /// Opens the store in `folder`, which is created if it isn't there.
    ///
    /// # Errors
    /// If another process has it open, if it is damaged, or if it can't be read or written. The message names the folder.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(folder, EmbeddedConfig::default())
    }

    /// As [`EmbeddedStore::open`], with other bounds.
    pub fn open_with(folder: impl AsRef<Path>, config: EmbeddedConfig) -> Result<Self, StoreError> {
        let disk = Arc::new(Disk::open(folder.as_ref(), &config)?);
        let sweeper = Sweeper::start(disk.clone(), &config)?;
        Ok(EmbeddedStore { _sweeper: sweeper, disk, calls: Arc::new(Semaphore::new(BLOCKING_CALLS)) })
    }

    /// Removes all that has expired by now from the disk, and returns how many rows that were. The background thread does
    /// the same at its own pace.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        self.blocking(|disk| disk.sweep_all()).await
    }

    /// Runs what may wait for the disk where that holds nobody up.
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Disk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = || StoreError::Failed("the store is closed".into());
        let permit = self.calls.clone().acquire_owned().await.map_err(|_| closed())?;
        let disk = self.disk.clone();
        let run = move || {
            let _permit = permit;
            call(&disk)
        };
        tokio::task::spawn_blocking(run).await.map_err(|error| StoreError::Failed(error.to_string()))?
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("folder", &self.disk.folder()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        self.blocking(move |disk| disk.apply(writes.into_iter().map(Change::from).collect())).await
    }

    /// On the caller's thread: most rows that are read one by one lie in memory, where that takes microseconds, less than
    /// handing over to another thread.
    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError> {
        self.disk.get(table, key)
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        self.blocking(move |disk| disk.scan(&scan)).await
    }

    async fn delete(&self, table: &'static Table, key: &Key, version: i64) -> Result<(), StoreError> {
        let change = Change { table, key: key.clone(), version, put: None };
        self.blocking(move |disk| disk.apply(vec![change])).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    mod faults;
    mod kill;
    mod model;
    mod sweep;

    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::contract::{self, Time};

    /// A clock that stands still until it is moved.
    #[derive(Clone, Default)]
    pub(super) struct TestClock(Arc<AtomicI64>);

    #[async_trait]
    impl Time for TestClock {
        fn now(&self) -> i64 {
            self.0.load(Ordering::SeqCst)
        }

        async fn pass(&self, millis: i64) {
            self.0.fetch_add(millis, Ordering::SeqCst);
        }
    }

    impl TestClock {
        /// A configuration with this clock, and no sweep that isn't asked for.
        pub(super) fn config(&self) -> EmbeddedConfig {
            let clock = self.clone();
            EmbeddedConfig {
                clock: Clock::new(move || clock.now()),
                sweep_every: Duration::from_secs(3600),
                ..EmbeddedConfig::default()
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_contract_holds() {
        let folder = tempfile::tempdir().unwrap();
        let clock = TestClock::default();
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open_with(&folder, clock.config()).unwrap());
        assert_eq!(contract::check(store.clone(), &clock, "first").await, []);
        drop(store);
        // Again beside the rows of the first time, as they were found on disk.
        let store = Arc::new(EmbeddedStore::open_with(&folder, clock.config()).unwrap());
        assert_eq!(contract::check(store, &clock, "second").await, []);
    }
}
