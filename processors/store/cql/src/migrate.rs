//! Making the tables, by numbered migrations.
//!
//! A keyspace notes in `schema_migrations` which migrations it has, each with a checksum. Every statement can be repeated,
//! so that a migration that was interrupted, or that two run at once, comes to the same. Changes of the schema all go to
//! one node, the one with the least id: there they are made one after the other also by a database that would let two
//! nodes make different tables of one name at once.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use agentworks_store::StoreError;
use scylla::client::session::Session;
use scylla::policies::load_balancing::{LoadBalancingPolicy, NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::statement::Statement;

use crate::config::{CqlConfig, Replication};
use crate::error::{IntoStoreError, unreadable};
use crate::migrations::{self, Migration};
use crate::session;

/// What was applied, and its checksum.
const JOURNAL: &str = "schema_migrations";
/// For one change of the schema, which may take long in a large cluster.
const PATIENCE: Duration = Duration::from_secs(60);

/// What [`migrate()`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations that were applied now, in order.
    pub applied: Vec<&'static str>,
    /// Those that had been applied before.
    pub present: Vec<&'static str>,
}

/// What [`migrate()`] would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whether the keyspace would be made.
    pub keyspace: Option<String>,
    /// The migrations that would be applied, in order, each with its statements.
    pub pending: Vec<(&'static str, Vec<String>)>,
}

/// Why a keyspace can't be migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database refuses or is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A migration was changed after it had been applied, so nobody knows any more what the keyspace has.
    #[error(
        "migration {file} differs from what was applied to keyspace {keyspace}: put its text back, and change the schema in a new migration"
    )]
    Edited {
        /// The migration.
        file: String,
        /// Where it was applied.
        keyspace: String,
    },
}

/// Makes the keyspace unless it is there, and applies the migrations that it hasn't. Several may do so at once.
///
/// # Errors
/// [`MigrateError`].
pub async fn migrate(config: &CqlConfig) -> Result<Migrated, MigrateError> {
    let session = session::open(config).await?;
    let schema = Schema::of(&session, config);
    // Making one takes a right on all keyspaces, whether or not it is there. One that another makes at this moment may be
    // listed before it can be used; then this waits for it.
    if !schema.has_keyspace().await? || schema.use_keyspace().await.is_err() {
        schema.change(&create_keyspace(config)).await?;
        schema.use_keyspace().await?;
    }
    schema.change(&format!("CREATE TABLE IF NOT EXISTS {JOURNAL} (file text PRIMARY KEY, checksum text)")).await?;

    let applied = schema.applied().await?;
    let mut migrated = Migrated { applied: Vec::new(), present: Vec::new() };
    for migration in pending(config, &applied)? {
        for statement in migration.statements() {
            schema.change(&statement).await?;
        }
        schema.note(migration).await?;
        tracing::info!(migration = migration.file, keyspace = config.keyspace, "applied");
        migrated.applied.push(migration.file);
    }
    migrated.present = migrations::ALL.iter().map(|migration| migration.file).collect();
    migrated.present.retain(|file| !migrated.applied.contains(file));
    Ok(migrated)
}

/// What [`migrate()`] would do, without doing it.
///
/// # Errors
/// As [`migrate()`].
pub async fn plan(config: &CqlConfig) -> Result<Plan, MigrateError> {
    let session = session::open(config).await?;
    let schema = Schema::of(&session, config);
    let keyspace = (!schema.has_keyspace().await?).then(|| create_keyspace(config));
    let pending = pending(config, &schema.applied().await?)?;
    let pending = pending.into_iter().map(|migration| (migration.file, migration.statements())).collect();
    Ok(Plan { keyspace, pending })
}

/// Whether the keyspace has all migrations.
pub(crate) async fn check(session: &Session, config: &CqlConfig) -> Result<(), StoreError> {
    let applied = Schema::of(session, config).applied().await?;
    let missing = migrations::ALL.iter().map(|migration| migration.file).filter(|file| !applied.contains_key(*file));
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (keyspace, missing) = (&config.keyspace, missing.join(", "));
    Err(StoreError::Failed(format!("keyspace {keyspace} lacks migrations ({missing}): run `agentworks migrate`")))
}

/// The migrations that aren't among the applied ones.
fn pending<'a>(config: &CqlConfig, applied: &BTreeMap<String, String>) -> Result<Vec<&'a Migration>, MigrateError> {
    let mut pending = Vec::new();
    for migration in migrations::ALL {
        match applied.get(migration.file) {
            None => pending.push(migration),
            Some(checksum) if *checksum == migration.checksum() => {}
            Some(_) => {
                let (file, keyspace) = (migration.file.to_owned(), config.keyspace.clone());
                return Err(MigrateError::Edited { file, keyspace });
            }
        }
    }
    Ok(pending)
}

fn create_keyspace(config: &CqlConfig) -> String {
    let mut copies = String::new();
    match &config.replication {
        // Writing to a string can't fail.
        Replication::EveryDatacenter(number) => drop(write!(copies, ", 'replication_factor': {number}")),
        Replication::Datacenters(each) => {
            for (name, number) in each {
                let _ = write!(copies, ", '{name}': {number}");
            }
        }
    }
    let name = &config.keyspace;
    format!("CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = {{'class': 'NetworkTopologyStrategy'{copies}}}")
}

/// A keyspace's schema, as it is seen and changed.
struct Schema<'a> {
    session: &'a Session,
    keyspace: &'a str,
    /// The node to which changes go.
    node: Option<Arc<dyn LoadBalancingPolicy>>,
}

impl<'a> Schema<'a> {
    fn of(session: &'a Session, config: &'a CqlConfig) -> Self {
        let state = session.get_cluster_state();
        let node = state.get_nodes_info().iter().filter(|node| node.is_connected()).min_by_key(|node| node.host_id);
        let node = node.map(|node| SingleTargetLoadBalancingPolicy::new(NodeIdentifier::HostId(node.host_id), None));
        Schema { session, keyspace: &config.keyspace, node }
    }

    /// Changes the schema, and returns when all nodes have it.
    async fn change(&self, text: &str) -> Result<(), StoreError> {
        let mut statement = Statement::new(text);
        statement.set_load_balancing_policy(self.node.clone());
        statement.set_is_idempotent(true);
        statement.set_request_timeout(Some(PATIENCE));
        self.session.query_unpaged(statement, ()).await.map_err(IntoStoreError::into_store_error)?;
        self.session.await_schema_agreement().await.map_err(IntoStoreError::into_store_error)?;
        Ok(())
    }

    async fn use_keyspace(&self) -> Result<(), StoreError> {
        self.session.use_keyspace(self.keyspace, false).await.map_err(IntoStoreError::into_store_error)
    }

    async fn has_keyspace(&self) -> Result<bool, StoreError> {
        let text = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
        Ok(!self.texts(text, &[self.keyspace]).await?.is_empty())
    }

    /// The migrations that the keyspace has: file and checksum.
    async fn applied(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let text =
            "SELECT table_name, keyspace_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?";
        if self.texts(text, &[self.keyspace, JOURNAL]).await?.is_empty() {
            return Ok(BTreeMap::new());
        }
        let rows = self.texts(&format!("SELECT file, checksum FROM {}.{JOURNAL}", self.keyspace), &[]).await?;
        Ok(rows.into_iter().filter_map(|row| <[String; 2]>::try_from(row).ok()).map(|[a, b]| (a, b)).collect())
    }

    async fn note(&self, migration: &Migration) -> Result<(), StoreError> {
        let text = format!("INSERT INTO {}.{JOURNAL} (file, checksum) VALUES (?, ?)", self.keyspace);
        let values = (migration.file, migration.checksum());
        self.session.query_unpaged(text, values).await.map_err(IntoStoreError::into_store_error)?;
        Ok(())
    }

    /// Rows of texts.
    async fn texts(&self, text: &str, values: &[&str]) -> Result<Vec<Vec<String>>, StoreError> {
        let result = self.session.query_unpaged(text, values).await.map_err(IntoStoreError::into_store_error)?;
        let result = result.into_rows_result().map_err(unreadable)?;
        let rows = result.rows::<scylla::value::Row>().map_err(unreadable)?;
        let texts = |row: scylla::value::Row| {
            let columns = row.columns.into_iter().flatten();
            columns.filter_map(|value| value.as_text().cloned()).collect::<Vec<_>>()
        };
        rows.map(|row| row.map(texts).map_err(unreadable)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_that_was_edited_is_named() {
        let config = CqlConfig::new(vec!["db:9042".into()], "k");
        let first = &migrations::ALL[0];
        let mut applied = BTreeMap::from([(first.file.to_owned(), first.checksum())]);
        assert!(pending(&config, &applied).is_ok_and(|pending| pending.len() == migrations::ALL.len() - 1));
        // One that only a later build knows is none of our business.
        applied.insert("9999_later.cql".to_owned(), String::new());
        assert!(pending(&config, &applied).is_ok());
        applied.insert(first.file.to_owned(), "other".to_owned());
        let message = pending(&config, &applied).map(drop).map_err(|error| error.to_string());
        assert!(message.is_err_and(|message| message.contains(first.file)));
    }

    #[test]
    fn keyspaces() {
        let mut config = CqlConfig::new(vec!["db:9042".into()], "k");
        let begin = "CREATE KEYSPACE IF NOT EXISTS k WITH replication = {'class': 'NetworkTopologyStrategy', ";
        assert_eq!(create_keyspace(&config), format!("{begin}'replication_factor': 1}}"));
        config.replication = Replication::Datacenters(vec![("eu".into(), 3), ("us".into(), 2)]);
        assert_eq!(create_keyspace(&config), format!("{begin}'eu': 3, 'us': 2}}"));
    }
}
