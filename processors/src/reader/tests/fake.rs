//! Tiers that are made up.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentworks_kafka::{BatchBuilder, KafkaError, SeekRequest, Watermarks};
use agentworks_schemas::codec::Schemas;
use agentworks_schemas::{Cursor, Level, LogEntry, Position, Source, Timestamp, Topic, TopicPartition};
use agentworks_store::StoreError;
use async_trait::async_trait;
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::sync::mpsc;

use crate::blocks::{Last, StoredEntry};
use crate::lane::Held;
use crate::reader::lanes::ScopeLane;
use crate::reader::makings::Making;
use crate::reader::tiers::{LogScan, ScopeRange, Tier, Tiers};
use crate::reader::{ReadError, Scope};

/// A partition in one making of its topic, all records that it ever held, and who holds which of them.
#[derive(Clone, Debug)]
pub(super) struct FakePartition {
    pub(super) at: TopicPartition,
    pub(super) epoch: u32,
    /// The makings before, of which only cold holds something.
    pub(super) earlier: Vec<FakePartition>,
    pub(super) records: Vec<StoredEntry>,
    /// Where the log begins and ends.
    pub(super) log: (i64, i64),
    /// What hot holds.
    pub(super) hot: Option<(i64, i64)>,
    /// What it held of the making before, which it hasn't left.
    pub(super) behind: Option<(i64, i64)>,
    /// Whether nobody answers for cold.
    pub(super) is_cold_away: bool,
    /// What warm holds.
    pub(super) warm: Option<(i64, i64)>,
    /// What cold holds.
    pub(super) cold: Option<(i64, i64)>,
    /// Below this, nothing of the scope ever was.
    pub(super) floor: i64,
    /// How many records a block or a batch of the log has.
    pub(super) chunk: usize,
    /// The most entries that a tier gives at once, whatever is asked for.
    pub(super) most: Option<usize>,
}

impl Default for FakePartition {
    fn default() -> Self {
        let at = TopicPartition::new(Topic::AgentLogs, 0);
        FakePartition {
            at,
            epoch: 0,
            earlier: Vec::new(),
            records: Vec::new(),
            log: (0, 0),
            hot: None,
            behind: None,
            is_cold_away: false,
            warm: None,
            cold: None,
            floor: 0,
            chunk: 2,
            most: None,
        }
    }
}

impl FakePartition {
    pub(super) fn place(&mut self, at: TopicPartition) {
        self.at = at;
        self.records.iter_mut().for_each(|record| record.position.partition = at);
        self.earlier.iter_mut().for_each(|making| making.place(at));
    }

    /// The same after other makings of its topic, with records that are later by so much.
    pub(super) fn after(mut self, earlier: Vec<FakePartition>, later: i64) -> Self {
        self.epoch = earlier.last().map_or(0, |last| last.epoch + 1);
        self.earlier = earlier;
        for record in &mut self.records {
            record.timestamp = Timestamp(record.timestamp.0 + later);
            record.position.epoch = self.epoch;
            record.entry.message = format!("{} of {}", record.entry.message, self.epoch).into();
        }
        self
    }

    /// The same when another making of its topic came after it: cold alone has something.
    pub(super) fn over(self) -> Self {
        FakePartition { log: (0, 0), hot: None, warm: None, ..self }
    }

    /// A making of its topic that can be read.
    fn making(&self, epoch: u32) -> Option<&FakePartition> {
        self.makings().find(|making| making.epoch == epoch)
    }

    /// All that can be read, in order.
    pub(super) fn makings(&self) -> impl Iterator<Item = &FakePartition> {
        self.earlier.iter().filter(|making| making.cold.is_some()).chain([self])
    }

    /// The lane as a reading sees it.
    pub(super) fn lane(&self) -> ScopeLane {
        let known = |making: &FakePartition| {
            let is_card = |record: &&StoredEntry| record.entry.card_id == "c";
            let last = making.records.iter().rfind(is_card).map(|record| record.position.offset + 1);
            last.map(|last| (making.floor, last))
        };
        let earlier = self.makings().filter(|making| making.epoch < self.epoch).filter_map(|making| {
            let (low, high) = making.cold?;
            let held = Held { high, ..Held::new(self.at, making.epoch, low, None) };
            Some(Making::new(&held, known(making)))
        });
        let (partition, epoch, floor) = (self.at, self.epoch, self.floor);
        ScopeLane { partition, epoch, floor, is_known: true, earlier: earlier.collect() }
    }

    fn holds(&self, tier: Tier) -> Option<(i64, i64)> {
        match tier {
            Tier::Hot => self.hot,
            Tier::Warm => self.warm,
            Tier::Cold => self.cold,
        }
    }
}

/// An entry at an offset, with a record timestamp equal to it.
pub(super) fn entry(of: &FakePartition, offset: i64, workspace: &str, card: &str, run: &str) -> StoredEntry {
    let entry = LogEntry {
        id: format!("{}-{offset}", of.at.partition).into(),
        run_id: run.to_owned().into(),
        card_id: card.to_owned().into(),
        workspace_id: workspace.to_owned().into(),
        timestamp: Timestamp(offset),
        sequence: offset,
        level: if offset % 5 == 3 { Level::Error } else { Level::Info },
        source: Source::Agent,
        component: "test".into(),
        message: format!("line {offset}").into(),
        data: None,
        agent_id: None,
        provider: None,
        model: None,
        user_id: None,
        tags: None,
        correlation_id: None,
        parent_span_id: None,
        trace_id: None,
    };
    StoredEntry { position: Position { partition: of.at, epoch: 0, offset }, timestamp: Timestamp(offset), entry }
}

/// A partition with up to 30 records, of this scope and others, with holes between their offsets, and mostly growing
/// times; held by the tiers and the log in any way.
pub(super) fn partition() -> impl Strategy<Value = FakePartition> {
    let step = prop_oneof![8 => Just(1i64), 1 => 2..4i64];
    let owner = prop_oneof![6 => Just(("w", "c", "r")), 2 => Just(("w", "c", "q")), 1 => Just(("v", "c", "r")), 1 => Just(("w", "d", "r"))];
    let time = prop_oneof![2 => Just(0..4i64), 1 => Just(-6..6i64)];
    let records = time.prop_flat_map(move |time| prop::collection::vec((step.clone(), time, owner.clone()), 0..30));
    let bounds = prop::collection::vec(0..=100i64, 8);
    let most = prop_oneof![2 => Just(None), 1 => (1..4usize).prop_map(Some)];
    (records, bounds, any::<(bool, bool, bool)>(), 1..5usize, most).prop_map(|(steps, bounds, has, chunk, most)| {
        let (has_hot, has_warm, has_cold) = has;
        let mut partition = FakePartition { chunk, most, ..FakePartition::default() };
        let (mut offset, mut time) = (0, 20);
        for (step, later, (workspace, card, run)) in steps {
            (offset, time) = (offset + step, time + later);
            let timestamp = Timestamp(time);
            let record = entry(&partition, offset, workspace, card, run);
            partition.records.push(StoredEntry { timestamp, ..record });
        }
        let end = offset + 1;
        let share = |percent: i64| end * percent / 100;
        // The log's beginning is often 0, and hot often reaches to its end.
        partition.log = (share(bounds[0].max(40) - 40), end);
        let (a, b) = (share(bounds[1]), share(bounds[2] + 50).min(end));
        partition.hot = has_hot.then_some((a.min(b), a.max(b)));
        let (a, b) = (share(bounds[4] - 30).max(0), share(bounds[5] + 20).min(end));
        partition.warm = has_warm.then_some((a.min(b), a.max(b)));
        let (a, b) = (share(bounds[6] - 60).max(0), share(bounds[7] + 30).min(end));
        partition.cold = has_cold.then_some((a.min(b), a.max(b)));
        // A floor is true: nothing of the card lies below.
        let first = partition
            .records
            .iter()
            .find(|record| record.entry.card_id == "c")
            .map_or(end, |record| record.position.offset);
        partition.floor = first * bounds[3] / 100;
        partition
    })
}

/// What happens at some call to any tier: a change of a partition, or a fault of the call.
pub(super) type Change =
    Box<dyn FnMut(u64, &mut BTreeMap<TopicPartition, FakePartition>) -> Result<(), ReadError> + Send>;

pub(super) struct FakeTiers {
    state: Mutex<State>,
}

struct State {
    partitions: BTreeMap<TopicPartition, FakePartition>,
    calls: u64,
    change: Change,
}

impl std::fmt::Debug for FakeTiers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeTiers")
    }
}

impl FakeTiers {
    pub(super) fn new(partitions: Vec<FakePartition>) -> Self {
        Self::changing(partitions, Box::new(|_, _| Ok(())))
    }

    /// Tiers where `change` is called before each call, with the number of the call.
    pub(super) fn changing(partitions: Vec<FakePartition>, change: Change) -> Self {
        let partitions = partitions.into_iter().map(|partition| (partition.at, partition)).collect();
        FakeTiers { state: Mutex::new(State { partitions, calls: 0, change }) }
    }

    pub(super) fn cursor(&self, offset: impl Fn(&FakePartition) -> i64) -> Cursor {
        let partitions = &self.state.lock().partitions;
        partitions.values().map(|partition| (partition.at, partition.epoch, offset(partition))).collect()
    }

    pub(super) fn lanes(&self) -> Vec<ScopeLane> {
        self.state.lock().partitions.values().map(FakePartition::lane).collect()
    }

    /// The partition as it is at this call.
    fn at(&self, partition: TopicPartition) -> Result<FakePartition, ReadError> {
        let mut state = self.state.lock();
        let State { partitions, calls, change } = &mut *state;
        *calls += 1;
        change(*calls, partitions)?;
        Ok(partitions[&partition].clone())
    }
}

/// Entries in blocks, a card's in hot and a run's in warm: those of a block that touches the range come whole.
fn blocks(partition: &FakePartition, tier: Tier, range: &ScopeRange<'_>) -> Vec<Vec<StoredEntry>> {
    let Some((low, _)) = partition.holds(tier) else { return Vec::new() };
    let wanted = partition.records.iter().filter(|StoredEntry { position, entry, .. }| {
        let is_its = match range.scope.run() {
            Some(run) if tier == Tier::Warm => entry.run_id == run,
            _ => entry.card_id == range.scope.card(),
        };
        is_its && entry.workspace_id == range.scope.workspace() && position.offset >= low
    });
    let entries: Vec<_> = wanted.cloned().collect();
    let touches =
        |block: &&[StoredEntry]| block.iter().any(|entry| (range.from..range.to).contains(&entry.position.offset));
    entries.chunks(partition.chunk).filter(touches).map(<[_]>::to_vec).collect()
}

#[async_trait]
impl Tiers for FakeTiers {
    async fn held(
        &self,
        tier: Tier,
        partition: TopicPartition,
        epoch: u32,
        _: &str,
    ) -> Result<Option<Held>, ReadError> {
        let state = self.at(partition)?;
        if tier == Tier::Cold && state.is_cold_away {
            return Err(ReadError::Cold(StoreError::Unavailable("away".into()).into()));
        }
        if let (Tier::Hot, Some((low, high))) = (tier, state.behind) {
            return Ok(Some(Held { high, ..Held::new(partition, state.epoch - 1, low, None) }));
        }
        let making = if tier == Tier::Cold { state.making(epoch) } else { Some(&state) };
        let held = making.and_then(|making| Some((making.epoch, making.holds(tier)?)));
        Ok(held.map(|(epoch, (low, high))| Held { high, ..Held::new(partition, epoch, low, None) }))
    }

    async fn forward(
        &self,
        tier: Tier,
        held: &Held,
        range: &ScopeRange<'_>,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, ReadError> {
        let partition = self.at(held.partition)?;
        let mut entries = Vec::new();
        for block in partition.making(range.epoch).into_iter().flat_map(|making| blocks(making, tier, range)) {
            entries.extend(block);
            if entries.len() >= limit.min(3) {
                break;
            }
        }
        if let Some(most) = partition.most {
            entries.retain(|entry| (range.from..range.to).contains(&entry.position.offset));
            entries.truncate(most);
        }
        Ok(entries)
    }

    async fn backward(&self, tier: Tier, held: &Held, range: &ScopeRange<'_>, limit: usize) -> Result<Last, ReadError> {
        let partition = self.at(held.partition)?;
        let limit = partition.most.map_or(limit, |most| most.min(limit));
        let making = partition.making(range.epoch).into_iter();
        let entries = making.flat_map(|making| blocks(making, tier, range)).flatten();
        let mut entries: Vec<_> =
            entries.filter(|entry| (range.from..range.to).contains(&entry.position.offset)).collect();
        entries.reverse();
        Ok(Last::of(entries, limit, false))
    }

    fn log(&self, request: SeekRequest) -> LogScan {
        let (sender, receiver) = mpsc::channel(1000);
        let state = match self.at(request.partition) {
            Ok(partition) => partition,
            Err(error) => {
                let ReadError::Kafka(error) = error else { panic!("{error}") };
                sender.try_send(Err(error)).unwrap();
                return LogScan::new(receiver, Default::default());
            }
        };
        let (low, high) = state.log;
        if request.from < low || request.from > high {
            let SeekRequest { partition, from: offset, .. } = request;
            sender.try_send(Err(KafkaError::OutOfRange { partition, offset, low, high })).unwrap();
            return LogScan::new(receiver, Default::default());
        }
        let to = request.to.min(high);
        let mut builder = BatchBuilder::new(request.partition, request.epoch, request.from);
        let records = state.records.iter().filter(|record| (request.from..to).contains(&record.position.offset));
        for record in records.filter(|record| request.key.as_deref() == Some(record.entry.card_id.as_bytes())) {
            let (key, payload) = (record.entry.card_id.as_bytes(), serde_json::to_vec(&record.entry).unwrap());
            builder.push_raw(record.position.offset, record.timestamp, Some(key), Some(&payload), Vec::new());
            if builder.len() >= state.chunk {
                let next = BatchBuilder::new(request.partition, request.epoch, builder.next());
                let full = std::mem::replace(&mut builder, next);
                sender.try_send(Ok(Arc::new(full.build(Schemas::builtin())))).unwrap();
            }
        }
        if builder.next() < to || !builder.is_empty() {
            builder.cover(to);
            sender.try_send(Ok(Arc::new(builder.build(Schemas::builtin())))).unwrap();
        }
        LogScan::new(receiver, Default::default())
    }

    async fn watermarks(&self, partition: TopicPartition) -> Result<Watermarks, ReadError> {
        let (low, high) = self.at(partition)?.log;
        Ok(Watermarks { low, high })
    }

    async fn present(&self, partition: TopicPartition) -> Result<u32, ReadError> {
        // Known already: no call.
        Ok(self.state.lock().partitions[&partition].epoch)
    }

    async fn floor(&self, _: &Scope, partition: TopicPartition, epoch: u32) -> Result<i64, ReadError> {
        Ok(self.at(partition)?.lane().first_of(epoch).unwrap_or_default())
    }
}
