//! Reading Kafka's logs by its own protocol.
//!
//! A [`Fetcher`] follows partitions from given offsets, and hands over what their leaders answer as it came: whole record
//! batches, compressed as their producers wrote them. A [`Reader`](records::Reader) takes those apart where they are wanted,
//! into one buffer in which each record has its place: no record is copied by itself, and none is allocated. That is what
//! librdkafka, which makes a message of each record and passes it between threads, can't spare its users.
//!
//! It belongs to no consumer group and commits nothing: who reads what is decided elsewhere, and so is where.

mod connection;
mod error;
mod fetcher;
mod held;
pub mod records;
mod settings;

pub use connection::{ClientFiles, Tls, TlsError, TlsFiles};
pub use error::FetchError;
pub use fetcher::{Event, Fetcher, Token, What};
pub use settings::{Login, Mechanism, Settings};
