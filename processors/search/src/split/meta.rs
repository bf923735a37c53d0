//! What the manifest says of a split.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use agentworks_schemas::{Position, Timestamp, TopicPartition};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::filter::FilterPlace;

/// A split's id: 32 hexadecimal digits, of which the first ones are the time at which it was begun.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SplitId(String);

/// The text is no split's id.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no split's id, which has 32 hexadecimal digits")]
pub struct NoSplitId(String);

impl SplitId {
    /// An id that nobody else has.
    #[allow(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        SplitId(Uuid::now_v7().simple().to_string())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When it was begun, by the clock of whoever did.
    pub fn made(&self) -> Timestamp {
        Timestamp(self.0.get(..12).and_then(|millis| i64::from_str_radix(millis, 16).ok()).unwrap_or_default())
    }
}

impl FromStr for SplitId {
    type Err = NoSplitId;

    fn from_str(text: &str) -> Result<Self, NoSplitId> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_hex { Ok(SplitId(text.to_owned())) } else { Err(NoSplitId(text.chars().take(64).collect())) }
    }
}

impl TryFrom<String> for SplitId {
    type Error = NoSplitId;

    fn try_from(text: String) -> Result<Self, NoSplitId> {
        text.parse()
    }
}

impl From<SplitId> for String {
    fn from(id: SplitId) -> String {
        id.0
    }
}

impl fmt::Display for SplitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A span of time, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Times {
    pub first: Timestamp,
    pub last: Timestamp,
}

impl Times {
    /// One instant.
    pub fn at(time: Timestamp) -> Self {
        Times { first: time, last: time }
    }

    /// The span that holds both.
    pub fn with(self, other: Times) -> Self {
        Times { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    /// Whether they have an instant in common.
    pub fn overlap(self, other: Times) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Offsets of a partition: from the first on, up to the second, which isn't one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LaneRange {
    /// Where.
    #[serde(flatten)]
    pub partition: TopicPartition,
    /// Which making of the topic.
    pub epoch: u32,
    /// The first.
    pub from: i64,
    /// The one after the last.
    pub to: i64,
}

impl LaneRange {
    /// Whether a position lies in it.
    pub fn contains(&self, position: Position) -> bool {
        position.partition == self.partition
            && position.epoch == self.epoch
            && (self.from..self.to).contains(&position.offset)
    }

    /// Ranges that hold the same, as few as possible, sorted.
    pub fn union(ranges: impl IntoIterator<Item = LaneRange>) -> Vec<LaneRange> {
        let mut all: Vec<_> = ranges.into_iter().filter(|range| range.from < range.to).collect();
        all.sort_unstable();
        let mut union: Vec<LaneRange> = Vec::with_capacity(all.len());
        for range in all {
            match union.last_mut() {
                Some(last)
                    if (last.partition, last.epoch) == (range.partition, range.epoch) && last.to >= range.from =>
                {
                    last.to = last.to.max(range.to);
                }
                _ => union.push(range),
            }
        }
        union
    }

    /// What two sets of ranges have in common; each, and what is returned, as [`LaneRange::union`] gives them.
    pub fn common(one: &[LaneRange], other: &[LaneRange]) -> Vec<LaneRange> {
        let (mut ones, mut others) = (one.iter().peekable(), other.iter().peekable());
        let mut common = Vec::new();
        while let (Some(a), Some(b)) = (ones.peek().copied(), others.peek().copied()) {
            let (from, to) = (a.from.max(b.from), a.to.min(b.to));
            if (a.partition, a.epoch) == (b.partition, b.epoch) && from < to {
                common.push(LaneRange { from, to, ..*a });
            }
            // Nothing more can be in common with the one that ends first.
            match (a.partition, a.epoch, a.to) <= (b.partition, b.epoch, b.to) {
                true => ones.next(),
                false => others.next(),
            };
        }
        common
    }
}

impl fmt::Display for LaneRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}..{}", self.partition, self.epoch, self.from, self.to)
    }
}

/// What a split has of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceMeta {
    /// How many entries.
    pub docs: u64,
    /// Their own timestamps.
    pub times: Times,
    /// Their record timestamps.
    pub record_times: Times,
    /// The lanes' ranges that they are of, if these are fewer than the split's; see [`SplitMeta::ranges_of`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<LaneRange>,
}

impl WorkspaceMeta {
    /// One entry.
    pub fn of(time: Timestamp, record_time: Timestamp) -> Self {
        WorkspaceMeta { docs: 1, times: Times::at(time), record_times: Times::at(record_time), lanes: Vec::new() }
    }

    /// Counts one entry more.
    pub fn add(&mut self, time: Timestamp, record_time: Timestamp) {
        self.docs += 1;
        self.times = self.times.with(Times::at(time));
        self.record_times = self.record_times.with(Times::at(record_time));
    }
}

/// A split as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitMeta {
    /// Its id.
    pub id: SplitId,
    /// The bytes of its object.
    pub bytes: u64,
    /// SHA-256 of the object's footer, which has the checksums of all the rest; hexadecimal.
    pub footer: String,
    /// How many entries it has.
    pub docs: u64,
    /// How often it was merged: 0 as indexers write it.
    #[serde(default)]
    pub tier: u8,
    /// The lanes' ranges that its entries are of. It need not have all of these: a range's entries of some workspaces may
    /// lie in one split, those of the others in another.
    pub lanes: Vec<LaneRange>,
    /// The workspaces in it.
    pub workspaces: BTreeMap<String, WorkspaceMeta>,
    /// Workspaces whose entries of these ranges lie in other splits: those of others that aren't in it had none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub apart: BTreeSet<String>,
    /// Where in its object the filter of its terms lies; those that versions before made have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterPlace>,
}

impl SplitMeta {
    /// The lanes' ranges of which no other split has entries of a workspace. A workspace that merging has given a split of
    /// its own for some ranges, and not for others, has fewer here than the split has.
    pub fn ranges_of(&self, workspace: &str) -> &[LaneRange] {
        match self.workspaces.get(workspace) {
            Some(own) if !own.lanes.is_empty() => &own.lanes,
            None if self.apart.contains(workspace) => &[],
            _ => &self.lanes,
        }
    }

    /// The span of its entries' own timestamps; `None` if it has none.
    pub fn times(&self) -> Option<Times> {
        self.workspaces.values().map(|workspace| workspace.times).reduce(Times::with)
    }

    /// The span of its entries' record timestamps; `None` if it has none.
    pub fn record_times(&self) -> Option<Times> {
        self.workspaces.values().map(|workspace| workspace.record_times).reduce(Times::with)
    }
}

#[cfg(test)]
mod tests {
    use agentworks_schemas::Topic;

    use super::*;

    #[test]
    fn ranges_have_in_common_what_both_hold() {
        let range = |partition, epoch, from, to| {
            let partition = TopicPartition::new(Topic::AgentLogs, partition);
            LaneRange { partition, epoch, from, to }
        };
        let one = [range(0, 0, 0, 10), range(0, 0, 20, 30), range(0, 1, 0, 5), range(2, 0, 0, 5)];
        let other = [range(0, 0, 5, 25), range(0, 0, 28, 40), range(1, 0, 0, 9), range(2, 0, 5, 9)];
        let common = [range(0, 0, 5, 10), range(0, 0, 20, 25), range(0, 0, 28, 30)];
        assert_eq!(LaneRange::common(&one, &other), common);
        assert_eq!(LaneRange::common(&other, &one), common);
        assert_eq!(LaneRange::common(&one, &one), one);
        assert_eq!(LaneRange::common(&one, &[]), []);
    }
}
