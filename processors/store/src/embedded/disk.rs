//! The blocking operations, each of which may wait for the disk.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use fjall::config::CompressionPolicy;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Snapshot,
};
use parking_lot::{Mutex, MutexGuard, RwLock};

use super::encode::Span;
use super::row::{INLINE, Payload, StoredRow};
use super::{Clock, EmbeddedConfig, encode};
use crate::key::{Key, Part};
use crate::store::{Order, Row, Scan, StoreError, Write};
use crate::table::Table;

/// In how many parts the rows are locked. A write locks the parts of its rows while it compares versions and commits.
const STRIPES: usize = 64;

/// Where the notes by time of expiry lie: instant, table, row.
pub(super) const EXPIRY: &str = "_expiry";

/// The keyspaces of a table.
#[derive(Clone)]
pub(super) struct Space {
    /// Key → [`StoredRow`].
    pub(super) rows: Keyspace,
    /// Key → payload, of rows whose payload lies apart.
    payloads: Keyspace,
}

impl Space {
    pub(super) fn remove(&self, batch: &mut OwnedWriteBatch, key: &[u8]) {
        batch.remove(&self.rows, key);
        batch.remove(&self.payloads, key);
    }
}

/// A write or a deletion.
pub(super) struct Change {
    pub(super) table: &'static Table,
    pub(super) key: Key,
    pub(super) version: i64,
    /// Nothing for a deletion.
    pub(super) put: Option<Put>,
}

pub(super) struct Put {
    expires: Option<i64>,
    stats: Bytes,
    payload: Bytes,
}

impl From<Write> for Change {
    fn from(write: Write) -> Self {
        let put = Put { expires: write.expires, stats: write.stats, payload: write.payload };
        Change { table: write.table, key: write.key, version: write.version, put: Some(put) }
    }
}

/// An open folder.
pub(super) struct Disk {
    folder: PathBuf,
    pub(super) database: Database,
    pub(super) expiry: Keyspace,
    write_buffer: u64,
    spaces: RwLock<HashMap<String, Space>>,
    stripes: [Mutex<()>; STRIPES],
    pub(super) clock: Clock,
    /// What stopped the background thread. Every later write says so, for the disk would fill up.
    pub(super) fault: OnceLock<String>,
}

impl Disk {
    pub(super) fn open(folder: &Path, config: &EmbeddedConfig) -> Result<Self, StoreError> {
        let open = || {
            let database = Database::builder(folder)
                .cache_size(config.cache)
                .max_journaling_size(config.journal.max(64 << 20))
                .open()?;
            let expiry = database.keyspace(EXPIRY, || options(config.write_buffer))?;
            Ok((database, expiry))
        };
        // fjall checks most of what it reads, and panics on some of the rest.
        let (database, expiry) = std::panic::catch_unwind(AssertUnwindSafe(open))
            .unwrap_or(Err(fjall::Error::Unrecoverable))
            .map_err(|error| cannot_open(folder, &error))?;
        Ok(Disk {
            folder: folder.to_owned(),
            database,
            expiry,
            write_buffer: config.write_buffer,
            spaces: RwLock::default(),
            stripes: [const { Mutex::new(()) }; STRIPES],
            clock: config.clock.clone(),
            fault: OnceLock::new(),
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The keyspaces of the table called `name`, made when they are first asked for.
    pub(super) fn space(&self, name: &str) -> Result<Space, StoreError> {
        if let Some(space) = self.spaces.read().get(name) {
            return Ok(space.clone());
        }
        let rows = self.database.keyspace(name, || options(self.write_buffer)).map_err(failed)?;
        // Large payloads are compressed by those who write them.
        let plain =
            || options(self.write_buffer).data_block_compression_policy(CompressionPolicy::all(CompressionType::None));
        let payloads = self.database.keyspace(&format!("{name}.payload"), plain).map_err(failed)?;
        let space = Space { rows, payloads };
        self.spaces.write().insert(name.to_owned(), space.clone());
        Ok(space)
    }

    pub(super) fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError> {
        let space = self.space(table.name)?;
        let bytes = encode::key(table, key)?;
        let snapshot = self.database.snapshot();
        let Some(value) = snapshot.get(&space.rows, &bytes).map_err(failed)? else { return Ok(None) };
        let stored = StoredRow::decode(Bytes::from_owner(value)).ok_or_else(|| damaged(table))?;
        if !stored.is_live(self.clock.now()) {
            return Ok(None);
        }
        read_row(table, &space, &snapshot, &bytes, key.clustering.clone(), stored, true).map(Some)
    }

    pub(super) fn scan(&self, scan: &Scan) -> Result<Vec<Row>, StoreError> {
        let Some(Span { from, to, partition }) = encode::span(scan)? else { return Ok(Vec::new()) };
        let space = self.space(scan.table.name)?;
        let snapshot = self.database.snapshot();
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        let found = snapshot.range(&space.rows, (Bound::Included(from), to));
        let found: &mut dyn Iterator<Item = fjall::Guard> = match scan.order {
            Order::Ascending => &mut { found },
            Order::Descending => &mut found.rev(),
        };
        let now = self.clock.now();
        let mut rows = Vec::new();
        while rows.len() < scan.limit
            && let Some(guard) = found.next()
        {
            let (key, value) = guard.into_inner().map_err(failed)?;
            let stored = StoredRow::decode(Bytes::from_owner(value)).ok_or_else(|| damaged(scan.table))?;
            if stored.is_live(now) {
                let clustering =
                    encode::clustering(scan.table, &key[partition..]).ok_or_else(|| damaged(scan.table))?;
                rows.push(read_row(scan.table, &space, &snapshot, &key, clustering, stored, scan.payload)?);
            }
        }
        Ok(rows)
    }

    /// Makes changes, those of versioned tables that are not outdated: all at once, whatever happens meanwhile.
    pub(super) fn apply(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        if let Some(fault) = self.fault.get() {
            return Err(StoreError::Failed(fault.clone()));
        }
        let changes = newest(changes)?;
        let _locked = self.lock(changes.keys().map(|(table, key)| (*table, key.as_slice())));
        let mut batch = self.database.batch();
        for ((name, key), change) in changes {
            let space = self.space(name)?;
            let mut apart_before = false;
            if change.table.versioned
                && let Some(value) = space.rows.get(&key).map_err(failed)?
            {
                let row = StoredRow::decode(Bytes::from_owner(value)).ok_or_else(|| damaged(change.table))?;
                let deleted = row.payload == Payload::Deleted && change.put.is_some();
                if row.version > change.version || (row.version == change.version && deleted) {
                    continue;
                }
                apart_before = row.payload == Payload::Apart;
            }
            match change.put {
                Some(put) => {
                    if let Some(expires) = put.expires {
                        batch.insert(&self.expiry, expiry_note(expires, name, &key), []);
                    }
                    let payload = if put.payload.len() > INLINE {
                        batch.insert(&space.payloads, key.as_slice(), &put.payload[..]);
                        Payload::Apart
                    } else {
                        if apart_before {
                            batch.remove(&space.payloads, key.as_slice());
                        }
                        Payload::Here(put.payload)
                    };
                    let row = StoredRow { version: change.version, expires: put.expires, stats: put.stats, payload };
                    batch.insert(&space.rows, key, row.encode());
                }
                None if change.table.versioned => {
                    if apart_before {
                        batch.remove(&space.payloads, key.as_slice());
                    }
                    batch.insert(&space.rows, key, StoredRow::deleted(change.version).encode());
                }
                None => space.remove(&mut batch, &key),
            }
        }
        batch.commit().map_err(failed)
    }

    /// Locks rows against other writes. Stripes are always locked in the same order, so nobody waits for ever.
    pub(super) fn lock<'a>(&self, rows: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<MutexGuard<'_, ()>> {
        let mut wanted = [false; STRIPES];
        for row in rows {
            let mut hasher = DefaultHasher::new();
            row.hash(&mut hasher);
            wanted[hasher.finish() as usize % STRIPES] = true;
        }
        self.stripes.iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(stripe, _)| stripe.lock()).collect()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What was acknowledged is safe from everything but a power failure either way.
        let _ = self.database.persist(PersistMode::SyncAll);
    }
}

/// The last change of each row; in a versioned table, the last of the greatest version.
fn newest(changes: Vec<Change>) -> Result<BTreeMap<(&'static str, Vec<u8>), Change>, StoreError> {
    let mut newest = BTreeMap::new();
    for change in changes {
        match newest.entry((change.table.name, encode::key(change.table, &change.key)?)) {
            Entry::Vacant(entry) => {
                entry.insert(change);
            }
            Entry::Occupied(mut entry) => {
                if !change.table.versioned || entry.get().version <= change.version {
                    entry.insert(change);
                }
            }
        }
    }
    Ok(newest)
}

fn read_row(
    table: &Table,
    space: &Space,
    snapshot: &Snapshot,
    key: &[u8],
    clustering: Vec<Part>,
    stored: StoredRow,
    with_payload: bool,
) -> Result<Row, StoreError> {
    let payload = match stored.payload {
        Payload::Here(payload) if with_payload => payload,
        Payload::Apart if with_payload => {
            let value = snapshot.get(&space.payloads, key).map_err(failed)?;
            Bytes::from_owner(value.ok_or_else(|| damaged(table))?)
        }
        _ => Bytes::new(),
    };
    Ok(Row { clustering, version: stored.version, stats: stored.stats, payload })
}

/// The key of the note that a row expires. Table names hold no zero byte.
fn expiry_note(expires: i64, table: &str, key: &[u8]) -> Vec<u8> {
    [&encode::instant(expires), table.as_bytes(), &[0], key].concat()
}

/// The table and the row of a note.
pub(super) fn read_expiry_note(note: &[u8]) -> Option<(&str, &[u8])> {
    let row = note.get(8..)?;
    let end = row.iter().position(|byte| *byte == 0)?;
    Some((std::str::from_utf8(&row[..end]).ok()?, &row[end + 1..]))
}

fn options(write_buffer: u64) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(write_buffer)
}

pub(super) fn failed(error: fjall::Error) -> StoreError {
    StoreError::Failed(match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => error.to_string(),
        fjall::Error::Poisoned => "an earlier write to disk failed; restart when the disk is well".into(),
        error => format!("{error:?}"),
    })
}

fn damaged(table: &Table) -> StoreError {
    StoreError::Failed(format!("table {}: a row is damaged", table.name))
}

fn cannot_open(folder: &Path, error: &fjall::Error) -> StoreError {
    let folder = folder.display();
    StoreError::Failed(match error {
        fjall::Error::Locked => format!("{folder} is in use by another process"),
        fjall::Error::Io(error) => format!("{folder} can't be opened: {error}"),
        fjall::Error::InvalidVersion(Some(version)) => {
            format!("{folder} was written in another format ({version:?}); move it away, and the log fills it anew")
        }
        error => {
            format!("{folder} is damaged ({error:?}); move it away, and what the log still holds is filled in anew")
        }
    })
}
