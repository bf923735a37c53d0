//! Shipping lines: from a stream or a file into the log, in order, losing nothing that was read.
//!
//! - [`lines`]: cuts bytes into lines, in bounded memory.
//! - [`parse`]: what a line says beside its text; [`level`]: how grave it is.
//! - [`input`]: reading a stream; [`follow`]: reading a file that grows and is rotated.
//! - [`checkpoint`]: where in a file to go on after a restart; `progress`: writing that down.
//! - [`job`]: all of it together.

pub mod checkpoint;
pub mod follow;
pub mod input;
pub mod job;
pub mod level;
pub mod lines;
pub mod parse;
mod progress;
#[cfg(test)]
mod tests;

pub use checkpoint::CheckpointFile;
pub use follow::{Follow, Start};
pub use input::Reader;
pub use job::{Counts, Job, Labels, ShipError, Tally, ship};
pub use lines::LongLines;
