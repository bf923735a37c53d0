//! How the archive's commands tell what they found and did.

use std::collections::BTreeMap;
use std::io::{self, Write};

use agentworks_archive::{Changed, Rebuilt, TableStats, Unneeded, Verified, WorkspaceStats};
use serde_json::{Value, json};

pub(super) fn print_json(value: &Value) -> io::Result<()> {
    writeln!(io::stdout(), "{value}")
}

/// `12.3 MiB`
fn size(bytes: u64) -> String {
    let (mut size, mut units) = (bytes as f64, ["B", "KiB", "MiB", "GiB", "TiB"].into_iter());
    let mut unit = units.next().unwrap_or_default();
    while size >= 1024.0
        && let Some(next) = units.next()
    {
        (size, unit) = (size / 1024.0, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") }
}

pub(super) fn stats(
    tables: &[TableStats],
    workspaces: Option<&BTreeMap<String, WorkspaceStats>>,
    as_json: bool,
) -> io::Result<()> {
    if as_json {
        return print_json(&json!({"tables": tables, "workspaces": workspaces}));
    }
    let mut out = io::stdout().lock();
    let (files, small) = ("FILES", "SMALL");
    writeln!(out, "{:<8} {:>8} {files:>7} {small:>7} {:>13} {:>11}  DAYS", "TABLE", "VERSION", "ROWS", "SIZE")?;
    for table in tables {
        let days = match &table.days {
            Some((first, last)) if first == last => first.clone(),
            Some((first, last)) => format!("{first} to {last}"),
            None => "none".to_owned(),
        };
        let TableStats { table, version, files, small_files, rows, bytes, .. } = table;
        let size = size(*bytes);
        writeln!(out, "{table:<8} {version:>8} {files:>7} {small_files:>7} {rows:>13} {size:>11}  {days}")?;
    }
    let Some(workspaces) = workspaces else { return Ok(()) };
    writeln!(out)?;
    writeln!(out, "{:>13} {:>9}  WORKSPACE", "ENTRIES", "RUN DAYS")?;
    for (workspace, WorkspaceStats { entries, run_days }) in workspaces {
        // Of whoever writes, and may be anything.
        writeln!(out, "{entries:>13} {run_days:>9}  {}", workspace.escape_debug())?;
    }
    Ok(())
}

pub(super) fn verified(verified: &Verified, as_json: bool) -> io::Result<()> {
    if as_json {
        return print_json(&json!(verified));
    }
    let mut out = io::stdout().lock();
    let Verified { files, rows, lanes, problems, damaged } = verified;
    writeln!(out, "read {files} files, {rows} rows, {lanes} lanes")?;
    for problem in problems {
        writeln!(out, "  {problem}")?;
    }
    if problems.is_empty() {
        return writeln!(out, "all is what was written, and every lane is whole");
    }
    let damaged = damaged.len();
    writeln!(
        out,
        "{} problems, {damaged} damaged files: `agentworks archive rebuild` restores from the log",
        problems.len()
    )
}

pub(super) fn compacted(retained: Changed, merged: Changed, rolled_up: Changed, as_json: bool) -> io::Result<()> {
    if as_json {
        return print_json(&json!({"retained": retained, "merged": merged, "rolledUp": rolled_up}));
    }
    let mut out = io::stdout().lock();
    writeln!(out, "retention: {} rows taken out of {} files", retained.rows, retained.removed)?;
    writeln!(out, "merged: {} files into {}", merged.removed, merged.added)?;
    writeln!(out, "runs: {} files written, in place of {}", rolled_up.added, rolled_up.removed)
}

pub(super) fn vacuumed(files: &[Unneeded], dry_run: bool, as_json: bool) -> io::Result<()> {
    if as_json {
        return print_json(&json!({"dryRun": dry_run, "files": files}));
    }
    let mut out = io::stdout().lock();
    let bytes = size(files.iter().map(|file| file.bytes).sum());
    if dry_run {
        for file in files {
            writeln!(out, "{}  {:>11}  {}", file.written, size(file.bytes), file.path)?;
        }
        return writeln!(out, "{} files would be deleted, {bytes}", files.len());
    }
    writeln!(out, "{} files deleted, {bytes}", files.len())
}

pub(super) fn rebuilt(rebuilt: &[Rebuilt], runs: Option<Changed>, dry_run: bool, as_json: bool) -> io::Result<()> {
    if as_json {
        return print_json(&json!({"dryRun": dry_run, "tables": rebuilt, "runs": runs}));
    }
    let mut out = io::stdout().lock();
    for Rebuilt { table, replaced, ranges, added, rows_before, rows } in rebuilt {
        writeln!(out, "{table}: {} files, {rows_before} rows", replaced.len())?;
        for file in replaced {
            let reason = file.reason.as_deref().unwrap_or("whole, but shares a range with one that isn't");
            writeln!(out, "  {}: {reason}", file.path)?;
        }
        for range in ranges {
            writeln!(out, "  {} {range}", if dry_run { "the log has" } else { "taken from the log:" })?;
        }
        if !dry_run {
            writeln!(out, "  restored: {added} files, {rows} rows")?;
        }
    }
    if rebuilt.is_empty() && runs.is_none_or(|runs| runs == Changed::default()) {
        return writeln!(out, "nothing is damaged");
    }
    match runs {
        Some(runs) if runs != Changed::default() => {
            writeln!(out, "runs: {} files made of entries and events, in place of {}", runs.added, runs.removed)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 1023, 1024, 1536 << 10, 5 << 40].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 TiB"]);
    }
}
