//! A channel: one card of one workspace, and those who watch it.

use std::collections::HashMap;
use std::sync::Arc;

use agentworks_processors::reader::Scope;
use agentworks_schemas::{Cursor, LogEntry, Position, Topic, TopicPartition};

use super::encode::{position, with_position};
use super::lanes::Lane;
use super::watcher::{Reason, Runs, Watcher};
use crate::metrics::Metrics;
use crate::socket::frame::FrameBuilder;
use crate::socket::{Frame, Outbox};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ChannelId(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ViewerId(pub(super) u64);

pub(super) type Lanes = HashMap<TopicPartition, Lane>;

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) workspace: String,
    pub(super) card: String,
    /// The partitions where its entries lie, sorted; all of them are lanes.
    pub(super) entries: Vec<TopicPartition>,
    /// Those where its run events lie.
    events: Vec<TopicPartition>,
    pub(super) viewers: Vec<Viewer>,
    /// How many of the viewers are live.
    pub(super) live: usize,
    /// Frames that have not been pushed yet.
    pub(super) pending: Vec<Pending>,
}

#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) id: ViewerId,
    pub(super) watcher: Arc<Watcher>,
    pub(super) live: Option<Live>,
}

/// What a viewer that is pushed to wants.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) runs: Runs,
    /// If the viewer has read further than the hub in some partition: up to where. The hub skips what lies below.
    pub(super) ahead: Option<Cursor>,
}

/// An entry's frame, and where the entry lies.
#[derive(Debug)]
pub(super) struct Pending {
    frame: Frame,
    run: String,
    partition: TopicPartition,
    offset: i64,
}

impl Channel {
    pub(super) fn new(workspace: String, card: String) -> Self {
        let (entries, events) = (Vec::new(), Vec::new());
        Channel { workspace, card, entries, events, viewers: Vec::new(), live: 0, pending: Vec::new() }
    }

    /// All partitions that it needs.
    pub(super) fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        self.entries.iter().chain(&self.events).copied()
    }

    pub(super) fn reads(&self, partition: TopicPartition) -> bool {
        self.partitions().any(|own| own == partition)
    }

    /// What it shows.
    pub(super) fn scope(&self) -> Scope {
        Scope::Card { workspace: self.workspace.clone(), card: self.card.clone() }
    }

    /// Whether an entry is one of the channel's.
    pub(super) fn holds(&self, entry: &LogEntry<'_>) -> bool {
        entry.workspace_id == self.workspace.as_str() && entry.card_id == self.card.as_str()
    }

    pub(super) fn add(&mut self, partition: TopicPartition) {
        let partitions = if partition.topic == Topic::RunEvents { &mut self.events } else { &mut self.entries };
        partitions.push(partition);
        partitions.sort();
    }

    pub(super) fn viewer(&mut self, id: ViewerId) -> Option<&mut Viewer> {
        self.viewers.iter_mut().find(|viewer| viewer.id == id)
    }

    pub(super) fn outbox(&self, id: ViewerId) -> Option<Arc<Outbox>> {
        let viewer = self.viewers.iter().find(|viewer| viewer.id == id)?;
        Some(Arc::clone(&viewer.watcher.outbox))
    }

    pub(super) fn remove(&mut self, id: ViewerId) {
        if let Some(index) = self.viewers.iter().position(|viewer| viewer.id == id) {
            let viewer = self.viewers.swap_remove(index);
            self.live -= usize::from(viewer.live.is_some());
        }
    }

    /// How far the hub has come in the channel's partitions.
    pub(super) fn cursor(&self, lanes: &Lanes) -> Cursor {
        let lanes = self.entries.iter().filter_map(|partition| Some((partition, lanes.get(partition)?)));
        lanes.map(|(partition, lane)| (*partition, lane.epoch, lane.next)).collect()
    }

    pub(super) fn push(&mut self, frame: Frame, run: &str, partition: TopicPartition, offset: i64) {
        self.pending.push(Pending { frame, run: run.to_owned(), partition, offset });
    }

    /// Pushes what is pending to the live viewers.
    pub(super) fn flush(&mut self, lanes: &Lanes, builder: &mut FrameBuilder, metrics: &Metrics) {
        let reached = self.cursor(lanes);
        for viewer in &mut self.viewers {
            let Some(live) = &mut viewer.live else { continue };
            match live.push(&self.pending, lanes, &viewer.watcher, builder) {
                Ok(()) if live.ahead.as_ref().is_some_and(|ahead| !is_ahead(ahead, &reached)) => live.ahead = None,
                Ok(()) => {}
                Err(left) => {
                    // It has all of the channel's entries but those that are left.
                    let mut cursor = live.cursor(reached.clone());
                    for Pending { partition, offset, .. } in self.pending[left..].iter().rev() {
                        if let Some((epoch, next)) = cursor.get(*partition) {
                            let has_passed = live.ahead.as_ref().and_then(|ahead| ahead.get(*partition));
                            let next = next.min(*offset).max(has_passed.map_or(0, |(_, next)| next));
                            cursor.set(*partition, epoch, next);
                        }
                    }
                    viewer.live = None;
                    self.live -= 1;
                    metrics.detached(Reason::Overflow.as_str());
                    viewer.watcher.detached(cursor, Reason::Overflow);
                }
            }
        }
        self.pending.clear();
        // A channel that was busy once shall not hold its memory for ever.
        self.pending.shrink_to(64);
    }

    /// Lets go of all live viewers. Nothing may be pending.
    pub(super) fn detach_all(&mut self, lanes: &Lanes, reason: Reason, metrics: &Metrics) {
        debug_assert!(self.pending.is_empty(), "it was flushed");
        let reached = self.cursor(lanes);
        for viewer in &mut self.viewers {
            if let Some(live) = viewer.live.take() {
                metrics.detached(reason.as_str());
                viewer.watcher.detached(live.cursor(reached.clone()), reason);
            }
        }
        self.live = 0;
    }
}

impl Live {
    /// The cursor of a viewer that has all up to `reached`.
    pub(super) fn cursor(&self, mut reached: Cursor) -> Cursor {
        if let Some(ahead) = &self.ahead {
            raise(&mut reached, ahead);
        }
        reached
    }

    fn wants(&self, run: &str) -> bool {
        self.runs.as_ref().is_none_or(|runs| runs.contains(run))
    }

    /// Pushes frames, as far as there is room: otherwise the index of the first that is left.
    fn push(
        &self,
        pending: &[Pending],
        lanes: &Lanes,
        watcher: &Watcher,
        builder: &mut FrameBuilder,
    ) -> Result<(), usize> {
        let mut pusher = watcher.outbox.pusher();
        for (index, Pending { frame, run, partition, offset }) in pending.iter().enumerate() {
            if !self.wants(run) {
                continue;
            }
            let moved = match &self.ahead {
                None => None,
                Some(ahead) => {
                    let epoch = lanes.get(partition).map_or(0, |lane| lane.epoch);
                    if ahead.has_passed(Position { partition: *partition, epoch, offset: *offset }) {
                        continue;
                    }
                    let mut position = position(frame);
                    raise(&mut position, ahead).then(|| with_position(builder, frame, &position))
                }
            };
            if !pusher.push(moved.as_ref().unwrap_or(frame)) {
                return Err(index);
            }
        }
        Ok(())
    }
}

/// Moves `cursor` up to `least` where it lies below. Whether it has moved.
pub(crate) fn raise(cursor: &mut Cursor, least: &Cursor) -> bool {
    let mut has_moved = false;
    for (partition, epoch, next) in least.iter() {
        if cursor.get(partition).is_none_or(|current| current < (epoch, next)) {
            cursor.set(partition, epoch, next);
            has_moved = true;
        }
    }
    has_moved
}

/// Whether `cursor` lies beyond `reached` in any partition.
pub(super) fn is_ahead(cursor: &Cursor, reached: &Cursor) -> bool {
    cursor.iter().any(|(partition, epoch, next)| reached.get(partition).is_none_or(|current| current < (epoch, next)))
}
