//! What the archive costs, and what it saves.
//!
//! - [`writing`]: processor time from the topics to committed files, beside a bare Parquet writer that is given the same
//!   rows, sorted and ready, and keeps what it writes in memory.
//! - [`days`]: ten million entries of ten days (`AGENTWORKS_BENCH_ENTRIES` says how many): their size beside `zstd -3` of
//!   the same entries as NDJSON, before and after the days' files are merged.
//! - [`lookup`]: one run's lines out of these: bytes that are read, and time, beside a scan of everything.
//! - [`analysis`]: an analysis in DuckDB, on the table and on the NDJSON.

mod analysis;
mod days;
mod lookup;
mod writing;

use self::days::Days;
use crate::support::Scratch;

/// Measures and prints.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    writing::measure(&runtime);
    let scratch = Scratch::new("bench-archive");
    let days = runtime.block_on(Days::fill(scratch.path()));
    runtime.block_on(lookup::measure(&days));
    analysis::measure(&days);
}
