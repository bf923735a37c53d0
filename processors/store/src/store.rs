//! The trait.

use std::fmt;
use std::ops::Bound;

use async_trait::async_trait;
use bytes::Bytes;

use crate::key::{Key, Part};
use crate::table::Table;

/// A write of one row, whole.
#[derive(Clone, Debug)]
pub struct Write {
    /// Where.
    pub table: &'static Table,
    /// Which row.
    pub key: Key,
    /// In a versioned table: the write is dropped if the row has a greater version already, or was deleted at this or a
    /// greater one. Of two writes with equal versions one is kept, whole: the later one, or the one whose bytes are greater.
    /// 0 elsewhere.
    pub version: i64,
    /// When the row ceases to be, in milliseconds since the Unix epoch; `None` for never. Readers must not rely on a row
    /// being there right up to this instant, nor on it being gone right after.
    pub expires: Option<i64>,
    /// What helps readers to decide whether they want the payload. Small.
    pub stats: Bytes,
    /// The contents.
    pub payload: Bytes,
}

/// A row as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The parts of its clustering key.
    pub clustering: Vec<Part>,
    /// The version it was written with; 0 in a table without versions.
    pub version: i64,
    /// See [`Write::stats`].
    pub stats: Bytes,
    /// See [`Write::payload`]; empty if the scan asked for none.
    pub payload: Bytes,
}

/// In which order rows are returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By clustering key.
    #[default]
    Ascending,
    /// By clustering key, backwards.
    Descending,
}

/// A question for the rows of one partition.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Where.
    pub table: &'static Table,
    /// Which partition: one part per partition column.
    pub partition: Vec<Part>,
    /// The lowest clustering key. A bound may have fewer parts than the key has columns, and then stands for all keys
    /// that begin with it: included, all of them are; excluded, none.
    pub from: Bound<Vec<Part>>,
    /// The highest clustering key; as `from`.
    pub to: Bound<Vec<Part>>,
    /// The order.
    pub order: Order,
    /// At most so many rows.
    pub limit: usize,
    /// Whether payloads are wanted, or stats alone.
    pub payload: bool,
}

impl Scan {
    /// All rows of a partition, in order, with their payloads.
    pub fn partition(table: &'static Table, partition: Vec<Part>) -> Self {
        Scan {
            table,
            partition,
            from: Bound::Unbounded,
            to: Bound::Unbounded,
            order: Order::Ascending,
            limit: usize::MAX,
            payload: true,
        }
    }
}

/// A fault of a store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached or is overloaded; the same call may succeed later.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// It refuses the call, or what it holds is damaged; trying again won't help.
    #[error("the store failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Unavailable(_))
    }
}

/// What sinks and readers need of a store.
///
/// Every write is atomic for its row and idempotent. A batch of writes is not atomic as a whole, may be applied in any
/// order, and is durable against the death of this process when the call returns `Ok`; after `Err` any of them may have
/// been applied. So whoever writes data and then a position makes two calls.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// Writes rows.
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError>;

    /// Reads one row.
    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError>;

    /// Reads rows of one partition.
    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError>;

    /// Deletes a row; in a versioned table, unless it has a greater version. A deletion beats a write of its own version.
    async fn delete(&self, table: &'static Table, key: &Key, version: i64) -> Result<(), StoreError>;
}
