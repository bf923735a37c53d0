//! Bits that flip so that a file can be decoded as ever, and has other values: whatever is done with it tells.

use std::path::PathBuf;

use agentworks_processors::erasure::{Clearing, Erasure, Target};
use agentworks_schemas::Cursor;
use arrow_array::RecordBatch;
use futures_util::TryStreamExt;
use parquet::arrow::ProjectionMask;

use super::*;
use crate::open::{Footer, Footers, guarded, rows};
use crate::schema::{self, ENTRIES, RUNS};

/// A column of the only file of a table, some bits of which have flipped.
struct Flipped {
    archive: Archive,
    path: PathBuf,
    whole: Vec<u8>,
    _folder: tempfile::TempDir,
}

async fn read(
    table: &Table,
    file: &ActiveFile,
    footer: &Footer,
    column: &str,
) -> Result<Vec<RecordBatch>, ArchiveError> {
    let mask = ProjectionMask::columns(footer.meta.parquet_schema(), [column]);
    let batches = rows(table, file, footer).with_projection(mask).build()?;
    guarded(&file.path, async move { Ok(batches.try_collect().await?) }).await
}

impl Flipped {
    /// Flips the first bit of a column that changes its values and nothing else.
    async fn new(table: &'static crate::TableSpec, column: &str) -> Self {
        let (folder, objects) = folder();
        let archive = filled(&objects, 1).await;
        if table.name == RUNS.name {
            keeper(&archive, MaintainConfig::default()).roll_up().await.unwrap();
        }
        let tables = [&archive.entries, &archive.events, &archive.runs];
        let of = tables.into_iter().find(|of| of.spec().name == table.name).unwrap();
        let files = of.version().await.unwrap().files(of).await.unwrap();
        let [file] = &files[..] else { panic!("{files:?}") };
        let path = folder.path().join("archive").join(table.name).join(&file.path);
        let whole = std::fs::read(&path).unwrap();
        let footer = Footers::default().footer(of, file).await.unwrap();
        let values = read(of, file, &footer, column).await.unwrap();
        let chunks = footer.meta.metadata().row_group(0).columns().to_vec();
        let chunk = chunks.iter().find(|chunk| chunk.column_path().string() == column).unwrap();
        let (begin, size) = chunk.byte_range();
        for bit in 8 * begin..8 * (begin + size) {
            let mut bytes = whole.clone();
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            std::fs::write(&path, &bytes).unwrap();
            if read(of, file, &footer, column).await.is_ok_and(|read| read != values && count(&read) == count(&values))
            {
                return Flipped { archive: archive.clone(), path, whole, _folder: folder };
            }
        }
        panic!("no bit of {}.{column} can flip unseen", table.name);
    }

    fn keeper(&self) -> Maintenance {
        let retention = [("ws-0".to_owned(), 1)].into();
        keeper(&self.archive, MaintainConfig { retention, ..MaintainConfig::default() })
    }

    /// Whether it is told of the file.
    fn is_told<T>(&self, done: Result<T, ArchiveError>) -> bool {
        let name = self.path.file_name().unwrap().to_str().unwrap();
        matches!(done, Err(ArchiveError::Corrupt(text)) if text.contains(name))
    }

    async fn verify(&self) -> Vec<String> {
        self.keeper().verify().await.unwrap().damaged
    }

    async fn erase(&self) -> Result<(), ArchiveError> {
        let upto: Cursor = [lane(0), lane(1), EVENTS].into_iter().map(|lane| (lane, 0, 10_000)).collect();
        let erasure = Erasure::new("ws-0", Target::Workspace, upto, "tests");
        self.keeper().erase(&erasure, &mut Clearing::default()).await
    }

    fn heal(&self) {
        std::fs::write(&self.path, &self.whole).unwrap();
    }
}

fn count(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_erasure_and_no_retention_passes_over_rows_that_a_flipped_bit_hides() {
    for table in [&ENTRIES, &schema::EVENTS] {
        for column in ["workspace_id", "run_id", "topic", "epoch", "partition", "offset"] {
            let flipped = Flipped::new(table, column).await;
            assert!(flipped.is_told(flipped.keeper().retain().await), "{}.{column}", table.name);
            assert!(flipped.is_told(flipped.erase().await), "{}.{column}", table.name);
            assert_eq!(flipped.verify().await.len(), 1, "{}.{column}", table.name);
            flipped.heal();
            flipped.keeper().retain().await.unwrap();
            flipped.erase().await.unwrap();
            whole(&flipped.keeper()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_runs_are_counted_from_what_a_flipped_bit_has_changed() {
    let of_entries = ["workspace_id", "card_id", "run_id", "record_time", "timestamp", "level", "agent_id"];
    let of_events =
        ["card_id", "run_id", "record_time", "timestamp", "kind", "agent_id", "cost", "input_tokens", "exit_code"];
    let of_entries = of_entries.map(|column| (&ENTRIES, column));
    let of_events = of_events.map(|column| (&schema::EVENTS, column));
    for (table, column) in of_entries.into_iter().chain(of_events) {
        let flipped = Flipped::new(table, column).await;
        assert!(flipped.is_told(flipped.keeper().roll_up().await), "{}.{column}", table.name);
        assert!(flipped.keeper().days().await.unwrap()[0].is_stale(), "{}.{column}", table.name);
        assert_eq!(flipped.verify().await.len(), 1, "{}.{column}", table.name);
        flipped.heal();
        assert_eq!(flipped.keeper().roll_up().await.unwrap().added, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_of_the_runs_is_told_and_they_are_made_again() {
    for column in RUNS.summed.iter().filter(|column| !["reason", "output_tokens"].contains(column)) {
        let flipped = Flipped::new(&RUNS, column).await;
        assert_eq!(flipped.verify().await.len(), 1, "{column}");
        assert_eq!(flipped.keeper().rebuild_runs(false).await.unwrap().added, 1, "{column}");
        whole(&flipped.keeper()).await;
    }
}
