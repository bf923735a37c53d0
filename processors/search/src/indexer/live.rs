//! What an indexer can answer for: what it has taken and isn't published yet, and what was published just now.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use agentworks_schemas::TopicPartition;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::page::{Chunk, Page};
use crate::exec::Opened;
use crate::split::LaneRange;

/// What an indexer can answer for. Clones share it.
#[derive(Clone, Debug)]
pub struct Live {
    units: Arc<Mutex<VecDeque<Unit>>>,
    linger: Duration,
}

/// What is, or is to be, one split. It is published as a whole, so a searcher's manifest has all of it or nothing.
#[derive(Clone)]
pub struct Unit {
    number: u64,
    /// The ranges that it holds all entries of.
    pub lanes: BTreeMap<TopicPartition, LaneRange>,
    /// What searches the segments that are written.
    pub searcher: Option<Opened>,
    /// What isn't in there.
    pub pages: VecDeque<Arc<Page>>,
    /// How many of the pages are in the segment that is being built.
    indexed: usize,
    /// How far it is.
    pub state: UnitState,
    /// It has entries of a lane that was lost, which others answer for: it can't be searched.
    pub tainted: bool,
}

/// How far a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// More comes.
    Making,
    /// On its way into the manifest.
    Sealed,
    /// In the manifest.
    Published(Instant),
}

impl std::fmt::Debug for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unit")
            .field("number", &self.number)
            .field("lanes", &self.lanes)
            .field("pages", &self.pages.len())
            .field("state", &self.state)
            .field("tainted", &self.tainted)
            .finish_non_exhaustive()
    }
}

impl Unit {
    fn new(number: u64) -> Self {
        Unit {
            number,
            lanes: BTreeMap::new(),
            searcher: None,
            pages: VecDeque::new(),
            indexed: 0,
            state: UnitState::Making,
            tainted: false,
        }
    }
}

impl Live {
    pub(super) fn new(linger: Duration) -> Self {
        Live { units: Arc::new(Mutex::new(VecDeque::from([Unit::new(0)]))), linger }
    }

    /// All that can be answered for, oldest first.
    pub fn units(&self) -> Vec<Unit> {
        self.units.lock().iter().cloned().collect()
    }

    /// The lanes that anything is held of.
    pub fn lanes(&self) -> Vec<TopicPartition> {
        let lanes: BTreeSet<_> = self.units.lock().iter().flat_map(|unit| unit.lanes.keys().copied()).collect();
        lanes.into_iter().collect()
    }

    fn making<T>(&self, with: impl FnOnce(&mut Unit) -> T) -> T {
        let mut units = self.units.lock();
        if units.back().is_none_or(|unit| unit.state != UnitState::Making) {
            let number = units.back().map_or(0, |unit| unit.number + 1);
            units.push_back(Unit::new(number));
        }
        let last = units.len() - 1;
        with(&mut units[last])
    }

    /// A lane has been taken up to the end of a range that follows on what was taken before.
    pub(super) fn push(&self, range: LaneRange, page: Arc<Page>) {
        self.making(|unit| {
            unit.lanes.entry(range.partition).and_modify(|known| known.to = range.to).or_insert(range);
            if !page.is_empty() {
                unit.pages.push_back(page);
            }
        });
    }

    /// The next pages that aren't indexed yet: those that fill a chunk, or all if they don't and `rest` is set; otherwise
    /// none.
    pub(super) fn next(&self, chunk: Chunk, rest: bool) -> Vec<Arc<Page>> {
        self.making(|unit| {
            let (mut docs, mut bytes, mut end) = (0, 0, unit.indexed);
            while let Some(page) = unit.pages.get(end).filter(|_| !chunk.is_full(docs, bytes)) {
                (docs, bytes, end) = (docs + page.len(), bytes + page.memory(), end + 1);
            }
            let begins = if rest || chunk.is_full(docs, bytes) { unit.indexed } else { end };
            unit.pages.range(begins..end).cloned().collect()
        })
    }

    /// So many pages, which [`Live::next`] gave, are in the segment that is being built.
    pub(super) fn indexed(&self, pages: usize) {
        self.making(|unit| unit.indexed += pages);
    }

    /// The bytes of the pages that wait to be indexed, and of all pages.
    pub(super) fn memory(&self) -> (usize, usize) {
        self.making(|unit| {
            let waiting = unit.pages.range(unit.indexed..).map(|page| page.memory()).sum();
            (waiting, unit.pages.iter().map(|page| page.memory()).sum())
        })
    }

    /// How many entries wait to be indexed.
    pub(super) fn waiting(&self) -> usize {
        self.making(|unit| unit.pages.range(unit.indexed..).map(|page| page.len()).sum())
    }

    /// The segment is written: the pages that are in it aren't needed any more.
    pub(super) fn written(&self, searcher: Option<Opened>) {
        self.making(|unit| {
            unit.pages.drain(..unit.indexed);
            unit.indexed = 0;
            unit.searcher = searcher;
        });
    }

    /// Whether the unit in the making has anything of a lane.
    pub(super) fn has(&self, partition: TopicPartition) -> bool {
        self.making(|unit| {
            unit.lanes.contains_key(&partition) || unit.pages.iter().any(|page| page.partition == partition)
        })
    }

    /// The unit in the making is complete. Returns its number.
    pub(super) fn sealed(&self, searcher: Option<Opened>) -> u64 {
        self.making(|unit| {
            unit.pages.clear();
            (unit.indexed, unit.searcher, unit.state) = (0, searcher, UnitState::Sealed);
            unit.number
        })
    }

    /// What searches a unit, and the ranges that it has, have changed: what others have published was left out.
    pub(super) fn replaced(&self, number: u64, searcher: Option<Opened>, lanes: &[LaneRange]) {
        if let Some(unit) = self.units.lock().iter_mut().find(|unit| unit.number == number) {
            unit.searcher = searcher;
            unit.lanes = lanes.iter().map(|range| (range.partition, *range)).collect();
            unit.tainted = false;
        }
    }

    /// A unit is in the manifest.
    pub(super) fn published(&self, number: u64) {
        let now = Instant::now();
        let mut units = self.units.lock();
        if let Some(unit) = units.iter_mut().find(|unit| unit.number == number) {
            unit.state = UnitState::Published(now);
            unit.tainted = false;
        }
        let has_gone = |unit: &Unit| matches!(unit.state, UnitState::Published(at) if now - at > self.linger);
        units.retain(|unit| !has_gone(unit));
    }

    /// A lane was lost: others answer for what of it isn't published.
    pub(super) fn lose(&self, partition: TopicPartition) {
        for unit in self.units.lock().iter_mut().filter(|unit| !matches!(unit.state, UnitState::Published(_))) {
            unit.tainted |= unit.lanes.contains_key(&partition);
        }
    }
}
