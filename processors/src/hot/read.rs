//! Reading hot.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use agentworks_schemas::{Timestamp, TopicPartition};
use agentworks_store::{Order, Row, Store, StoreError};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::block::{self, BlockKey, BlockStats, SEGMENT, StoredEntry};
use super::cover::{cover, cover_backwards};
use super::sink::NAME;
use super::table::BLOCKS;
use crate::lane::{self, Held};
use crate::sink::SinkError;

/// How many blocks are listed at a time.
const LISTED: usize = 256;

/// How many blocks are fetched at once.
const FETCHES: usize = 8;

/// How many blocks' entries are in memory at a time, at most.
const FETCHED: usize = 32;

/// Reads what the hot sink wrote.
#[derive(Clone, Debug)]
pub struct HotReader {
    store: Arc<dyn Store>,
}

/// Entries of one card in one partition.
#[derive(Clone, Debug)]
pub struct HotScan {
    /// The tenant.
    pub workspace: String,
    /// The card.
    pub card: String,
    /// The partition.
    pub partition: TopicPartition,
    /// Which making of its topic.
    pub epoch: u32,
    /// The first offset wanted.
    pub from: i64,
    /// The offset after the last one wanted.
    pub to: i64,
}

/// A block that was listed: the offsets of its first and its last entry, and its statistics.
type Listed = (i64, i64, BlockStats);

/// A block that was fetched: the offsets of its first and its last entry, and its entries.
type Fetched = (i64, i64, Vec<StoredEntry>);

impl HotReader {
    /// A reader of what lies in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        HotReader { store }
    }

    /// What hot holds of a partition, less what has expired since that was published.
    pub async fn held(&self, partition: TopicPartition) -> Result<Option<Held>, SinkError> {
        let mut held = lane::load(&*self.store, NAME, partition).await?;
        if let Some(held) = &mut held {
            held.expire(Timestamp::now());
        }
        Ok(held)
    }

    /// The next entries of a scan in ascending order: at least one block's worth unless there is none, about `limit` or
    /// a few more. The caller goes on from the last one's offset + 1; an empty answer means that the range is exhausted.
    /// `held` is what [`HotReader::held`] gave, by whose buckets the search is narrowed; what lies outside of it is not
    /// returned. Whoever took long over it asks again afterwards: had `low` passed, entries might have expired meanwhile.
    pub async fn forward(&self, held: &Held, scan: &HotScan, limit: usize) -> Result<Vec<StoredEntry>, SinkError> {
        let mut entries = Vec::new();
        for (bucket, mut offsets) in within(held, scan) {
            let mut listing = offsets.clone();
            while !listing.is_empty() {
                let listed = self.list(scan, bucket, &mut listing, Order::Ascending).await?;
                let mut blocks = cover(listed, offsets.start).into();
                while !VecDeque::is_empty(&blocks) {
                    let few = few(&mut blocks, limit - entries.len());
                    for (_, last, block) in self.fetch(scan, bucket, few).await? {
                        entries.extend(block.into_iter().filter(|entry| offsets.contains(&entry.position.offset)));
                        offsets.start = last + 1;
                    }
                    if entries.len() >= limit {
                        return Ok(entries);
                    }
                }
            }
        }
        Ok(entries)
    }

    /// The last `limit` entries of a scan, in ascending order; fewer only if there are no more.
    pub async fn backward(&self, held: &Held, scan: &HotScan, limit: usize) -> Result<Vec<StoredEntry>, SinkError> {
        let mut newest = Vec::new();
        'enough: for (bucket, mut offsets) in within(held, scan).into_iter().rev() {
            let mut listing = offsets.clone();
            while !listing.is_empty() {
                let listed = self.list(scan, bucket, &mut listing, Order::Descending).await?;
                let mut blocks = cover_backwards(listed, offsets.end - 1).into();
                while !VecDeque::is_empty(&blocks) {
                    if newest.len() >= limit {
                        break 'enough;
                    }
                    let few = few(&mut blocks, limit - newest.len());
                    for (first, _, block) in self.fetch(scan, bucket, few).await? {
                        let wanted = block.into_iter().filter(|entry| offsets.contains(&entry.position.offset));
                        newest.extend(wanted.rev());
                        offsets.end = first;
                    }
                }
            }
        }
        newest.truncate(limit);
        newest.reverse();
        Ok(newest)
    }

    /// Lists blocks from one end of a range: all of the segments that are taken off it. There may be none.
    async fn list(
        &self,
        scan: &HotScan,
        bucket: i64,
        offsets: &mut Range<i64>,
        order: Order,
    ) -> Result<Vec<Listed>, SinkError> {
        // A block that holds the first offset begins in the same segment.
        let key = key(scan, bucket, offsets.start.div_euclid(SEGMENT) * SEGMENT, offsets.end - 1);
        let mut limit = LISTED;
        loop {
            let rows = self.store.scan(key.scan_first(order, limit)).await?;
            let mut listed = rows.iter().map(|row| key.of_row(row)).collect::<Result<Vec<_>, _>>()?;
            let Some((last, ..)) = listed.last().filter(|_| rows.len() == limit) else {
                offsets.start = offsets.end;
                return Ok(listed);
            };
            // Of the last one's segment there may be more.
            let segment = last.div_euclid(SEGMENT);
            listed.retain(|(first, ..)| first.div_euclid(SEGMENT) != segment);
            if listed.is_empty() {
                limit *= 4;
                continue;
            }
            match order {
                Order::Ascending => offsets.start = segment * SEGMENT,
                Order::Descending => offsets.end = (segment + 1) * SEGMENT,
            }
            return Ok(listed);
        }
    }

    /// Reads blocks. One that has expired meanwhile has no entries.
    async fn fetch(&self, scan: &HotScan, bucket: i64, blocks: Vec<Listed>) -> Result<Vec<Fetched>, SinkError> {
        let rows = blocks.into_iter().map(|(first, last, _)| {
            let key = key(scan, bucket, first, last);
            async move {
                let row = self.store.get(&BLOCKS, &key.key()).await?;
                Ok::<_, StoreError>((key, row))
            }
        });
        let rows: Vec<_> = stream::iter(rows).buffered(FETCHES).try_collect().await?;
        let decode = move || {
            let decode = |(key, row): (BlockKey, Option<Row>)| {
                let entries = row.map(|row| block::entries(&key, &row.payload)).transpose()?;
                Ok((key.first, key.last, entries.unwrap_or_default()))
            };
            rows.into_iter().map(decode).collect()
        };
        tokio::task::spawn_blocking(decode).await.map_err(|error| StoreError::Failed(error.to_string()))?
    }
}

fn key(scan: &HotScan, bucket: i64, first: i64, last: i64) -> BlockKey {
    let HotScan { workspace, card, partition, epoch, .. } = scan.clone();
    BlockKey { workspace, card, bucket, partition, epoch, first, last }
}

/// The buckets in which entries of a scan may lie, each with the offsets wanted of it.
fn within(held: &Held, scan: &HotScan) -> Vec<(i64, Range<i64>)> {
    if (held.partition, held.epoch) != (scan.partition, scan.epoch) {
        return Vec::new();
    }
    held.buckets_of(scan.from.max(held.low)..scan.to.min(held.high))
}

/// Takes as many blocks off the front as have about `wanted` entries, and at least one.
fn few(blocks: &mut VecDeque<Listed>, wanted: usize) -> Vec<Listed> {
    let mut entries = 0;
    let enough = blocks.iter().position(|(.., stats)| {
        entries += stats.count as usize;
        entries >= wanted
    });
    blocks.drain(..enough.map_or(blocks.len(), |last| last + 1).min(FETCHED)).collect()
}
