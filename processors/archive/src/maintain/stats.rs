//! What the archive holds, in figures.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Maintenance;
use crate::error::ArchiveError;
use crate::table::Table;

/// A table in figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableStats {
    /// Its name.
    pub table: &'static str,
    /// Its version.
    pub version: u64,
    /// How many files it has.
    pub files: u64,
    /// How many of them are small enough to be merged once their day is over.
    pub small_files: u64,
    /// How many rows.
    pub rows: u64,
    /// How many bytes the files have.
    pub bytes: u64,
    /// Its first and last day: `2025-12-02`.
    pub days: Option<(String, String)>,
}

/// A workspace in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceStats {
    /// How many entries it has.
    pub entries: u64,
    /// How many runs, a run counted on each of its days.
    pub run_days: u64,
}

impl Maintenance {
    /// The tables in figures.
    pub async fn stats(&self) -> Result<Vec<TableStats>, ArchiveError> {
        let mut stats = Vec::new();
        for table in [&self.archive.entries, &self.archive.events, &self.archive.runs] {
            stats.push(self.table_stats(table).await?);
        }
        Ok(stats)
    }

    async fn table_stats(&self, table: &Table) -> Result<TableStats, ArchiveError> {
        let version = table.version().await?;
        let files = version.files(table).await?;
        let dates = || files.iter().map(|file| file.date.clone());
        Ok(TableStats {
            table: table.spec().name,
            version: version.number(),
            files: files.len() as u64,
            small_files: files.iter().filter(|file| file.size < self.config.small_file).count() as u64,
            rows: files.iter().map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.size).sum(),
            days: dates().min().zip(dates().max()),
        })
    }

    /// The workspaces in figures, as of the days that have been rolled up.
    pub async fn workspaces(&self) -> Result<BTreeMap<String, WorkspaceStats>, ArchiveError> {
        let mut workspaces: BTreeMap<String, WorkspaceStats> = BTreeMap::new();
        self.each_run(|workspace, entries| {
            let stats = workspaces.entry(workspace.to_owned()).or_default();
            stats.entries += entries;
            stats.run_days += 1;
        })
        .await?;
        Ok(workspaces)
    }
}
