//! What has been taken of a partition and isn't written yet.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentworks_kafka::{Content, Record};
use agentworks_schemas::Timestamp;
use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::block::{Block, BlockKey, MAX_FILL, segment_start};
use super::names;
use super::sharing::Shared;
use super::tier::Tier;
use crate::lane::{self, CATCHING_UP, Clock, Held};

/// What a pending block costs in memory beside its entries, about: its place in a map of which a part is empty, and its
/// names, twice.
const OVERHEAD: usize = 2 * size_of::<Open>() + 256;

/// A block that is still filled.
#[derive(Debug)]
struct Open {
    block: Block,
    /// The strand of the first entry.
    strand: Box<str>,
    bucket: i64,
    /// The partition's clock before the first entry.
    clock: Clock,
    since: Instant,
    /// The partition's clock at the first entry.
    began: Timestamp,
    /// Its memory as last counted.
    memory: usize,
}

impl Open {
    /// Whether an entry of this bucket and offset can be added.
    fn takes(&self, bucket: i64, offset: i64, block_bytes: usize, shared: &mut Shared<'_>) -> bool {
        // A frame of another tier is taken whole, if that doesn't make the block far too large.
        let has_room = |limit| self.block.len() < limit;
        self.bucket == bucket
            && segment_start(self.block.offsets().0) == segment_start(offset)
            && (has_room(block_bytes) || (has_room(MAX_FILL) && self.block.goes_on(shared.offered(offset))))
    }
}

/// A block that waits to be written.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(super) key: BlockKey,
    pub(super) block: Block,
    pub(super) expires: Option<i64>,
    /// The partition's clock before the first entry.
    clock: Clock,
    /// How many of its partition were closed before it.
    number: u64,
    /// Whether it is being written, and whether it has been.
    pub(super) is_under_way: AtomicBool,
    pub(super) is_written: AtomicBool,
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
    published_at: Instant,
    /// And where the partition's clock stood then, if it had begun.
    settled_at: Option<Timestamp>,
    /// By joined names: one of each owner at most.
    open: HashMap<String, Open, RandomState>,
    closed: Vec<Arc<Closed>>,
    /// How many have been closed.
    closings: u64,
    /// How many had been when the position was due to be published.
    due: Option<u64>,
    /// The memory of the open ones and the closed ones.
    memory: (usize, usize),
}

/// Where an entry was put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put {
    /// The bucket that it lies in.
    pub(crate) bucket: i64,
    /// Whether it begins a block.
    pub(crate) is_first: bool,
    /// Whether it begins a block, or is of another strand than the block's first entry.
    pub(crate) is_new: bool,
}

impl Pending {
    pub(super) fn new(tier: &'static Tier, limits: Limits, held: Held) -> Self {
        let settled_at = Some(held.clock.time).filter(|time| *time != Timestamp::default());
        Pending {
            tier,
            limits,
            taken: held.clone(),
            published: held,
            published_at: Instant::now(),
            settled_at,
            open: HashMap::default(),
            closed: Vec::new(),
            closings: 0,
            due: None,
            memory: (0, 0),
        }
    }

    /// Takes the record that comes next, of the owner with this joined name. `strand` is its run where cards own blocks, and
    /// its card where runs do. Says where it was put if it is an entry.
    pub(crate) fn take(
        &mut self,
        name: &str,
        strand: &str,
        record: &Record<'_>,
        now: Instant,
        shared: &mut Shared<'_>,
    ) -> Option<Put> {
        let clock = self.taken.clock;
        let bytes = if matches!(record.content, Content::Entry(_)) { record.body.len() as u64 } else { 0 };
        let bucket = self.taken.place(record.offset, record.timestamp, bytes, self.limits.partition_bytes);
        self.settled_at.get_or_insert(self.taken.clock.time);
        let Content::Entry(entry) = &record.content else { return None };
        match self.open.get_mut(name) {
            Some(open) if open.takes(bucket, record.offset, self.limits.block_bytes, shared) => {
                let grown = open.block.put(record, entry, strand, shared);
                open.memory += grown;
                self.memory.0 += grown;
                return Some(Put { bucket, is_first: false, is_new: *open.strand != *strand });
            }
            Some(_) => self.close(name),
            None => {}
        }
        let mut block = Block::new(record.offset);
        let memory = OVERHEAD + block.put(record, entry, strand, shared);
        let began = self.taken.clock.time;
        let open = Open { block, strand: strand.into(), bucket, clock, since: now, began, memory };
        self.memory.0 += memory;
        self.open.insert(name.to_owned(), open);
        Some(Put { bucket, is_first: true, is_new: true })
    }

    /// Closes the block of an owner, if one is open.
    pub(super) fn close(&mut self, name: &str) {
        let Some(open) = self.open.remove(name) else { return };
        self.memory.0 -= open.memory;
        self.memory.1 += open.memory;
        open.block.seal();
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
        self.closed.push(Arc::new(Closed {
            key,
            block: open.block,
            expires,
            clock: open.clock,
            number: self.closings,
            is_under_way: AtomicBool::new(false),
            is_written: AtomicBool::new(false),
        }));
        self.closings += 1;
    }

    /// Closes all that are of this age: by the clock of the machine, or by the log's own. Who catches up has taken as much
    /// into a block by then as who takes the log as it comes, only sooner.
    pub(super) fn close_older(&mut self, age: Duration, now: Instant) {
        let time = self.taken.clock.time;
        self.close_all(|open| open.since + age <= now || time.since(open.began) >= age);
    }

    /// Closes all with so many bytes or more.
    pub(super) fn close_larger(&mut self, bytes: usize) {
        self.close_all(|open| open.memory >= bytes);
    }

    fn close_all(&mut self, wanted: impl Fn(&Open) -> bool) {
        let names: Vec<_> = self.open.iter().filter(|(_, open)| wanted(open)).map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.close(name));
    }

    /// The memory of each open block.
    pub(super) fn sizes(&self) -> impl Iterator<Item = usize> + '_ {
        self.open.values().map(|open| open.memory)
    }

    /// The blocks that wait to be written.
    pub(super) fn closed(&self) -> &[Arc<Closed>] {
        &self.closed
    }

    /// Forgets closed blocks that have been written.
    pub(super) fn forget_written(&mut self) {
        self.closed.retain(|closed| !closed.is_written.load(Ordering::Relaxed));
        self.count_memory();
    }

    /// Counts the memory of all blocks anew: frames shrink when they are compressed, and change hands.
    fn count_memory(&mut self) {
        self.memory = (0, self.closed.iter().map(|closed| OVERHEAD + closed.block.memory()).sum());
        for open in self.open.values_mut() {
            open.memory = OVERHEAD + open.block.memory();
            self.memory.0 += open.memory;
        }
    }

    /// Whether the position is to be published that is published at this age.
    pub(super) fn is_due(&self, age: Duration, now: Instant) -> bool {
        let time = self.taken.clock.time;
        lane::is_due(age, CATCHING_UP, now - self.published_at, time.since(self.settled_at.unwrap_or(time)))
    }

    /// Whether all that had been closed by the time the position was due has been written. The time is now, if it hadn't
    /// come yet.
    pub(super) fn is_settled(&mut self) -> bool {
        let due = *self.due.get_or_insert(self.closings);
        self.closed.iter().all(|closed| closed.number >= due)
    }

    /// Notes that the position as it is will be published.
    pub(super) fn settled(&mut self, now: Instant) {
        self.published_at = now;
        self.settled_at = Some(self.taken.clock.time);
        self.due = None;
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
