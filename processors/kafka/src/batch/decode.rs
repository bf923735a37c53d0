//! Decoding what a builder collected.

use std::borrow::Cow;
use std::fmt::Write;

use agentworks_fetch::records::{Place, Span};
use agentworks_schemas::codec::{Decoded, Defaults, Reject, Schemas, decode_entry, decode_event};
use agentworks_schemas::{Position, Timestamp, Topic, TopicPartition};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Cell, Content, Fingerprint, Record, Rejected};
use crate::headers::{self, KeptHeaders};

/// Decodes every record; those that can't be are copied out, whole.
pub(super) fn decode<'a>(
    schemas: &Schemas,
    partition: TopicPartition,
    epoch: u32,
    buffer: &'a [u8],
    places: &[Place],
    headers: Vec<(usize, KeptHeaders)>,
) -> (Vec<Record<'a>>, Vec<Rejected>) {
    let mut records = Vec::with_capacity(places.len());
    let mut rejects = Vec::new();
    let mut headers = headers.into_iter().peekable();
    let mut id = DefaultId::new(partition);
    for (index, place) in places.iter().enumerate() {
        let (key, payload) = slices(place, buffer);
        let headers = headers.next_if(|(of, _)| *of == index);
        let timestamp = Timestamp(place.timestamp);
        let defaults = Defaults { timestamp, id: id.at(place.offset) };
        let decoded = match (payload, partition.topic) {
            (None, _) => Err(Reject::Empty),
            (Some(payload), Topic::AgentLogs | Topic::SystemLogs) => {
                decode_entry(schemas, key, payload, defaults).map(|Decoded { record, body }| {
                    records.push(Record { offset: place.offset, timestamp, content: Content::Entry(record), body });
                })
            }
            (Some(payload), Topic::RunEvents) => {
                decode_event(schemas, key, payload, defaults).map(|Decoded { record, body }| {
                    records.push(Record { offset: place.offset, timestamp, content: Content::Event(record), body });
                })
            }
        };
        if let Err(reject) = decoded {
            let in_buffer = || KeptHeaders::in_bytes(place.headers.of(buffer));
            let headers = headers.map_or_else(in_buffer, |(_, headers)| headers);
            rejects.push(Rejected {
                position: Position { partition, epoch, offset: place.offset },
                timestamp,
                key: key.map(<[u8]>::to_vec),
                payload: payload.map(<[u8]>::to_vec),
                headers: headers.list,
                headers_left_out: headers.left_out,
                reject,
            });
        }
    }
    (records, rejects)
}

/// A record's key and payload.
fn slices<'a>(place: &Place, buffer: &'a [u8]) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
    let of = |span: Option<Span>| span.map(|span| span.of(buffer));
    (of(place.key), of(place.value))
}

/// What a record is known by.
pub(super) fn fingerprint(place: &Place, buffer: &[u8]) -> Fingerprint {
    let (key, payload) = slices(place, buffer);
    let hash = [key, payload].into_iter().fold(0, |seed, part| match part {
        Some(bytes) => xxh3_64_with_seed(bytes, seed),
        // What isn't there is something else than what is empty.
        None => !seed,
    });
    Fingerprint { offset: place.offset, timestamp: Timestamp(place.timestamp), hash }
}

/// The id of a record that brings none: `TOPIC-PARTITION-OFFSET`, in one string that is written over.
#[derive(Debug)]
pub struct DefaultId {
    text: String,
    prefix: usize,
}

impl DefaultId {
    /// For records of `partition`.
    pub fn new(partition: TopicPartition) -> Self {
        let text = format!("{}-{}-", partition.topic, partition.partition);
        DefaultId { prefix: text.len(), text }
    }

    /// That of the record at `offset`.
    pub fn at(&mut self, offset: i64) -> &str {
        self.text.truncate(self.prefix);
        // Writing to a String can't fail.
        let _ = write!(self.text, "{offset}");
        &self.text
    }
}

/// What a batch holds, in bytes: the buffer, the records, the bodies that had to be written anew, and the rejects.
pub(super) fn memory(cell: &Cell, rejects: &[Rejected]) -> usize {
    let records = cell.borrow_dependent();
    let owned = |body: &Cow<'_, [u8]>| match body {
        Cow::Borrowed(_) => 0,
        // Its strings are owned too, mostly: about as much again.
        Cow::Owned(bytes) => 2 * bytes.capacity(),
    };
    let bodies: usize = records.iter().map(|record| owned(&record.body)).sum();
    let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let copied = rejects.iter().map(|rejected| {
        size_of::<Rejected>() + length(&rejected.key) + length(&rejected.payload) + headers::bytes(&rejected.headers)
    });
    cell.borrow_owner().capacity() + size_of::<Record<'_>>() * records.capacity() + bodies + copied.sum::<usize>()
}
