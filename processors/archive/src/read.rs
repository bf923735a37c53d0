//! Reading the archive: a card's or a run's entries in a range of a lane, by offset.
//!
//! Files are passed over by what the log knows of them (workspace, card, run, lane, offsets), then by the claims in their
//! footers, their row groups by statistics and bloom filters. Of what remains the narrow columns are looked through once:
//! they give the rows that are asked for, and which of them come first or last by offset. Only of those are the wide
//! columns read, page by page, until they weigh enough. So a reading needs memory for about as much as it gives, however that
//! lies in the files.
//!
//! - `find`: the rows of a file that are asked for; `answers`: those that were found lately.
//! - `fetch`: rows as entries or events.
//! - `lane`: all of a lane, whoever's it is; `piece`: what is read of it at a time.
//! - `latest`: the table as it was lately, and what is recorded in it.

mod answers;
mod fetch;
mod find;
mod lane;
mod latest;
mod piece;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use agentworks_processors::epochs::{SinkEpochs, SinkPositions};
use agentworks_processors::lane::Held;
use agentworks_processors::reader::{CHUNK_BYTES, ColdRange, ColdTier, Last, StoredEntry};
use agentworks_processors::sink::SinkError;
use agentworks_schemas::{Topic, TopicPartition};
use async_trait::async_trait;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use parking_lot::Mutex;

use self::answers::Answers;
use self::fetch::FromRows;
use self::find::{Found, Question};
use self::latest::Latest;
use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::lanes;
use crate::open::Footers;
use crate::table::{ActiveFile, Bounds, FileList, Table};
pub use lane::LaneRead;

/// How many files are opened at a time.
const OPENING: usize = 16;
/// So many rows are read at once, if they are there, however large they may be.
const FEW: usize = 16;

/// Reads the archive's entries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ArchiveReader {
    archive: Archive,
    entries: Arc<Shared>,
    events: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    table: Table,
    latest: Latest,
    files: FileList,
    footers: Footers,
    answers: Mutex<Answers>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    First,
    Last,
}

impl ArchiveReader {
    /// A reader of `archive`.
    pub fn new(archive: &Archive) -> Self {
        let [entries, events] = archive.logs().map(|table| Arc::new(Shared::new(table)));
        ArchiveReader { archive: archive.clone(), entries, events }
    }

    /// What the archive holds of a partition, as far as a workspace goes, in one making of its topic; `None` if it has never
    /// seen that.
    pub async fn held(
        &self,
        partition: TopicPartition,
        epoch: u32,
        workspace: &str,
    ) -> Result<Option<Held>, ArchiveError> {
        Ok(self.entries.latest.seen().await?.held(partition, epoch, Some(workspace)))
    }

    /// The same in all makings before one, from the first on.
    pub async fn earlier(
        &self,
        partition: TopicPartition,
        epoch: u32,
        workspace: &str,
    ) -> Result<Vec<Held>, ArchiveError> {
        Ok(self.entries.latest.seen().await?.earlier(partition, epoch, workspace))
    }

    /// The first `limit` entries of a range, by offset; fewer only if there are no more, or if they weigh [`CHUNK_BYTES`].
    /// There are none only if the range has none. All of the range must be held.
    pub async fn forward(&self, range: &ColdRange<'_>, limit: usize) -> Result<Vec<StoredEntry>, ArchiveError> {
        Ok(self.read_end(range, limit, End::First).await?.0)
    }

    /// The last `limit` entries of a range, likewise.
    pub async fn backward(&self, range: &ColdRange<'_>, limit: usize) -> Result<Last, ArchiveError> {
        let (entries, is_cut) = self.read_end(range, limit, End::Last).await?;
        Ok(Last { entries, is_cut })
    }

    /// The entries at one end of a range, and whether there may be more.
    async fn read_end(
        &self,
        range: &ColdRange<'_>,
        limit: usize,
        end: End,
    ) -> Result<(Vec<StoredEntry>, bool), ArchiveError> {
        let question = Question::new(range.scope, range.filter);
        let &ColdRange { scope, partition, epoch, from, to, .. } = range;
        let may_have = |bounds: &Bounds| {
            bounds.may_have("workspace_id", scope.workspace())
                && bounds.may_have("card_id", scope.card())
                && scope.run().is_none_or(|run| bounds.may_have("run_id", run))
        };
        let tiles = self.entries.tiles((partition, epoch), (from, to), may_have).await?;
        let mut tiles: Vec<_> = tiles.into_iter().collect();
        if end == End::Last {
            tiles.reverse();
        }
        let mut chosen: Vec<(Found, Arc<ActiveFile>)> = Vec::new();
        for ((from, to), files) in tiles {
            let (from, to) = (from.max(range.from), to.min(range.to));
            let answers = stream::iter(files).map(|file| self.entries.find(file, question.clone()));
            let answers: Vec<_> = answers.buffered(OPENING).try_collect().await?;
            let mut found = Vec::new();
            for (file, rows) in answers {
                let is_wanted = |row: &&Found| {
                    row.partition == range.partition && row.epoch == range.epoch && (from..to).contains(&row.offset)
                };
                found.extend(rows.iter().filter(is_wanted).map(|row| (*row, file.clone())));
            }
            found.sort_unstable_by_key(|(row, _)| row.offset);
            let missing = limit - chosen.len();
            match end {
                End::First => chosen.extend(found.into_iter().take(missing)),
                End::Last => chosen.extend(found.into_iter().rev().take(missing)),
            }
            if chosen.len() >= limit {
                break;
            }
        }
        let (entries, is_all) = self.entries.fetch_first(&chosen, end).await?;
        Ok((entries, !is_all || chosen.len() >= limit))
    }
}

#[async_trait]
impl ColdTier for ArchiveReader {
    async fn held(&self, partition: TopicPartition, epoch: u32, workspace: &str) -> Result<Option<Held>, SinkError> {
        Ok(ArchiveReader::held(self, partition, epoch, workspace).await?)
    }

    async fn earlier(&self, partition: TopicPartition, epoch: u32, workspace: &str) -> Result<Vec<Held>, SinkError> {
        Ok(ArchiveReader::earlier(self, partition, epoch, workspace).await?)
    }

    async fn forward(&self, range: ColdRange<'_>, limit: usize) -> Result<Vec<StoredEntry>, SinkError> {
        Ok(ArchiveReader::forward(self, &range, limit).await?)
    }

    async fn backward(&self, range: ColdRange<'_>, limit: usize) -> Result<Last, SinkError> {
        Ok(ArchiveReader::backward(self, &range, limit).await?)
    }
}

#[async_trait]
impl SinkEpochs for ArchiveReader {
    async fn newest(&self, topic: Topic) -> Result<Option<u32>, SinkError> {
        let table = self.archive.table(topic);
        let begun = lanes::begun(table, &table.version().await?).await?;
        Ok(begun.into_iter().filter(|(partition, _)| partition.topic == topic).map(|(_, epoch)| epoch).max())
    }
}

#[async_trait]
impl SinkPositions for ArchiveReader {
    fn sink(&self) -> &'static str {
        lanes::NAME
    }

    async fn position(&self, partition: TopicPartition) -> Result<Option<Held>, SinkError> {
        let table = self.archive.table(partition.topic);
        let version = table.version().await?;
        let Some(epoch) = lanes::current_epoch(table, &version, partition).await? else { return Ok(None) };
        Ok(lanes::held(table, &version, partition, epoch, None).await?)
    }

    async fn skip_lost(&self, partition: TopicPartition, epoch: u32, to: i64) -> Result<(), SinkError> {
        Ok(self.archive.skip_lost(partition, epoch, to).await?)
    }
}

impl Shared {
    fn new(table: &Table) -> Self {
        Shared {
            table: table.clone(),
            latest: Latest::new(table),
            files: FileList::default(),
            footers: Footers::default(),
            answers: Mutex::default(),
        }
    }

    /// The files that may have something of a range of a lane, of which `may_have` tells more, by the part of the lane that
    /// they tile. Parts in which there is nothing are left out.
    async fn tiles(
        &self,
        (partition, epoch): (TopicPartition, u32),
        (from, to): (i64, i64),
        may_have: impl Fn(&Bounds) -> bool,
    ) -> Result<BTreeMap<(i64, i64), Vec<Arc<ActiveFile>>>, ArchiveError> {
        let files = self.files.of(&self.table, &self.latest.seen().await?.version).await?;
        self.footers.keep(&files);
        let candidates = files.iter().filter(|file| {
            let bounds = &file.bounds;
            let number = i64::from(partition.partition);
            may_have(bounds)
                && bounds.may_have("topic", partition.topic.as_str())
                && bounds.may_meet("partition", number, number + 1)
                && bounds.may_meet("epoch", epoch.into(), i64::from(epoch) + 1)
                && bounds.may_meet("offset", from, to)
                && file.rows > 0
        });
        let claims = stream::iter(candidates.cloned().collect::<Vec<_>>())
            .map(async |file| Ok::<_, ArchiveError>((self.footers.claims(&self.table, &file).await?, file)));
        let claims: Vec<_> = claims.buffered(OPENING).try_collect().await?;
        let mut tiles: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (claims, file) in claims {
            let file = Arc::new(file);
            for claim in claims.iter().filter(|claim| claim.rows > 0 && claim.meets(partition, epoch, from, to)) {
                tiles.entry((claim.from, claim.to)).or_default().push(file.clone());
            }
        }
        Ok(tiles)
    }

    /// The rows of a file that are asked for.
    async fn find(
        &self,
        file: Arc<ActiveFile>,
        question: Question,
    ) -> Result<(Arc<ActiveFile>, Arc<Vec<Found>>), ArchiveError> {
        let key = (file.path.clone(), question.key.clone());
        if let Some(found) = self.answers.lock().get(&key) {
            return Ok((file, found));
        }
        let footer = self.footers.footer(&self.table, &file).await?;
        let found = Arc::new(find::find(&self.table, &file, footer, question).await?);
        self.answers.lock().put(key, found.clone());
        Ok((file, found))
    }

    /// Reads the first of some rows, which are in the order in which they are wanted from one end of a range, until they weigh
    /// [`CHUNK_BYTES`]; gives them by offset, and whether they are all.
    async fn fetch_first(
        &self,
        chosen: &[(Found, Arc<ActiveFile>)],
        end: End,
    ) -> Result<(Vec<StoredEntry>, bool), ArchiveError> {
        let (mut entries, mut weight, mut unread) = (Vec::<StoredEntry>::new(), 0, chosen);
        while weight < CHUNK_BYTES && !unread.is_empty() {
            let count = self.fitting(unread, CHUNK_BYTES - weight).await?.max(FEW).min(unread.len());
            let (some, rest) = unread.split_at(count);
            unread = rest;
            let some = self.fetch::<StoredEntry>(some.to_vec()).await?;
            weight += some.iter().map(StoredEntry::weight).sum::<usize>();
            entries.extend(some);
        }
        entries.sort_by_key(|entry| entry.position.offset);
        let count = entries.len();
        let weights = entries.iter().map(StoredEntry::weight);
        let kept = match end {
            End::First => enough(weights),
            End::Last => enough(weights.rev()),
        };
        match end {
            End::First => entries.truncate(kept),
            End::Last => drop(entries.drain(..count - kept)),
        }
        Ok((entries, unread.is_empty() && kept == count))
    }

    /// How many of some rows have about so many bytes, as far as the groups tell that they lie in.
    async fn fitting(&self, rows: &[(Found, Arc<ActiveFile>)], bytes: usize) -> Result<usize, ArchiveError> {
        let mut files: BTreeMap<&str, Vec<(u64, usize)>> = BTreeMap::new();
        let mut sum = 0;
        for (index, (row, file)) in rows.iter().enumerate() {
            if !files.contains_key(file.path.as_str()) {
                let footer = self.footers.footer(&self.table, file).await?;
                files.insert(&file.path, fetch::row_bytes(&footer));
            }
            let groups = &files[file.path.as_str()];
            let group = groups.get(groups.partition_point(|(end, _)| *end <= row.row));
            let row_bytes = group.map_or(0, |(_, bytes)| *bytes);
            sum = row_bytes.saturating_add(sum + size_of::<StoredEntry>());
            if sum >= bytes {
                return Ok(index + 1);
            }
        }
        Ok(rows.len())
    }

    /// Reads rows; gives them by offset.
    async fn fetch<T: FromRows>(&self, rows: Vec<(Found, Arc<ActiveFile>)>) -> Result<Vec<T>, ArchiveError> {
        let mut by_file: BTreeMap<String, (Arc<ActiveFile>, Vec<u64>)> = BTreeMap::new();
        for (row, file) in rows {
            by_file.entry(file.path.clone()).or_insert_with(|| (file, Vec::new())).1.push(row.row);
        }
        let mut entries = Vec::new();
        for (file, mut rows) in by_file.into_values() {
            rows.sort_unstable();
            let footer = self.footers.footer(&self.table, &file).await?;
            entries.extend(fetch::fetch(&self.table, &file, footer, rows).await?);
        }
        entries.sort_by_key(T::offset);
        Ok(entries)
    }
}

/// How many of these weigh [`CHUNK_BYTES`], or all.
fn enough(weights: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0;
    let is_missing = |weight: &usize| {
        let is_missing = sum < CHUNK_BYTES;
        sum += weight;
        is_missing
    };
    weights.take_while(is_missing).count()
}
