//! One run's lines.

use std::fs::File;
use std::time::{Duration, Instant};

use agentworks_archive::{Archive, ArchiveReader};
use agentworks_objects::Objects;
use agentworks_processors::reader::{ColdRange, ReadFilter, Scope};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::days::{Days, Run, files};
use crate::sinks::median;

/// What a reading took.
struct Read {
    bytes: u64,
    took: Duration,
    lines: usize,
}

/// Measures and prints.
pub async fn measure(days: &Days) {
    let (mut first, mut next) = (Vec::new(), Vec::new());
    let warm = reader(days).await;
    read(&warm, days, &days.runs[0]).await;
    for run in &days.runs {
        let cold = reader(days).await;
        first.push(read(&cold, days, run).await);
        next.push(read(&warm, days, run).await);
    }
    let last = days.runs.last().unwrap();
    let whole = scan(days, last);
    assert_eq!(whole.lines, first.last().unwrap().lines);
    println!("One run's lines of {} entries; medians of {} runs of {:.0} lines\n", days.entries, first.len(), {
        median(first.iter().map(|read| read.lines as f64))
    });
    println!("| | bytes read | time | scan ÷ this, bytes | time |\n|---|---|---|---|---|");
    println!("| scan of all files, all columns | {:.1} MB | {:.2} s | 1 | 1 |", mb(&whole), whole.took.as_secs_f64());
    for (name, reads) in [("a reader that has seen nothing yet", first), ("one that knows the files", next)] {
        let (bytes, took) = (median(reads.iter().map(mb)), median(reads.iter().map(|read| read.took.as_secs_f64())));
        let (fewer, faster) = (mb(&whole) / bytes, whole.took.as_secs_f64() / took);
        println!("| {name} | {bytes:.2} MB | {:.1} ms | {fewer:.0} | {faster:.0} |", took * 1e3);
    }
    println!();
}

fn mb(read: &Read) -> f64 {
    read.bytes as f64 / 1e6
}

async fn reader(days: &Days) -> ArchiveReader {
    ArchiveReader::new(&Archive::open(&Objects::folder(&days.archive).unwrap()).await.unwrap())
}

/// What the process has read so far of files, as the kernel counts it.
fn bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

async fn read(reader: &ArchiveReader, days: &Days, run: &Run) -> Read {
    let scope = Scope::Run { workspace: "acme".into(), card: run.card.clone(), run: run.name.clone() };
    let filter = ReadFilter::default();
    let (before, began, mut lines) = (bytes(), Instant::now(), 0);
    for partition in run.lanes {
        let mut range =
            ColdRange { scope: &scope, filter: &filter, partition, epoch: 0, from: 0, to: days.ends[&partition] };
        loop {
            let some = reader.forward(&range, 1000).await.unwrap();
            let Some(last) = some.last() else { break };
            range.from = last.position.offset + 1;
            lines += some.len();
        }
    }
    Read { bytes: bytes() - before, took: began.elapsed(), lines }
}

/// Reads everything, and counts the lines of a run.
fn scan(days: &Days, run: &Run) -> Read {
    let (before, began, mut lines) = (bytes(), Instant::now(), 0);
    for file in files(&days.archive.join("entries")) {
        let rows = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap().build().unwrap();
        for rows in rows.map(Result::unwrap) {
            let runs = rows.column_by_name("run_id").unwrap().as_string::<i32>();
            lines += (0..runs.len()).filter(|row| runs.value(*row) == run.name).count();
        }
    }
    Read { bytes: bytes() - before, took: began.elapsed(), lines }
}
