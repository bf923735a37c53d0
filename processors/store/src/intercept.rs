//! A store in front of another one that sees to what is written, looked up and deleted and hands on all else: for tests that fail
//! writes, record them, or die in the middle of one.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::key::Key;
use crate::store::{Row, Scan, Store, StoreError, Write};
use crate::table::Table;

/// What sees to the writes. Whatever is one is a [`Store`].
#[async_trait]
pub trait Intercept: fmt::Debug + Send + Sync + 'static {
    /// The store behind.
    fn behind(&self) -> &Arc<dyn Store>;

    /// Writes rows, or not.
    ///
    /// # Errors
    /// Whatever is to become of them.
    async fn intercept(&self, writes: Vec<Write>) -> Result<(), StoreError>;

    /// Looks for a row, or not. Handed on unless somebody sees to it.
    ///
    /// # Errors
    /// Whatever is to become of it.
    async fn intercept_get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError> {
        self.behind().get(table, key).await
    }

    /// Deletes a row, or not. Handed on unless somebody sees to it.
    ///
    /// # Errors
    /// Whatever is to become of it.
    async fn intercept_delete(&self, table: &'static Table, key: &Key, version: i64) -> Result<(), StoreError> {
        self.behind().delete(table, key, version).await
    }
}

#[async_trait]
impl<T: Intercept> Store for T {
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.intercept(writes).await
    }

    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError> {
        self.intercept_get(table, key).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        self.behind().scan(scan).await
    }

    async fn delete(&self, table: &'static Table, key: &Key, version: i64) -> Result<(), StoreError> {
        self.intercept_delete(table, key, version).await
    }
}
