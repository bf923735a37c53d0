//! Hot: the entries of a day, by card, in [blocks](crate::blocks); and which cards there are.
//!
//! - `sink`: the sink.
//! - `cards`: which cards there are, and in which partitions; `book`: writing that.
//! - `erase`: deleting what was erased.

mod book;
mod cards;
mod erase;
mod metrics;
mod sink;
#[cfg(test)]
mod tests;

use agentworks_store::Column;

use crate::blocks::{Class, Tier};
use crate::lane::HOUR;

pub use crate::blocks::{RetentionError, StoredEntry};
pub use crate::lane::Retention;
pub(crate) use book::{Seen, write_seen};
pub(crate) use cards::{CARD_LANES, CARDS, card_of, newest_cards};
pub use cards::{CardInfo, CardLane, card_lanes, cards_of_workspace};
pub(crate) use erase::erase;
pub use sink::{HotConfig, HotSink};

const OWNER: &[Column; 3] = &[Column::text("workspace"), Column::text("card"), Column::int("bucket")];

/// Blocks of cards, by the hour.
pub static HOT: Tier = Tier {
    name: "hot",
    grain: HOUR,
    classes: [
        Class::new(1, "hot_blocks_1d", OWNER),
        Class::new(3, "hot_blocks_3d", OWNER),
        Class::new(7, "hot_blocks_7d", OWNER),
    ],
};
