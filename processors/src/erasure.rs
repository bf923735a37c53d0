//! Erasure: what a workspace or a run has left in the log and in all tiers is unreadable at once, and deleted soon.
//!
//! An erasure is a row, in a journal that every process follows: whose records, and up to where in each partition. From
//! the moment [`Eraser::erase`] returns, no reader shows anything that the row covers, the log's readers included. That
//! holds without asking anybody: a process that has not been able to read the journal for [`LEASE`] refuses to serve
//! ([`Erasures::view`] fails), and `erase` returns only after that time.
//!
//! Then each tier is cleared of what it held, once its sinks have gone past the place where the erasure was made, so that
//! nothing they still had in memory is written after it; a [`Receipt`] says for each tier how far that is. What a
//! partition of the log holds goes with the topic's retention.
//!
//! Records that come later are not erased, also if they bear the same names.
//!
//! - `journal`: the rows; `view`: what they hide, and following them; `begun`: what is being deleted.
//! - `eraser`: making erasures, and clearing the tiers; `receipt`: what is told of it.
//! - `end`: up to where something is erased; `expiry`: when what is left goes of itself.
//! - `going_on`: which cards are written to after an erasure of their workspace.

pub(crate) mod begun;
mod end;
mod eraser;
mod expiry;
mod going_on;
mod journal;
mod receipt;
#[cfg(test)]
mod tests;
mod view;

pub use eraser::{Clear, EraseError, Eraser};
pub(crate) use journal::any_covers;
#[cfg(test)]
pub(crate) use journal::write;
pub use journal::{ERASURES, Erasure, Target};
pub use receipt::{Clearing, Receipt, Replaced, Tier, TierState};
pub use view::{Erasures, LEASE, View};
