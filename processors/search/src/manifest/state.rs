//! All that there is at a version.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentworks_schemas::{Timestamp, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::split::{SplitId, SplitMeta, Times};

/// How far a lane is indexed: `[low, high)` of its epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Which making of the topic.
    pub epoch: u32,
    /// Where the index began.
    pub low: i64,
    /// The first offset that isn't indexed yet.
    pub high: i64,
    /// The change that has moved it last; see [`Change::id`](super::Change::id).
    pub by: String,
}

/// The lanes and splits at a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The version; 0 before the first one.
    pub version: u64,
    /// How far each lane is.
    pub lanes: BTreeMap<TopicPartition, Lane>,
    /// The splits, by age.
    pub splits: BTreeMap<SplitId, Arc<SplitMeta>>,
    /// Splits that were removed, and when. Their objects stay for a while, for those who read by an older version.
    pub removed: BTreeMap<SplitId, Timestamp>,
}

impl State {
    /// The epoch and position of a lane; `None` if nobody has begun with it.
    pub fn position(&self, partition: TopicPartition) -> Option<(u32, i64)> {
        self.lanes.get(&partition).map(|lane| (lane.epoch, lane.high))
    }

    /// The splits that have entries of a workspace with timestamps in a span.
    pub fn splits_of<'a>(
        &'a self,
        workspace: &'a str,
        times: Option<Times>,
    ) -> impl Iterator<Item = &'a Arc<SplitMeta>> + 'a {
        self.splits.values().filter(move |split| {
            split.workspaces.get(workspace).is_some_and(|own| times.is_none_or(|times| own.times.overlap(times)))
        })
    }
}

/// A state as a snapshot has it: maps with keys that JSON has no form for are lists.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Snapshot {
    lanes: Vec<(TopicPartition, Lane)>,
    splits: Vec<SplitMeta>,
    removed: BTreeMap<SplitId, Timestamp>,
}

impl Snapshot {
    pub(super) fn of(state: &State) -> Self {
        let lanes = state.lanes.iter().map(|(partition, lane)| (*partition, lane.clone())).collect();
        let splits = state.splits.values().map(|split| SplitMeta::clone(split)).collect();
        Snapshot { lanes, splits, removed: state.removed.clone() }
    }

    pub(super) fn into_state(self, version: u64) -> State {
        let splits = self.splits.into_iter().map(|split| (split.id.clone(), Arc::new(split))).collect();
        State { version, lanes: self.lanes.into_iter().collect(), splits, removed: self.removed }
    }
}
