//! Deleting what was erased.

use agentworks_schemas::TopicPartition;
use agentworks_store::Order;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::read::{BlockReader, BlockScan, within};
use crate::erasure::Erasure;
use crate::lane::{self, Span};
use crate::sink::SinkError;

/// How many blocks are deleted at a time.
const DELETES: usize = 16;

/// What clearing has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cleared {
    /// How many rows were deleted.
    pub(crate) rows: u64,
    /// Where a block holds later entries of its owner too, it stays, as does what later entries may rely on: when the last
    /// of these expires, in milliseconds since the Unix epoch.
    pub(crate) until: Option<i64>,
}

impl Cleared {
    pub(crate) fn add(&mut self, other: Cleared) {
        self.rows += other.rows;
        self.until = self.until.max(other.until);
    }
}

impl BlockReader {
    /// Deletes the blocks of an owner in a partition whose entries were all erased. The sink must have gone past the place
    /// where the erasure was made. `cleared` is told of each stretch of time, when its blocks are gone.
    pub(crate) async fn erase(
        &self,
        erasure: &Erasure,
        owner: &str,
        partition: TopicPartition,
    ) -> Result<(Cleared, Vec<Span>), SinkError> {
        let mut cleared = Cleared::default();
        let held = lane::load(&*self.store, self.tier_name(), partition).await?;
        let (Some(held), Some((epoch, to))) = (held, erasure.upto.get(partition)) else {
            return Ok((cleared, Vec::new()));
        };
        let (workspace, owner) = (erasure.workspace.clone(), owner.to_owned());
        let scan = BlockScan { workspace, owner, partition, epoch, from: held.low, to };
        // Of an earlier making of the topic nothing is relied on any more: it expires.
        let spans = within(&held, &scan);
        for span in &spans {
            let place = self.place(&scan, &scan.owner, span);
            let mut offsets = span.offsets.clone();
            while !offsets.is_empty() {
                let listed = self.list(&place, &mut offsets, Order::Ascending, &|_| true).await?;
                let (gone, stays): (Vec<_>, Vec<_>) = listed.into_iter().partition(|(_, last, _)| *last < to);
                if !stays.is_empty() {
                    cleared.until = cleared.until.max(held.expires_last(span.bucket, &scan.workspace));
                }
                cleared.rows += gone.len() as u64;
                let deletions = gone.into_iter().map(|(first, last, _)| {
                    let (store, key) = (self.store.clone(), place.key(first, last));
                    async move { store.delete(key.table, &key.key(), 0).await }
                });
                stream::iter(deletions).buffer_unordered(DELETES).try_collect::<()>().await?;
            }
        }
        Ok((cleared, spans))
    }
}
