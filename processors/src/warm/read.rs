//! Reading warm: a run's entries as they lie, and a card's, merged from those of its runs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use agentworks_schemas::TopicPartition;
use agentworks_store::{Order, Store};
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use prometheus_client::metrics::counter::Counter;

use super::{WARM, index};
use crate::blocks::block::BlockKey;
use crate::blocks::cover::{cover, cover_backwards};
use crate::blocks::{
    AHEAD, BlockReader, BlockScan, BlockStats, Last, Place, StoredEntry, Wanted, Weight, few, put_back, within,
};
use crate::lane::{Held, Span};
use crate::sink::SinkError;

/// Of how many runs blocks are listed at once.
const LISTS: usize = 16;

/// Reads what the warm sink wrote.
#[derive(Clone, Debug)]
pub struct WarmReader {
    blocks: BlockReader,
}

/// The blocks of several runs that were listed, and the offsets of which they hold all that is wanted.
struct Window {
    blocks: VecDeque<(BlockKey, BlockStats)>,
    offsets: Range<i64>,
}

impl WarmReader {
    /// A reader of what lies in `store`, which counts the blocks that it needn't fetch.
    pub(crate) fn new(store: Arc<dyn Store>, skipped: Counter) -> Self {
        WarmReader { blocks: BlockReader::new(store, &WARM, skipped) }
    }

    /// As [`BlockReader::held`].
    pub async fn held(&self, partition: TopicPartition, workspace: &str) -> Result<Option<Held>, SinkError> {
        self.blocks.held(partition, workspace).await
    }

    /// Reads single runs.
    pub fn runs(&self) -> &BlockReader {
        &self.blocks
    }

    /// As [`BlockReader::forward`]; the owner is a card.
    pub async fn card_forward(
        &self,
        held: &Held,
        scan: &BlockScan,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> Result<Vec<StoredEntry>, SinkError> {
        let (mut spans, mut ahead, mut entries) = (within(held, scan).into_iter(), 1, Vec::new());
        let (mut read, mut weight) = (Weight::default(), Weight::default());
        loop {
            let found = self.places(scan, spans.by_ref().take(ahead)).await?;
            if found.is_empty() {
                return Ok(entries);
            }
            ahead = AHEAD.min(2 * ahead);
            for (places, mut offsets) in found {
                while !places.is_empty() && !offsets.is_empty() {
                    let Window { mut blocks, offsets: window } =
                        self.list(&places, &offsets, Order::Ascending, wanted).await?;
                    blocks.make_contiguous().sort_by_key(|(key, _)| (key.first, key.last));
                    let mut ready = BTreeMap::new();
                    while !blocks.is_empty() {
                        let few = few(&mut blocks, limit - entries.len(), &read, |(_, stats)| stats);
                        self.fetch(scan, few, (&mut blocks, &window), &mut read, &mut ready).await?;
                        // Whatever lies before the first block that hasn't been fetched is there now.
                        let complete = blocks.front().map_or(window.end, |(key, _)| key.first.min(window.end));
                        let rest = ready.split_off(&complete);
                        for entry in std::mem::replace(&mut ready, rest).into_values() {
                            weight.add(&entry);
                            entries.push(entry);
                        }
                        if entries.len() >= limit || weight.is_chunk() {
                            return Ok(entries);
                        }
                    }
                    offsets.start = window.end;
                }
            }
        }
    }

    /// As [`BlockReader::backward`]; the owner is a card.
    pub async fn card_backward(
        &self,
        held: &Held,
        scan: &BlockScan,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> Result<Last, SinkError> {
        let (mut spans, mut ahead, mut newest) = (within(held, scan).into_iter().rev(), 1, Vec::new());
        let (mut read, mut weight) = (Weight::default(), Weight::default());
        loop {
            let found = self.places(scan, spans.by_ref().take(ahead)).await?;
            if found.is_empty() {
                return Ok(Last::of(newest, limit, false));
            }
            ahead = AHEAD.min(2 * ahead);
            for (places, mut offsets) in found {
                while !places.is_empty() && !offsets.is_empty() {
                    let Window { mut blocks, offsets: window } =
                        self.list(&places, &offsets, Order::Descending, wanted).await?;
                    blocks.make_contiguous().sort_by_key(|(key, _)| Reverse((key.last, key.first)));
                    let mut ready = BTreeMap::new();
                    while !blocks.is_empty() {
                        if newest.len() >= limit || weight.is_chunk() {
                            return Ok(Last::of(newest, limit, true));
                        }
                        let few = few(&mut blocks, limit - newest.len(), &read, |(_, stats)| stats);
                        self.fetch(scan, few, (&mut blocks, &window), &mut read, &mut ready).await?;
                        // Whatever lies after the last block that hasn't been fetched is there now.
                        let complete = blocks.front().map_or(window.start, |(key, _)| (key.last + 1).max(window.start));
                        for entry in ready.split_off(&complete).into_values().rev() {
                            weight.add(&entry);
                            newest.push(entry);
                        }
                    }
                    offsets.end = window.start;
                }
            }
        }
    }

    /// Where the runs of a card have their blocks in spans, and of which offsets that is.
    async fn places(
        &self,
        scan: &BlockScan,
        spans: impl Iterator<Item = Span>,
    ) -> Result<Vec<(Vec<Place>, Range<i64>)>, SinkError> {
        let mut found = Vec::new();
        for span in spans {
            found.push(async move {
                let of = (&*scan.workspace, &*scan.owner, span.bucket);
                let runs = index::runs(&*self.blocks.store, of, (scan.partition, scan.epoch)).await?;
                Ok((runs.iter().map(|run| self.blocks.place(scan, run, &span)).collect(), span.offsets))
            });
        }
        try_join_all(found).await
    }

    /// Lists blocks from one end of a range.
    async fn list(
        &self,
        places: &[Place],
        offsets: &Range<i64>,
        order: Order,
        wanted: Wanted<'_>,
    ) -> Result<Window, SinkError> {
        let mut lists = Vec::with_capacity(places.len());
        for place in places {
            lists.push(async move {
                let mut unlisted = offsets.clone();
                let listed = self.blocks.list(place, &mut unlisted, order, wanted).await?;
                Ok::<_, SinkError>((place, listed, unlisted))
            });
        }
        let lists: Vec<_> = stream::iter(lists).buffered(LISTS).try_collect().await?;
        let mut window = offsets.clone();
        for (.., unlisted) in lists.iter().filter(|(.., unlisted)| !unlisted.is_empty()) {
            match order {
                Order::Ascending => window.end = window.end.min(unlisted.start),
                Order::Descending => window.start = window.start.max(unlisted.end),
            }
        }
        let mut blocks = VecDeque::new();
        for (place, listed, _) in lists {
            let chosen = match order {
                Order::Ascending => cover(listed, window.start),
                Order::Descending => cover_backwards(listed, window.end - 1),
            };
            let within = chosen.into_iter().filter(|(first, last, _)| *first < window.end && *last >= window.start);
            blocks.extend(within.map(|(first, last, stats)| (place.key(first, last), stats)));
        }
        Ok(Window { blocks, offsets: window })
    }

    /// Fetches the first of the blocks that were taken of a window, puts the others back, and adds the card's entries in them
    /// to `ready`, by offset.
    async fn fetch(
        &self,
        scan: &BlockScan,
        taken: Vec<(BlockKey, BlockStats)>,
        (blocks, window): (&mut VecDeque<(BlockKey, BlockStats)>, &Range<i64>),
        read: &mut Weight,
        ready: &mut BTreeMap<i64, StoredEntry>,
    ) -> Result<(), SinkError> {
        let keys = taken.iter().map(|(key, _)| key.clone()).collect();
        let fetched = self.blocks.fetch(keys).await?;
        put_back(blocks, taken, fetched.len());
        for entry in fetched.into_iter().flat_map(|(.., entries)| entries) {
            read.add(&entry);
            if window.contains(&entry.position.offset) && entry.entry.card_id == scan.owner.as_str() {
                ready.insert(entry.position.offset, entry);
            }
        }
        Ok(())
    }
}
