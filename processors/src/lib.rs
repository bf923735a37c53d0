//! From the log to the stores, and back to readers as one ordered stream.
//!
//! - [`runtime`]: drives sinks from a consumer group: assignment, batches, flushes, revocation, rejects, lag.
//! - [`sink`]: what a sink is.
//! - [`lane`]: a sink's position per partition, kept with its data, and the clock that runs with it.
//! - [`hot`]: entries by card, as blocks, for a day.
//! - [`runs`]: a run at a glance, and marks into its log.
//! - [`reader`]: the one reader over every tier and the log.

pub mod hot;
pub mod lane;
pub mod reader;
pub mod runs;
pub mod runtime;
pub mod sink;
