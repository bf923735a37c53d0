//! Where blocks are kept.

use std::ops::Bound;

use agentworks_schemas::{Topic, TopicPartition};
use agentworks_store::{Key, Order, Part, Row, Scan, StoreError, Table, Write};
use bytes::Bytes;
use serde::Serialize;

use super::block::BlockKey;
use super::stats::BlockStats;
use crate::sink::SinkError;

/// The clustering columns that say in which partition of the log something lies.
pub(crate) fn lane(partition: TopicPartition, epoch: u32) -> Vec<Part> {
    vec![i64::from(partition.topic as u8).into(), i64::from(epoch).into(), i64::from(partition.partition).into()]
}

/// A topic, an epoch and a partition, as [`lane`] wrote them.
pub(crate) fn read_lane(parts: &[Part]) -> Option<(TopicPartition, u32)> {
    let [Part::Int(topic), Part::Int(epoch), Part::Int(partition)] = parts else { return None };
    let topic = Topic::from_u8(u8::try_from(*topic).ok()?)?;
    Some((TopicPartition::new(topic, i32::try_from(*partition).ok()?), u32::try_from(*epoch).ok()?))
}

impl BlockKey {
    pub(crate) fn key(&self) -> Key {
        let mut clustering = lane(self.partition, self.epoch);
        clustering.extend([Part::Int(self.first), Part::Int(self.last)]);
        Key {
            partition: vec![self.workspace.as_str().into(), self.owner.as_str().into(), self.bucket.into()],
            clustering,
        }
    }

    /// The write of the block.
    pub(crate) fn write(&self, stats: &BlockStats, contents: Vec<u8>, expires: Option<i64>) -> Write {
        let (stats, payload) = (stats.encode().into(), contents.into());
        Write { table: self.table, key: self.key(), version: 0, expires, stats, payload }
    }

    /// The question for the blocks of this one's owner, bucket and partition whose first offset lies in this one's range.
    pub(super) fn scan_first(&self, order: Order, limit: usize) -> Scan {
        let at = |offset: i64| {
            let mut parts = lane(self.partition, self.epoch);
            parts.push(offset.into());
            parts
        };
        Scan {
            table: self.table,
            partition: self.key().partition,
            from: Bound::Included(at(self.first)),
            to: Bound::Included(at(self.last)),
            order,
            limit,
            payload: false,
        }
    }

    /// What a row that was found says of its block: where it lies, and its statistics.
    pub(super) fn of_row(&self, row: &Row) -> Result<(i64, i64, BlockStats), SinkError> {
        match (&row.clustering[..], BlockStats::decode(&row.stats)) {
            ([.., Part::Int(first), Part::Int(last)], Some(stats)) => Ok((*first, *last, stats)),
            _ => Err(SinkError::Corrupt(format!("{self}: statistics that can't be read at {:?}", row.clustering))),
        }
    }
}

/// A write of a row that has no more to say than its key and its version.
pub(crate) fn mark(table: &'static Table, partition: Vec<Part>, clustering: Vec<Part>, version: i64) -> Write {
    let key = Key { partition, clustering };
    Write { table, key, version, expires: None, stats: Bytes::new(), payload: Bytes::new() }
}

/// A write of a row that says `value`, as JSON: there are few of them, and people look at them.
pub(crate) fn json(
    table: &'static Table,
    Key { partition, clustering }: Key,
    version: i64,
    value: &impl Serialize,
) -> Result<Write, StoreError> {
    let payload = serde_json::to_vec(value).map_err(|error| StoreError::Failed(error.to_string()))?;
    Ok(Write { payload: payload.into(), ..mark(table, partition, clustering, version) })
}
