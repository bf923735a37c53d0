//! Deleting files that no version needs any more: those that were taken out of a table, and those that were written, wholly or
//! in part, and never published.

use std::collections::HashSet;
use std::time::{Duration, UNIX_EPOCH};

use agentworks_schemas::Timestamp;
use futures_util::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStoreExt};
use serde::Serialize;
use serde_json::Value;

use super::Maintenance;
use crate::error::ArchiveError;
use crate::table::Table;

/// How many log files are read at a time.
const READS: usize = 16;

/// A file that is deleted, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unneeded {
    /// Its path below the archive: `entries/date=…/….parquet`.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was written.
    pub written: Timestamp,
}

impl Maintenance {
    /// Deletes the files of all tables that have not been needed for the grace. Returns them.
    ///
    /// A file stays while the current version has it, while it is young, and while a commit that names it is.
    pub async fn vacuum(&self) -> Result<Vec<Unneeded>, ArchiveError> {
        self.clear(true).await
    }

    /// The files that [`Maintenance::vacuum`] would delete.
    pub async fn unneeded(&self) -> Result<Vec<Unneeded>, ArchiveError> {
        self.clear(false).await
    }

    async fn clear(&self, delete: bool) -> Result<Vec<Unneeded>, ArchiveError> {
        let grace = i64::try_from(self.config.grace.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp::now().millis().saturating_sub(grace);
        let (mut files, mut first) = (Vec::new(), None);
        for table in [&self.archive.entries, &self.archive.events, &self.archive.runs] {
            match vacuum(table, before, delete).await {
                Ok(unneeded) => files.extend(unneeded),
                // The others' files are deleted all the same, for somebody may have been told by when they are.
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        first.map_or(Ok(files), Err)
    }
}

pub(super) async fn vacuum(table: &Table, before: i64, delete: bool) -> Result<Vec<Unneeded>, ArchiveError> {
    let is_old = |object: &ObjectMeta| object.last_modified.timestamp_millis() < before;
    // Listed before the version is looked at: what is published in between is young.
    let objects: Vec<ObjectMeta> = table.store().list(Some(table.root())).try_collect().await?;
    let log = table.root().clone().join("_delta_log");
    let is_log = |object: &ObjectMeta| object.location.prefix_matches(&log);
    let mut needed: HashSet<_> = HashSet::new();
    let commits = objects.iter().filter(|object| is_log(object) && !is_old(object));
    let commits = commits.filter(|object| object.location.extension() == Some("json"));
    let reads = futures_util::stream::iter(commits.cloned().collect::<Vec<_>>()).map(async |object| {
        let bytes = table.store().get(&object.location).await?.bytes().await?;
        named(&bytes).map_err(|error| error.at(object.location.as_ref()))
    });
    let mut reads = reads.buffer_unordered(READS);
    while let Some(paths) = reads.try_next().await? {
        needed.extend(paths.iter().map(|path| table.object(path)));
    }
    for file in table.version().await?.files(table).await? {
        needed.insert(table.object(&file.path));
    }
    if delete {
        let before = UNIX_EPOCH + Duration::from_millis(u64::try_from(before).unwrap_or_default());
        let swept = table.objects().sweep(before).await;
        swept.map_err(|error| ArchiveError::Unavailable(error.to_string()))?;
    }
    let mut files = Vec::new();
    for object in objects.into_iter().filter(|object| !is_log(object) && is_old(object)) {
        // Whatever else lies in the folder isn't ours.
        if object.location.extension() != Some("parquet") || needed.contains(&object.location) {
            continue;
        }
        if delete {
            match table.store().delete(&object.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let parts = object.location.prefix_match(table.root()).into_iter().flatten();
        let parts: Vec<_> = parts.map(|part| decoded(part.as_ref())).collect();
        files.push(Unneeded {
            path: format!("{}/{}", table.spec().name, parts.join("/")),
            bytes: object.size,
            written: Timestamp(object.last_modified.timestamp_millis()),
        });
    }
    if delete && !files.is_empty() {
        tracing::info!(table = table.spec().name, deleted = files.len(), "files deleted that no version needs");
    }
    Ok(files)
}

/// A path of the log is URL-encoded.
fn decoded(path: &str) -> String {
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// The paths that a commit adds or removes.
fn named(commit: &[u8]) -> Result<Vec<String>, ArchiveError> {
    let mut paths = Vec::new();
    for line in commit.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let action: Value = serde_json::from_slice(line)
            .map_err(|error| ArchiveError::Corrupt(format!("a commit can't be read: {error}")))?;
        for kind in ["add", "remove"] {
            if let Some(path) = action[kind]["path"].as_str() {
                paths.push(decoded(path));
            }
        }
    }
    Ok(paths)
}
