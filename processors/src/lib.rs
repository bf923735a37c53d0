//! From the log to the stores, and back to readers as one ordered stream.
//!
//! - [`runtime`]: drives sinks from a consumer group: assignment, batches, flushes, revocation, rejects, lag.
//! - [`sink`]: what a sink is.
//! - [`epochs`]: which making of a topic its records are of, and adopting one that was made again.
//! - [`tails`]: by which record the log of a partition is known again.
//! - [`lane`]: a sink's position per partition, kept with its data, and the clock that runs with it.
//! - [`blocks`]: how hot and warm keep entries.
//! - [`hot`]: entries by card, for a day.
//! - [`warm`]: entries by run, for a month.
//! - [`runs`]: a run at a glance, and marks into its log.
//! - [`erasure`]: what is erased, hidden at once and deleted soon.
//! - [`indexers`]: which search indexers there are.
//! - [`reader`]: the one reader over every tier and the log.

pub mod blocks;
pub mod epochs;
pub mod erasure;
pub mod hot;
pub mod indexers;
pub mod lane;
mod mutation;
pub mod reader;
pub mod runs;
pub mod runtime;
pub mod sink;
pub mod tails;
pub mod warm;

/// The tables of all sinks.
pub static TABLES: &[&agentworks_store::Table] = &[
    &lane::POSITIONS,
    &epochs::EPOCHS,
    &erasure::ERASURES,
    &hot::HOT.classes[0].table,
    &hot::HOT.classes[1].table,
    &hot::HOT.classes[2].table,
    &hot::CARD_LANES,
    &hot::CARDS,
    &warm::WARM.classes[0].table,
    &warm::WARM.classes[1].table,
    &warm::WARM.classes[2].table,
    &warm::CARD_RUNS,
    &runs::PARTS,
    &runs::MARKS,
    &runs::BY_CARD,
    &runs::BY_DAY,
    &runs::DAYS,
    &indexers::INDEXERS,
    &tails::TAILS,
];
