//! An entry as a document of the index.
//!
//! It owns a share of the buffer that the entry's body lies in, and is decoded in place: texts go from there to the index
//! without being copied.

mod leaves;
mod values;

use agentworks_schemas::codec::{Reject, decode_entry_body};
use agentworks_schemas::{LogEntry, Position, Timestamp};
use bytes::Bytes;
use self_cell::self_cell;
use tantivy::schema::Document;

pub use leaves::{Leaves, Members};
pub use values::{Fields, Value};

self_cell! {
    /// A body and the entry that borrows from it.
    struct Entry {
        owner: Bytes,
        #[covariant]
        dependent: LogEntry,
    }
}

/// An entry to be indexed.
pub struct EntryDocument {
    entry: Entry,
    data: Leaves,
    position: Position,
    record_time: Timestamp,
}

impl EntryDocument {
    /// The document of the entry with this canonical body, which lies at `position`.
    ///
    /// # Errors
    /// If the body can't be decoded.
    pub fn new(body: Bytes, position: Position, record_time: Timestamp) -> Result<Self, Reject> {
        let entry = Entry::try_new(body, |body| decode_entry_body(body))?;
        let data = entry.borrow_dependent().data.as_ref();
        let data = data.map_or_else(Leaves::default, |data| Leaves::of(data.as_str()));
        Ok(EntryDocument { entry, data, position, record_time })
    }

    /// The entry.
    pub fn entry(&self) -> &LogEntry<'_> {
        self.entry.borrow_dependent()
    }

    /// Where it lies.
    pub fn position(&self) -> Position {
        self.position
    }

    fn data(&self) -> Option<&Leaves> {
        Some(&self.data).filter(|data| !data.is_empty())
    }

    /// Its canonical body.
    pub fn body(&self) -> &[u8] {
        self.entry.borrow_owner()
    }
}

impl std::fmt::Debug for EntryDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EntryDocument").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Document for EntryDocument {
    type Value<'a> = Value<'a>;
    type FieldsValuesIter<'a> = Fields<'a>;

    fn iter_fields_and_values(&self) -> Fields<'_> {
        Fields::new(self)
    }
}
