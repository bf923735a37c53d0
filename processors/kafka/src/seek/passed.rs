//! Whose records lie in which stretch of the log, as far as reads have passed it.
//!
//! Whoever looks for a card's records passes those of all others. What was passed is remembered, so that who looks for
//! another card goes over the stretches that have nothing of it: however many cards are looked for, a lane is read
//! about once.
//!
//! Only the absence of a key is relied on. Keys are kept as hashes, of which two that are equal cost a read and no more;
//! the log only grows at its end and shrinks at its start, neither of which puts a key where none was. A topic that is
//! made again is another: its end lies below what was passed, which is noticed whenever the end is asked for, or its
//! epoch is the next one. For what escapes that, what was learned has a short life.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_schemas::TopicPartition;
use parking_lot::Mutex;

/// So many offsets are remembered, and forgotten, as one.
pub(super) const STRETCH: i64 = 16_384;
/// How much is remembered, in hashes of eight bytes.
const WEIGHT: usize = 1 << 20;
/// What a stretch weighs beside its keys.
const STRETCH_WEIGHT: usize = 16;
/// How long what was learned is believed.
const LIFE: Duration = Duration::from_secs(300);

/// A partition, its epoch, and the number of a stretch.
type Place = (TopicPartition, u32, i64);

/// What the reads of a pool have passed.
#[derive(Debug, Default)]
pub(super) struct Passed {
    state: Mutex<State>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct State {
    stretches: HashMap<Place, Stretch>,
    /// The stretches, the one first learned first.
    order: VecDeque<Place>,
    weight: usize,
    /// The end of what was passed of each partition, in any epoch.
    reached: HashMap<TopicPartition, i64>,
}

/// What was passed of a stretch: one range, and whose records lie in it.
#[derive(Debug)]
struct Stretch {
    from: i64,
    to: i64,
    /// Hashes of keys, sorted.
    keys: Vec<u64>,
    /// Whether there are records without a key, which may be anybody's.
    has_keyless: bool,
    learned: Instant,
}

impl Stretch {
    fn weight(&self) -> usize {
        self.keys.len() + STRETCH_WEIGHT
    }

    /// Adds what was passed of the same stretch, unless something lies between: then the longer of the two counts.
    fn join(&mut self, other: Stretch) {
        if other.from > self.to || other.to < self.from || self.learned.elapsed() >= LIFE {
            if other.to - other.from > self.to - self.from || self.learned.elapsed() >= LIFE {
                *self = other;
            }
            return;
        }
        (self.from, self.to) = (self.from.min(other.from), self.to.max(other.to));
        self.has_keyless |= other.has_keyless;
        if other.keys.iter().any(|key| self.keys.binary_search(key).is_err()) {
            self.keys.extend(other.keys);
            self.keys.sort_unstable();
            self.keys.dedup();
        }
    }
}

impl Passed {
    /// The hash by which a key is known here.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Up to where nothing lies, from `next` on, that a reader of the key with this hash looks at.
    pub(super) fn skip(&self, partition: TopicPartition, epoch: u32, key: u64, next: i64) -> i64 {
        let state = self.state.lock();
        let mut reached = next;
        while let Some(stretch) = state.stretches.get(&(partition, epoch, reached.div_euclid(STRETCH))) {
            let is_known = (stretch.from..stretch.to).contains(&reached) && stretch.learned.elapsed() < LIFE;
            if !is_known || stretch.has_keyless || stretch.keys.binary_search(&key).is_ok() {
                break;
            }
            reached = stretch.to;
        }
        reached
    }

    /// Learns where a partition ends. If that lies before what was passed, the log is another, and all of it is forgotten.
    pub(super) fn ends(&self, partition: TopicPartition, end: i64) {
        let mut state = self.state.lock();
        if state.reached.get(&partition).is_some_and(|reached| *reached > end) {
            state.forget(partition);
        }
    }

    fn learn(&self, place: Place, stretch: Stretch) {
        let mut state = self.state.lock();
        let State { stretches, order, weight, reached, .. } = &mut *state;
        let reached = reached.entry(place.0).or_insert(stretch.to);
        *reached = stretch.to.max(*reached);
        if let Some(known) = stretches.get_mut(&place) {
            *weight -= known.weight();
            known.join(stretch);
            *weight += known.weight();
        } else {
            *weight += stretch.weight();
            stretches.insert(place, stretch);
            order.push_back(place);
        }
        while *weight > WEIGHT
            && let Some(first) = order.pop_front()
        {
            *weight -= stretches.remove(&first).map_or(0, |stretch| stretch.weight());
        }
    }
}

impl State {
    fn forget(&mut self, partition: TopicPartition) {
        self.stretches.retain(|(of, ..), _| *of != partition);
        self.order.retain(|(of, ..)| *of != partition);
        self.weight = self.stretches.values().map(Stretch::weight).sum();
        self.reached.remove(&partition);
    }
}

/// What one read passes, until it is handed over: by stretch, and when the read is left.
#[derive(Debug)]
pub(super) struct Notes {
    passed: Arc<Passed>,
    partition: TopicPartition,
    epoch: u32,
    from: i64,
    to: i64,
    keys: Vec<u64>,
    has_keyless: bool,
}

impl Notes {
    pub(super) fn new(passed: Arc<Passed>, partition: TopicPartition, epoch: u32) -> Self {
        Notes { passed, partition, epoch, from: 0, to: 0, keys: Vec::new(), has_keyless: false }
    }

    /// As [`Passed::skip`], in the partition that is read.
    pub(super) fn skip(&self, key: u64, next: i64) -> i64 {
        self.passed.skip(self.partition, self.epoch, key, next)
    }

    /// From `offset` on every record is passed.
    pub(super) fn begin(&mut self, offset: i64) {
        self.hand_over();
        (self.from, self.to) = (offset, offset);
    }

    /// Passes a record.
    pub(super) fn note(&mut self, offset: i64, key: Option<&[u8]>) {
        self.reach(offset);
        match key.map(|key| self.passed.hash(key)) {
            // Records of one card often come together.
            Some(hash) if self.keys.last() == Some(&hash) => {}
            Some(hash) => self.keys.push(hash),
            None => self.has_keyless = true,
        }
        self.to = offset + 1;
    }

    /// Nothing more lies before `offset`.
    pub(super) fn reach(&mut self, offset: i64) {
        let stretch = self.from.div_euclid(STRETCH);
        let next = offset.div_euclid(STRETCH);
        if next == stretch {
            self.to = self.to.max(offset);
            return;
        }
        self.to = (stretch + 1) * STRETCH;
        // Whole stretches without a record are rare, and go unremembered.
        self.begin(next * STRETCH);
        self.to = offset;
    }

    /// Has the others know what was passed.
    pub(super) fn hand_over(&mut self) {
        let mut keys = std::mem::take(&mut self.keys);
        let has_keyless = std::mem::take(&mut self.has_keyless);
        let (from, to) = (std::mem::replace(&mut self.from, self.to), self.to);
        if from < to {
            keys.sort_unstable();
            keys.dedup();
            keys.shrink_to_fit();
            let stretch = Stretch { from, to, keys, has_keyless, learned: Instant::now() };
            self.passed.learn((self.partition, self.epoch, from.div_euclid(STRETCH)), stretch);
        }
    }
}

#[cfg(test)]
mod tests {
    use agentworks_schemas::Topic;

    use super::*;

    const LANE: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };

    /// Passes a range in which each record has the key that `key` says.
    fn pass(passed: &Arc<Passed>, range: std::ops::Range<i64>, key: impl Fn(i64) -> Option<&'static str>) {
        let mut notes = Notes::new(Arc::clone(passed), LANE, 0);
        notes.begin(range.start);
        range.for_each(|offset| notes.note(offset, key(offset).map(str::as_bytes)));
        notes.hand_over();
    }

    fn skip(passed: &Passed, key: &str, next: i64) -> i64 {
        passed.skip(LANE, 0, passed.hash(key.as_bytes()), next)
    }

    #[test]
    fn only_what_has_nothing_of_a_card_is_gone_over() {
        let passed = Arc::<Passed>::default();
        assert_eq!(skip(&passed, "a", 5), 5, "nothing is known yet");
        // "b" alone lies in the second stretch.
        pass(&passed, 10..2 * STRETCH + 100, |offset| Some(if offset / STRETCH == 1 { "b" } else { "a" }));
        assert_eq!(skip(&passed, "none", 9), 9);
        assert_eq!(skip(&passed, "none", 10), 2 * STRETCH + 100);
        assert_eq!(skip(&passed, "none", 2 * STRETCH + 100), 2 * STRETCH + 100);
        assert_eq!(skip(&passed, "a", 10), 10);
        assert_eq!(skip(&passed, "a", STRETCH + 7), 2 * STRETCH);
        assert_eq!(skip(&passed, "b", 10), STRETCH);
        assert_eq!(passed.skip(LANE, 1, passed.hash(b"none"), 10), 10, "another making is another log");
    }

    #[test]
    fn ranges_that_meet_become_one() {
        let passed = Arc::<Passed>::default();
        pass(&passed, 0..100, |_| Some("a"));
        pass(&passed, 200..250, |_| Some("b"));
        assert_eq!(skip(&passed, "c", 0), 100, "between the two somebody may be");
        assert_eq!(skip(&passed, "c", 200), 200, "the shorter one went unremembered");
        pass(&passed, 100..250, |offset| (offset != 240).then_some("b"));
        assert_eq!(skip(&passed, "c", 0), 0, "a record without a key may be anybody's");
        let passed = Arc::<Passed>::default();
        pass(&passed, 0..100, |_| Some("a"));
        pass(&passed, 50..250, |_| Some("b"));
        assert_eq!([skip(&passed, "a", 0), skip(&passed, "b", 0), skip(&passed, "c", 0)], [0, 0, 250]);
    }

    #[test]
    fn a_log_that_ends_before_what_was_passed_is_another() {
        let passed = Arc::<Passed>::default();
        pass(&passed, 0..100, |_| Some("a"));
        passed.ends(LANE, 100);
        assert_eq!(skip(&passed, "b", 0), 100);
        passed.ends(LANE, 99);
        assert_eq!(skip(&passed, "b", 0), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let passed = Arc::<Passed>::default();
        let names: Vec<String> = (0..STRETCH).map(|n| n.to_string()).collect();
        for stretch in 0..100 {
            let mut notes = Notes::new(Arc::clone(&passed), LANE, 0);
            notes.begin(stretch * STRETCH);
            for (at, name) in names.iter().enumerate() {
                notes.note(stretch * STRETCH + at as i64, Some(name.as_bytes()));
            }
            notes.hand_over();
        }
        assert!(passed.state.lock().weight <= WEIGHT);
        assert_eq!(skip(&passed, "none", 0), 0, "what was learned first is forgotten first");
        assert_eq!(skip(&passed, "none", 99 * STRETCH), 100 * STRETCH);
    }
}
