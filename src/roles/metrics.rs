//! What is measured of the process as a whole, and of the entries that go through it.
//!
//! - [`process`]: memory, CPU, file descriptors, under Prometheus' standard names.
//! - [`logs`]: entries by level, source and workspace.
//! - [`workspaces`]: which workspaces have a label of their own.

mod logs;
mod process;
mod workspaces;

pub(crate) use logs::{Counted, LogMetrics};
pub(crate) use process::ProcessMetrics;
