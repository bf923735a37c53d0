//! What a reading should give, worked out the plain way.

use std::collections::BTreeMap;

use agentworks_schemas::{Cursor, Timestamp, TopicPartition};

use super::Case;
use super::fake::FakePartition;
use crate::reader::ReadItem;

/// An item without its cursor: an entry's offset and message, or a gap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Plain {
    Entry(TopicPartition, i64, String),
    Gap(TopicPartition, i64, i64),
}

pub(super) fn plain(items: &[ReadItem]) -> Vec<Plain> {
    let plain = |item: &ReadItem| match item {
        ReadItem::Entry { entry, .. } => {
            Plain::Entry(entry.position.partition, entry.position.offset, entry.entry.message.to_string())
        }
        ReadItem::Gap { partition, from, to, .. } => Plain::Gap(*partition, *from, *to),
    };
    items.iter().map(plain).collect()
}

/// Whether anybody holds an offset.
pub(super) fn is_held(partition: &FakePartition, offset: i64) -> bool {
    let within = |(low, high): (i64, i64)| (low..high).contains(&offset);
    let tiers = [partition.hot, partition.warm, partition.cold];
    within(partition.log) || tiers.into_iter().flatten().any(within)
}

/// The running maximum of time, the partition, the epoch and offset.
type Key = (Option<Timestamp>, TopicPartition, (u32, i64));

/// All items between two cursors, sorted by their partition's running maximum of time.
pub(super) fn items(case: &Case, from: &Cursor, to: &Cursor) -> Vec<Plain> {
    let mut keyed: BTreeMap<Key, Plain> = BTreeMap::new();
    for partition in &case.partitions {
        let at = partition.at;
        let (Some(from), Some(to)) = (from.get(at), to.get(at)) else { continue };
        let lane = partition.lane();
        let mut clock = None;
        for making in partition.makings().filter(|making| (from.0..=to.0).contains(&making.epoch)) {
            let epoch = making.epoch;
            let known = lane.earlier.iter().find(|known| known.epoch == epoch);
            let next = if epoch == from.0 { from.1 } else { known.map_or(lane.floor, |known| known.floor) };
            let end = if epoch == to.0 { to.1 } else { known.map_or(0, |known| known.end) };
            let floor = lane.first_of(epoch).unwrap_or_default();
            let mut gap = None;
            for offset in next..=end {
                if offset < end && !is_held(making, offset) {
                    gap = gap.or((offset >= floor).then_some(offset));
                    continue;
                }
                if let Some(first) = gap.take() {
                    keyed.insert((clock, at, (epoch, first)), Plain::Gap(at, first, offset));
                }
                let record = making.records.iter().find(|record| record.position.offset == offset);
                let wanted = |entry| case.scope.holds(entry) && case.filter.passes(entry);
                if let Some(record) = record.filter(|record| offset < end && wanted(&record.entry)) {
                    clock = clock.max(Some(record.timestamp));
                    let entry = Plain::Entry(at, offset, record.entry.message.to_string());
                    keyed.insert((clock, at, (epoch, offset)), entry);
                }
            }
        }
    }
    keyed.into_values().collect()
}
