//! A Delta table, and all that is asked of `delta_kernel`. Nothing outside of this module knows it but for the types of
//! columns and statistics.
//!
//! The kernel is pinned exactly: what makes and checks tables isn't all stable in it. It is synchronous, so every call
//! here runs on a thread that may block.
//!
//! - `commit`: the compare-and-swap by which files and positions are published together.
//! - `files`: what files there are, and choosing those to remove; `bounds`: what the log says that a file's columns lie between.
//! - `recorded`: positions, and what else is recorded beside the files.
//! - `fault`: the kernel's errors, sorted.

mod bounds;
mod commit;
mod fault;
mod files;
mod recorded;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_objects::Objects;
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::expressions::ColumnName;
use delta_kernel::schema::{SchemaRef, StructType};
use delta_kernel::transaction::UpdateTableOperation;
use delta_kernel::transaction::create_table::create_table;
use delta_kernel::transaction::data_layout::DataLayout;
use delta_kernel::{KernelError, Snapshot, SnapshotRef};
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use delta_kernel_default_engine::stats::FileStatsAccumulator;
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder};
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;
use url::Url;

pub(crate) use self::bounds::Bounds;
pub(crate) use self::commit::{Change, CommitError, Move, NewFile, Operation};
use self::fault::sort;
pub(crate) use self::files::{ActiveFile, FileList};
pub(crate) use self::recorded::Recorded;
use crate::error::ArchiveError;
use crate::schema::{DATE, TableSpec};

/// A snapshot older than this is not built upon: it is loaded anew.
const SNAPSHOT_AGE: Duration = Duration::from_secs(60);

/// After so many commits without one a checkpoint is written, and a checksum, which holds the positions. Without them a
/// snapshot of version 2100 took 300 ms, with them 2–8 ms.
const CHECKPOINT_EVERY: u64 = 100;

const ENGINE: &str = concat!("agentworks/", env!("CARGO_PKG_VERSION"));

/// A table. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Table {
    inner: Arc<Inner>,
}

struct Inner {
    spec: &'static TableSpec,
    /// All that lies in its folder.
    objects: Objects,
    url: Url,
    engine: DefaultEngine<TokioMultiThreadExecutor>,
    /// The latest snapshot seen, and when it was the latest.
    known: Mutex<Option<(Instant, SnapshotRef)>>,
    /// One of this process commits at a time: others would only lose the race.
    committing: Mutex<()>,
    indexed: Vec<ColumnName>,
    columns: SchemaRef,
}

/// A table at one version.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    snapshot: SnapshotRef,
}

impl Table {
    /// Opens the table in `objects`; creates it if it isn't there, and adds columns that it lacks.
    ///
    /// Must be called within a multi-threaded Tokio runtime.
    pub(crate) async fn open(objects: &Objects, spec: &'static TableSpec) -> Result<Self, ArchiveError> {
        let objects = objects.child(spec.name);
        let url = url_of(objects.prefix())?;
        let runtime = tokio::runtime::Handle::current();
        if runtime.runtime_flavor() != tokio::runtime::RuntimeFlavor::MultiThread {
            return Err(ArchiveError::Refused("the archive needs a multi-threaded Tokio runtime".into()));
        }
        let executor = Arc::new(TokioMultiThreadExecutor::new(runtime));
        let engine = DefaultEngineBuilder::new(objects.store().clone()).with_task_executor(executor).build();
        let columns = StructType::try_new(spec.fields()).map_err(sort)?;
        let table = Table {
            inner: Arc::new(Inner {
                spec,
                objects,
                url,
                engine,
                known: Mutex::default(),
                committing: Mutex::default(),
                indexed: spec.indexed.iter().map(|name| ColumnName::new([*name])).collect(),
                columns: Arc::new(columns),
            }),
        };
        table.blocking(|table| table.create_or_evolve()).await?;
        Ok(table)
    }

    /// What it is a table of.
    pub(crate) fn spec(&self) -> &'static TableSpec {
        self.inner.spec
    }

    /// Where it lies.
    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        self.inner.objects.store()
    }

    /// All that lies in its folder.
    pub(crate) fn objects(&self) -> &Objects {
        &self.inner.objects
    }

    /// Its folder.
    pub(crate) fn root(&self) -> &Path {
        self.inner.objects.prefix()
    }

    /// Where one of its files lies, by the path that the log names.
    pub(crate) fn object(&self, path: &str) -> Path {
        self.inner.objects.path(path)
    }

    /// Gathers the statistics of a file that is being written.
    pub(crate) fn statistics(&self) -> FileStatsAccumulator {
        FileStatsAccumulator::new(&self.inner.indexed, &self.inner.columns)
    }

    /// The table as it is now.
    pub(crate) async fn version(&self) -> Result<Version, ArchiveError> {
        let snapshot = self.blocking(|table| table.refresh().map_err(sort)).await?;
        Ok(Version { snapshot })
    }

    /// Runs something on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Table) -> Result<T, ArchiveError> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let table = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&table)).await;
        done.unwrap_or_else(|error| Err(ArchiveError::Unavailable(format!("the table's thread ended: {error}"))))
            .map_err(|error| error.at(self.inner.spec.name))
    }

    /// The latest snapshot.
    fn refresh(&self) -> Result<SnapshotRef, KernelError> {
        // Taken out: after a fault it is loaded anew.
        let known = self.inner.known.lock().take().filter(|(at, _)| at.elapsed() < SNAPSHOT_AGE);
        let began = Instant::now();
        let snapshot = match known {
            Some((_, snapshot)) => Snapshot::builder_from(snapshot).build(&self.inner.engine)?,
            None => Snapshot::builder_for(&self.inner.url).build(&self.inner.engine)?,
        };
        self.know(began, &snapshot);
        Ok(snapshot)
    }

    fn know(&self, at: Instant, snapshot: &SnapshotRef) {
        let mut known = self.inner.known.lock();
        if known.as_ref().is_none_or(|(_, known)| known.version() <= snapshot.version()) {
            *known = Some((at, snapshot.clone()));
        }
    }

    fn create_or_evolve(&self) -> Result<(), ArchiveError> {
        for _ in 0..20 {
            let snapshot = match self.refresh() {
                Ok(snapshot) => snapshot,
                Err(error) if fault::is_no_table(&error) => match self.create() {
                    // Whether it was we or another who made it is seen in the next round.
                    Ok(()) => continue,
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(sort(error)),
            };
            if self.evolve(snapshot)? {
                return Ok(());
            }
        }
        Err(ArchiveError::Unavailable("others keep changing the table's columns".into()))
    }

    fn create(&self) -> Result<(), ArchiveError> {
        let engine = &self.inner.engine;
        let properties = [
            // What readers and writers need of the log is never cleaned up under them: with old log files gone, a writer
            // on an old snapshot was seen to commit into nothing.
            ("delta.enableExpiredLogCleanup", "false".to_owned()),
            ("delta.dataSkippingStatsColumns", self.inner.spec.indexed.join(",")),
        ];
        let transaction = create_table(&self.inner.url, self.inner.columns.clone(), ENGINE, true)
            .with_table_properties(properties)
            .with_data_layout(DataLayout::partitioned([DATE]))
            .build(engine, Box::new(FileSystemCommitter::new()));
        let committed = match transaction.and_then(|transaction| transaction.commit(engine)) {
            Ok(committed) => committed,
            // Another was faster.
            Err(KernelError::TableAlreadyExistsAtPath(_)) => return Ok(()),
            Err(error) => return Err(sort(error)),
        };
        if committed.is_committed() {
            let snapshot = self.refresh().map_err(sort)?;
            snapshot.write_checksum(engine).map_err(sort)?;
            tracing::info!(table = self.inner.spec.name, root = %self.root(), "table created");
        }
        Ok(())
    }

    /// Adds columns that the table lacks. Returns whether there is nothing more to add.
    fn evolve(&self, snapshot: SnapshotRef) -> Result<bool, ArchiveError> {
        let schema = snapshot.schema();
        let mut missing = Vec::new();
        for field in self.inner.spec.fields() {
            match schema.field(field.name()) {
                None => missing.push(field),
                Some(there) if there.data_type() == field.data_type() => {}
                Some(there) => {
                    return Err(ArchiveError::Refused(format!(
                        "column {} of the table in {} is {:?} and should be {:?}: it is none of this program's. Give the \
                         archive another folder",
                        field.name(),
                        self.root(),
                        there.data_type(),
                        field.data_type(),
                    )));
                }
            }
        }
        if missing.is_empty() {
            return Ok(true);
        }
        let columns: Vec<_> = missing.iter().map(|field| field.name().clone()).collect();
        let mut builder = snapshot.update_table(UpdateTableOperation::AlterTable, ENGINE, false);
        for field in missing {
            builder = builder.add_column(field);
        }
        let engine = &self.inner.engine;
        let transaction = builder.build(engine, Box::new(FileSystemCommitter::new())).map_err(sort)?;
        if transaction.commit(engine).map_err(sort)?.is_committed() {
            tracing::info!(table = self.inner.spec.name, ?columns, "columns added");
        }
        Ok(false)
    }
}

impl Version {
    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.snapshot.version()
    }
}

/// What the kernel is told. It is given the store, and takes of the URL but the path, and how the store lists: S3's directory
/// buckets, which it knows by this ending of their names, in any order, as folders do. Then it sorts by itself.
fn url_of(root: &Path) -> Result<Url, ArchiveError> {
    let refused = |reason: String| ArchiveError::Refused(format!("the archive can't lie in {root}: {reason}"));
    let url = Url::parse(&format!("objects://archive--x-s3/{root}/")).map_err(|error| refused(error.to_string()))?;
    match Path::from_url_path(url.path()) {
        Ok(path) if path == *root => Ok(url),
        _ => {
            Err(refused("use a folder whose name has no other characters than letters, digits, spaces and -_.".into()))
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("spec", &self.inner.spec.name).field("root", self.root()).finish()
    }
}
