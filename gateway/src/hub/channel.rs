//! A channel: one card of one workspace, and those who watch it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use agentworks_processors::reader::Scope;
use agentworks_schemas::{Cursor, LogEntry, Position, Topic, TopicPartition};

use super::batch::position_frame;
use super::lanes::Lane;
use super::pending::{Pending, Waiting};
use super::wanted::{Traits, Wanted};
use super::watcher::{Reason, Watcher};
use crate::metrics::Metrics;
use crate::socket::frame::FrameBuilder;
use crate::socket::{Outbox, Stamp};
use crate::tenants::Tenant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ChannelId(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ViewerId(pub(super) u64);

pub(super) type Lanes = HashMap<TopicPartition, Lane>;

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) workspace: String,
    pub(super) card: String,
    /// What is counted of the workspace.
    pub(super) tenant: Arc<Tenant>,
    /// The partitions where its entries lie, sorted; all of them are lanes.
    pub(super) entries: Vec<TopicPartition>,
    /// Those where its run events lie.
    events: Vec<TopicPartition>,
    pub(super) viewers: Vec<Viewer>,
    /// How many of the viewers are live, and how many of those want less than all.
    pub(super) live: usize,
    narrowed: usize,
    pub(super) pending: Pending,
    /// When the store was last asked where its records lie.
    pub(super) looked_up: Instant,
    /// In how many rounds it is asked before others, since records were seen where none of the card's were expected.
    pub(super) suspected: u8,
}

#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) id: ViewerId,
    pub(super) watcher: Arc<Watcher>,
    pub(super) live: Option<Live>,
}

/// A viewer that is pushed to.
#[derive(Debug)]
pub(super) struct Live {
    wanted: Wanted,
    /// If the viewer has read further than the hub in some partition: up to where. The hub skips what lies below.
    ahead: Option<Cursor>,
    /// Whether something was pushed to it since it was last told its position.
    was_pushed: bool,
}

impl Channel {
    pub(super) fn new(workspace: String, card: String, tenant: Arc<Tenant>) -> Self {
        let (entries, events) = (Vec::new(), Vec::new());
        Channel {
            workspace,
            card,
            tenant,
            entries,
            events,
            viewers: Vec::new(),
            live: 0,
            narrowed: 0,
            pending: Pending::default(),
            looked_up: Instant::now(),
            suspected: 0,
        }
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

    /// Pushes to a viewer from now on; `cursor` is how far it has read.
    pub(super) fn begin_live(&mut self, id: ViewerId, wanted: Wanted, cursor: &Cursor, reached: &Cursor) {
        self.end_live(id);
        let Some(viewer) = self.viewers.iter_mut().find(|viewer| viewer.id == id) else { return };
        self.live += 1;
        self.narrowed += usize::from(!wanted.is_all());
        let ahead = is_ahead(cursor, reached).then(|| cursor.clone());
        viewer.live = Some(Live { wanted, ahead, was_pushed: false });
    }

    /// Pushes to a viewer no more.
    pub(super) fn end_live(&mut self, id: ViewerId) -> Option<Live> {
        let live = self.viewers.iter_mut().find(|viewer| viewer.id == id)?.live.take()?;
        self.live -= 1;
        self.narrowed -= usize::from(!live.wanted.is_all());
        Some(live)
    }

    /// Tells a live viewer its position, if that isn't what it was `told` last, nothing was pushed to it of late, and there
    /// is room. Nothing may be pending.
    pub(super) fn mark(&mut self, id: ViewerId, lanes: &Lanes, told: &mut Cursor) {
        debug_assert!(self.pending.is_empty(), "it was flushed");
        let reached = self.cursor(lanes);
        let Some(viewer) = self.viewers.iter_mut().find(|viewer| viewer.id == id) else { return };
        let Some(live) = &mut viewer.live else { return };
        let position = live.cursor(reached);
        let was_pushed = std::mem::take(&mut live.was_pushed);
        // Where there is no room it is told the next time.
        if !was_pushed
            && position != *told
            && viewer.watcher.outbox.pusher().push(&position_frame(&self.card, &position))
        {
            *told = position;
        }
    }

    pub(super) fn outbox(&self, id: ViewerId) -> Option<Arc<Outbox>> {
        let viewer = self.viewers.iter().find(|viewer| viewer.id == id)?;
        Some(Arc::clone(&viewer.watcher.outbox))
    }

    pub(super) fn remove(&mut self, id: ViewerId) {
        self.end_live(id);
        self.viewers.retain(|viewer| viewer.id != id);
    }

    /// How far the hub has come in the channel's partitions.
    pub(super) fn cursor(&self, lanes: &Lanes) -> Cursor {
        let lanes = self.entries.iter().filter_map(|partition| Some((partition, lanes.get(partition)?)));
        lanes.map(|(partition, lane)| (*partition, lane.epoch, lane.next)).collect()
    }

    /// Keeps an entry for the next flush.
    pub(super) fn push(&mut self, entry: &LogEntry<'_>, at: (TopicPartition, i64), stamp: Stamp, lanes: &Lanes) {
        let traits = (self.narrowed > 0).then(|| Box::new(Traits::of(entry)));
        self.pending.push(entry, self.cursor(lanes), at, stamp, traits);
    }

    /// Pushes what is pending to the live viewers.
    pub(super) fn flush(&mut self, lanes: &Lanes, builder: &mut FrameBuilder, metrics: &Metrics) {
        let reached = self.cursor(lanes);
        for viewer in &mut self.viewers {
            let Some(live) = &mut viewer.live else { continue };
            match live.push(&self.card, &mut self.pending, lanes, &viewer.watcher, builder) {
                Ok(()) if live.ahead.as_ref().is_some_and(|ahead| !is_ahead(ahead, &reached)) => live.ahead = None,
                Ok(()) => {}
                Err(left) => {
                    // It has all of the channel's entries but those that are left.
                    let mut cursor = live.cursor(reached.clone());
                    for Waiting { partition, offset, .. } in self.pending.entries[left..].iter().rev() {
                        if let Some((epoch, next)) = cursor.get(*partition) {
                            let has_passed = live.ahead.as_ref().and_then(|ahead| ahead.get(*partition));
                            let next = next.min(*offset).max(has_passed.map_or(0, |(_, next)| next));
                            cursor.set(*partition, epoch, next);
                        }
                    }
                    self.narrowed -= usize::from(!live.wanted.is_all());
                    self.live -= 1;
                    viewer.live = None;
                    metrics.detached(Reason::Overflow.as_str());
                    viewer.watcher.detached(cursor, Reason::Overflow);
                }
            }
        }
        self.pending.clear();
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
        (self.live, self.narrowed) = (0, 0);
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

    fn wants(&self, waiting: &Waiting) -> bool {
        // Who wants less than all has had the traits taken.
        self.wanted.is_all() || waiting.traits.as_ref().is_some_and(|traits| self.wanted.has_traits(traits))
    }

    /// Pushes entries, as far as there is room: otherwise the index of the first that is left.
    fn push(
        &mut self,
        card: &str,
        pending: &mut Pending,
        lanes: &Lanes,
        watcher: &Watcher,
        builder: &mut FrameBuilder,
    ) -> Result<(), usize> {
        let mut pusher = watcher.outbox.pusher();
        if self.ahead.is_none() && pending.entries.iter().all(|waiting| self.wants(waiting)) {
            self.was_pushed = true;
            let left = pending.shared(card, builder).iter().find(|(_, frame)| !pusher.push(frame));
            return left.map_or(Ok(()), |(first, _)| Err(*first));
        }
        for index in 0..pending.entries.len() {
            let waiting = &pending.entries[index];
            if !self.wants(waiting) {
                continue;
            }
            let mut position = None;
            if let Some(ahead) = &self.ahead {
                let Waiting { partition, offset, .. } = *waiting;
                let epoch = lanes.get(&partition).map_or(0, |lane| lane.epoch);
                if ahead.has_passed(Position { partition, epoch, offset }) {
                    continue;
                }
                let mut moved = waiting.position.clone();
                position = raise(&mut moved, ahead).then_some(moved);
            }
            let frame = match position {
                Some(position) => pending.at(index, &position, builder),
                None => pending.single(index, builder),
            };
            if !pusher.push(&frame) {
                return Err(index);
            }
            self.was_pushed = true;
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
