//! What has been begun to be deleted for an erasure.
//!
//! The runs of a workspace are found by rows that are deleted with them. So their names are written down before the first
//! row goes: whoever goes on where another process was killed has them from here, and they go last.

use std::collections::BTreeSet;

use agentworks_store::{Key, Scan, Store, StoreError};
use uuid::Uuid;

use super::journal::{ERASURES, Erasure, key};
use crate::blocks::table::json;

/// How many names a row has.
const NAMES: usize = 1_000;

/// The scope of an erasure's rows: a partition of its own, for it is all deleted.
fn scope(erasure: &Erasure) -> String {
    format!("clearing/{}", erasure.id)
}

/// Writes down the names that were just found, and returns them with those that were before. Looking for them comes first:
/// what is found no more by then has been written down, or is gone with all that belongs to it.
///
/// # Errors
/// The store's; then nothing may be deleted.
pub(crate) async fn begin(
    store: &dyn Store,
    erasure: &Erasure,
    found: BTreeSet<String>,
) -> Result<BTreeSet<String>, StoreError> {
    let mut names = BTreeSet::new();
    for row in store.scan(Scan::partition(&ERASURES, vec![scope(erasure).into()])).await? {
        let damaged =
            |error| StoreError::Failed(format!("what erasure {} has begun can't be read: {error}", erasure.id));
        names.extend(serde_json::from_slice::<Vec<String>>(&row.payload).map_err(damaged)?);
    }
    let new: Vec<&String> = found.difference(&names).collect();
    for chunk in new.chunks(NAMES) {
        // Never one that was deleted before: that would win.
        let key = key(&scope(erasure), Uuid::new_v4().to_string());
        store.write(vec![json(&ERASURES, key, 0, &chunk)?]).await?;
    }
    names.extend(found);
    Ok(names)
}

/// Forgets the names, when all that belongs to them is gone.
///
/// # Errors
/// The store's; then some of them stay.
pub(crate) async fn end(store: &dyn Store, erasure: &Erasure) -> Result<(), StoreError> {
    let partition = vec![scope(erasure).into()];
    let scan = Scan { payload: false, ..Scan::partition(&ERASURES, partition.clone()) };
    for row in store.scan(scan).await? {
        let key = Key { partition: partition.clone(), clustering: row.clustering };
        store.delete(&ERASURES, &key, row.version).await?;
    }
    Ok(())
}
