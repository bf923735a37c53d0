//! A sink in memory, for tests of what drives sinks: it keeps what it takes and its positions together, outlives the
//! runtimes that feed it, fails when told to, and notes whatever it should never see.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use agentworks_kafka::{Batch, Content};
use agentworks_schemas::{Timestamp, Topic, TopicPartition};
use agentworks_store::StoreError;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::lane::Held;
use crate::sink::{Flush, Sink, SinkError};

/// A call of [`Sink`] that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as the trait's methods")]
pub enum Call {
    Open,
    Take,
    Flush,
}

/// How a call fails.
#[derive(Clone, Debug)]
pub enum Fault {
    /// With an error that passes.
    Unavailable,
    /// After having written everything, with an error that passes: the answer got lost.
    Unanswered,
    /// With an error of the store that doesn't pass.
    Failed,
    /// With an error that names a partition.
    Position(TopicPartition),
}

/// What the sinks of one name have written. Clones share it; it outlives the sinks.
#[derive(Clone, Debug)]
pub struct Memory {
    name: &'static str,
    state: Arc<Mutex<State>>,
    /// While true, `take` waits.
    blocked: Arc<watch::Sender<bool>>,
}

#[derive(Debug, Default)]
struct State {
    lanes: BTreeMap<TopicPartition, Stored>,
    /// What was held of earlier epochs.
    earlier: Vec<Stored>,
    faults: HashMap<Call, Vec<Fault>>,
    /// Whether nothing is written because it is due.
    is_lazy: bool,
    taken: usize,
    problems: Vec<String>,
}

#[derive(Clone, Debug)]
struct Stored {
    held: Held,
    records: BTreeMap<i64, String>,
}

impl Memory {
    /// Nothing yet, of sinks called `name`.
    pub fn new(name: &'static str) -> Self {
        Memory { name, state: Arc::default(), blocked: Arc::new(watch::Sender::new(false)) }
    }

    /// A sink that takes `topics` and writes here.
    pub fn sink(&self, topics: &'static [Topic]) -> Box<dyn Sink> {
        Box::new(MemorySink { memory: self.clone(), topics, pending: HashMap::new() })
    }

    /// The next calls fail, one for each fault.
    pub fn fail(&self, call: Call, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().faults.entry(call).or_default().extend(faults);
    }

    /// How many faults are still to come.
    pub fn faults(&self) -> usize {
        self.state.lock().faults.values().map(Vec::len).sum()
    }

    /// Makes `take` wait, or go on.
    pub fn block(&self, blocked: bool) {
        self.blocked.send_replace(blocked);
    }

    /// From now on writes only what it must, as a sink does whose flushes are minutes apart.
    pub fn hold_back(&self) {
        self.state.lock().is_lazy = true;
    }

    /// Says that `low..high` is held, whatever was before.
    pub fn set(&self, partition: TopicPartition, low: i64, high: i64) {
        let stored = Stored { held: held(partition, 0, low, high), records: BTreeMap::new() };
        self.state.lock().lanes.insert(partition, stored);
    }

    /// The epoch that a partition is in.
    pub fn epoch(&self, partition: TopicPartition) -> Option<u32> {
        self.state.lock().lanes.get(&partition).map(|stored| stored.held.epoch)
    }

    /// The first offset that is held and the first that isn't yet.
    pub fn held(&self, partition: TopicPartition) -> Option<(i64, i64)> {
        self.state.lock().lanes.get(&partition).map(|stored| (stored.held.low, stored.held.high))
    }

    /// The offsets and ids of the records held.
    pub fn records(&self, partition: TopicPartition) -> Vec<(i64, String)> {
        let state = self.state.lock();
        let records = state.lanes.get(&partition).map(|stored| stored.records.clone());
        records.unwrap_or_default().into_iter().collect()
    }

    /// How many records are held, of all epochs.
    pub fn count(&self) -> usize {
        let state = self.state.lock();
        state.lanes.values().chain(&state.earlier).map(|stored| stored.records.len()).sum()
    }

    /// How many records have been taken, held or not.
    pub fn taken(&self) -> usize {
        self.state.lock().taken
    }

    /// What should never have been seen: gaps, records written twice.
    pub fn problems(&self) -> Vec<String> {
        self.state.lock().problems.clone()
    }

    fn problem(&self, problem: String) {
        self.state.lock().problems.push(format!("{}: {problem}", self.name));
    }

    fn fault(&self, call: Call) -> Option<Fault> {
        let mut state = self.state.lock();
        let faults = state.faults.get_mut(&call).filter(|faults| !faults.is_empty())?;
        Some(faults.remove(0))
    }

    fn check(&self, call: Call) -> Result<(), SinkError> {
        match self.fault(call) {
            Some(fault) => Err(fault.error()),
            None => Ok(()),
        }
    }

    fn write(&self, partition: TopicPartition, pending: &mut Pending) -> Option<Held> {
        let mut state = self.state.lock();
        let State { lanes, problems, .. } = &mut *state;
        let stored = lanes.get_mut(&partition).filter(|stored| stored.held.epoch == pending.epoch)?;
        for (offset, id) in pending.records.drain(..) {
            if stored.records.insert(offset, id).is_some() {
                problems.push(format!("{}: {partition}@{offset} was written twice", self.name));
            }
        }
        // A sink that lost its partition may come late: whoever knows more of the log has written more.
        stored.held.high = stored.held.high.max(pending.next);
        stored.held.clock.time = stored.held.clock.time.max(pending.clock);
        (pending.told < pending.next).then(|| stored.held.clone())
    }
}

impl Fault {
    fn error(self) -> SinkError {
        match self {
            Fault::Unavailable | Fault::Unanswered => StoreError::Unavailable("injected".into()).into(),
            Fault::Failed => StoreError::Failed("injected".into()).into(),
            Fault::Position(partition) => SinkError::Position { partition, reason: "injected".into() },
        }
    }
}

fn held(partition: TopicPartition, epoch: u32, low: i64, high: i64) -> Held {
    Held { low, ..Held::new(partition, epoch, high, None) }
}

#[derive(Debug)]
struct MemorySink {
    memory: Memory,
    topics: &'static [Topic],
    pending: HashMap<TopicPartition, Pending>,
}

#[derive(Debug)]
struct Pending {
    epoch: u32,
    records: Vec<(i64, String)>,
    bytes: usize,
    next: i64,
    /// What the last flush that succeeded gave as the first offset not held.
    told: i64,
    clock: Timestamp,
}

#[async_trait]
impl Sink for MemorySink {
    fn name(&self) -> &'static str {
        self.memory.name
    }

    fn topics(&self) -> &'static [Topic] {
        self.topics
    }

    async fn open(&mut self, partition: TopicPartition, epoch: u32, log_start: i64) -> Result<Held, SinkError> {
        self.memory.check(Call::Open)?;
        let new = Stored { held: held(partition, epoch, log_start, log_start), records: BTreeMap::new() };
        let held = {
            let State { lanes, earlier, .. } = &mut *self.memory.state.lock();
            if let Some(old) = lanes.remove(&partition) {
                if old.held.epoch < epoch { earlier.push(old) } else { drop(lanes.insert(partition, old)) }
            }
            lanes.entry(partition).or_insert(new).held.clone()
        };
        let (next, clock) = (held.high, held.clock.time);
        let pending = Pending { epoch, records: Vec::new(), bytes: 0, next, told: next, clock };
        self.pending.insert(partition, pending);
        Ok(held)
    }

    async fn take(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let mut blocked = self.memory.blocked.subscribe();
        // The sender lives in `self`.
        let _ = blocked.wait_for(|blocked| !blocked).await;
        self.memory.check(Call::Take)?;
        let Some(pending) = self.pending.get_mut(&batch.partition) else {
            self.memory.problem(format!("{batch:?} came for a partition that isn't open"));
            return Ok(());
        };
        if batch.epoch != pending.epoch {
            self.memory.problem(format!("{batch:?} came when epoch {} was open", pending.epoch));
        }
        if batch.from > pending.next {
            self.memory.problem(format!("{batch:?} came when {} was next", pending.next));
        }
        for record in batch.records().iter().filter(|record| record.offset >= pending.next) {
            let id = match &record.content {
                Content::Entry(entry) => entry.id.to_string(),
                Content::Event(event) => event.id.to_string(),
            };
            pending.bytes += record.body.len();
            pending.records.push((record.offset, id));
            self.memory.state.lock().taken += 1;
            pending.clock = pending.clock.max(record.timestamp);
        }
        pending.next = pending.next.max(batch.to);
        Ok(())
    }

    fn pending(&self) -> usize {
        self.pending.values().map(|pending| pending.bytes).sum()
    }

    async fn flush(&mut self, what: Flush) -> Result<Vec<Held>, SinkError> {
        let fault = self.memory.fault(Call::Flush);
        if let Some(fault) = &fault
            && !matches!(fault, Fault::Unanswered)
        {
            return Err(fault.clone().error());
        }
        if matches!(what, Flush::Due | Flush::Begin) && self.memory.state.lock().is_lazy {
            return Ok(Vec::new());
        }
        let mut moved = Vec::new();
        for (partition, pending) in &mut self.pending {
            if !matches!(what, Flush::Partition(one) if one != *partition) {
                pending.bytes = 0;
                moved.extend(self.memory.write(*partition, pending));
            }
        }
        if let Some(fault) = fault {
            return Err(fault.error());
        }
        for held in &moved {
            if let Some(pending) = self.pending.get_mut(&held.partition) {
                pending.told = pending.next;
            }
        }
        Ok(moved)
    }

    fn close(&mut self, partition: TopicPartition) {
        self.pending.remove(&partition);
    }
}
