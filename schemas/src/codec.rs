//! The three wire framings of a record, told apart by their first bytes, and the canonical form that stores keep.
//!
//! | first bytes | framing | |
//! |---|---|---|
//! | `C3 01` + 8 | Avro single-object encoding | the default; the schema is named by its fingerprint |
//! | `00` + 4 | Confluent | the schema is named by its registry id |
//! | `{`, after white space | JSON | for scripts; what may be left out gets a default |
//!
//! Whatever the framing, decoding leaves the *canonical body*: the record's bare Avro datum in the newest schema. A
//! record that came that way already is borrowed from its payload, any other is written anew.

mod avro;
mod binary;
mod check;
mod datum;
mod framing;
mod json;
mod reject;
mod resolution;
mod schemas;
#[cfg(test)]
mod tests;

pub use avro::{decode_entry_body, decode_event_body, encode_entry_body, encode_event_body};
pub use check::{MAX_ID, MAX_TAGS, check_entry, check_event};
pub use framing::{
    Decoded, Defaults, Framing, MAX_JSON, MAX_RECORD, decode_entry, decode_event, encode_entry, encode_event,
};
pub use json::{entry_from_json, event_from_json};
pub use reject::Reject;
pub use schemas::{RecordType, RegisterError, Schemas};
