//! Simulated load, and the means to say afterwards whether any of it was lost.
//!
//! - [`fleet`]: fleets of agents that talk as real ones do, the same for the same seed.
//! - [`ledger`]: what was sent and what was acknowledged, on disk before and after.
//! - [`checker`]: compares what a surface shows with the ledger.
//! - [`drive`](mod@drive): sends what a fleet says, at its pace.
//! - [`demo`](mod@demo): a small fleet at human pace.

pub mod checker;
pub mod demo;
pub mod drive;
pub mod fleet;
pub mod ledger;

pub use checker::{Checked, Checker, Faults, Observed};
pub use demo::demo;
pub use drive::{Counts, DriveError, Limit, Pace, Progress, drive};
pub use fleet::{Fleet, Mix, Record, Step};
pub use ledger::{Contents, Ledger, LedgerError, hash};
