//! The partitions that are read: how they join and leave, and how much of each is remembered.

use std::sync::Arc;
use std::time::Instant;

use agentworks_processors::erasure::View;
use agentworks_schemas::{Cursor, TopicPartition};

use super::channel::ChannelId;
use super::core::{Core, HubLimits};
use super::tail::Tail;
use super::watcher::Reason;

/// What the consumer has to do. Commands must be carried out in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Read this partition from where its lane stands.
    Join(TopicPartition),
    /// Don't read it any more.
    Leave(TopicPartition),
}

/// A partition that is read.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) epoch: u32,
    /// All below has been taken.
    pub(super) next: i64,
    pub(super) tail: Tail,
    /// Whether it is read from where it stands: not before the consumer has obeyed.
    pub(super) is_assigned: bool,
    /// How many channels need it.
    users: usize,
    /// Since when none does.
    idle: Option<Instant>,
}

impl Lane {
    /// One channel more needs it.
    pub(super) fn begin_use(&mut self) {
        self.users += 1;
        self.idle = None;
    }

    /// One channel less does.
    pub(super) fn end_use(&mut self, now: Instant) {
        self.users -= 1;
        self.idle = (self.users == 0).then_some(now);
    }
}

impl Core {
    /// Reads a partition from `next` on, unless it is read already.
    pub(super) fn join(&mut self, partition: TopicPartition, epoch: u32, next: i64) {
        match self.lanes.get(&partition) {
            Some(lane) if lane.epoch >= epoch => {}
            Some(_) => self.reset(partition, epoch, next),
            None => {
                let lane = Lane { epoch, next, tail: Tail::new(next), is_assigned: false, users: 0, idle: None };
                self.lanes.insert(partition, lane);
                self.commands.push(Command::Join(partition));
            }
        }
    }

    /// Begins a partition anew at `next` of `epoch`, whatever was known of it. Its live viewers are let go of with the
    /// cursors that they had; reading on from there tells them what became of the log.
    pub(super) fn reset(&mut self, partition: TopicPartition, epoch: u32, next: i64) {
        let ids: Vec<ChannelId> = self.channels.iter().filter(|(_, c)| c.reads(partition)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.detach_all(id, Reason::Reset));
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        self.tail_bytes -= lane.tail.bytes();
        (lane.epoch, lane.next, lane.tail, lane.is_assigned) = (epoch, next, Tail::new(next), false);
        self.metrics.hub_resets.inc();
        self.rejoin(partition);
    }

    /// Begins partitions anew that are read in a later epoch than this: that was an error, or has been taken back.
    pub(super) fn go_back(&mut self, end: &Cursor) {
        for (partition, epoch, next) in end.iter() {
            if self.lanes.get(&partition).is_some_and(|lane| lane.epoch > epoch) {
                self.reset(partition, epoch, next);
            }
        }
    }

    /// Has a partition read anew from where its lane stands, if there is one.
    pub(super) fn rejoin(&mut self, partition: TopicPartition) {
        if self.lanes.contains_key(&partition) {
            self.commands.extend([Command::Leave(partition), Command::Join(partition)]);
        }
    }

    /// What the consumer has to do next, and for a partition to join, from which offset; `None` if it has been taken back.
    /// Between this and its obeying it must take no records.
    pub(super) fn next_command(&mut self) -> Option<(Command, Option<i64>)> {
        if self.commands.is_empty() {
            return None;
        }
        let command = self.commands.remove(0);
        let next = match command {
            Command::Join(partition) => self.lanes.get_mut(&partition).map(|lane| {
                lane.is_assigned = true;
                lane.next
            }),
            Command::Leave(_) => None,
        };
        Some((command, next))
    }

    /// Drops what is too old: records of the tails, and partitions that nobody has needed for a while.
    pub(super) fn sweep(&mut self, now: Instant) {
        let HubLimits { tail_age, linger, .. } = self.limits;
        let Core { lanes, commands, tail_bytes, metrics, .. } = self;
        lanes.retain(|partition, lane| {
            let before = lane.tail.bytes();
            if let Some(than) = now.checked_sub(tail_age) {
                lane.tail.drop_older(than);
            }
            *tail_bytes = *tail_bytes + lane.tail.bytes() - before;
            let stays = lane.idle.is_none_or(|since| now - since < linger);
            if !stays {
                *tail_bytes -= lane.tail.bytes();
                commands.push(Command::Leave(*partition));
            }
            stays
        });
        metrics.hub_lanes.set(lanes.len() as i64);
        metrics.hub_channels.set(self.channels.len() as i64);
        metrics.hub_tail_bytes.set(self.tail_bytes as i64);
    }

    /// Takes note of what is erased. If that is news, the tails are forgotten: who joins live reads what lies before now
    /// from the tiers, which hide what they must.
    pub(super) fn erase(&mut self, erased: Arc<View>) {
        if !Arc::ptr_eq(&self.erased, &erased) {
            self.erased = erased;
            self.forget_tails();
        }
    }

    /// Drops all records from all tails.
    pub(super) fn forget_tails(&mut self) {
        for lane in self.lanes.values_mut() {
            while lane.tail.oldest().is_some() {
                lane.tail.drop_first();
            }
        }
        self.tail_bytes = self.lanes.values().map(|lane| lane.tail.bytes()).sum();
    }

    /// Drops the oldest records where the tails take too much memory.
    pub(super) fn bound_tails(&mut self) {
        while self.tail_bytes > self.limits.tail_bytes {
            let oldest = self.lanes.values_mut().filter(|lane| lane.tail.oldest().is_some());
            let Some(lane) = oldest.min_by_key(|lane| lane.tail.oldest()) else { return };
            let before = lane.tail.bytes();
            lane.tail.drop_first();
            self.tail_bytes = self.tail_bytes + lane.tail.bytes() - before;
        }
    }
}
