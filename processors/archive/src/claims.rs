//! What a file claims to hold, lane by lane; kept in its footer.
//!
//! A claim is a range of offsets: the file has every entry of its day in that range, or its share of them where a rewrite
//! has spread a range over several files. A day of a lane begins where the running maximum of the record timestamps
//! enters it, so that the claims of all files of a table tile each lane from its low to its high, without hole or overlap.

use agentworks_schemas::{Topic, TopicPartition};
use parquet::file::metadata::{FileMetaData, KeyValue};
use serde::{Deserialize, Serialize};

use crate::error::ArchiveError;

/// Under which key the claims are in a footer.
const KEY: &str = "agentworks.claims";

/// A claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// Of which lane.
    pub(crate) topic: Topic,
    pub(crate) partition: i32,
    pub(crate) epoch: u32,
    /// The first offset that is covered.
    pub(crate) from: i64,
    /// The offset after the last one covered.
    pub(crate) to: i64,
    /// How many of the rows are the lane's.
    pub(crate) rows: u64,
    /// Which share of the range this is, and of how many.
    #[serde(default = "whole")]
    pub(crate) share: (u32, u32),
}

fn whole() -> (u32, u32) {
    (0, 1)
}

impl Claim {
    /// A claim of all rows in a range.
    pub(crate) fn new(partition: TopicPartition, epoch: u32, from: i64, to: i64) -> Self {
        let TopicPartition { topic, partition } = partition;
        Claim { topic, partition, epoch, from, to, rows: 0, share: whole() }
    }

    /// Of which partition it is.
    pub(crate) fn lane(&self) -> TopicPartition {
        TopicPartition::new(self.topic, self.partition)
    }

    /// Whether it is of this lane and has any of a range.
    pub(crate) fn meets(&self, partition: TopicPartition, epoch: u32, from: i64, to: i64) -> bool {
        self.lane() == partition && self.epoch == epoch && self.from < to && from < self.to
    }
}

/// As a footer has them.
pub(crate) fn to_footer(claims: &[Claim]) -> Result<KeyValue, ArchiveError> {
    let text = serde_json::to_string(claims).map_err(|error| ArchiveError::Corrupt(error.to_string()))?;
    Ok(KeyValue::new(KEY.to_owned(), text))
}

/// From a footer.
pub(crate) fn from_footer(meta: &FileMetaData) -> Result<Vec<Claim>, ArchiveError> {
    let pairs = meta.key_value_metadata().into_iter().flatten();
    let text = pairs.filter(|pair| pair.key == KEY).find_map(|pair| pair.value.as_deref());
    let text =
        text.ok_or_else(|| ArchiveError::Corrupt(format!("its footer lacks {KEY}: no archive wrote this file")))?;
    serde_json::from_str(text).map_err(|error| ArchiveError::Corrupt(format!("its {KEY} can't be read: {error}")))
}

/// Joins claims of the same lane that meet, none of which is a share.
pub(crate) fn join(mut claims: Vec<Claim>) -> Vec<Claim> {
    claims.sort();
    let mut joined: Vec<Claim> = Vec::with_capacity(claims.len());
    for claim in claims {
        match joined.last_mut() {
            Some(last) if last.lane() == claim.lane() && last.epoch == claim.epoch && last.to == claim.from => {
                last.to = claim.to;
                last.rows += claim.rows;
            }
            _ => joined.push(claim),
        }
    }
    joined
}
