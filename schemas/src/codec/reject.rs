//! Why a record is not taken.

/// The fault of a record. It is the record's own: the same bytes are refused the same way everywhere and always, so that
/// every reader of the log agrees on which records exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// The record has no value (a tombstone).
    #[error("the record is empty")]
    Empty,
    /// The payload is larger than [`super::MAX_RECORD`].
    #[error("the record has {length} bytes; at most {limit} are taken")]
    TooLarge {
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The first bytes are none of the three framings'.
    #[error("the first bytes are neither Avro (C3 01), Confluent (00) nor JSON ({{): {found}")]
    UnknownFraming {
        /// The first bytes, in hex.
        found: String,
    },
    /// The Avro fingerprint is of no schema that is known here.
    #[error("no schema here has the Avro fingerprint {fingerprint:016x}")]
    UnknownFingerprint {
        /// The fingerprint, CRC-64-AVRO.
        fingerprint: u64,
    },
    /// The registry id is of no schema that is known here.
    #[error("no schema here has the registry id {id}")]
    UnknownSchemaId {
        /// The id.
        id: u32,
    },
    /// The Avro datum is cut short, too long, or asks for more memory than a record may.
    #[error("not a record of its Avro schema: {reason}")]
    Avro {
        /// What the decoder says.
        reason: String,
    },
    /// The text is not JSON, or not a record's.
    #[error("not a record in JSON: {reason}")]
    Json {
        /// What the parser says.
        reason: String,
    },
    /// A field holds what it must not.
    #[error("field {field}: {reason}")]
    Field {
        /// The field's name on the wire.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Reject {
    /// A short stable name of the fault, for metric labels and headers.
    pub fn code(&self) -> &'static str {
        match self {
            Reject::Empty => "empty",
            Reject::TooLarge { .. } => "too_large",
            Reject::UnknownFraming { .. } => "unknown_framing",
            Reject::UnknownFingerprint { .. } => "unknown_fingerprint",
            Reject::UnknownSchemaId { .. } => "unknown_schema_id",
            Reject::Avro { .. } => "avro",
            Reject::Json { .. } => "json",
            Reject::Field { .. } => "field",
        }
    }
}
