//! The one reader over real Kafka and real sinks, against what the topics hold.

/// What changes while it is read: the log grows and is cut, sinks catch up, `low` passes.
mod changes;
/// What is read is what the topics hold, in one order, from wherever, whatever the sinks have taken.
mod content;
/// A run's ordinals.
mod ordinals;
/// Runs as of the end of the log.
mod runs;
/// Topics of a test's own with a store beside them, and sinks that are fed by hand.
mod world;
