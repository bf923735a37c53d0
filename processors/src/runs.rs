//! Runs: each run at a glance, and marks into its log.
//!
//! For every (workspace, run, partition) there is one *part*: status, first and last, counts by level, cost, tokens, and
//! `applied`, the offset up to which it has counted, all in one cell, so that no crash can part the count from its
//! position. Readers add the parts of a run, and what the log holds beyond them.

mod anew;
mod erase;
mod marks;
mod metrics;
mod part;
mod read;
mod sink;
mod tables;
#[cfg(test)]
mod tests;
mod tracked;

pub(crate) use anew::Anew;
pub(crate) use erase::{erase, of_workspace};
pub use marks::Mark;
pub use part::{CUT, Inference, Lifecycle, LifecycleKind, Listed, MAX_REASON, RunPart, fold_parts};
pub(crate) use read::parts_of;
pub use read::{PageToken, ParsePageTokenError, RunListing, RunPage, RunReader, SILENCE};
pub use sink::{RunsConfig, RunsSink};
pub(crate) use tables::{BY_CARD, BY_DAY, DAYS, MARKS, PARTS};
