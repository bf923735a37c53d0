//! Decoding a single record.

use agentworks_kafka::batch::DefaultId;
use agentworks_schemas::codec::{Decoded, Defaults, Reject, Schemas, decode_entry, decode_event};
use agentworks_schemas::{LogEntry, RunEvent, TopicPartition};

use super::tail::Raw;

/// The entry in a record.
pub(super) fn entry<'a>(
    schemas: &Schemas,
    partition: TopicPartition,
    raw: &Raw<'a>,
) -> Result<Decoded<'a, LogEntry<'a>>, Reject> {
    let mut id = DefaultId::new(partition);
    let defaults = Defaults { timestamp: raw.timestamp, id: id.at(raw.offset) };
    decode_entry(schemas, raw.key, raw.payload.ok_or(Reject::Empty)?, defaults)
}

/// The run event in a record.
pub(super) fn event<'a>(
    schemas: &Schemas,
    partition: TopicPartition,
    raw: &Raw<'a>,
) -> Result<Decoded<'a, RunEvent<'a>>, Reject> {
    let mut id = DefaultId::new(partition);
    let defaults = Defaults { timestamp: raw.timestamp, id: id.at(raw.offset) };
    decode_event(schemas, raw.key, raw.payload.ok_or(Reject::Empty)?, defaults)
}
