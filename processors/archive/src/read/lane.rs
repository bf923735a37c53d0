//! Reading a range of a lane, whoever's entries lie in it: for making anew what was made of the log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use agentworks_kafka::{Batch, BatchBuilder};
use agentworks_processors::lane::Held;
use agentworks_processors::reader::StoredEntry;
use agentworks_schemas::codec::Schemas;
use agentworks_schemas::{Topic, TopicPartition};

use super::fetch;
use super::find::{self, Found, Question};
use super::piece::{Piece, ROOM, Recorded, Row};
use super::{ArchiveReader, Shared};
use crate::decode::StoredEvent;
use crate::error::ArchiveError;
use crate::lanes;
use crate::table::ActiveFile;

/// A batch has at most so many records.
const BATCH: usize = if cfg!(test) { 16 } else { 20_000 };

/// How large a record is taken to be before any was read, in bytes.
const ROW_BYTES: usize = 512;

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
    /// Where the rows that were found end, and those of them that have yet to be read.
    found: (i64, VecDeque<(Found, Arc<ActiveFile>)>),
    /// Those that were read and have yet to come.
    ready: VecDeque<(i64, Row)>,
    /// How large those were that were read last, on average, in bytes.
    row_bytes: usize,
}

impl ArchiveReader {
    /// Reads `from..to` of a lane, as far as the archive has all of it from `from` on. It takes memory for the rows that a
    /// lane has on a day, about 50 bytes each, and for 64 MiB of records: a lane that has N times as much on a day has the
    /// files of that day decoded about N times.
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
        let to = match shared.latest.seen().await?.held(partition, epoch, None) {
            Some(held) if held.low <= from => to.min(held.high),
            _ => from,
        };
        let tiles = shared.tiles((partition, epoch), (from, to), |_| true).await?.into_iter().collect();
        let (found, ready) = ((from, VecDeque::new()), VecDeque::new());
        Ok(LaneRead { shared, partition, epoch, next: from, to, tiles, found, ready, row_bytes: ROW_BYTES })
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
        if self.ready.is_empty() {
            if self.found.1.is_empty() {
                self.find().await?;
            }
            match self.partition.topic {
                Topic::RunEvents => self.read::<StoredEvent>().await?,
                Topic::AgentLogs | Topic::SystemLogs => self.read::<StoredEntry>().await?,
            }
        }
        let mut builder = BatchBuilder::new(self.partition, self.epoch, self.next);
        for (offset, row) in self.ready.drain(..self.ready.len().min(BATCH)) {
            builder.push_raw(offset, row.timestamp, Some(&row.key), Some(&row.payload), Vec::new());
        }
        let unread = self.found.1.front().map(|(row, _)| row.offset);
        self.next = self.ready.front().map(|(offset, _)| *offset).or(unread).unwrap_or(self.found.0);
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

    /// Reads the first of the rows that were found, as many as there is room for.
    async fn read<T: Recorded>(&mut self) -> Result<(), ArchiveError> {
        let (shared, found) = (&self.shared, &mut self.found.1);
        let mut by_file: BTreeMap<&str, (&Arc<ActiveFile>, Vec<u64>)> = BTreeMap::new();
        for (row, file) in found.iter().take((ROOM / self.row_bytes).max(1)) {
            by_file.entry(&file.path).or_insert_with(|| (file, Vec::new())).1.push(row.row);
        }
        let mut piece = Piece::default();
        for (file, mut rows) in by_file.into_values() {
            rows.sort_unstable();
            let footer = shared.footers.footer(&shared.table, file).await?;
            let take = |piece: &mut Piece, row: T| piece.take(&row);
            piece = fetch::each(&shared.table, file, footer, rows, piece, take).await?;
        }
        self.row_bytes = piece.bytes().checked_div(piece.len()).map_or(self.row_bytes, |bytes| bytes.max(1));
        self.ready.extend(piece.into_rows());
        let read = self.ready.back().map(|(offset, _)| *offset);
        found.drain(..found.partition_point(|(row, _)| Some(row.offset) <= read));
        Ok(())
    }
}
