//! The manifest's objects.

use std::sync::Arc;

use agentworks_objects::Objects;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::SNAPSHOT_EVERY;
use super::change::Change;
use super::state::{Snapshot, State};
use crate::error::SearchError;

/// How many versions are read at once while catching up.
const READS: usize = 16;

/// A version's object.
#[derive(Debug, Serialize, Deserialize)]
struct VersionFile {
    /// So that no other reads as this one does.
    format: u32,
    change: Change,
    /// All that there is then, in every [`SNAPSHOT_EVERY`]th version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<Snapshot>,
}

const FORMAT: u32 = 1;

pub(super) const FOLDER: &str = "manifest";

/// The name of a version's object. Names sort as versions do.
pub(super) fn name(version: u64) -> String {
    format!("{FOLDER}/{version:020}.json")
}

/// The version of an object's file name.
pub(super) fn version_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".json")?;
    if digits.len() == 20 { digits.parse().ok() } else { None }
}

/// The next version's state and object.
pub(super) fn encode(base: &State, change: &Change) -> Result<(State, Bytes), SearchError> {
    let mut state = base.clone();
    state.version += 1;
    change.apply(&mut state);
    let snapshot = state.version.is_multiple_of(SNAPSHOT_EVERY).then(|| Snapshot::of(&state));
    let file = VersionFile { format: FORMAT, change: change.clone(), snapshot };
    let object = serde_json::to_vec(&file).map_err(|error| SearchError::Manifest {
        version: state.version,
        reason: format!("can't be written: {error}"),
    })?;
    Ok((state, object.into()))
}

fn decode(version: u64, object: &[u8]) -> Result<VersionFile, SearchError> {
    let file: VersionFile = serde_json::from_slice(object)
        .map_err(|error| SearchError::Manifest { version, reason: format!("can't be read: {error}") })?;
    if file.format != FORMAT {
        let reason = format!("is of format {}, and this program reads format {FORMAT}: use a newer one", file.format);
        return Err(SearchError::Manifest { version, reason });
    }
    Ok(file)
}

async fn read(objects: &Objects, version: u64) -> Result<Option<VersionFile>, SearchError> {
    match objects.get(&name(version)).await {
        Ok(object) => decode(version, &object).map(Some),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// All versions that there are objects of, ascending.
pub(super) async fn versions(objects: &Objects) -> Result<Vec<u64>, SearchError> {
    let listed = objects.store().list(Some(&objects.path(FOLDER)));
    let found = listed.try_filter_map(async |object| Ok(object.location.filename().and_then(version_of)));
    let mut versions: Vec<u64> = found.try_collect().await.map_err(objects.error())?;
    versions.sort_unstable();
    Ok(versions)
}

/// The newest state with a snapshot, by listing; or `known`, if that is newer.
pub(super) async fn find(objects: &Objects, known: &Arc<State>) -> Result<Arc<State>, SearchError> {
    loop {
        let versions = versions(objects).await?;
        let newest = versions.last().copied().unwrap_or_default();
        let snapshot = newest - newest % SNAPSHOT_EVERY;
        // What is known may be followed only if nothing between has been deleted.
        let follows = known.version <= newest
            && versions.iter().filter(|version| **version > known.version).count() as u64 == newest - known.version;
        if known.version > 0 && follows && known.version >= snapshot {
            return Ok(known.clone());
        }
        if snapshot == 0 {
            if versions.first().is_some_and(|first| *first != 1) {
                let reason =
                    "is the first one that is there, and has no snapshot: earlier ones were removed".to_owned();
                return Err(SearchError::Manifest { version: versions[0], reason });
            }
            return Ok(Arc::default());
        }
        let Some(file) = read(objects, snapshot).await? else {
            // Deleted since it was listed: there is a newer one.
            if self::versions(objects).await?.last().is_none_or(|last| last - last % SNAPSHOT_EVERY == snapshot) {
                return Err(SearchError::Manifest {
                    version: snapshot,
                    reason: "is missing, and it has the snapshot".into(),
                });
            }
            continue;
        };
        let snapshot_of = file
            .snapshot
            .ok_or_else(|| SearchError::Manifest { version: snapshot, reason: "has no snapshot".into() })?;
        return Ok(Arc::new(snapshot_of.into_state(snapshot)));
    }
}

/// The newest state, by reading version after version from `state` on.
pub(super) async fn follow(objects: &Objects, state: Arc<State>) -> Result<Arc<State>, SearchError> {
    let mut state = state;
    // Mostly there is nothing new: one look tells.
    let mut ahead = 1;
    loop {
        let next = state.version + 1;
        let reads = stream::iter(next..next + ahead).map(|version| read(objects, version)).buffered(READS);
        let files: Vec<_> = reads.try_collect().await?;
        let mut new = State::clone(&state);
        for file in files {
            let Some(file) = file else {
                return Ok(if new.version > state.version { Arc::new(new) } else { state });
            };
            new.version += 1;
            file.change.apply(&mut new);
        }
        state = Arc::new(new);
        ahead = READS as u64;
    }
}
