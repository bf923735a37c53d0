//! How entries get into the log.
//!
//! - [`producer`]: the library that programs embed: idempotent, ordered by card, bounded, with a result per entry.
//! - [`ship`]: lines of a stream, or of a file through its rotations.
//! - [`run`]: a program, whose outputs are shipped and passed through.
//! - [`receiver`]: entries and run events over HTTP, with a result per line.
//! - [`signals`]: the signals that ask a program to end.

pub mod producer;
pub mod receiver;
pub mod run;
pub mod ship;
pub mod signals;
