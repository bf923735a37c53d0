//! What has been taken of a partition and isn't written yet.

use std::collections::HashMap;
use std::sync::Arc;

use agentworks_kafka::{Content, Record};
use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::block::{BlockBuilder, BlockKey, SEGMENT};
use super::names;
use super::tier::Tier;
use crate::lane::{Clock, Held};

/// What a pending block costs in memory beside its entries, about: its place in a map of which a part is empty, and its
/// names, twice.
const OVERHEAD: usize = 2 * size_of::<Open>() + 256;

/// A block that is still filled.
#[derive(Debug)]
struct Open {
    block: BlockBuilder,
    /// What whoever takes noted of the first entry.
    note: Box<str>,
    bucket: i64,
    /// The partition's clock before the first entry.
    clock: Clock,
    since: Instant,
}

impl Open {
    /// Whether an entry of this bucket and offset can be added.
    fn takes(&self, bucket: i64, offset: i64, block_bytes: usize) -> bool {
        self.bucket == bucket
            && self.block.offsets().0.div_euclid(SEGMENT) == offset.div_euclid(SEGMENT)
            && self.block.len() < block_bytes
    }

    fn memory(&self) -> usize {
        OVERHEAD + self.block.memory()
    }
}

/// A block that waits to be written.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(super) key: BlockKey,
    pub(super) block: BlockBuilder,
    pub(super) expires: Option<i64>,
    /// The partition's clock before the first entry.
    clock: Clock,
}

/// When a block is closed, whatever else happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// With so many bytes.
    pub(super) block_bytes: usize,
    /// When its bucket has so many.
    pub(super) partition_bytes: u64,
}

/// The pending blocks of a partition.
#[derive(Debug)]
pub(crate) struct Pending {
    tier: &'static Tier,
    limits: Limits,
    /// All that has been taken.
    pub(crate) taken: Held,
    /// All that has been published.
    pub(super) published: Held,
    /// When that was.
    pub(super) published_at: Instant,
    /// By joined names: one of each owner at most.
    open: HashMap<String, Open, RandomState>,
    closed: Vec<Arc<Closed>>,
    /// The memory of the open ones and the closed ones.
    memory: (usize, usize),
}

/// Where an entry was put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put {
    /// The bucket that it lies in.
    pub(crate) bucket: i64,
    /// Whether it begins a block, or what was noted of it differs from what was noted of the block's first entry.
    pub(crate) is_new: bool,
}

impl Pending {
    pub(super) fn new(tier: &'static Tier, limits: Limits, held: Held) -> Self {
        Pending {
            tier,
            limits,
            taken: held.clone(),
            published: held,
            published_at: Instant::now(),
            open: HashMap::default(),
            closed: Vec::new(),
            memory: (0, 0),
        }
    }

    /// Takes the record that comes next, of the owner with this joined name. Says where it was put if it is an entry.
    pub(crate) fn take(&mut self, name: &str, note: &str, record: &Record<'_>, now: Instant) -> Option<Put> {
        let clock = self.taken.clock;
        let bytes = if matches!(record.content, Content::Entry(_)) { record.body.len() as u64 } else { 0 };
        let bucket = self.taken.place(record.offset, record.timestamp, bytes, self.limits.partition_bytes);
        let Content::Entry(entry) = &record.content else { return None };
        match self.open.get_mut(name) {
            Some(open) if open.takes(bucket, record.offset, self.limits.block_bytes) => {
                let before = open.memory();
                open.block.push(record.offset, record.timestamp, entry, &record.body);
                self.memory.0 += open.memory() - before;
                return Some(Put { bucket, is_new: *open.note != *note });
            }
            Some(_) => self.close(name),
            None => {}
        }
        let mut block = BlockBuilder::new(record.offset);
        block.push(record.offset, record.timestamp, entry, &record.body);
        let open = Open { block, note: note.into(), bucket, clock, since: now };
        self.memory.0 += open.memory();
        self.open.insert(name.to_owned(), open);
        Some(Put { bucket, is_new: true })
    }

    /// Closes the block of an owner, if one is open.
    pub(super) fn close(&mut self, name: &str) {
        let Some(open) = self.open.remove(name) else { return };
        self.memory.0 -= open.memory();
        self.memory.1 += open.memory();
        let (workspace, owner) = names::split(name);
        let (first, last) = open.block.offsets();
        let ttl = self.taken.terms.as_ref().map_or(0, |terms| terms.ttl(workspace, first));
        let key = BlockKey {
            table: self.tier.table(ttl),
            workspace: workspace.to_owned(),
            owner: owner.to_owned(),
            bucket: open.bucket,
            partition: self.taken.partition,
            epoch: self.taken.epoch,
            first,
            last,
        };
        let expires = self.taken.expires(open.bucket, workspace, first);
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
