//! A run as it is known at one moment: how it stands, and its share of each partition.

use agentworks_schemas::protocol::RunSummary;
use agentworks_schemas::{Cursor, Timestamp, Topic, TopicPartition};

use super::Scope;
use crate::runs::RunPart;

/// A run, and where its entries lie: how many there are, where the first is, and up to where they were counted.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownRun {
    /// The run at a glance.
    pub summary: RunSummary,
    workspace: String,
    /// At least one for each partition in which its entries may lie, and one for each making of its topic that it has entries
    /// in, in order.
    shares: Vec<Share>,
}

/// A run's share of one partition, in one making of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) partition: TopicPartition,
    pub(super) epoch: u32,
    /// None of its entries lies below.
    pub(super) first: i64,
    /// How many lie below `end`; all of them below `last`.
    pub(super) entries: u64,
    pub(super) last: i64,
    /// Up to where they were counted.
    pub(super) end: i64,
    /// The running maximum of their own timestamps.
    pub(super) clock: Timestamp,
}

impl Share {
    /// What is known of a partition that was looked at up to `end`, by the run's parts.
    pub(super) fn new(partition: TopicPartition, epoch: u32, end: i64, parts: &[RunPart]) -> Self {
        match parts.iter().find(|part| (part.partition, part.epoch) == (partition, epoch)) {
            Some(part) => {
                let (first, last, clock) = (part.first, part.applied, part.clock);
                Share { partition, epoch, first, entries: part.entries(), last, end: end.max(last), clock }
            }
            None => Share { partition, epoch, first: end, entries: 0, last: end, end, clock: Timestamp(i64::MIN) },
        }
    }
}

/// Shares partition by partition: those of one lie together, in the order of its topic's makings.
pub(super) fn by_partition(shares: &[Share]) -> impl Iterator<Item = &[Share]> {
    shares.chunk_by(|share, next| share.partition == next.partition)
}

/// How many entries shares have together.
pub(super) fn entries_of(shares: &[Share]) -> u64 {
    shares.iter().map(|share| share.entries).sum()
}

impl KnownRun {
    /// `shares` may hold partitions of any topic.
    pub(super) fn new(workspace: &str, summary: RunSummary, mut shares: Vec<Share>) -> Self {
        shares.retain(|share| Topic::LOGS.contains(&share.partition.topic));
        shares.sort_by_key(|share| (share.partition, share.epoch));
        KnownRun { summary, workspace: workspace.to_owned(), shares }
    }

    /// The run as a scope.
    pub fn scope(&self) -> Scope {
        let RunSummary { run_id, card_id, .. } = &self.summary;
        Scope::Run { workspace: self.workspace.clone(), run: run_id.clone(), card: card_id.clone() }
    }

    /// How many entries it has; those of system-logs count if `include_system` is set.
    pub fn entries(&self, include_system: bool) -> u64 {
        self.shares(include_system).map(entries_of).sum()
    }

    /// The cursor before its first entry.
    pub fn start(&self, include_system: bool) -> Cursor {
        let first = |shares: &[Share]| shares.first().map(|share| (share.partition, share.epoch, share.first));
        self.shares(include_system).filter_map(first).collect()
    }

    /// The cursor up to which its entries were counted.
    pub fn end(&self, include_system: bool) -> Cursor {
        let last = |shares: &[Share]| shares.last().map(|share| (share.partition, share.epoch, share.end));
        self.shares(include_system).filter_map(last).collect()
    }

    /// How many offsets of a partition, as its topic was made last, there are for each of its entries; 1 where it has none.
    pub fn offsets_per_entry(&self, partition: TopicPartition) -> f64 {
        let share = self.shares.iter().rfind(|share| share.partition == partition);
        let share = share.filter(|share| share.entries > 0);
        share.map_or(1.0, |share| (share.last - share.first).max(1) as f64 / share.entries as f64)
    }

    /// Where a place in a partition leads: out of a making in which the run has no share that can be read, to its first entry in
    /// the next one.
    pub fn settle(&self, partition: TopicPartition, (epoch, next): (u32, i64)) -> (u32, i64) {
        let share = self.shares.iter().find(|share| share.partition == partition && share.epoch >= epoch);
        match share {
            Some(share) if share.epoch > epoch => (share.epoch, share.first),
            _ => (epoch, next),
        }
    }

    /// The shares, partition by partition.
    pub(super) fn shares(&self, include_system: bool) -> impl Iterator<Item = &[Share]> {
        by_partition(&self.shares).filter(move |shares| {
            include_system || shares.iter().all(|share| share.partition.topic == Topic::AgentLogs)
        })
    }
}
