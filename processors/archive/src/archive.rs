//! The archive: its tables.

use agentworks_objects::Objects;
use agentworks_schemas::{Topic, TopicPartition};
use futures_util::TryStreamExt;

use crate::error::ArchiveError;
use crate::lanes;
use crate::schema::{ENTRIES, EVENTS, RUNS};
use crate::table::{Change, CommitError, Move, Operation, Table};

/// The tables of an archive. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Archive {
    pub(crate) entries: Table,
    pub(crate) events: Table,
    pub(crate) runs: Table,
}

impl Archive {
    /// Opens the archive in `objects`: the Delta tables `entries`, `events` and `runs`, which are created if they aren't
    /// there. Must be called within a multi-threaded Tokio runtime.
    ///
    /// # Errors
    /// If the store can't be reached, or holds tables that are none of this program's.
    pub async fn open(objects: &Objects) -> Result<Self, ArchiveError> {
        Ok(Archive {
            entries: Table::open(objects, &ENTRIES).await?,
            events: Table::open(objects, &EVENTS).await?,
            runs: Table::open(objects, &RUNS).await?,
        })
    }

    /// Whether there is an archive in `objects`, of which [`Archive::open`] would make one.
    ///
    /// # Errors
    /// If the store can't be reached.
    pub async fn is_there(objects: &Objects) -> Result<bool, ArchiveError> {
        let log = objects.path(ENTRIES.name).join("_delta_log");
        Ok(objects.store().list(Some(&log)).try_next().await?.is_some())
    }

    /// The table that has a topic's records.
    pub(crate) fn table(&self, topic: Topic) -> &Table {
        match topic {
            Topic::AgentLogs | Topic::SystemLogs => &self.entries,
            Topic::RunEvents => &self.events,
        }
    }

    /// The tables that lanes are written to.
    pub(crate) fn logs(&self) -> [&Table; 2] {
        [&self.entries, &self.events]
    }

    /// Goes on at `to` in a lane whose log begins there, because what lies before was deleted untaken. What was held
    /// stays in the tables, and readers tell what is missing as a gap: what is relied on begins at `to`.
    pub async fn skip_lost(&self, partition: TopicPartition, epoch: u32, to: i64) -> Result<(), ArchiveError> {
        let table = self.table(partition.topic);
        loop {
            let version = table.version().await?;
            let held = lanes::held(table, &version, partition, epoch, None).await?;
            let Some(held) = held.filter(|held| held.high < to) else { return Ok(()) };
            let change = Change {
                operation: Operation::Append,
                add: Vec::new(),
                remove: Vec::new(),
                moves: vec![Move { name: lanes::high(partition, epoch), from: Some(held.high), to }],
                record: vec![(lanes::low(partition, epoch), to)],
            };
            match table.commit(change).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Moved(_) | CommitError::Gone(_)) => {}
                Err(CommitError::Fault(error)) => return Err(error),
            }
        }
    }
}
