//! The hub without Kafka: partitions, channels and viewers, fed with records.
//!
//! A *lane* here is one partition that the hub reads, with its tail. A *channel* is one card of one workspace and the
//! partitions where its entries lie. A *viewer* is one connection on a channel; it is *live* while the hub pushes to it.
//!
//! All of it lies under one lock, so that "the viewer has everything up to here" and "from here on it is pushed
//! everything" happen at the same instant. What is exact is exact per partition: a viewer's cursor says, for each
//! partition of its channel, the offset of the first entry that it was not given. Between partitions live entries come in
//! the order in which they reached the hub, while history comes in the order of record timestamps; both keep the order
//! within a partition, and so resuming from either loses nothing and repeats nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_processors::erasure::View;
use agentworks_processors::reader::Scope;
use agentworks_schemas::codec::Schemas;
use agentworks_schemas::{Cursor, Position, Topic, TopicPartition};

use super::channel::{Channel, ChannelId, Viewer, ViewerId};
use super::decode;
use super::lanes::{Command, Lane};
use super::tail::Raw;
use super::watcher::{Reason, Watcher};
use crate::metrics::Metrics;
use crate::socket::frame::FrameBuilder;
use crate::socket::{Frame, Stamp};

/// How much the hub remembers, and how long.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    /// How much memory all tails may take, in bytes.
    pub tail_bytes: usize,
    /// How long records stay in a tail, unless memory runs short.
    pub tail_age: Duration,
    /// How long a partition is read on when nobody watches it any more.
    pub linger: Duration,
}

impl Default for HubLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        HubLimits { tail_bytes: 64 * 1024 * 1024, tail_age: seconds(30), linger: seconds(60) }
    }
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) limits: HubLimits,
    pub(super) schemas: &'static Schemas,
    pub(super) metrics: Arc<Metrics>,
    pub(super) lanes: HashMap<TopicPartition, Lane>,
    pub(super) channels: HashMap<ChannelId, Channel>,
    /// Card, then the workspaces in which it is watched: cards of different workspaces may bear the same id.
    pub(super) by_card: HashMap<String, Vec<(String, ChannelId)>>,
    /// Channels with frames that have not been pushed yet.
    touched: Vec<ChannelId>,
    pub(super) commands: Vec<Command>,
    /// Runs that an event was seen of.
    pub(super) touched_runs: HashSet<(ChannelId, String)>,
    last_id: u64,
    arrivals: u64,
    pub(super) tail_bytes: usize,
    pub(super) builder: FrameBuilder,
    /// What is erased, as of the last look.
    pub(super) erased: Arc<View>,
}

impl Core {
    pub(super) fn new(limits: HubLimits, schemas: &'static Schemas, metrics: Arc<Metrics>) -> Self {
        Core {
            limits,
            schemas,
            metrics,
            lanes: HashMap::new(),
            channels: HashMap::new(),
            by_card: HashMap::new(),
            touched: Vec::new(),
            commands: Vec::new(),
            touched_runs: HashSet::new(),
            last_id: 0,
            arrivals: 0,
            tail_bytes: 0,
            builder: FrameBuilder::default(),
            erased: Arc::default(),
        }
    }

    // Who watches what.

    /// Adds a viewer, not live yet. `entries` is the end of the card's partitions a moment ago, and `events` that of those
    /// with its run events: partitions that are not read yet are read from there.
    pub(super) fn watch(
        &mut self,
        workspace: &str,
        card: &str,
        (entries, events): (&Cursor, &Cursor),
        watcher: Arc<Watcher>,
    ) -> (ChannelId, ViewerId) {
        let channel = match self.channel_of(workspace, card) {
            Some(id) => id,
            None => self.add_channel(workspace, card),
        };
        self.extend(channel, entries, events);
        let viewer = ViewerId(self.next_id());
        if let Some(channel) = self.channels.get_mut(&channel) {
            channel.viewers.push(Viewer { id: viewer, watcher, live: None });
        }
        (channel, viewer)
    }

    /// Makes partitions part of a channel. If any was not, all its live viewers are let go of, for they have to read what
    /// lies there first.
    pub(super) fn extend(&mut self, id: ChannelId, entries: &Cursor, events: &Cursor) {
        let Some(channel) = self.channels.get(&id) else { return };
        let is_new = |(partition, ..): &(TopicPartition, u32, i64)| !channel.reads(*partition);
        let new_entries: Vec<_> = entries.iter().filter(is_new).collect();
        let new_events: Vec<_> = events.iter().filter(is_new).collect();
        if !new_entries.is_empty() && channel.live > 0 {
            self.detach_all(id, Reason::Extended);
        }
        for (partition, epoch, next) in entries.iter().chain(events.iter()) {
            self.join(partition, epoch, next);
        }
        let Core { channels, lanes, .. } = self;
        let Some(channel) = channels.get_mut(&id) else { return };
        for (partition, ..) in new_entries.iter().chain(&new_events) {
            channel.add(*partition);
            if let Some(lane) = lanes.get_mut(partition) {
                lane.begin_use();
            }
        }
    }

    /// Takes a viewer away.
    pub(super) fn unwatch(&mut self, id: ChannelId, viewer: ViewerId, now: Instant) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.remove(viewer);
        if !channel.viewers.is_empty() {
            return;
        }
        let Some(channel) = self.channels.remove(&id) else { return };
        for partition in channel.partitions() {
            if let Some(lane) = self.lanes.get_mut(&partition) {
                lane.end_use(now);
            }
        }
        if let Some(ids) = self.by_card.get_mut(&channel.card) {
            ids.retain(|(_, other)| *other != id);
            if ids.is_empty() {
                self.by_card.remove(&channel.card);
            }
        }
    }

    /// Whether a channel has all of these partitions, in their epochs. One that is gone needs none.
    pub(super) fn covers(&self, id: ChannelId, partitions: &BTreeMap<TopicPartition, u32>) -> bool {
        let Some(channel) = self.channels.get(&id) else { return true };
        partitions.iter().all(|(partition, epoch)| {
            channel.reads(*partition) && self.lanes.get(partition).is_some_and(|lane| lane.epoch == *epoch)
        })
    }

    /// The workspace and card of a channel.
    pub(super) fn card(&self, id: ChannelId) -> Option<(String, String)> {
        self.channels.get(&id).map(|channel| (channel.workspace.clone(), channel.card.clone()))
    }

    /// What some channel with this partition shows.
    pub(super) fn scope_of(&self, partition: TopicPartition) -> Option<Scope> {
        self.channels.values().find(|channel| channel.reads(partition)).map(Channel::scope)
    }

    fn channel_of(&self, workspace: &str, card: &str) -> Option<ChannelId> {
        find(self.by_card.get(card)?, workspace)
    }

    fn add_channel(&mut self, workspace: &str, card: &str) -> ChannelId {
        let id = ChannelId(self.next_id());
        self.channels
            .insert(id, Channel::new(workspace.to_owned(), card.to_owned(), self.metrics.tenants.of(workspace)));
        self.by_card.entry(card.to_owned()).or_default().push((workspace.to_owned(), id));
        id
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    // Records.

    /// Takes a record. False if the hub has passed it already, which shows that something is amiss.
    pub(super) fn record(&mut self, partition: TopicPartition, raw: Raw<'_>, now: Instant) -> bool {
        // Gone meanwhile, or begun anew: it is of an assignment that ends.
        let Some(lane) = self.lanes.get_mut(&partition).filter(|lane| lane.is_assigned) else { return true };
        if raw.offset < lane.next {
            self.metrics.hub_duplicates.inc();
            return false;
        }
        lane.next = raw.offset + 1;
        self.metrics.hub_records.inc();
        if partition.topic == Topic::RunEvents {
            self.event(partition, &raw);
            return true;
        }
        self.arrivals += 1;
        let before = lane.tail.bytes();
        lane.tail.push(&raw, self.arrivals, now);
        self.tail_bytes = self.tail_bytes + lane.tail.bytes() - before;
        self.entry(partition, &raw);
        self.bound_tails();
        true
    }

    fn entry(&mut self, partition: TopicPartition, raw: &Raw<'_>) {
        self.suspect(partition, raw.key);
        let Core { by_card, channels, lanes, metrics, touched, erased, .. } = self;
        if !may_be_wanted(by_card, raw.key, |id| channels.get(&id).is_some_and(|channel| channel.live > 0)) {
            return;
        }
        metrics.hub_decoded.inc();
        let Ok(decoded) = decode::entry(self.schemas, partition, raw) else {
            // The store group sends it to the dead-letter topic.
            metrics.hub_rejected.inc();
            return;
        };
        let entry = decoded.record;
        let ids = by_card.get(entry.card_id.as_str());
        let Some(id) = ids.and_then(|ids| find(ids, &entry.workspace_id)) else { return };
        let Some(channel) = channels.get_mut(&id) else { return };
        // In a partition that isn't the channel's yet, it will be read when it becomes so.
        if channel.live == 0 || !channel.entries.contains(&partition) {
            return;
        }
        let epoch = lanes.get(&partition).map_or(0, |lane| lane.epoch);
        // Only where the hub comes late can a record have been erased by now.
        if erased.hides(&entry.workspace_id, &entry.run_id, Position { partition, epoch, offset: raw.offset }) {
            return;
        }
        if channel.pending.is_empty() {
            touched.push(id);
        }
        channel.tenant.entry(entry.level, raw.payload.map_or(0, <[u8]>::len));
        let stamp = Stamp { produced: entry.timestamp, appended: raw.timestamp };
        channel.push(&entry, (partition, raw.offset), stamp, lanes);
    }

    fn event(&mut self, partition: TopicPartition, raw: &Raw<'_>) {
        if !may_be_wanted(&self.by_card, raw.key, |_| true) {
            return;
        }
        let Ok(decoded) = decode::event(self.schemas, partition, raw) else {
            self.metrics.hub_rejected.inc();
            return;
        };
        let event = decoded.record;
        if let Some(id) = self.channel_of(&event.workspace_id, &event.card_id) {
            self.touched_runs.insert((id, event.run_id.as_str().to_owned()));
        }
    }

    /// Pushes what records have brought to all live viewers. Those whose outbox is full are let go of.
    pub(super) fn flush(&mut self) {
        let Core { touched, channels, lanes, builder, metrics, .. } = self;
        for id in touched.drain(..) {
            if let Some(channel) = channels.get_mut(&id) {
                channel.flush(lanes, builder, metrics);
            }
        }
    }

    /// Hands a run's summary to all viewers of a channel, live or not.
    pub(super) fn summary(&self, id: ChannelId, run: &str, frame: &Frame) {
        for viewer in self.channels.get(&id).into_iter().flat_map(|channel| &channel.viewers) {
            viewer.watcher.summary(run, frame);
        }
    }

    // Viewers, and the tails that they join live from: see `super::attach`.

    /// Tells a live viewer its position, if it has heard of none for a while; see [`Channel::mark`].
    pub(super) fn mark(&mut self, id: ChannelId, viewer: ViewerId, told: &mut Cursor) {
        self.flush();
        let Core { channels, lanes, .. } = self;
        if let Some(channel) = channels.get_mut(&id) {
            channel.mark(viewer, lanes, told);
        }
    }

    /// Pushes to a viewer no more. Its cursor, if it was live.
    pub(super) fn detach(&mut self, id: ChannelId, viewer: ViewerId) -> Option<Cursor> {
        self.flush();
        let channel = self.channels.get_mut(&id)?;
        let live = channel.end_live(viewer)?;
        Some(live.cursor(channel.cursor(&self.lanes)))
    }

    pub(super) fn detach_all(&mut self, id: ChannelId, reason: Reason) {
        self.flush();
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.detach_all(&self.lanes, reason, &self.metrics);
        }
    }
}

/// Whether a record with this key may be of a watched card: without a key it may be anybody's.
fn may_be_wanted(
    by_card: &HashMap<String, Vec<(String, ChannelId)>>,
    key: Option<&[u8]>,
    is_wanted: impl Fn(ChannelId) -> bool,
) -> bool {
    let Some(key) = key else { return !by_card.is_empty() };
    let card = std::str::from_utf8(key).ok().and_then(|card| by_card.get(card));
    card.is_some_and(|ids| ids.iter().any(|(_, id)| is_wanted(*id)))
}

fn find(ids: &[(String, ChannelId)], workspace: &str) -> Option<ChannelId> {
    ids.iter().find(|(other, _)| other == workspace).map(|(_, id)| *id)
}
