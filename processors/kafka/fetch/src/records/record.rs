//! One record.

use super::{Span, varint};

/// A record, with what in it is relative to its batch.
pub(super) struct Record {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<Span>,
    pub(super) value: Option<Span>,
    pub(super) headers: Span,
}

/// The record that lies in `buffer` from `at`, behind its length, to the buffer's end; or what is wrong with it. Spans are
/// parts of `buffer`, which must be shorter than 4 GiB.
#[inline]
pub(super) fn parse(buffer: &[u8], at: usize) -> Result<Record, &'static str> {
    // Its attributes, of which none is in use.
    let mut at = at + 1;
    let timestamp_delta = varint::long(buffer, &mut at).ok_or("a record has no timestamp")?;
    let offset_delta = varint::int(buffer, &mut at).ok_or("a record has no offset")?;
    let key = nullable(buffer, &mut at).ok_or("a record's key goes beyond its end")?;
    let value = nullable(buffer, &mut at).ok_or("a record's value goes beyond its end")?;
    let begin = at;
    let count = headers(buffer, &mut at).ok_or("a record's headers aren't well-formed")?;
    if at != buffer.len() {
        return Err("a record is longer than what is in it");
    }
    let headers = span(begin, if count == 0 { 0 } else { at - begin });
    Ok(Record { timestamp_delta, offset_delta, key, value, headers })
}

/// A length, and so many bytes; nothing, rather than no bytes, if it is negative, as in Java's client.
#[inline]
fn nullable(buffer: &[u8], at: &mut usize) -> Option<Option<Span>> {
    match usize::try_from(varint::int(buffer, at)?) {
        Ok(len) => {
            let begin = *at;
            skip(buffer, at, len)?;
            Some(Some(span(begin, len)))
        }
        Err(_) => Some(None),
    }
}

/// Goes over headers, and returns how many there are. Each takes two bytes at least, so that a number without headers doesn't
/// keep this busy.
#[inline]
fn headers(buffer: &[u8], at: &mut usize) -> Option<usize> {
    let count = varint::length(buffer, at)?;
    for _ in 0..count {
        let name = varint::length(buffer, at)?;
        skip(buffer, at, name)?;
        nullable(buffer, at)?;
    }
    Some(count)
}

#[inline]
fn skip(buffer: &[u8], at: &mut usize, len: usize) -> Option<()> {
    // `at` is never beyond the end.
    (len <= buffer.len() - *at).then(|| *at += len)
}

fn span(start: usize, len: usize) -> Span {
    Span { start: start as u32, len: len as u32 }
}
