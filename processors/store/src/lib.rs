//! The store: where sinks keep what readers want fast, and their positions beside it.
//!
//! [`Store`] is what the sinks need of a wide-column store and no more: rows in [`Table`]s, found by a partition key and
//! ordered by a clustering key within it; a write that wins only if it is newer; an expiry that is said explicitly. Two
//! implementations pass one contract suite ([`contract`]): [`EmbeddedStore`] in a folder of this process, and CQL.
//!
//! - [`key`]: the parts of keys and their order.
//! - [`table`]: what a table is.
//! - [`store`]: the trait.
//! - [`embedded`]: the store in a folder, on an LSM tree.
//! - [`intercept`]: a store in front of another, for tests.
//! - [`contract`]: what every store must do, as a suite of checks.

pub mod contract;
pub mod embedded;
pub mod intercept;
pub mod key;
pub mod store;
pub mod table;

pub use embedded::{EmbeddedConfig, EmbeddedStore};
pub use intercept::Intercept;
pub use key::{Key, Part};
pub use store::{Order, Row, Scan, Store, StoreError, Write};
pub use table::{Column, Kind, Table};
