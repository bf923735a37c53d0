//! Blocks: consecutive entries of one owner in one partition, and all that is done with them.
//!
//! Two tiers are written as blocks, hot and warm. They differ in a [`Tier`]: whom a block belongs to (hot: a card, warm: a
//! run), how long a bucket of time is, and in which tables the blocks lie; and in how large blocks get. A block is one or
//! several zstd frames over the entries' canonical bodies, and beside them statistics by which a reader skips it.
//!
//! # What holds, whatever fails
//! 1. *A block is whole.* It holds all entries of its owner in its partition from the offset of its first to that of its
//!    last, none from another bucket, and none from another segment of 65,536 offsets. So blocks may overlap, as
//!    they do where a sink died after it wrote some: whatever lies in several is the same in each.
//! 2. *Equal keys hold equal entries*, for the key has both offsets. So any of two writes may win.
//! 3. *Data before position.* The position `[low, high)` is published when all blocks with entries below `high` are
//!    durable. A reader takes nothing from a tier outside of it.
//! 4. *The bucket follows from the log* ([`crate::lane::Clock`]), and so does not depend on how often or in which batches
//!    a record was taken. Where each bucket began is published with the position.
//! 5. *A partition of the store is bounded*: a bucket takes entries of a partition of the log until they have
//!    [`PARTITION_BYTES`], and the next one begins. So, whatever the rate of a card or the length of a run, and for each
//!    partition of the log that its entries lie in, a partition of the store has no more than that and one record, before
//!    compression and leftovers of crashes.
//! 6. *Rows expire when it was said that they would*: a reader relies on a bucket until its end and the time that entries
//!    of the workspace are kept, and the rows are there an hour longer. Terms change only from an offset on that is
//!    published with them ([`crate::lane::Terms`]). One thing is left to whoever changes them: a process that goes on
//!    writing under the old ones after it has lost a partition may give a row that was written under longer ones its old
//!    expiry back. So lengthen retention only when all processes that don't know of it have ended.
//!
//! # Where it is
//! - `tier`: what a tier is; `table`: where a block is kept.
//! - `block`: a block's key and contents; `frame`: what these are made of; `stats`: what a block says of itself.
//! - `sharing`: frames as parts of blocks of both tiers.
//! - `pending`: what has been taken of a partition and isn't written; `writer`: writing it.
//! - `read`: the entries of an owner; `cover`: which of overlapping blocks to read.
//! - `weight`: how much entries weigh, and so how many are read at once.
//! - `erase`: deleting what was erased.
//! - `names`, `varint`: names as keys of maps, numbers as bytes.

pub(crate) mod block;
pub(crate) mod cover;
mod erase;
mod frame;
mod metrics;
pub(crate) mod names;
mod pending;
mod read;
mod sharing;
mod stats;
pub(crate) mod table;
mod tier;
pub mod varint;
mod weight;
mod writer;

pub use block::StoredEntry;
pub(crate) use erase::Cleared;
pub(crate) use read::{AHEAD, Place, few, put_back, within};
pub use read::{BlockReader, BlockScan, Last, Wanted};
pub use sharing::Sharing;
pub use stats::{BlockStats, Detail, Names};
pub(crate) use tier::Class;
pub use tier::{RetentionError, Tier};
pub(crate) use weight::Weight;
pub use weight::{CHUNK_BYTES, entry_weight};
pub(crate) use writer::{BlockConfig, BlockWriter};

/// How many bytes of canonical bodies one bucket takes of one partition of the log.
pub const PARTITION_BYTES: u64 = 512 << 20;

#[cfg(test)]
pub(crate) mod tests;
