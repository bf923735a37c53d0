//! What a tier is.

use std::time::Duration;

use agentworks_store::{Column, Table};

use crate::lane::{DAY, Retention};

/// A kind of blocks.
#[derive(Debug)]
pub struct Tier {
    /// Its name, under which its positions are kept.
    pub name: &'static str,
    /// How long its buckets are, in milliseconds.
    pub(crate) grain: i64,
    /// Where its blocks lie, by how long they are kept: the shortest first.
    pub(crate) classes: [Class; 3],
}

/// Blocks that are kept for about the same time lie in one table, so that the store drops old files whole.
#[derive(Debug)]
pub(crate) struct Class {
    /// How many days the blocks in it are kept, at most, after the end of their bucket.
    pub(crate) days: i64,
    pub(crate) table: Table,
}

/// The last two columns are the offsets of a block's first and last entry, so that different blocks never share a key,
/// and equal keys hold equal entries.
const CLUSTERING: &[Column] =
    &[Column::int("topic"), Column::int("epoch"), Column::int("partition"), Column::int("first"), Column::int("last")];

/// Entries are to be kept for longer than a tier can.
#[derive(Debug, thiserror::Error)]
#[error("{tier} keeps entries for {days} days at most, and is to keep those of {of} for {asked:?}")]
pub struct RetentionError {
    tier: &'static str,
    days: i64,
    of: String,
    asked: Duration,
}

impl Class {
    /// A class of blocks that belong to what `owner` names: a workspace, a card or run, and a bucket.
    pub(crate) const fn new(days: i64, name: &'static str, owner: &'static [Column; 3]) -> Self {
        Class { days, table: Table { name, partition: owner, clustering: CLUSTERING, versioned: false } }
    }
}

impl Tier {
    /// The table of blocks that are kept for so many milliseconds: that of the smallest class with room for them.
    pub(crate) fn table(&'static self, ttl: i64) -> &'static Table {
        let [short, middle, long] = &self.classes;
        let class = [short, middle].into_iter().find(|class| ttl <= class.days * DAY).unwrap_or(long);
        &class.table
    }

    /// Whether there is a table for all that is to be kept.
    pub(crate) fn check(&self, retention: &Retention) -> Result<(), RetentionError> {
        let [.., Class { days, .. }] = self.classes;
        let workspaces = retention.workspaces.iter().map(|(workspace, ttl)| (format!("workspace {workspace}"), *ttl));
        let mut all = workspaces.chain([("all workspaces".to_owned(), retention.default)]);
        match all.find(|(_, ttl)| ttl.as_millis() > (days * DAY) as u128) {
            Some((of, asked)) => Err(RetentionError { tier: self.name, days, of, asked }),
            None => Ok(()),
        }
    }
}
