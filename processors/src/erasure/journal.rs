//! The rows of the journal.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use agentworks_schemas::{Cursor, Position, Timestamp};
use agentworks_store::{Column, Key, Order, Part, Row, Scan, Store, StoreError, Table, Write};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The journal of erasures and what has become of them: `scope` is [`JOURNAL`] or [`RECEIPTS`], `name` a place in the
/// journal, or of receipts an erasure's id with the tier behind it. The versions count the states of a receipt. While runs
/// are deleted, there are rows of [`begun`](super::begun) too.
pub const ERASURES: Table = Table {
    name: "erasures",
    partition: &[Column::text("scope")],
    clustering: &[Column::text("name")],
    versioned: true,
};

const JOURNAL: &str = "journal";
pub(super) const RECEIPTS: &str = "receipts";

/// How far each reading of the journal goes back beyond the last place that the one before has found. A place is a time in
/// milliseconds, but whoever writes sees to it that this suffices, whatever the clocks say.
pub(super) const OVERLAP: i64 = 10 * 60 * 1000;

/// What of a workspace is erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// Everything.
    Workspace,
    /// What belongs to one run.
    Run(String),
}

/// An erasure: whose records, and up to where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Erasure {
    /// Its id: begins with the time at which it was made, so that ids sort by age.
    pub id: String,
    /// The tenant.
    pub workspace: String,
    /// What of it.
    pub target: Target,
    /// The end of the log then, in every partition: what lies before is erased, and what lay in earlier makings of the
    /// topics.
    #[serde(deserialize_with = "Cursor::deserialize_end")]
    pub upto: Cursor,
    /// When it was made.
    pub at: Timestamp,
    /// Who asked for it.
    pub by: String,
}

impl Erasure {
    /// An erasure made now.
    pub fn new(workspace: &str, target: Target, upto: Cursor, by: &str) -> Self {
        let at = Timestamp::now();
        let (workspace, by) = (workspace.to_owned(), by.to_owned());
        Erasure { id: id(at, Uuid::new_v4()), workspace, target, upto, at, by }
    }

    /// Whether a record of `workspace` and `run` at a position is erased.
    pub fn hides(&self, workspace: &str, run: &str, position: Position) -> bool {
        self.is_of(workspace, run) && self.covers(position)
    }

    /// Whether it is of this workspace and run, of whose records those that came later are not erased.
    pub fn is_of(&self, workspace: &str, run: &str) -> bool {
        self.workspace == workspace
            && match &self.target {
                Target::Workspace => true,
                Target::Run(erased) => erased == run,
            }
    }

    /// Whether all of the workspace was erased.
    pub(crate) fn is_of_workspace(&self) -> bool {
        self.target == Target::Workspace
    }

    /// Whether a position lies before the place where the erasure was made; so does all of an earlier making of its topic,
    /// also in partitions that the topic no longer had.
    pub fn covers(&self, position: Position) -> bool {
        self.upto.covers(position)
    }
}

/// Whether any of some erasures covers a position.
pub(crate) fn any_covers(erasures: &[Arc<Erasure>], position: Position) -> bool {
    erasures.iter().any(|erasure| erasure.covers(position))
}

impl fmt::Display for Erasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Workspace => write!(f, "workspace {}", self.workspace),
            Target::Run(run) => write!(f, "run {run} of workspace {}", self.workspace),
        }
    }
}

fn id(at: Timestamp, unique: Uuid) -> String {
    format!("{:014}-{unique}", at.millis())
}

pub(super) fn key(scope: &str, name: String) -> Key {
    Key { partition: vec![scope.into()], clustering: vec![name.into()] }
}

/// Writes an erasure down: at its time, or behind all that is there already, if some clock is ahead.
///
/// Readers look only for what lies behind the last place that they know, less [`OVERLAP`]. What was there before is not
/// farther ahead than this; what others have written meanwhile might be, and then the erasure is written again, behind
/// that. Reads of the store see every write that has returned before, so whatever comes later comes behind it too.
pub(crate) async fn write(store: &dyn Store, erasure: &Erasure) -> Result<(), StoreError> {
    let payload: Bytes = serde_json::to_vec(erasure).map_err(|error| StoreError::Failed(error.to_string()))?.into();
    let unique = erasure.id.split_once('-').map_or(erasure.id.as_str(), |(_, unique)| unique);
    let mut place = erasure.at.millis();
    loop {
        place = place.max(last_place(store).await?.map_or(place, |last| last.saturating_add(1)));
        let write = Write {
            table: &ERASURES,
            key: key(JOURNAL, format!("{place:014}-{unique}")),
            version: 0,
            expires: None,
            stats: Bytes::new(),
            payload: payload.clone(),
        };
        store.write(vec![write]).await?;
        if last_place(store).await?.is_none_or(|last| last - place <= OVERLAP / 2) {
            return Ok(());
        }
    }
}

/// Reads the erasures at `since` or behind it, in order, and the place of each.
pub(super) async fn read(store: &dyn Store, since: i64) -> Result<Vec<(i64, Erasure)>, StoreError> {
    let from = Bound::Included(vec![Part::Text(format!("{since:014}"))]);
    let rows = store.scan(Scan { from, ..Scan::partition(&ERASURES, vec![JOURNAL.into()]) }).await?;
    rows.iter().map(|row| Ok((place_of(row)?, parse(row)?))).collect()
}

/// The last place at which something is written, if anything is.
async fn last_place(store: &dyn Store) -> Result<Option<i64>, StoreError> {
    let scan = Scan::partition(&ERASURES, vec![JOURNAL.into()]);
    let rows = store.scan(Scan { order: Order::Descending, limit: 1, payload: false, ..scan }).await?;
    rows.first().map(place_of).transpose()
}

fn place_of(row: &Row) -> Result<i64, StoreError> {
    let place = match row.clustering.first() {
        Some(Part::Text(name)) => name.split_once('-').and_then(|(place, _)| place.parse().ok()),
        _ => None,
    };
    place.ok_or_else(|| StoreError::Failed(format!("erasure {:?} lies at no place", row.clustering)))
}

fn parse(row: &Row) -> Result<Erasure, StoreError> {
    serde_json::from_slice(&row.payload)
        .map_err(|error| StoreError::Failed(format!("erasure {:?} can't be read: {error}", row.clustering)))
}
