//! The error rate of each component on each day, by DuckDB.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::days::Days;

/// Measures and prints; leaves it out where the tests' Python isn't there.
pub fn measure(days: &Days) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("AGENTWORKS_PYTHON").map(PathBuf::from);
    let python = python.unwrap_or_else(|| root.join(".tools/venv/bin/python"));
    if !python.exists() {
        return println!("DuckDB is left out: `make test` sets up its Python");
    }
    let script = root.join("tests/python/analysis.py");
    let output = Command::new(python).arg(script).arg(days.archive.join("entries")).arg(&days.ndjson).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let seconds = |name: &str| told[name].as_f64().unwrap();
    let (table, text) = (seconds("table"), seconds("ndjson"));
    println!("DuckDB: the error rate of each component on each day of {} entries; medians of 3 rounds\n", days.entries);
    println!("| | time | ÷ NDJSON |\n|---|---|---|");
    println!("| NDJSON, zstd 3, its three columns declared | {text:.2} s | 1.00 |");
    println!("| the table `entries` | {table:.2} s | {:.3} |", table / text);
}
