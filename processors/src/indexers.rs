//! Which search indexers there are: rows in the store that each writes again every few seconds. Here, and not with the index,
//! so that whoever makes tables needn't link what searches.

use std::time::Duration;

use agentworks_schemas::{Timestamp, TopicPartition};
use agentworks_store::{Column, Key, Scan, Store, StoreError, Table, Write};
use serde::{Deserialize, Serialize};

use crate::blocks::table::json;

/// The indexers: `scope, instance` → [`Lease`]. There is one scope. The versions count an instance's own writes.
pub const INDEXERS: Table = Table {
    name: "search_indexers",
    partition: &[Column::text("scope")],
    clustering: &[Column::text("instance")],
    versioned: true,
};

const SCOPE: &str = "indexers";

/// How long a lease holds without being written again.
pub const LEASE: Duration = Duration::from_secs(15);

/// How often it is written.
pub const RENEW: Duration = Duration::from_secs(4);

/// How much longer its row stays: a clock may be ahead.
const STAY: i64 = 600_000;

/// An indexer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// A name that no other process has or had.
    pub instance: String,
    /// Where it can be asked, as `host:port`.
    pub address: String,
    /// The lanes that it has.
    pub lanes: Vec<TopicPartition>,
    /// When it said so, by its own clock.
    pub at: Timestamp,
    /// How often it has said so.
    pub count: i64,
}

fn key(instance: &str) -> Key {
    Key { partition: vec![SCOPE.into()], clustering: vec![instance.into()] }
}

/// Says that an indexer is there.
///
/// # Errors
/// The store's.
pub async fn renew(store: &dyn Store, lease: &Lease) -> Result<(), StoreError> {
    let row = json(&INDEXERS, key(&lease.instance), lease.count, lease)?;
    store.write(vec![Write { expires: Some(lease.at.millis() + STAY), ..row }]).await
}

/// Says that an indexer is no more, after its last [`renew`].
///
/// # Errors
/// The store's. Then it is taken to be there until its lease has run out.
pub async fn end(store: &dyn Store, lease: &Lease) -> Result<(), StoreError> {
    store.delete(&INDEXERS, &key(&lease.instance), lease.count).await
}

/// The indexers whose leases hold.
///
/// # Errors
/// The store's.
pub async fn holding(store: &dyn Store) -> Result<Vec<Lease>, StoreError> {
    let rows = store.scan(Scan::partition(&INDEXERS, vec![SCOPE.into()])).await?;
    let parse = |payload: &[u8]| {
        serde_json::from_slice::<Lease>(payload)
            .map_err(|error| StoreError::Failed(format!("the lease of a search indexer can't be read: {error}")))
    };
    let all = rows.iter().map(|row| parse(&row.payload)).collect::<Result<Vec<_>, _>>()?;
    let now = Timestamp::now();
    // A clock that is ahead gives no longer lease than any other, and one that is behind a shorter one.
    Ok(all.into_iter().filter(|lease| now.since(lease.at) < LEASE).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_store::EmbeddedStore;

    use super::*;

    #[tokio::test]
    async fn leases_hold_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&folder).unwrap();
        let lease = |instance: &str, age: i64, count| Lease {
            instance: instance.into(),
            address: "127.0.0.1:1".into(),
            lanes: vec![TopicPartition::new(agentworks_schemas::Topic::AgentLogs, 3)],
            at: Timestamp(Timestamp::now().millis() - age),
            count,
        };
        let (held, gone, old) = (lease("a", 0, 5), lease("b", 0, 1), lease("c", 60_000, 1));
        for lease in [&held, &gone, &old, &lease("a", 9000, 4)] {
            renew(&store, lease).await.unwrap();
        }
        end(&store, &gone).await.unwrap();
        assert_eq!(holding(&store).await.unwrap(), [held]);
    }
}
