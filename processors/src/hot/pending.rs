//! What has been taken of a partition and isn't written yet.

use std::collections::HashMap;
use std::sync::Arc;

use agentworks_kafka::{Content, Record};
use agentworks_schemas::Timestamp;
use tokio::time::Instant;

use super::block::{BlockBuilder, BlockKey, SEGMENT};
use super::names;
use crate::lane::Held;

/// What a pending block costs in memory beside its entries, about: its names, twice, and its places in maps.
const OVERHEAD: usize = 512;

/// A block that is still filled.
#[derive(Debug)]
struct Open {
    block: BlockBuilder,
    bucket: i64,
    /// The partition's clock before the first entry.
    clock: Timestamp,
    since: Instant,
}

impl Open {
    fn memory(&self) -> usize {
        OVERHEAD + self.block.memory()
    }
}

/// A block that waits to be written.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) key: BlockKey,
    pub(super) block: BlockBuilder,
    pub(super) expires: Option<i64>,
    /// The partition's clock before the first entry.
    clock: Timestamp,
}

/// The pending blocks of a partition.
#[derive(Debug)]
pub(super) struct Pending {
    /// All that has been taken.
    pub(super) taken: Held,
    /// All that has been published.
    pub(super) published: Held,
    /// When that was.
    pub(super) published_at: Instant,
    /// By joined names: one of each card at most.
    open: HashMap<String, Open>,
    closed: Vec<Arc<Closed>>,
    /// The memory of the open ones and the closed ones.
    memory: (usize, usize),
}

impl Pending {
    pub(super) fn new(held: Held) -> Self {
        Pending {
            taken: held.clone(),
            published: held,
            published_at: Instant::now(),
            open: HashMap::new(),
            closed: Vec::new(),
            memory: (0, 0),
        }
    }

    /// Takes the record that comes next, of the card with this joined name.
    pub(super) fn take(&mut self, name: &str, record: &Record<'_>, block_bytes: usize, now: Instant) {
        let clock = self.taken.clock;
        let bucket = self.taken.observe(record.offset, record.timestamp);
        let Content::Entry(entry) = &record.content else { return };
        if self.open.get(name).is_some_and(|open| {
            open.bucket != bucket
                || open.block.offsets().0.div_euclid(SEGMENT) != record.offset.div_euclid(SEGMENT)
                || open.block.len() >= block_bytes
        }) {
            self.close(name);
        }
        let open = match self.open.get_mut(name) {
            Some(open) => open,
            None => {
                let open = Open { block: BlockBuilder::new(record.offset), bucket, clock, since: now };
                self.memory.0 += open.memory();
                self.open.entry(name.to_owned()).or_insert(open)
            }
        };
        let before = open.memory();
        open.block.push(record.offset, record.timestamp, entry.level, &record.body);
        self.memory.0 += open.memory() - before;
    }

    /// Closes the block of a card.
    fn close(&mut self, name: &str) {
        let Some(open) = self.open.remove(name) else { return };
        self.memory.0 -= open.memory();
        self.memory.1 += open.memory();
        let (workspace, card) = names::split(name);
        let (first, last) = open.block.offsets();
        let key = BlockKey {
            workspace: workspace.to_owned(),
            card: card.to_owned(),
            bucket: open.bucket,
            partition: self.taken.partition,
            epoch: self.taken.epoch,
            first,
            last,
        };
        let expires = self.taken.expires(open.bucket);
        self.closed.push(Arc::new(Closed { key, block: open.block, expires, clock: open.clock }));
    }

    /// Closes all that began before `since`.
    pub(super) fn close_older(&mut self, since: Instant) {
        self.close_all(|open| open.since <= since);
    }

    /// Closes all with so many bytes or more.
    pub(super) fn close_larger(&mut self, bytes: usize) {
        self.close_all(|open| open.memory() >= bytes);
    }

    fn close_all(&mut self, wanted: impl Fn(&Open) -> bool) {
        let names: Vec<_> = self.open.iter().filter(|(_, open)| wanted(open)).map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.close(name));
    }

    /// The memory of each open block.
    pub(super) fn sizes(&self) -> impl Iterator<Item = usize> + '_ {
        self.open.values().map(Open::memory)
    }

    /// The blocks that wait to be written.
    pub(super) fn closed(&self) -> &[Arc<Closed>] {
        &self.closed
    }

    /// Forgets closed blocks that have been written.
    pub(super) fn forget(&mut self, is_written: impl Fn(&Arc<Closed>) -> bool) {
        self.closed.retain(|closed| !is_written(closed));
        self.memory.1 = self.closed.iter().map(|closed| OVERHEAD + closed.block.memory()).sum();
    }

    /// The memory of what is open, and of what waits to be written.
    pub(super) fn memory(&self) -> (usize, usize) {
        self.memory
    }

    /// What would be held if all that was closed were written: everything below the first entry that isn't.
    pub(super) fn held(&self) -> Held {
        let open = self.open.values().map(|open| (open.block.offsets().0, open.clock));
        let closed = self.closed.iter().map(|closed| (closed.key.first, closed.clock));
        match open.chain(closed).min() {
            Some((first, clock)) => self.taken.back_to(first, clock),
            None => self.taken.clone(),
        }
    }
}
