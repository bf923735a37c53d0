//! Record batches, as they lie in the log.
//!
//! Their format is version 2 (`magic`), which Kafka has written since 0.11: a header of 61 bytes, then the records, one after
//! another, each with its length before it; all of them compressed together, or not at all.
//! <https://kafka.apache.org/documentation/#recordbatch>
//!
//! - here: the types, and [`outline`], which looks at headers of batches only.
//! - [`Reader`], which takes batches apart.
//! - [`headers()`]: the headers of a record.
//! - `batch`, `record`, `varint`: the format.
//! - `decompress`: the codecs, a piece at a time.
//! - `transactions`: what of aborted ones is passed over.
//!
//! Brokers look into what producers send, but not at everything: whatever the bytes are, nothing here panics, or allocates
//! more than they can account for.

mod batch;
mod decompress;
mod headers;
mod read;
mod record;
mod transactions;
mod varint;

#[cfg(test)]
mod tests;

use thiserror::Error;

pub use headers::{Headers, headers};
pub use read::{Full, Reader};

/// A part of a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub start: u32,
    /// Its length, in bytes.
    pub len: u32,
}

impl Span {
    /// What lies there in its buffer. It panics in another one that is shorter.
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        &buffer[self.start as usize..][..self.len as usize]
    }
}

/// A record, and where in a buffer it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its offset in the log.
    pub offset: i64,
    /// Its record timestamp, in milliseconds since 1970: the broker's where the topic says so, else its producer's.
    pub timestamp: i64,
    /// Its key, if it has one.
    pub key: Option<Span>,
    /// Its value; a tombstone has none.
    pub value: Option<Span>,
    /// Its headers, for [`headers()`]; of length 0 if there are none.
    pub headers: Span,
}

/// A transaction that was aborted: what this producer wrote from here on, up to the marker that says so, isn't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// Who wrote it.
    pub producer_id: i64,
    /// Where it begins.
    pub first_offset: i64,
}

/// Why batches can't be read. Reading them again won't help.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordsError {
    /// The bytes aren't what they should be: damaged since they were written, or written so.
    #[error("the record batch at offset {offset} can't be read: {what}")]
    Corrupt {
        /// The batch's first offset, as it says itself.
        offset: i64,
        /// What is wrong with it.
        what: String,
    },
    /// It is in a format from before 0.11, which a broker keeps as it is when it is upgraded.
    #[error(
        "at offset {offset} there are records in message format v{magic}, which Kafka before 0.11 wrote: \
         only v2 can be read here"
    )]
    OldFormat {
        /// The offset that the message says it has.
        offset: i64,
        /// Its version: 0 or 1.
        magic: i8,
    },
    /// It is compressed with something that isn't known here.
    #[error(
        "the record batch at offset {offset} is compressed with codec {codec}, which is none of gzip (1), snappy (2), \
         lz4 (3) and zstd (4)"
    )]
    Codec {
        /// The batch's first offset.
        offset: i64,
        /// The codec's number in the batch's attributes.
        codec: u8,
    },
}

/// What the headers of batches say, without decompressing anything: for whoever asks for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// How many bytes at the beginning are whole batches; a broker may cut the last one.
    pub whole: usize,
    /// The offset after the last whole batch.
    pub next: i64,
    /// The leader epoch in which the last whole batch was written; -1 if that isn't known.
    pub leader_epoch: i32,
}

/// What whole batches there are at the beginning of `data`; `None` if there isn't one. Only their headers are looked at, and
/// no checksum.
///
/// Where a batch can't be read, the outline ends before it, so that what comes before it is read first; it is an error only
/// if it is the first.
pub fn outline(data: &[u8]) -> Result<Option<Outline>, RecordsError> {
    let mut outline: Option<Outline> = None;
    loop {
        let whole = outline.map_or(0, |outline| outline.whole);
        let data = &data[whole..];
        let found = match batch::whole(data) {
            Ok(Some(size)) => batch::Header::parse(&data[..size]).map(|header| {
                Some(Outline { whole: whole + size, next: header.last + 1, leader_epoch: header.leader_epoch })
            }),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        match found {
            Ok(Some(longer)) => outline = Some(longer),
            Ok(None) => return Ok(outline),
            Err(error) => return if outline.is_some() { Ok(outline) } else { Err(error) },
        }
    }
}

/// What is wrong with a batch, in words.
type What = std::borrow::Cow<'static, str>;

/// What is wrong with the batch that begins at `offset`.
fn corrupt(offset: i64, what: impl Into<String>) -> RecordsError {
    RecordsError::Corrupt { offset, what: what.into() }
}
