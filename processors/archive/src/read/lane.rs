//! Reading a range of a lane, whoever's entries lie in it: for making anew what was made of the log.

use std::collections::VecDeque;
use std::sync::Arc;

use agentworks_processors::reader::StoredEntry;
use agentworks_schemas::TopicPartition;

use super::ArchiveReader;
use super::find::{self, Found, Question};
use crate::error::ArchiveError;
use crate::lanes;
use crate::table::ActiveFile;

/// So many entries are read at a time. Files aren't sorted by offset, so that each time most of a file's pages are read.
const PIECE: usize = if cfg!(test) { 64 } else { 20_000 };

/// A range of offsets, and the files that have something of it.
type Tile = ((i64, i64), Vec<Arc<ActiveFile>>);

/// A range of a lane as it is read: [`LaneRead::next`] gives its entries by offset.
#[derive(Debug)]
pub struct LaneRead {
    reader: ArchiveReader,
    partition: TopicPartition,
    epoch: u32,
    /// All that the archive has below has been given.
    next: i64,
    /// The range ends there, or what the archive has of it.
    to: i64,
    /// The ranges that have entries yet to come, and the files that these lie in.
    tiles: VecDeque<Tile>,
    /// Where the rows that were found end, and those of them that have yet to come.
    found: (i64, VecDeque<(Found, Arc<ActiveFile>)>),
}

/// Entries of a lane.
#[derive(Debug)]
pub struct LanePiece {
    /// By offset.
    pub entries: Vec<StoredEntry>,
    /// All that the archive has below is in this piece or was in one before.
    pub to: i64,
}

impl ArchiveReader {
    /// Reads `from..to` of a lane. It takes memory for the rows that a lane has on a day: about 50 bytes each.
    pub async fn lane(
        &self,
        partition: TopicPartition,
        epoch: u32,
        from: i64,
        to: i64,
    ) -> Result<LaneRead, ArchiveError> {
        let version = self.shared.version().await?;
        let held = lanes::held(&self.shared.table, &version, partition, epoch, None).await?;
        let to = match held {
            Some(held) if held.low <= from => to.min(held.high),
            _ => from,
        };
        let tiles = self.shared.tiles((partition, epoch), (from, to), |_| true).await?.into_iter().collect();
        let (reader, found) = (self.clone(), (from, VecDeque::new()));
        Ok(LaneRead { reader, partition, epoch, next: from, to, tiles, found })
    }
}

impl LaneRead {
    /// What comes next; `None` at the end of the range, or where the archive has no more of it.
    pub async fn next(&mut self) -> Result<Option<LanePiece>, ArchiveError> {
        if self.next >= self.to {
            return Ok(None);
        }
        if self.found.1.is_empty() {
            self.find().await?;
        }
        let (end, found) = &mut self.found;
        let rows: Vec<_> = found.drain(..found.len().min(PIECE)).collect();
        self.next = found.front().map_or(*end, |(row, _)| row.offset);
        Ok(Some(LanePiece { entries: self.reader.shared.fetch(rows).await?, to: self.next }))
    }

    /// Finds the rows of the next range that has any; there is nothing before it.
    async fn find(&mut self) -> Result<(), ArchiveError> {
        let Some(((from, to), files)) = self.tiles.pop_front() else {
            self.found.0 = self.to;
            return Ok(());
        };
        let question = Question::lane((self.partition, self.epoch), (from.max(self.next), to.min(self.to)));
        let (shared, mut rows) = (&self.reader.shared, Vec::new());
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
