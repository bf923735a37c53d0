//! A run as it is known at one moment: how it stands, and its share of each partition.

use agentworks_schemas::protocol::RunSummary;
use agentworks_schemas::{Cursor, Topic, TopicPartition};

use super::Scope;
use crate::runs::RunPart;

/// A run, and where its entries lie: how many there are, where the first is, and up to where they were counted.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownRun {
    /// The run at a glance.
    pub summary: RunSummary,
    workspace: String,
    /// One for each partition in which its entries may lie, in order.
    shares: Vec<Share>,
}

/// A run's share of one partition.
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
}

impl Share {
    /// What is known of a partition that was looked at up to `end`, by the run's parts.
    pub(super) fn new(partition: TopicPartition, epoch: u32, end: i64, parts: &[RunPart]) -> Self {
        match parts.iter().find(|part| (part.partition, part.epoch) == (partition, epoch)) {
            Some(part) => {
                let (first, last) = (part.first, part.applied);
                Share { partition, epoch, first, entries: part.entries(), last, end: end.max(last) }
            }
            None => Share { partition, epoch, first: end, entries: 0, last: end, end },
        }
    }
}

impl KnownRun {
    /// `shares` may hold partitions of any topic.
    pub(super) fn new(workspace: &str, summary: RunSummary, mut shares: Vec<Share>) -> Self {
        shares.retain(|share| Topic::LOGS.contains(&share.partition.topic));
        shares.sort_by_key(|share| share.partition);
        KnownRun { summary, workspace: workspace.to_owned(), shares }
    }

    /// The run as a scope.
    pub fn scope(&self) -> Scope {
        let RunSummary { run_id, card_id, .. } = &self.summary;
        Scope::Run { workspace: self.workspace.clone(), run: run_id.clone(), card: card_id.clone() }
    }

    /// How many entries it has; those of system-logs count if `include_system` is set.
    pub fn entries(&self, include_system: bool) -> u64 {
        self.shares(include_system).map(|share| share.entries).sum()
    }

    /// The cursor before its first entry.
    pub fn start(&self, include_system: bool) -> Cursor {
        self.shares(include_system).map(|share| (share.partition, share.epoch, share.first)).collect()
    }

    /// The cursor up to which its entries were counted.
    pub fn end(&self, include_system: bool) -> Cursor {
        self.shares(include_system).map(|share| (share.partition, share.epoch, share.end)).collect()
    }

    /// How many offsets of a partition there are for each of its entries; 1 where it has none.
    pub fn offsets_per_entry(&self, partition: TopicPartition) -> f64 {
        let share = self.shares.iter().find(|share| share.partition == partition && share.entries > 0);
        share.map_or(1.0, |share| (share.last - share.first).max(1) as f64 / share.entries as f64)
    }

    pub(super) fn shares(&self, include_system: bool) -> impl Iterator<Item = &Share> {
        self.shares.iter().filter(move |share| include_system || share.partition.topic == Topic::AgentLogs)
    }
}
