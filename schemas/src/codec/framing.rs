//! Telling the framings apart, and reading and writing whole records.

use std::borrow::Cow;

use serde::Serialize;
use serde_avro_fast::Schema;

use super::check::check_key;
use super::json::{self, Given};
use super::reject::Reject;
use super::schemas::{Found, RecordType, Schemas};
use super::{avro, datum};
use crate::entry::LogEntry;
use crate::event::RunEvent;
use crate::time::Timestamp;

/// The largest record that is taken, in bytes. In JSON it is [`MAX_JSON`].
pub const MAX_RECORD: usize = 1024 * 1024;

/// The largest record in JSON, in bytes. Strings are unescaped in a buffer that doubles as it grows: with half of
/// [`MAX_RECORD`] it stays within that.
pub const MAX_JSON: usize = MAX_RECORD / 2;

/// How much longer a body may be than the form that its record came in, in bytes: it has the fields that were left out.
const ROOM: usize = 4096;

/// How a record is written on the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Avro single-object encoding.
    #[default]
    Avro,
    /// Confluent framing with this schema id.
    Confluent(u32),
    /// JSON.
    Json,
}

/// A decoded record and its canonical body.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded<'a, T> {
    /// The record.
    pub record: T,
    /// Its bare Avro datum in the newest schema: what stores keep and hashes cover.
    pub body: Cow<'a, [u8]>,
}

/// What a record that leaves fields out is given instead. Both come from the record itself, so that a redelivered record
/// decodes to the same entry.
#[derive(Clone, Copy, Debug)]
pub struct Defaults<'a> {
    /// The record's timestamp on the broker.
    pub timestamp: Timestamp,
    /// An id made of its position.
    pub id: &'a str,
}

/// Decodes an entry, whatever its framing. `key` is the record's key: it is the card's id, or absent.
pub fn decode_entry<'a>(
    schemas: &Schemas,
    key: Option<&[u8]>,
    payload: &'a [u8],
    defaults: Defaults<'_>,
) -> Result<Decoded<'a, LogEntry<'a>>, Reject> {
    decode(schemas, key, payload, defaults)
}

/// Decodes a run event, whatever its framing. `key` is the record's key: it is the card's id, or absent.
pub fn decode_event<'a>(
    schemas: &Schemas,
    key: Option<&[u8]>,
    payload: &'a [u8],
    defaults: Defaults<'_>,
) -> Result<Decoded<'a, RunEvent<'a>>, Reject> {
    decode(schemas, key, payload, defaults)
}

/// Encodes an entry in `framing`, appended to `out`. In [`Framing::Confluent`] the id must be that of the newest schema
/// ([`RecordType::schema_json`]).
///
/// It can be decoded if [`check_entry`](super::check_entry) passes the entry and it is not too large: [`MAX_RECORD`], and
/// [`MAX_JSON`] in JSON.
pub fn encode_entry(entry: &LogEntry<'_>, framing: Framing, out: &mut Vec<u8>) {
    encode(entry, framing, out);
}

/// Encodes a run event in `framing`, appended to `out`; see [`encode_entry`].
pub fn encode_event(event: &RunEvent<'_>, framing: Framing, out: &mut Vec<u8>) {
    encode(event, framing, out);
}

/// What the framings need of a record.
trait Record<'a>: Sized + Serialize {
    const TYPE: RecordType;
    fn card_id(&self) -> &str;
    fn decode_body(body: &'a [u8]) -> Result<Self, Reject>;
    fn encode_body(&self, out: &mut Vec<u8>);
    fn read_datum(schema: &Schema, datum: &'a [u8]) -> Result<Self, Reject>;
    fn parse_json(text: &'a [u8], given: Given<'_>) -> Result<Self, Reject>;
}

impl<'a> Record<'a> for LogEntry<'a> {
    const TYPE: RecordType = RecordType::LogEntry;

    fn card_id(&self) -> &str {
        &self.card_id
    }

    fn decode_body(body: &'a [u8]) -> Result<Self, Reject> {
        avro::decode_entry_body(body)
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        avro::encode_entry_body(self, out);
    }

    fn read_datum(schema: &Schema, datum: &'a [u8]) -> Result<Self, Reject> {
        datum::read_entry(schema, datum)
    }

    fn parse_json(text: &'a [u8], given: Given<'_>) -> Result<Self, Reject> {
        json::parse_entry(text, given)
    }
}

impl<'a> Record<'a> for RunEvent<'a> {
    const TYPE: RecordType = RecordType::RunEvent;

    fn card_id(&self) -> &str {
        &self.card_id
    }

    fn decode_body(body: &'a [u8]) -> Result<Self, Reject> {
        avro::decode_event_body(body)
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        avro::encode_event_body(self, out);
    }

    fn read_datum(schema: &Schema, datum: &'a [u8]) -> Result<Self, Reject> {
        datum::read_event(schema, datum)
    }

    fn parse_json(text: &'a [u8], given: Given<'_>) -> Result<Self, Reject> {
        json::parse_event(text, given)
    }
}

fn decode<'a, R: Record<'a>>(
    schemas: &Schemas,
    key: Option<&[u8]>,
    payload: &'a [u8],
    defaults: Defaults<'_>,
) -> Result<Decoded<'a, R>, Reject> {
    let decoded = match unframe(schemas, R::TYPE, payload)? {
        Unframed::Body(body) => Decoded { record: R::decode_body(body)?, body: Cow::Borrowed(body) },
        Unframed::Datum(schema, datum) => with_body(R::read_datum(schema, datum)?, datum.len()),
        Unframed::Json(text) => with_body(R::parse_json(text, Given { key, workspace: None, defaults })?, text.len()),
    };
    check_key(key, decoded.record.card_id())?;
    Ok(decoded)
}

/// Writes the body of a record that came in `length` bytes of another form, in one allocation.
fn with_body<'a, R: Record<'a>>(record: R, length: usize) -> Decoded<'a, R> {
    let mut body = Vec::with_capacity(length + ROOM);
    record.encode_body(&mut body);
    body.shrink_to_fit();
    Decoded { record, body: Cow::Owned(body) }
}

fn encode<'a, R: Record<'a>>(record: &R, framing: Framing, out: &mut Vec<u8>) {
    match framing {
        Framing::Avro => {
            out.extend_from_slice(&[0xC3, 0x01]);
            out.extend_from_slice(&Schemas::builtin().newest_fingerprint(R::TYPE).to_le_bytes());
            record.encode_body(out);
        }
        Framing::Confluent(id) => {
            out.push(0x00);
            out.extend_from_slice(&id.to_be_bytes());
            record.encode_body(out);
        }
        Framing::Json => {
            serde_json::to_writer(out, record).expect("a record's fields can all be written, and a Vec takes all");
        }
    }
}

/// A payload without its frame.
enum Unframed<'s, 'a> {
    /// A datum in the newest schema.
    Body(&'a [u8]),
    /// A datum in another schema.
    Datum(&'s Schema, &'a [u8]),
    /// A JSON text.
    Json(&'a [u8]),
}

fn unframe<'s, 'a>(schemas: &'s Schemas, record: RecordType, payload: &'a [u8]) -> Result<Unframed<'s, 'a>, Reject> {
    let (found, datum) = match payload {
        [] => return Err(Reject::Empty),
        _ if payload.len() > MAX_RECORD => {
            return Err(Reject::TooLarge { length: payload.len(), limit: MAX_RECORD });
        }
        [0xC3, 0x01, rest @ ..] => {
            let (fingerprint, datum) = rest.split_first_chunk().ok_or_else(cut_short)?;
            (schemas.by_fingerprint(record, u64::from_le_bytes(*fingerprint))?, datum)
        }
        [0x00, rest @ ..] => {
            let (id, datum) = rest.split_first_chunk().ok_or_else(cut_short)?;
            (schemas.by_id(record, u32::from_be_bytes(*id))?, datum)
        }
        _ if json::is_json(payload) => return Ok(Unframed::Json(payload)),
        _ => return Err(unknown_framing(payload)),
    };
    match found {
        Found::Newest => Ok(Unframed::Body(datum)),
        Found::Other(_) if payload.len() > MAX_RECORD - ROOM => {
            Err(Reject::TooLarge { length: payload.len(), limit: MAX_RECORD - ROOM })
        }
        Found::Other(schema) => Ok(Unframed::Datum(schema, datum)),
    }
}

fn cut_short() -> Reject {
    Reject::Avro { reason: "cut short within the header".into() }
}

fn unknown_framing(payload: &[u8]) -> Reject {
    let first = payload.iter().take(4).map(|byte| format!("{byte:02X}"));
    Reject::UnknownFraming { found: first.collect::<Vec<_>>().join(" ") }
}
