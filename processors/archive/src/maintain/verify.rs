//! Whether the archive is whole: every file readable and as the log says, every row what was written, and every lane
//! tiled by its files from its low to its high.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentworks_schemas::TopicPartition;
use arrow_array::RecordBatch;
use serde::Serialize;

use super::Maintenance;
use crate::batches::read_group;
use crate::claims::Claim;
use crate::decode::{Entries, Events, Positions, complete};
use crate::error::ArchiveError;
use crate::lanes;
use crate::open::{Footers, guarded};
use crate::schema::{RUNS, TableSpec};
use crate::table::{ActiveFile, Table, Version};

/// How many problems are told; where there is one there are often many of the same kind.
const TOLD: usize = 100;

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Files that were read, whole.
    pub files: u64,
    /// Rows that were read; of entries and events the hash was compared.
    pub rows: u64,
    /// Lanes whose claims were compared with their positions.
    pub lanes: u64,
    /// What is wrong; empty if nothing is. At most 100 are told.
    pub problems: Vec<String>,
    /// The files that can't be read or aren't what was written, each below its table: `entries/date=…/….parquet`.
    pub damaged: Vec<String>,
}

impl Verified {
    /// Verifies a file, and counts it. Returns its claims, unless it is damaged.
    async fn look_at(
        &mut self,
        table: &Table,
        footers: &Footers,
        file: &ActiveFile,
    ) -> Result<Option<Arc<Vec<Claim>>>, ArchiveError> {
        self.files += 1;
        match verify_file(table, footers, file).await {
            Ok((rows, claims)) => {
                self.rows += rows;
                return Ok(Some(claims));
            }
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => self.problem(format!("{}: {error}", table.spec().name)),
        }
        self.damaged.push(format!("{}/{}", table.spec().name, file.path));
        Ok(None)
    }

    fn problem(&mut self, problem: String) {
        if self.problems.len() < TOLD {
            self.problems.push(problem);
        }
    }
}

/// A lane's claims by range: which shares of how many there are.
type Tiles = BTreeMap<(i64, i64), Vec<(u32, u32)>>;

impl Maintenance {
    /// Reads the whole archive and holds it to what it says of itself.
    ///
    /// # Errors
    /// If it can't be reached. What is wrong with it is no error, but told.
    pub async fn verify(&self) -> Result<Verified, ArchiveError> {
        let mut verified = Verified::default();
        for (table, footers) in self.logs() {
            let version = table.version().await?;
            // All that have a position, whether there are files of them or not.
            let begun = lanes::begun(table, &version).await?;
            let mut lanes: BTreeMap<_, _> = begun.into_iter().map(|lane| (lane, Tiles::new())).collect();
            for file in version.files(table).await? {
                let claims = verified.look_at(table, footers, &file).await?;
                for claim in claims.iter().flat_map(|claims| claims.iter()) {
                    let tiles = lanes.entry((claim.lane(), claim.epoch)).or_default();
                    tiles.entry((claim.from, claim.to)).or_default().push(claim.share);
                }
            }
            for ((lane, epoch), tiles) in lanes {
                verified.lanes += 1;
                verify_lane(table, &version, lane, epoch, tiles, &mut verified).await?;
            }
        }
        let (table, footers) = (&self.archive.runs, Footers::default());
        for file in table.version().await?.files(table).await? {
            verified.look_at(table, &footers, &file).await?;
        }
        Ok(verified)
    }
}

async fn verify_lane(
    table: &Table,
    version: &Version,
    lane: TopicPartition,
    epoch: u32,
    tiles: Tiles,
    verified: &mut Verified,
) -> Result<(), ArchiveError> {
    let Some(held) = lanes::held(table, version, lane, epoch, None).await? else {
        verified.problem(format!("{lane}/{epoch} has files and no position"));
        return Ok(());
    };
    let mut next = held.low;
    for ((from, to), mut shares) in tiles {
        shares.sort_unstable();
        let of = shares.first().map_or(1, |(_, of)| *of);
        let expected: Vec<_> = (0..of).map(|share| (share, of)).collect();
        if shares != expected {
            verified
                .problem(format!("{lane}/{epoch} {from}..{to} is there as {shares:?}, and should be as {expected:?}"));
        }
        // What lies below the low isn't relied on.
        if to <= held.low {
            continue;
        }
        if from > next {
            verified.problem(format!("{lane}/{epoch} {next}..{from} is in no file"));
        } else if from < next && next > held.low {
            verified.problem(format!("{lane}/{epoch} {from}..{next} is in files twice"));
        }
        next = next.max(to);
    }
    if next < held.high {
        verified.problem(format!("{lane}/{epoch} {next}..{} is in no file", held.high));
    } else if next > held.high {
        verified.problem(format!("{lane}/{epoch} is held up to {}, and its files end at {next}", held.high));
    }
    Ok(())
}

/// Holds a file to what the log, its footer and its rows say. Returns how many rows it has, and its claims.
pub(super) async fn verify_file(
    table: &Table,
    footers: &Footers,
    file: &ActiveFile,
) -> Result<(u64, Arc<Vec<Claim>>), ArchiveError> {
    let footer = footers.footer(table, file).await?;
    let (table, file, path) = (table.clone(), file.clone(), file.path.clone());
    guarded(&path, async move {
        let claims = footer.claims.clone();
        let mut counts = vec![0; claims.len()];
        let mut count = 0;
        let schema = table.spec().arrow();
        // Runs are made of entries and events, and lie nowhere in the log.
        let is_log = table.spec().name != RUNS.name;
        for group in 0..footer.meta.metadata().num_row_groups() {
            let each = |batch: &RecordBatch| {
                hold(&file, table.spec(), batch)?;
                if is_log {
                    let batch = complete(batch, &schema)?;
                    verify_rows(&table, &batch)?;
                    count_rows(&batch, &claims, &mut counts)?;
                }
                count += batch.num_rows() as u64;
                Ok(())
            };
            read_group((&table, &file, &footer), group, &[], each).await?;
        }
        if count != file.rows {
            return Err(ArchiveError::Corrupt(format!("it has {count} rows, and the log says {}", file.rows)));
        }
        for (claim, count) in claims.iter().zip(counts) {
            if claim.rows != count {
                let rows = claim.rows;
                return Err(ArchiveError::Corrupt(format!("it has {count} rows of {claim:?}, and claims {rows}")));
            }
        }
        Ok((count, claims))
    })
    .await
}

/// Holds rows to what the log says that their file's columns lie between, by which it is passed over.
fn hold(file: &ActiveFile, spec: &TableSpec, batch: &RecordBatch) -> Result<(), ArchiveError> {
    for name in spec.indexed {
        let Some(column) = batch.column_by_name(name) else { continue };
        if !file.bounds.hold(name, column) {
            return Err(ArchiveError::Corrupt(format!("it has other values of {name} than the log says")));
        }
    }
    Ok(())
}

/// Counts the rows of each claim.
fn count_rows(batch: &RecordBatch, claims: &[Claim], counts: &mut [u64]) -> Result<(), ArchiveError> {
    let positions = Positions::new(batch)?;
    for row in 0..batch.num_rows() {
        let position = positions.at(row)?;
        let (lane, epoch, offset) = (position.partition, position.epoch, position.offset);
        let claim = claims.iter().position(|claim| claim.meets(lane, epoch, offset, offset + 1));
        let claim = claim.ok_or_else(|| ArchiveError::Corrupt(format!("{position} is none that it claims")))?;
        counts[claim] += 1;
    }
    Ok(())
}

fn verify_rows(table: &Table, batch: &RecordBatch) -> Result<(), ArchiveError> {
    if table.spec().name == crate::schema::ENTRIES.name {
        let entries = Entries::new(batch)?;
        return (0..batch.num_rows()).try_for_each(|row| entries.at(row).map(drop));
    }
    let events = Events::new(batch)?;
    (0..batch.num_rows()).try_for_each(|row| events.at(row).map(drop))
}
