//! Reading a range of a lane, whoever's entries lie in it: for making anew what was made of the log.

use std::collections::VecDeque;
use std::sync::Arc;

use agentworks_kafka::{Batch, BatchBuilder};
use agentworks_processors::lane::Held;
use agentworks_processors::reader::StoredEntry;
use agentworks_schemas::codec::{Framing, Schemas, encode_entry, encode_event};
use agentworks_schemas::{Topic, TopicPartition};

use super::find::{self, Found, Question};
use super::{ArchiveReader, Shared};
use crate::decode::StoredEvent;
use crate::error::ArchiveError;
use crate::lanes;
use crate::table::ActiveFile;

/// So many entries are read at a time. Files aren't sorted by offset, so that each time most of a file's pages are read.
const PIECE: usize = if cfg!(test) { 64 } else { 20_000 };

/// A range of offsets, and the files that have something of it.
type Tile = ((i64, i64), Vec<Arc<ActiveFile>>);

/// A range of a lane as it is read: [`LaneRead::next`] gives its records by offset, as they came from the log.
#[derive(Debug)]
pub struct LaneRead {
    shared: Arc<Shared>,
    partition: TopicPartition,
    epoch: u32,
    /// All that the archive has below has been given.
    next: i64,
    /// The range ends there, or what the archive has of it.
    to: i64,
    /// The ranges that have records yet to come, and the files that these lie in.
    tiles: VecDeque<Tile>,
    /// Where the rows that were found end, and those of them that have yet to come.
    found: (i64, VecDeque<(Found, Arc<ActiveFile>)>),
}

impl ArchiveReader {
    /// Reads `from..to` of a lane, as far as the archive has all of it from `from` on. It takes memory for the rows that a
    /// lane has on a day: about 50 bytes each.
    pub async fn lane(
        &self,
        partition: TopicPartition,
        epoch: u32,
        from: i64,
        to: i64,
    ) -> Result<LaneRead, ArchiveError> {
        let shared = match partition.topic {
            Topic::RunEvents => self.events.clone(),
            Topic::AgentLogs | Topic::SystemLogs => self.entries.clone(),
        };
        let version = shared.version().await?;
        let held = lanes::held(&shared.table, &version, partition, epoch, None).await?;
        let to = match held {
            Some(held) if held.low <= from => to.min(held.high),
            _ => from,
        };
        let tiles = shared.tiles((partition, epoch), (from, to), |_| true).await?.into_iter().collect();
        Ok(LaneRead { shared, partition, epoch, next: from, to, tiles, found: (from, VecDeque::new()) })
    }

    /// What the archive has of a partition in all makings of its topic, from the first on.
    pub async fn makings(&self, partition: TopicPartition) -> Result<Vec<Held>, ArchiveError> {
        let table = self.archive.table(partition.topic);
        let version = table.version().await?;
        let mut makings = Vec::new();
        if let Some(current) = lanes::current_epoch(table, &version, partition).await? {
            for epoch in 0..=current {
                makings.extend(lanes::held(table, &version, partition, epoch, None).await?);
            }
        }
        Ok(makings)
    }
}

impl LaneRead {
    /// What comes next; `None` at the end of the range, or where the archive has no more of it.
    pub async fn next(&mut self) -> Result<Option<Batch>, ArchiveError> {
        if self.next >= self.to {
            return Ok(None);
        }
        if self.found.1.is_empty() {
            self.find().await?;
        }
        let (end, found) = &mut self.found;
        let rows: Vec<_> = found.drain(..found.len().min(PIECE)).collect();
        let from = std::mem::replace(&mut self.next, found.front().map_or(*end, |(row, _)| row.offset));
        let mut builder = BatchBuilder::new(self.partition, self.epoch, from);
        let mut payload = Vec::new();
        match self.partition.topic {
            Topic::RunEvents => {
                for stored in self.shared.fetch::<StoredEvent>(rows).await? {
                    payload.clear();
                    encode_event(&stored.event, Framing::Avro, &mut payload);
                    let key = Some(stored.event.card_id.as_bytes());
                    builder.push_raw(stored.position.offset, stored.timestamp, key, Some(&payload), Vec::new());
                }
            }
            Topic::AgentLogs | Topic::SystemLogs => {
                for stored in self.shared.fetch::<StoredEntry>(rows).await? {
                    payload.clear();
                    encode_entry(&stored.entry, Framing::Avro, &mut payload);
                    let key = Some(stored.entry.card_id.as_bytes());
                    builder.push_raw(stored.position.offset, stored.timestamp, key, Some(&payload), Vec::new());
                }
            }
        }
        builder.cover(self.next);
        Ok(Some(builder.build(Schemas::builtin())))
    }

    /// Finds the rows of the next range that has any; there is nothing before it.
    async fn find(&mut self) -> Result<(), ArchiveError> {
        let Some(((from, to), files)) = self.tiles.pop_front() else {
            self.found.0 = self.to;
            return Ok(());
        };
        let question = Question::lane((self.partition, self.epoch), (from.max(self.next), to.min(self.to)));
        let (shared, mut rows) = (&self.shared, Vec::new());
        for file in files {
            let footer = shared.footers.footer(&shared.table, &file).await?;
            let found = find::find(&shared.table, &file, footer, question.clone()).await?;
            rows.extend(found.into_iter().map(|row| (row, file.clone())));
        }
        rows.sort_unstable_by_key(|(row, _)| row.offset);
        self.found = (to.min(self.to), rows.into());
        Ok(())
    }
}
