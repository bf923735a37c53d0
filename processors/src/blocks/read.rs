//! Reading blocks.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use agentworks_schemas::{Timestamp, TopicPartition};
use agentworks_store::{Order, Row, Store, StoreError, Table};
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use prometheus_client::metrics::counter::Counter;

use super::block::{self, BlockKey, SEGMENT, StoredEntry, segment_start};
use super::cover::{cover, cover_backwards};
use super::stats::BlockStats;
use super::tier::Tier;
use super::weight::Weight;
use crate::lane::{self, Held, Span};
use crate::mutation::keeps_duplicates;
use crate::sink::SinkError;

/// How many blocks are listed at a time.
const LISTED: usize = 256;

/// In how many spans blocks are looked for at once, at most: it begins with one and doubles, so that an owner who has been
/// silent for long is found soon, and one who hasn't costs nothing more.
pub(crate) const AHEAD: usize = 16;

/// How many blocks are fetched at once.
const FETCHES: usize = 8;

/// How many blocks' entries are in memory at a time, at most.
const FETCHED: usize = 32;

/// Reads what the sink of a tier wrote.
#[derive(Clone, Debug)]
pub struct BlockReader {
    pub(crate) store: Arc<dyn Store>,
    tier: &'static Tier,
    skipped: Counter,
}

/// Entries of one owner in one partition.
#[derive(Clone, Debug)]
pub struct BlockScan {
    /// The tenant.
    pub workspace: String,
    /// The card (in hot) or the run (in warm).
    pub owner: String,
    /// The partition.
    pub partition: TopicPartition,
    /// Which making of its topic.
    pub epoch: u32,
    /// The first offset wanted.
    pub from: i64,
    /// The offset after the last one wanted.
    pub to: i64,
}

/// The last entries of a range.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Last {
    /// In ascending order.
    pub entries: Vec<StoredEntry>,
    /// Whether there may be more before them, of which there is at least one then.
    pub is_cut: bool,
}

/// Whether a block may hold entries that are wanted. Others are not fetched.
pub type Wanted<'a> = &'a (dyn Fn(&BlockStats) -> bool + Send + Sync);

/// A block that was listed: the offsets of its first and its last entry, and its statistics.
pub(crate) type Listed = (i64, i64, BlockStats);

/// A block that was fetched: the offsets of its first and its last entry, and its entries.
type Fetched = (i64, i64, Vec<StoredEntry>);

/// A span, and what has been listed of it.
struct Page {
    place: Place,
    offsets: Range<i64>,
    unlisted: Range<i64>,
    listed: Vec<Listed>,
}

/// Where blocks of one owner lie: a bucket, and a partition of the log.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    table: &'static Table,
    workspace: String,
    owner: String,
    bucket: i64,
    partition: TopicPartition,
    epoch: u32,
}

impl Place {
    pub(crate) fn key(&self, first: i64, last: i64) -> BlockKey {
        let Place { table, workspace, owner, bucket, partition, epoch } = self.clone();
        BlockKey { table, workspace, owner, bucket, partition, epoch, first, last }
    }
}

impl BlockReader {
    /// A reader of what lies in `store`, which counts the blocks that it needn't fetch.
    pub(crate) fn new(store: Arc<dyn Store>, tier: &'static Tier, skipped: Counter) -> Self {
        BlockReader { store, tier, skipped }
    }

    /// The name under which the tier's positions are kept.
    pub(super) fn tier_name(&self) -> &'static str {
        self.tier.name
    }

    /// What the tier holds of a partition as far as a workspace goes, less what has expired since that was published.
    pub async fn held(&self, partition: TopicPartition, workspace: &str) -> Result<Option<Held>, SinkError> {
        let held = lane::load(&*self.store, self.tier.name, partition).await?;
        Ok(held.map(|held| held.seen_by(workspace, Timestamp::now())))
    }

    /// The next entries of a scan in ascending order, without those of blocks that are not wanted: at least one block's
    /// worth unless there is none, about `limit` or a few more, or as many as weigh [`CHUNK_BYTES`](super::CHUNK_BYTES) or a
    /// block more. The caller goes on from the last one's offset + 1; an empty answer means that the range is exhausted.
    ///
    /// `held` is what [`BlockReader::held`] gave, by whose buckets the search is narrowed; what lies outside of it is not
    /// returned. Whoever took long over it asks again afterwards: had `low` passed, entries might have expired meanwhile.
    pub async fn forward(
        &self,
        held: &Held,
        scan: &BlockScan,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> Result<Vec<StoredEntry>, SinkError> {
        let (mut spans, mut ahead, mut entries) = (within(held, scan).into_iter(), 1, Vec::new());
        let mut weight = Weight::default();
        loop {
            let pages = self.pages(scan, spans.by_ref().take(ahead), Order::Ascending, wanted).await?;
            if pages.is_empty() {
                return Ok(entries);
            }
            ahead = AHEAD.min(2 * ahead);
            for Page { place, mut offsets, mut unlisted, mut listed } in pages {
                loop {
                    let mut blocks = VecDeque::from(if keeps_duplicates() {
                        listed.retain(|(_, last, _)| *last >= offsets.start);
                        offsets.start = 0;
                        listed
                    } else {
                        cover(listed, offsets.start)
                    });
                    while !blocks.is_empty() {
                        let few = few(&mut blocks, limit - entries.len(), &weight, |(.., stats)| stats);
                        let keys = few.iter().map(|(first, last, _)| place.key(*first, *last)).collect();
                        let fetched = self.fetch(keys).await?;
                        put_back(&mut blocks, few, fetched.len());
                        for (_, last, block) in fetched {
                            for entry in block.into_iter().filter(|entry| offsets.contains(&entry.position.offset)) {
                                weight.add(&entry);
                                entries.push(entry);
                            }
                            offsets.start = if keeps_duplicates() { 0 } else { last + 1 };
                        }
                        if entries.len() >= limit || weight.is_chunk() {
                            return Ok(entries);
                        }
                    }
                    if unlisted.is_empty() {
                        break;
                    }
                    listed = self.list(&place, &mut unlisted, Order::Ascending, wanted).await?;
                }
            }
        }
    }

    /// The last `limit` entries of a scan, without those of blocks that are not wanted; fewer only if there are no more, or if
    /// they weigh [`CHUNK_BYTES`](super::CHUNK_BYTES).
    pub async fn backward(
        &self,
        held: &Held,
        scan: &BlockScan,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> Result<Last, SinkError> {
        let (mut spans, mut ahead, mut newest) = (within(held, scan).into_iter().rev(), 1, Vec::new());
        let mut weight = Weight::default();
        loop {
            let pages = self.pages(scan, spans.by_ref().take(ahead), Order::Descending, wanted).await?;
            if pages.is_empty() {
                return Ok(Last::of(newest, limit, false));
            }
            ahead = AHEAD.min(2 * ahead);
            for Page { place, mut offsets, mut unlisted, mut listed } in pages {
                loop {
                    let mut blocks = VecDeque::from(cover_backwards(listed, offsets.end - 1));
                    while !blocks.is_empty() {
                        if newest.len() >= limit || weight.is_chunk() {
                            return Ok(Last::of(newest, limit, true));
                        }
                        let few = few(&mut blocks, limit - newest.len(), &weight, |(.., stats)| stats);
                        let keys = few.iter().map(|(first, last, _)| place.key(*first, *last)).collect();
                        let fetched = self.fetch(keys).await?;
                        put_back(&mut blocks, few, fetched.len());
                        for (first, _, block) in fetched {
                            let wanted = block.into_iter().filter(|entry| offsets.contains(&entry.position.offset));
                            for entry in wanted.rev() {
                                weight.add(&entry);
                                newest.push(entry);
                            }
                            offsets.end = first;
                        }
                    }
                    if unlisted.is_empty() {
                        break;
                    }
                    listed = self.list(&place, &mut unlisted, Order::Descending, wanted).await?;
                }
            }
        }
    }

    /// Lists the first blocks of spans, at the same time.
    async fn pages(
        &self,
        scan: &BlockScan,
        spans: impl Iterator<Item = Span>,
        order: Order,
        wanted: Wanted<'_>,
    ) -> Result<Vec<Page>, SinkError> {
        let mut pages = Vec::new();
        for span in spans {
            pages.push(async move {
                let (place, offsets) = (self.place(scan, &scan.owner, &span), span.offsets);
                let mut unlisted = offsets.clone();
                let listed = self.list(&place, &mut unlisted, order, wanted).await?;
                Ok(Page { place, offsets, unlisted, listed })
            });
        }
        try_join_all(pages).await
    }

    /// Where blocks of an owner lie whose entries are within a span.
    pub(crate) fn place(&self, scan: &BlockScan, owner: &str, span: &Span) -> Place {
        let &BlockScan { partition, epoch, ref workspace, .. } = scan;
        let (workspace, owner) = (workspace.clone(), owner.to_owned());
        Place { table: self.tier.table(span.ttl), workspace, owner, bucket: span.bucket, partition, epoch }
    }

    /// Lists blocks from one end of a range: all wanted ones of the segments that are taken off it. There may be none.
    pub(crate) async fn list(
        &self,
        place: &Place,
        offsets: &mut Range<i64>,
        order: Order,
        wanted: Wanted<'_>,
    ) -> Result<Vec<Listed>, SinkError> {
        // A block that holds the first offset begins in the same segment.
        let key = place.key(segment_start(offsets.start), offsets.end - 1);
        let mut limit = LISTED;
        loop {
            let rows = self.store.scan(key.scan_first(order, limit)).await?;
            let mut listed = rows.iter().map(|row| key.of_row(row)).collect::<Result<Vec<_>, _>>()?;
            match listed.last().filter(|_| rows.len() == limit).map(|(first, ..)| segment_start(*first)) {
                None => offsets.start = offsets.end,
                // Of the last one's segment there may be more.
                Some(segment) => {
                    listed.retain(|(first, ..)| segment_start(*first) != segment);
                    if listed.is_empty() {
                        limit *= 4;
                        continue;
                    }
                    match order {
                        Order::Ascending => offsets.start = segment,
                        Order::Descending => offsets.end = segment + SEGMENT,
                    }
                }
            }
            // What lies in a block that isn't wanted isn't wanted where it lies in others either. So what is left covers
            // what is wanted.
            let found = listed.len();
            listed.retain(|(.., stats)| wanted(stats));
            self.skipped.inc_by((found - listed.len()) as u64);
            return Ok(listed);
        }
    }

    /// Reads blocks that were listed: the first of them, until their entries weigh [`CHUNK_BYTES`](super::CHUNK_BYTES).
    ///
    /// # Errors
    /// A transient one if a block is gone: it was the leftover of a sink that kept entries for a shorter time, or all that
    /// was listed has expired meanwhile. Whoever lists again sees what is there.
    pub(crate) async fn fetch(&self, keys: Vec<BlockKey>) -> Result<Vec<Fetched>, SinkError> {
        let (mut fetched, mut weight) = (Vec::new(), Weight::default());
        for keys in keys.chunks(FETCHES) {
            let rows = keys.iter().cloned().map(|key| async move {
                match self.store.get(key.table, &key.key()).await? {
                    Some(row) => Ok((key, row)),
                    None => Err(StoreError::Unavailable(format!("{key} has gone since it was listed"))),
                }
            });
            let rows: Vec<(BlockKey, Row)> = stream::iter(rows).buffered(FETCHES).try_collect().await?;
            let decode = move || decode(rows, weight);
            let decoded = tokio::task::spawn_blocking(decode).await;
            let (some, grown) = decoded.map_err(|error| StoreError::Failed(error.to_string()))??;
            fetched.extend(some);
            weight = grown;
            if weight.is_chunk() {
                break;
            }
        }
        Ok(fetched)
    }
}

/// Decodes blocks until all of them that were decoded weigh a chunk.
fn decode(rows: Vec<(BlockKey, Row)>, mut weight: Weight) -> Result<(Vec<Fetched>, Weight), SinkError> {
    let mut fetched = Vec::with_capacity(rows.len());
    for (key, row) in rows {
        if weight.is_chunk() {
            break;
        }
        let entries = block::entries(&key, &row.payload)?;
        entries.iter().for_each(|entry| weight.add(entry));
        fetched.push((key.first, key.last, entries));
    }
    Ok((fetched, weight))
}

impl Last {
    /// What was found, the newest entry first, of which `limit` are wanted.
    pub(crate) fn of(mut newest: Vec<StoredEntry>, limit: usize, is_cut: bool) -> Self {
        let is_cut = is_cut || newest.len() > limit;
        newest.truncate(limit);
        newest.reverse();
        Last { entries: newest, is_cut }
    }
}

/// Where entries of a scan may lie.
pub(crate) fn within(held: &Held, scan: &BlockScan) -> Vec<Span> {
    if (held.partition, held.epoch) != (scan.partition, scan.epoch) {
        return Vec::new();
    }
    held.spans(&scan.workspace, scan.from.max(held.low)..scan.to.min(held.high))
}

/// Takes as many blocks off the front as have about `wanted` entries, and at least one; no more than make a chunk, if theirs
/// are as large as those that have been read.
pub(crate) fn few<T>(
    blocks: &mut VecDeque<T>,
    wanted: usize,
    read: &Weight,
    stats: impl Fn(&T) -> &BlockStats,
) -> Vec<T> {
    let wanted = read.per_chunk().map_or(wanted, |count| count.min(wanted));
    let mut entries = 0;
    let enough = blocks.iter().position(|block| {
        entries += stats(block).count as usize;
        entries >= wanted
    });
    blocks.drain(..enough.map_or(blocks.len(), |last| last + 1).min(FETCHED)).collect()
}

/// Puts blocks back to the front of which only the first `read` were read.
pub(crate) fn put_back<T>(blocks: &mut VecDeque<T>, taken: Vec<T>, read: usize) {
    taken.into_iter().skip(read).rev().for_each(|block| blocks.push_front(block));
}
