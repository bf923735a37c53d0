//! Parts of keys and contents as CQL values, and back.

use agentworks_store::{Part, StoreError};
use bytes::Bytes;
use scylla::cluster::metadata::ColumnType;
use scylla::errors::SerializationError;
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::{CellWriter, WrittenCellProof};
use scylla::value::CqlValue;

/// A value to be bound, borrowed from the row that it belongs to.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    Text(&'a str),
    Int(i64),
    /// A time to live in seconds; 0 for ever. Or a limit.
    Small(i32),
    Blob(&'a [u8]),
    /// Stats and payload in one cell.
    Contents(&'a [u8], &'a [u8]),
}

impl<'a> From<&'a Part> for Value<'a> {
    fn from(part: &'a Part) -> Self {
        match part {
            Part::Text(text) => Value::Text(text),
            Part::Int(number) => Value::Int(*number),
        }
    }
}

impl SerializeValue for Value<'_> {
    fn serialize<'b>(
        &self,
        kind: &ColumnType,
        writer: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        match self {
            Value::Text(text) => text.serialize(kind, writer),
            Value::Int(number) => number.serialize(kind, writer),
            Value::Small(number) => number.serialize(kind, writer),
            Value::Blob(bytes) => bytes.serialize(kind, writer),
            Value::Contents(stats, payload) => (stats, payload).serialize(kind, writer),
        }
    }
}

/// The columns of a row that was read, taken one by one.
pub(crate) struct Columns(std::vec::IntoIter<Option<CqlValue>>);

impl Columns {
    pub(crate) fn of(row: scylla::value::Row) -> Self {
        Columns(row.columns.into_iter())
    }

    pub(crate) fn part(&mut self) -> Result<Part, StoreError> {
        match self.0.next() {
            Some(Some(CqlValue::Text(text))) => Ok(Part::Text(text)),
            Some(Some(CqlValue::BigInt(number))) => Ok(Part::Int(number)),
            other => Err(unexpected("a key", other.as_ref())),
        }
    }

    pub(crate) fn version(&mut self) -> Result<i64, StoreError> {
        match self.0.next() {
            Some(Some(CqlValue::BigInt(number))) => Ok(number),
            other => Err(unexpected("a version", other.as_ref())),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, StoreError> {
        bytes(self.0.next())
    }

    /// Stats and payload of one cell.
    pub(crate) fn contents(&mut self) -> Result<(Bytes, Bytes), StoreError> {
        match self.0.next() {
            Some(Some(CqlValue::Tuple(parts))) => {
                let mut parts = parts.into_iter();
                Ok((bytes(parts.next())?, bytes(parts.next())?))
            }
            other => Err(unexpected("contents", other.as_ref())),
        }
    }
}

fn bytes(value: Option<Option<CqlValue>>) -> Result<Bytes, StoreError> {
    match value {
        Some(Some(CqlValue::Blob(bytes))) => Ok(bytes.into()),
        other => Err(unexpected("bytes", other.as_ref())),
    }
}

/// Names the kind alone: contents don't belong into messages.
fn unexpected(wanted: &str, found: Option<&Option<CqlValue>>) -> StoreError {
    let found = match found {
        None => "no column",
        Some(None) => "null",
        Some(Some(_)) => "another type",
    };
    StoreError::Failed(format!("a row holds {found} where {wanted} should be"))
}
