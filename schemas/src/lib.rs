//! The records of AgentWorks, how they are written on the wire, where they lie in the log, and what clients are told.
//!
//! Nothing here does I/O. The map:
//!
//! - [`entry`], [`event`], [`dead_letter`]: the three records, as `avro/*.avsc` defines them.
//! - [`codec`]: the three wire framings of a record and how they are told apart.
//! - [`topics`]: the topics, and the partitioner that makes partition *p* of all of them one *lane*.
//! - [`position`]: where a record lies in the log, and the cursors made of such positions.
//! - [`protocol`]: the messages between a terminal and the gateway.
//! - [`access`]: who may see what; what a token says.
//! - [`text`], [`time`]: strings that borrow where they can, and instants in milliseconds.

pub mod access;
pub mod codec;
pub mod dead_letter;
pub mod entry;
pub mod event;
mod plain;
pub mod position;
pub mod protocol;
mod surrogates;
pub mod text;
pub mod time;
pub mod topics;

pub use entry::{Level, LogEntry, Source};
pub use event::{RunEvent, RunEventKind};
pub use position::{Cursor, Position, TopicPartition};
pub use time::Timestamp;
pub use topics::{Topic, Topics};
