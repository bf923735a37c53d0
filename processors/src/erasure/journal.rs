//! The rows of the journal.

use std::fmt;
use std::ops::Bound;

use agentworks_schemas::{Cursor, Position, Timestamp};
use agentworks_store::{Column, Key, Part, Row, Scan, Store, StoreError, Table, Write};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The journal of erasures and what has become of them: `scope` is [`JOURNAL`] or [`RECEIPTS`], `name` an erasure's id,
/// in receipts with the tier behind it. The versions count the states of a receipt.
pub const ERASURES: Table = Table {
    name: "erasures",
    partition: &[Column::text("scope")],
    clustering: &[Column::text("name")],
    versioned: true,
};

const JOURNAL: &str = "journal";
pub(super) const RECEIPTS: &str = "receipts";

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
    /// The end of the log then, in every partition: what lies before is erased.
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
        self.workspace == workspace
            && match &self.target {
                Target::Workspace => true,
                Target::Run(erased) => erased == run,
            }
            && self.covers(position)
    }

    /// Whether a position lies before the place where the erasure was made.
    pub fn covers(&self, position: Position) -> bool {
        self.upto.get(position.partition).is_some_and(|upto| (position.epoch, position.offset) < upto)
    }
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

/// Writes an erasure down.
pub(super) async fn write(store: &dyn Store, erasure: &Erasure) -> Result<(), StoreError> {
    let payload = serde_json::to_vec(erasure).map_err(|error| StoreError::Failed(error.to_string()))?;
    let key = key(JOURNAL, erasure.id.clone());
    let write =
        Write { table: &ERASURES, key, version: 0, expires: None, stats: Bytes::new(), payload: payload.into() };
    store.write(vec![write]).await
}

/// Reads the erasures made at `since` or later, by age.
pub(super) async fn read(store: &dyn Store, since: Timestamp) -> Result<Vec<Erasure>, StoreError> {
    let from = Bound::Included(vec![Part::Text(id(since, Uuid::nil()))]);
    let rows = store.scan(Scan { from, ..Scan::partition(&ERASURES, vec![JOURNAL.into()]) }).await?;
    rows.iter().map(parse).collect()
}

fn parse(row: &Row) -> Result<Erasure, StoreError> {
    serde_json::from_slice(&row.payload)
        .map_err(|error| StoreError::Failed(format!("erasure {:?} can't be read: {error}", row.clustering)))
}
