//! A store that hides that hot holds anything.

use std::sync::Arc;

use agentworks_store::{Key, Part, Row, Scan, Store, StoreError, Table, Write};
use async_trait::async_trait;

/// The store behind, to be read.
#[derive(Debug)]
pub(super) struct WithoutHot(pub(super) Arc<dyn Store>);

#[async_trait]
impl Store for WithoutHot {
    async fn write(&self, _: Vec<Write>) -> Result<(), StoreError> {
        Err(StoreError::Failed("it is only read".into()))
    }

    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError> {
        let is_of_hot = key.partition.first() == Some(&Part::Text("hot".into()));
        if table.name == "positions" && is_of_hot { Ok(None) } else { self.0.get(table, key).await }
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        self.0.scan(scan).await
    }

    async fn delete(&self, _: &'static Table, _: &Key, _: i64) -> Result<(), StoreError> {
        Err(StoreError::Failed("it is only read".into()))
    }
}
