//! Under which names a lane's position is recorded in a table: as Delta's application transactions, beside the files.

use std::collections::BTreeSet;

use agentworks_processors::lane::{Clock, Held};
use agentworks_schemas::{Timestamp, Topic, TopicPartition};

use crate::error::ArchiveError;
use crate::table::{Recorded, Table, Version};

/// The sink's name.
pub(crate) const NAME: &str = "archive";

/// The first offset that isn't held yet: what is compared and swapped.
pub(crate) fn high(partition: TopicPartition, epoch: u32) -> String {
    format!("{NAME}/{}/{epoch}/{}", partition.topic, partition.partition)
}

/// The first offset that is held.
pub(crate) fn low(partition: TopicPartition, epoch: u32) -> String {
    format!("{}/low", high(partition, epoch))
}

/// The running maximum of the record timestamps at the high, in milliseconds.
pub(crate) fn clock(partition: TopicPartition, epoch: u32) -> String {
    format!("{}/clock", high(partition, epoch))
}

/// The first offset that a workspace whose entries are not kept for ever has.
pub(crate) fn low_of(partition: TopicPartition, epoch: u32, workspace: &str) -> String {
    format!("{}/{workspace}", low(partition, epoch))
}

/// Which making of its topic a partition is in.
pub(crate) fn epoch(partition: TopicPartition) -> String {
    format!("{NAME}/{}/{}/epoch", partition.topic, partition.partition)
}

/// What a table holds of a lane; `None` if it never began.
pub(crate) async fn held(
    table: &Table,
    version: &Version,
    partition: TopicPartition,
    epoch: u32,
    workspace: Option<&str>,
) -> Result<Option<Held>, ArchiveError> {
    let found = version.recorded(table, names(partition, epoch, workspace)).await?;
    Ok(held_of(partition, epoch, &found))
}

/// Under which names is recorded what a table holds of a lane.
fn names(partition: TopicPartition, epoch: u32, workspace: Option<&str>) -> Vec<String> {
    let names = [high(partition, epoch), low(partition, epoch), clock(partition, epoch)];
    names.into_iter().chain(workspace.map(|workspace| low_of(partition, epoch, workspace))).collect()
}

/// What is recorded of a lane; `None` if it never began.
pub(crate) fn recorded(all: &Recorded, partition: TopicPartition, epoch: u32, workspace: Option<&str>) -> Option<Held> {
    let found: Vec<_> = names(partition, epoch, workspace).iter().map(|name| all.get(name).copied()).collect();
    held_of(partition, epoch, &found)
}

/// What a lane's [`names`] say.
fn held_of(partition: TopicPartition, epoch: u32, found: &[Option<i64>]) -> Option<Held> {
    let high = found[0]?;
    let low = found[1].unwrap_or(high).max(found.get(3).copied().flatten().unwrap_or(0)).min(high);
    let clock = Clock { time: Timestamp(found[2].unwrap_or(0)), ..Clock::default() };
    Some(Held { partition, epoch, began: low, low, high, clock, buckets: Vec::new(), terms: None })
}

/// Which making of its topic a partition was last seen in; `None` if it never began.
pub(crate) async fn current_epoch(
    table: &Table,
    version: &Version,
    partition: TopicPartition,
) -> Result<Option<u32>, ArchiveError> {
    let found = version.recorded(table, vec![epoch(partition)]).await?;
    Ok(found[0].and_then(|epoch| u32::try_from(epoch).ok()))
}

/// All lanes of which a table has a position, each with the making of its topic.
pub(crate) async fn begun(table: &Table, version: &Version) -> Result<BTreeSet<(TopicPartition, u32)>, ArchiveError> {
    Ok(all_begun(&version.all_recorded(table).await?))
}

/// All lanes of which a position is recorded.
pub(crate) fn all_begun(all: &Recorded) -> BTreeSet<(TopicPartition, u32)> {
    all.keys().filter_map(|name| lane(name)).collect()
}

/// The lane whose [`high`] has this name.
fn lane(name: &str) -> Option<(TopicPartition, u32)> {
    let parts: Vec<_> = name.split('/').collect();
    let [NAME, topic, epoch, partition] = parts[..] else { return None };
    Some((TopicPartition::new(Topic::named(topic)?, partition.parse().ok()?), epoch.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_known_by_the_name_of_its_high_alone() {
        let partition = TopicPartition::new(Topic::RunEvents, 7);
        assert_eq!(lane(&high(partition, 3)), Some((partition, 3)));
        for other in [low(partition, 3), clock(partition, 3), low_of(partition, 3, "a/b"), epoch(partition)] {
            assert_eq!(lane(&other), None, "{other}");
        }
        assert_eq!((lane("archive/rebuilt"), lane("runs/2025-12-02")), (None, None));
    }
}
