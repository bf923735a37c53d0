//! What a version changes.

use agentworks_schemas::{Timestamp, TopicPartition};
use serde::{Deserialize, Serialize};

use super::state::{Lane, State};
use crate::error::{Fence, SearchError};
use crate::split::{LaneRange, SplitId, SplitMeta};

/// A lane that is begun with, or begun anew after its topic was made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneStart {
    /// Which.
    #[serde(flatten)]
    pub partition: TopicPartition,
    /// Which making of the topic.
    pub epoch: u32,
    /// The first offset that will be held.
    pub start: i64,
    /// The epoch and position that it had before, if any.
    pub before: Option<(u32, i64)>,
}

/// What a version changes: all of it, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// A word that no other change has: by it an attempt is known whose answer got lost.
    pub id: String,
    /// Why, for people.
    pub why: String,
    /// When it was thought of.
    pub at: Timestamp,
    /// Lanes that are begun with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub start: Vec<LaneStart>,
    /// Lanes whose position moves: it must be at `from`, and is at `to` then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<LaneRange>,
    /// Splits that there are then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<SplitMeta>,
    /// Splits that there must be, and are not any more then. Their objects stay for a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<SplitId>,
    /// Removed splits whose objects are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<SplitId>,
}

impl Change {
    /// A change that changes nothing yet.
    pub fn new(why: &str) -> Self {
        Change {
            id: uuid::Uuid::new_v4().simple().to_string(),
            why: why.to_owned(),
            at: Timestamp::now(),
            start: Vec::new(),
            lanes: Vec::new(),
            add: Vec::new(),
            remove: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// Whether a state has it: an earlier attempt, whose answer got lost, has succeeded.
    pub(super) fn is_in(&self, state: &State) -> bool {
        let mut lanes =
            self.lanes.iter().map(|lane| lane.partition).chain(self.start.iter().map(|lane| lane.partition));
        if !self.lanes.is_empty() || !self.start.is_empty() {
            // Of others' lanes some may have moved on since.
            return lanes.any(|partition| state.lanes.get(&partition).is_some_and(|lane| lane.by == self.id));
        }
        let is_there = |id| state.splits.contains_key(id);
        match self.add.is_empty() {
            false => self.add.iter().all(|split| is_there(&split.id)),
            true => {
                let is_removed = |id| !is_there(id) && state.removed.contains_key(id);
                self.remove.iter().all(is_removed) && !self.gone.iter().any(|id| state.removed.contains_key(id))
            }
        }
    }

    /// Whether the change may be made to a state.
    ///
    /// # Errors
    /// [`SearchError::Fenced`] with the lanes that are elsewhere; [`SearchError::Gone`] with the splits that are.
    pub(super) fn check(&self, state: &State) -> Result<(), SearchError> {
        let expected = self.lanes.iter().map(|range| (range.partition, Some((range.epoch, range.from))));
        let begun = self.start.iter().map(|start| (start.partition, start.before));
        let fences: Vec<_> = expected
            .chain(begun)
            .filter(|(partition, expected)| state.position(*partition) != *expected)
            .map(|(partition, expected)| {
                let found = state.position(partition);
                Fence { partition, expected: expected.unwrap_or_default(), found }
            })
            .collect();
        if !fences.is_empty() {
            return Err(SearchError::Fenced(fences));
        }
        let gone: Vec<_> = self.remove.iter().filter(|id| !state.splits.contains_key(id)).cloned().collect();
        if gone.is_empty() { Ok(()) } else { Err(SearchError::Gone(gone)) }
    }

    /// Makes the change.
    pub(super) fn apply(&self, state: &mut State) {
        for start in &self.start {
            let by = self.id.clone();
            let lane = Lane { epoch: start.epoch, low: start.start, high: start.start, by };
            state.lanes.insert(start.partition, lane);
        }
        for range in &self.lanes {
            if let Some(lane) = state.lanes.get_mut(&range.partition) {
                lane.high = range.to;
                lane.by.clone_from(&self.id);
            }
        }
        for id in &self.remove {
            state.splits.remove(id);
            state.removed.insert(id.clone(), self.at);
        }
        for id in &self.gone {
            state.removed.remove(id);
        }
        for split in &self.add {
            state.splits.insert(split.id.clone(), std::sync::Arc::new(split.clone()));
        }
    }
}
