//! A partition in the driver.

mod seen;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use agentworks_kafka::{Batch, Watermarks};
use agentworks_schemas::{Timestamp, TopicPartition};

use super::message::Assignment;
use super::retry::Retry;
use super::room::Room;
use super::status::{LaneState, LaneView, SinkView};
use crate::epochs::{Epoch, Sight};
use crate::lane::Held;
use crate::tails::Tail;
use seen::Seen;

/// Batches whose first records lie closer together than this are remembered as one, in milliseconds.
const GRAIN: i64 = 1000;

/// In place of an offset that isn't known.
pub(super) const UNKNOWN: i64 = -1;

/// A partition that the group has given to this member.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) assignment: Assignment,
    pub(super) phase: Phase,
    /// What was recorded of the topic when the partition was opened, once it was.
    pub(super) epoch: Option<Epoch>,
    /// The sinks that take it, once it has been opened.
    pub(super) sinks: Vec<LaneSink>,
    /// What has come.
    pub(super) seen: Seen,
    /// The tail that was kept last.
    pub(super) kept: Option<Tail>,
    /// When the topic was last known to be the one that was opened: a look at it that found so began then. Before the
    /// first, when this was made, which is before anything was read.
    pub(super) same_at: Instant,
    /// Batches that wait until the rejects of the first are written.
    pub(super) aside: VecDeque<(Arc<Batch>, Room)>,
    /// When it was begun to be opened.
    opened: Timestamp,
    /// The timestamp of the last record that was handed over.
    last: Option<Timestamp>,
    /// What was handed over and isn't held by all: the first record's timestamp, and the offset after the last.
    unheld: VecDeque<(Timestamp, i64)>,
}

/// What is being done with a partition.
#[derive(Debug)]
pub(super) enum Phase {
    /// The log has been asked for its ends, and then the sinks for their positions.
    Opening(Option<Retry>),
    /// Batches come.
    Reading,
    /// Nothing for a while, for this reason: then it is opened anew.
    Waiting(String),
    /// No more, for this reason.
    Stopped(String),
}

/// A sink's part of a partition.
#[derive(Debug)]
pub(super) struct LaneSink {
    /// Which sink.
    pub(super) sink: usize,
    pub(super) name: &'static str,
    /// Where the sink began: what lies before is not handed to it.
    pub(super) start: i64,
    low: i64,
    pub(super) high: i64,
    /// Why the sink takes no more of this partition, if so.
    pub(super) stopped: Option<String>,
}

impl LaneSink {
    pub(super) fn new(sink: usize, name: &'static str, held: &Held) -> Self {
        LaneSink { sink, name, start: held.high, low: held.low, high: held.high, stopped: None }
    }

    /// The part of a sink that could not open the partition.
    pub(super) fn unopened(sink: usize, name: &'static str, reason: String) -> Self {
        LaneSink { sink, name, start: UNKNOWN, low: UNKNOWN, high: UNKNOWN, stopped: Some(reason) }
    }

    /// Why the sink can't go on where it is, if the log is that of `marks`.
    pub(super) fn misfit(&self, partition: TopicPartition, marks: Watermarks) -> Option<String> {
        misfit(&format!("{} holds", self.name), partition, self.high, marks)
    }
}

/// Why nobody can go on at `next`, up to where `who` has a partition, if the log is that of `marks`.
pub(super) fn misfit(who: &str, partition: TopicPartition, next: i64, marks: Watermarks) -> Option<String> {
    let Watermarks { low, high: end } = marks;
    let topic = partition.topic;
    if next < low {
        return Some(format!(
            "{who} {partition} up to {next}, but the log begins at {low}: its retention has deleted records that were not \
             taken yet. Lengthen the retention; `agentworks topics adopt {topic} --skip-lost` goes on without them"
        ));
    }
    if next > end {
        return Some(format!(
            "{who} {partition} up to {next}, but the log ends at {end}: it was cut back, or the topic was made again. Bring \
             the old log back; `agentworks topics adopt {topic}` goes on with one that was made again"
        ));
    }
    None
}

impl Lane {
    pub(super) fn new(assignment: Assignment) -> Self {
        let phase = Phase::Opening(None);
        Lane {
            assignment,
            phase,
            epoch: None,
            sinks: Vec::new(),
            seen: Seen::default(),
            kept: None,
            same_at: Instant::now(),
            aside: VecDeque::new(),
            opened: Timestamp::now(),
            last: None,
            unheld: VecDeque::new(),
        }
    }

    /// The part of the sink with number `sink`.
    pub(super) fn sink_mut(&mut self, sink: usize) -> Option<&mut LaneSink> {
        self.sinks.iter_mut().find(|part| part.sink == sink)
    }

    /// The sinks that still take it.
    pub(super) fn running(&self) -> impl Iterator<Item = &LaneSink> {
        self.sinks.iter().filter(|part| part.stopped.is_none())
    }

    /// Notes that the sinks have taken a batch.
    pub(super) fn taken(&mut self, batch: &Batch) {
        let record = |first: bool| {
            let records = batch.records().iter().map(|record| record.timestamp);
            let rejects = batch.rejects().iter().map(|rejected| rejected.timestamp);
            if first { records.chain(rejects).min() } else { records.chain(rejects).max() }
        };
        let (Some(first), Some(last)) = (record(true), record(false)) else { return };
        self.last = self.last.max(Some(last));
        match self.unheld.back_mut() {
            Some((begun, to)) if first.millis() - begun.millis() < GRAIN => *to = batch.to,
            _ => self.unheld.push_back((first, batch.to)),
        }
    }

    /// Notes that a sink has published what it holds. Returns by how many offsets that moves its position.
    pub(super) fn holds(&mut self, sink: usize, held: &Held) -> i64 {
        let mut moved = 0;
        if let Some(part) = self.sink_mut(sink) {
            moved = held.high - part.high;
            (part.low, part.high) = (held.low, held.high);
        }
        if let Some(least) = self.running().map(|part| part.high).min() {
            while self.unheld.pop_front_if(|(_, to)| *to <= least).is_some() {}
        }
        moved
    }

    /// Notes that the topic is the one that was opened, or nobody can tell: a look at it that found so began at `begun`.
    pub(super) fn is_as_recorded(&mut self, sight: &Sight, begun: Instant) {
        if sight.topic_id.is_some() {
            self.same_at = begun;
        }
        // What operators have done to others is no reason to open this one anew.
        if matches!(self.phase, Phase::Reading)
            && self.sinks.iter().all(|part| part.stopped.is_none())
            && let Some(opened) = self.epoch.as_mut().filter(|opened| opened.epoch == sight.recorded.epoch)
        {
            opened.revision = sight.recorded.revision;
        }
    }

    /// The last record that is remembered of what any sink holds that still takes it: whichever has taken it can't go on in
    /// a log that has another in its place.
    pub(super) fn tail(&mut self) -> Option<Tail> {
        let held = self.running().map(|part| part.high).max()?;
        let &Epoch { epoch, revision, .. } = self.epoch.as_ref()?;
        self.seen.below(held).map(|record| Tail { epoch, revision, record })
    }

    /// The offset up to which every sink holds everything, if that is known.
    pub(super) fn held(&self) -> Option<i64> {
        self.sinks.iter().map(|part| part.high).min().filter(|high| *high != UNKNOWN)
    }

    pub(super) fn view(&self) -> LaneView {
        let state = match &self.phase {
            Phase::Opening(retry) => LaneState::Opening(retry.as_ref().map(|retry| retry.error.clone())),
            Phase::Reading => LaneState::Reading,
            Phase::Waiting(reason) => LaneState::Opening(Some(reason.clone())),
            Phase::Stopped(reason) => LaneState::Stopped(reason.clone()),
        };
        let sinks = self.sinks.iter().map(|part| SinkView {
            sink: part.name,
            low: part.low,
            high: part.high,
            oldest: self.unheld.iter().find(|(_, to)| *to > part.high).map(|(first, _)| *first),
            stopped: part.stopped.clone(),
        });
        LaneView {
            state,
            problem: None,
            last: self.last.unwrap_or(self.opened),
            held: self.held(),
            sinks: sinks.collect(),
        }
    }
}
