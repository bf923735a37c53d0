//! The days of an archive: of which files each is now, and of which its runs were made.

use std::collections::BTreeMap;

use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::rows::hash;
use crate::table::ActiveFile;

/// A day, as of one look at the tables.
#[derive(Debug)]
pub(in crate::maintain) struct Day {
    /// `2025-12-02`
    pub(in crate::maintain) date: String,
    /// Its files of entries, and of events.
    pub(super) inputs: [Vec<ActiveFile>; 2],
    /// Its files of runs.
    pub(in crate::maintain) runs: Vec<ActiveFile>,
    /// What its runs were made of; `None` if they never were.
    pub(in crate::maintain) before: Option<i64>,
}

/// Under which name it is recorded of which files the runs of a day were made.
pub(super) fn name(date: &str) -> String {
    format!("runs/{date}")
}

impl Day {
    /// A number for its files, none of which ever changes.
    pub(super) fn made_of(&self) -> i64 {
        let mut paths: Vec<_> = self.inputs.iter().flatten().map(|file| file.path.as_str()).collect();
        paths.sort_unstable();
        let [a, b, c, d, e, f, g, h, ..] = hash(paths.join("\n").as_bytes());
        i64::from_be_bytes([a, b, c, d, e, f, g, h]) & i64::MAX
    }

    /// Whether its runs are of other files than it has.
    pub(in crate::maintain) fn is_stale(&self) -> bool {
        self.before != Some(self.made_of())
    }

    /// Whether there are entries or events of it.
    pub(in crate::maintain) fn has_files(&self) -> bool {
        self.inputs.iter().any(|files| !files.is_empty())
    }
}

/// All days that a table has anything of, by date.
pub(super) async fn days(archive: &Archive) -> Result<Vec<Day>, ArchiveError> {
    // The runs first: whoever has made them since, maybe of newer files, is seen when they are published.
    let runs = archive.runs.version().await?;
    let recorded = runs.all_recorded(&archive.runs).await?;
    let mut days = BTreeMap::new();
    for file in runs.files(&archive.runs).await? {
        day(&mut days, &recorded, &file.date).runs.push(file);
    }
    for (index, table) in archive.logs().into_iter().enumerate() {
        for file in table.version().await?.files(table).await? {
            day(&mut days, &recorded, &file.date).inputs[index].push(file);
        }
    }
    Ok(days.into_values().collect())
}

fn day<'a>(days: &'a mut BTreeMap<String, Day>, recorded: &BTreeMap<String, i64>, date: &str) -> &'a mut Day {
    days.entry(date.to_owned()).or_insert_with(|| Day {
        date: date.to_owned(),
        inputs: Default::default(),
        runs: Vec::new(),
        before: recorded.get(&name(date)).copied(),
    })
}
