//! The makings of a topic that a reading goes through.
//!
//! A topic that was made again begins at offset 0 anew, in its next epoch, and what lay in it before has the cold tier alone.
//! So what is read of a partition is a chain: the earlier makings, as far as the cold tier has them, each from where it begins
//! there to where it ends; then the current one, which the store and the log have. In a topic that was never made again there
//! is nothing before that, and nobody is asked.

use agentworks_schemas::{Cursor, TopicPartition};

use super::ReadError;
use super::lanes::ScopeLane;
use super::stored::StoredTiers;
use crate::lane::Held;

/// What is read of one making of a partition's topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Which making.
    pub(super) epoch: u32,
    /// The first offset.
    pub(super) from: i64,
    /// The offset after the last.
    pub(super) to: i64,
}

/// What is read of a partition: of makings of its topic that are over, and of the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// Those before the last, from the first on; they are over.
    pub(super) before: Vec<Span>,
    pub(super) last: Span,
    /// Whether the last one is known to be over, too.
    pub(super) is_over: bool,
}

impl Chain {
    /// Where it begins.
    pub(super) fn first(&self) -> Span {
        self.before.first().copied().unwrap_or(self.last)
    }
}

impl From<Span> for Chain {
    fn from(last: Span) -> Self {
        Chain { before: Vec::new(), last, is_over: false }
    }
}

/// A making of a partition's topic before the current one, which the cold tier has seen. It may have nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Making {
    pub(super) epoch: u32,
    /// Where the first of the scope lay, if the store says so.
    first: Option<i64>,
    /// Nothing below is held, and nothing of the scope is known to have been there.
    pub(super) floor: i64,
    /// Nor from here on.
    pub(super) end: i64,
}

impl Making {
    /// What the cold tier holds of a making, of which something of the scope is `known` to have been between two offsets.
    pub(super) fn new(held: &Held, known: Option<(i64, i64)>) -> Self {
        let (first, last) = known.unzip();
        // The store may not have seen all of it; the cold tier finds soon that it has nothing of somebody.
        let floor = first.map_or(held.low, |first| first.min(held.low));
        Making { epoch: held.epoch, first, floor, end: last.map_or(held.high, |last| last.max(held.high)) }
    }
}

impl ScopeLane {
    /// Where it begins: the epoch and the offset.
    pub(super) fn start(&self) -> (u32, i64) {
        self.earlier.first().map_or((self.epoch, self.floor), |making| (making.epoch, making.floor))
    }

    /// Where the first of the scope lay in one making; `None` if nobody knows.
    pub(super) fn first_of(&self, epoch: u32) -> Option<i64> {
        if epoch == self.epoch {
            return self.is_known.then_some(self.floor);
        }
        self.earlier.iter().find(|making| making.epoch == epoch).and_then(|making| making.first)
    }

    /// What lies between two places; `None` if the making of one of them is not there (any more).
    pub(super) fn between(&self, (first, next): (u32, i64), (last, end): (u32, i64)) -> Option<Chain> {
        let earlier =
            self.earlier.iter().map(|making| Span { epoch: making.epoch, from: making.floor, to: making.end });
        let current = Span { epoch: self.epoch, from: self.floor, to: i64::MAX };
        let mut before: Vec<_> = earlier.chain([current]).filter(|span| (first..=last).contains(&span.epoch)).collect();
        before.first_mut().filter(|span| span.epoch == first)?.from = next;
        let last = before.pop_if(|span| span.epoch == last)?;
        Some(Chain { before, last: Span { to: end, ..last }, is_over: last.epoch < self.epoch })
    }
}

/// Where lanes begin.
pub(super) fn start_of(lanes: &[ScopeLane]) -> Cursor {
    let start = |lane: &ScopeLane| {
        let (epoch, floor) = lane.start();
        (lane.partition, epoch, floor)
    };
    lanes.iter().map(start).collect()
}

impl StoredTiers {
    /// What the cold tier holds of the makings of a partition's topic before `epoch`, from the first on: those that it has
    /// seen, also where it found nothing in them, or has nothing any more.
    pub(super) async fn earlier(
        &self,
        partition: TopicPartition,
        epoch: u32,
        workspace: &str,
    ) -> Result<Vec<Held>, ReadError> {
        match &self.cold {
            Some(cold) if epoch > 0 => cold.earlier(partition, epoch, workspace).await.map_err(ReadError::Cold),
            _ => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::Topic;

    use super::*;

    const AT: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };

    fn held(epoch: u32, low: i64, high: i64) -> Held {
        Held { high, ..Held::new(AT, epoch, low, None) }
    }

    fn span(epoch: u32, from: i64, to: i64) -> Span {
        Span { epoch, from, to }
    }

    /// Epoch 0 from 10 to 50, of which more was there on both sides; of epoch 1 nothing; epoch 2; and epoch 3, the current one.
    fn lane() -> ScopeLane {
        let earlier = vec![Making::new(&held(0, 10, 50), Some((5, 60))), Making::new(&held(2, 3, 9), None)];
        ScopeLane { partition: AT, epoch: 3, floor: 4, is_known: true, earlier }
    }

    #[test]
    fn a_chain_reaches_from_any_making_that_is_there_to_any_later_one() {
        let lane = lane();
        assert_eq!(lane.start(), (0, 5));
        let chain = |before: &[Span], last, is_over| Chain { before: before.to_vec(), last, is_over };
        let all = chain(&[span(0, 5, 60), span(2, 3, 9)], span(3, 4, 7), false);
        assert_eq!(all.first(), span(0, 5, 60));
        assert_eq!(lane.between((0, 5), (3, 7)), Some(all));
        assert_eq!(lane.between((0, 70), (2, 8)), Some(chain(&[span(0, 70, 60)], span(2, 3, 8), true)));
        assert_eq!(lane.between((2, 4), (2, 6)), Some(chain(&[], span(2, 4, 6), true)));
        assert_eq!(lane.between((2, 4), (3, 7)), Some(chain(&[span(2, 4, 9)], span(3, 4, 7), false)));
        // Of a making that nobody has, backward, and beyond the current one.
        for (from, to) in [((1, 5), (3, 7)), ((0, 5), (1, 7)), ((1, 5), (1, 7)), ((3, 5), (0, 7)), ((3, 5), (4, 7))] {
            assert_eq!(lane.between(from, to), None, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn where_the_first_lay_is_known_by_the_store_alone() {
        let lane = lane();
        assert_eq!([0, 1, 2, 3].map(|epoch| lane.first_of(epoch)), [Some(5), None, None, Some(4)]);
        let unknown = ScopeLane { is_known: false, ..lane };
        assert_eq!(unknown.first_of(3), None);
        // What the store saw first may not have been the first.
        let made = Making::new(&held(0, 10, 50), Some((30, 31)));
        assert_eq!((made.floor, made.end, made.first), (10, 50, Some(30)));
    }
}
