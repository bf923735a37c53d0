//! The store on CQL: ScyllaDB, or Apache Cassandra.
//!
//! [`CqlStore::connect`] gives an [`agentworks_store::Store`]; [`migrate()`] makes its tables. The map:
//!
//! - [`config`]: where the database is, and the form of its address.
//! - [`migrate`](mod@migrate): numbered migrations, and what of them has been applied. `migrations`: the files.
//! - [`store`]: the store. `write` groups rows into requests, `scan` reads pages, `statement` has the texts.
//! - `schema`: a table's definition. `value`: parts of keys and contents as CQL values.
//! - `session`: a connection made as the configuration says; `tls`: its certificates.
//! - `error`: which of the driver's errors may pass.

pub mod config;
mod error;
pub mod migrate;
mod migrations;
mod scan;
mod schema;
mod session;
mod statement;
pub mod store;
mod tls;
mod value;
mod write;

pub use config::{ConfigError, CqlConfig, PASSWORD_VARIABLE, Password};
pub use migrate::{MigrateError, Migrated, Plan, migrate};
pub use store::CqlStore;
