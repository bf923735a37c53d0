//! The store.

use std::fmt;
use std::sync::Arc;

use agentworks_store::{Key, Row, Scan, Store, StoreError, Table, Write};
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::client::session::Session;
use scylla::response::query_result::QueryResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::CqlConfig;
use crate::error::{IntoStoreError, unreadable};
use crate::statement::{self, Kind, Statements};
use crate::value::{Columns, Value};
use crate::write::{self, Change};
use crate::{migrate, scan, session};

/// A store in a keyspace of ScyllaDB or Apache Cassandra. Clones share their connections and their bound on requests.
///
/// It connects again by itself, however long the database was away; meanwhile calls fail with
/// [`StoreError::Unavailable`].
#[derive(Clone)]
pub struct CqlStore(Arc<Connection>);

impl CqlStore {
    /// Connects, and checks that the keyspace has all migrations.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if no node answers; [`StoreError::Failed`] if the login is refused, a certificate
    /// won't do, or migrations are missing, which the message then says.
    pub async fn connect(config: &CqlConfig) -> Result<CqlStore, StoreError> {
        let session = session::open(config).await?;
        migrate::check(&session, config).await?;
        Ok(CqlStore(Arc::new(Connection {
            session,
            keyspace: config.keyspace.clone(),
            statements: Statements::default(),
            requests: Semaphore::new(config.concurrency.max(1)),
            concurrency: config.concurrency.max(1),
        })))
    }

    /// Makes a table with the database's own options, unless it is there. For tests and benchmarks with tables of their
    /// own: those of the sinks are made by migrations.
    ///
    /// # Errors
    /// As any call of the store.
    pub async fn create_table(&self, table: &Table) -> Result<(), StoreError> {
        let text = statement::create_table(&self.0.keyspace, table);
        self.0.session.query_unpaged(text, ()).await.map_err(IntoStoreError::into_store_error)?;
        Ok(())
    }
}

impl fmt::Debug for CqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CqlStore").field("keyspace", &self.0.keyspace).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for CqlStore {
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        for write in &writes {
            write::check(write.table, &write.key)?;
        }
        self.0.change(write::requests(&writes, write::now())).await
    }

    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError> {
        write::check(table, key)?;
        self.0.get(table, key).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        scan::scan(&self.0, &scan).await
    }

    async fn delete(&self, table: &'static Table, key: &Key, version: i64) -> Result<(), StoreError> {
        write::check(table, key)?;
        self.0.change(vec![vec![write::deletion(table, key, version)]]).await
    }
}

/// The driver's session, and what it has prepared.
pub(crate) struct Connection {
    session: Session,
    keyspace: String,
    statements: Statements,
    /// One permit for each request that may be under way.
    requests: Semaphore,
    concurrency: usize,
}

impl Connection {
    pub(crate) async fn statement(&self, table: &'static Table, kind: Kind) -> Result<PreparedStatement, StoreError> {
        self.statements.get(&self.session, &self.keyspace, table, kind).await
    }

    /// Reads a page.
    pub(crate) async fn page(
        &self,
        statement: &PreparedStatement,
        values: &[Value<'_>],
        place: PagingState,
    ) -> Result<(QueryResult, PagingStateResponse), StoreError> {
        let _permit = self.permit().await?;
        let page = self.session.execute_single_page(statement, values, place).await;
        page.map_err(IntoStoreError::into_store_error)
    }

    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError> {
        let statement = self.statement(table, Kind::Get).await?;
        let values: Vec<_> = key.partition.iter().chain(&key.clustering).map(Value::from).collect();
        let (page, _) = self.page(&statement, &values, PagingState::start()).await?;
        let page = page.into_rows_result().map_err(unreadable)?;
        match page.maybe_first_row::<scylla::value::Row>().map_err(unreadable)? {
            None => Ok(None),
            Some(row) => scan::row(key.clustering.clone(), table.versioned, true, &mut Columns::of(row)).map(Some),
        }
    }

    /// Makes changes, each request of changes of one partition.
    async fn change(&self, requests: Vec<Vec<Change<'_>>>) -> Result<(), StoreError> {
        let requests = stream::iter(requests).map(Ok);
        requests.try_for_each_concurrent(self.concurrency, |changes| self.change_partition(changes)).await
    }

    async fn change_partition(&self, changes: Vec<Change<'_>>) -> Result<(), StoreError> {
        let result = if let [change] = changes.as_slice() {
            let statement = self.statement(change.table, change.kind).await?;
            let _permit = self.permit().await?;
            self.session.execute_unpaged(&statement, change.values.as_slice()).await
        } else {
            let mut batch = Batch::new(BatchType::Unlogged);
            batch.set_is_idempotent(true);
            for change in &changes {
                batch.append_statement(self.statement(change.table, change.kind).await?);
            }
            let values: Vec<_> = changes.iter().map(|change| change.values.as_slice()).collect();
            let _permit = self.permit().await?;
            self.session.batch(&batch, values).await
        };
        result.map(drop).map_err(IntoStoreError::into_store_error)
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        self.requests.acquire().await.map_err(|_| StoreError::Failed("the store is closed".into()))
    }
}
