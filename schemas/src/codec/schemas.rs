//! The Avro schemas that records may be written in.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use serde_avro_fast::Schema;
use serde_avro_fast::schema::SchemaMut;

use super::reject::Reject;
use super::resolution::check_readable;

/// The records that lie on the log in Avro.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordType {
    /// [`LogEntry`](crate::LogEntry).
    LogEntry,
    /// [`RunEvent`](crate::RunEvent).
    RunEvent,
}

const LOG_ENTRY: &str = include_str!("../../avro/LogEntry.avsc");
const RUN_EVENT: &str = include_str!("../../avro/RunEvent.avsc");

impl RecordType {
    /// The newest schema: what [`encode_entry`](super::encode_entry) and [`encode_event`](super::encode_event) write, as
    /// a registry wants it.
    pub fn schema_json(self) -> &'static str {
        match self {
            RecordType::LogEntry => LOG_ENTRY,
            RecordType::RunEvent => RUN_EVENT,
        }
    }

    fn other(self) -> RecordType {
        match self {
            RecordType::LogEntry => RecordType::RunEvent,
            RecordType::RunEvent => RecordType::LogEntry,
        }
    }
}

/// Every version ever shipped, the newest too. A schema that was on somebody's log is never taken out.
const SHIPPED: [(RecordType, &str); 2] = [
    (RecordType::LogEntry, include_str!("../../avro/history/LogEntry.v1.avsc")),
    (RecordType::RunEvent, include_str!("../../avro/history/RunEvent.v1.avsc")),
];

/// The schemas that records may be written in: ours by fingerprint (all versions ever shipped), and by registry id those
/// that somebody registered.
#[derive(Clone, Debug)]
pub struct Schemas {
    newest: [Arc<Schema>; 2],
    by_fingerprint: HashMap<(RecordType, u64), Arc<Schema>>,
    by_id: HashMap<(RecordType, u32), Arc<Schema>>,
}

/// A schema can't be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// It is not an Avro schema.
    #[error("registry id {id}: not an Avro schema")]
    Schema {
        /// The registry id.
        id: u32,
        /// What is wrong with it.
        source: serde_avro_fast::schema::SchemaError,
    },
    /// It can't be read as the record that it is to be.
    #[error("registry id {id}: {reason}")]
    Mismatch {
        /// The registry id.
        id: u32,
        /// What doesn't fit.
        reason: String,
    },
}

/// A schema that was found.
pub(super) enum Found<'s> {
    /// It is the newest.
    Newest,
    /// It is an older one, or somebody else's.
    Other(&'s Schema),
}

impl Schemas {
    /// The schemas that ship with this build.
    pub fn builtin() -> &'static Schemas {
        static BUILTIN: OnceLock<Schemas> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            let parse = |json: &str| json.parse::<Schema>().expect("the schemas in this build are tested");
            let by_fingerprint = SHIPPED.map(|(record, json)| {
                let schema = parse(json);
                ((record, fingerprint(&schema)), Arc::new(schema))
            });
            Schemas {
                newest: [LOG_ENTRY, RUN_EVENT].map(|json| Arc::new(parse(json))),
                by_fingerprint: by_fingerprint.into(),
                by_id: HashMap::new(),
            }
        })
    }

    /// The same, and records of type `record` that a registry knows by `id`.
    ///
    /// # Errors
    /// If the schema can't be read as that record: a field is missing that has no default, or has another type. Fields
    /// that the record doesn't have are skipped.
    pub fn with_registered(mut self, id: u32, record: RecordType, schema_json: &str) -> Result<Self, RegisterError> {
        let parse = |json: &str| json.parse::<SchemaMut>().map_err(|source| RegisterError::Schema { id, source });
        let schema = parse(schema_json)?;
        let ours = parse(record.schema_json())?;
        check_readable(&schema, &ours).map_err(|reason| RegisterError::Mismatch { id, reason })?;
        let schema = schema.freeze().map_err(|source| RegisterError::Schema { id, source })?;
        self.by_id.insert((record, id), Arc::new(schema));
        Ok(self)
    }

    /// The fingerprint (CRC-64-AVRO) of the newest schema.
    pub fn newest_fingerprint(&self, record: RecordType) -> u64 {
        fingerprint(self.newest(record))
    }

    pub(super) fn newest(&self, record: RecordType) -> &Schema {
        &self.newest[record as usize]
    }

    pub(super) fn by_fingerprint(&self, record: RecordType, fingerprint: u64) -> Result<Found<'_>, Reject> {
        if fingerprint == self.newest_fingerprint(record) {
            return Ok(Found::Newest);
        }
        match self.by_fingerprint.get(&(record, fingerprint)) {
            Some(schema) => Ok(Found::Other(schema)),
            None if self.by_fingerprint.contains_key(&(record.other(), fingerprint)) => Err(misplaced(record)),
            None => Err(Reject::UnknownFingerprint { fingerprint }),
        }
    }

    pub(super) fn by_id(&self, record: RecordType, id: u32) -> Result<Found<'_>, Reject> {
        match self.by_id.get(&(record, id)) {
            Some(schema) if fingerprint(schema) == self.newest_fingerprint(record) => Ok(Found::Newest),
            Some(schema) => Ok(Found::Other(schema)),
            None if self.by_id.contains_key(&(record.other(), id)) => Err(misplaced(record)),
            None => Err(Reject::UnknownSchemaId { id }),
        }
    }
}

fn fingerprint(schema: &Schema) -> u64 {
    u64::from_le_bytes(*schema.rabin_fingerprint())
}

fn misplaced(record: RecordType) -> Reject {
    Reject::Avro { reason: format!("a {:?} where a {record:?} belongs", record.other()) }
}
