//! Warm: the entries of a month, by run, in [blocks](crate::blocks); and which runs a card has there.
//!
//! - `sink`: the sink.
//! - `index`: of which runs a card has entries in a bucket.
//! - `erase`: deleting what was erased.
//! - `read`: the entries of a card, merged from its runs.

mod erase;
mod index;
mod read;
mod sink;
#[cfg(test)]
mod tests;

use agentworks_store::Column;

use crate::blocks::{Class, Tier};
use crate::lane::DAY;

pub use crate::lane::Retention;
pub(crate) use erase::erase;
pub(crate) use index::CARD_RUNS;
pub use read::WarmReader;
pub use sink::{WarmConfig, WarmSink};

const OWNER: &[Column; 3] = &[Column::text("workspace"), Column::text("run"), Column::int("bucket")];

/// Blocks of runs, by the day.
pub static WARM: Tier = Tier {
    name: "warm",
    grain: DAY,
    classes: [
        Class::new(7, "warm_blocks_7d", OWNER),
        Class::new(30, "warm_blocks_30d", OWNER),
        Class::new(90, "warm_blocks_90d", OWNER),
    ],
};
