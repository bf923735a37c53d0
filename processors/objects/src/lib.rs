//! Object stores by URL.
//!
//! - [`address`]: `file:///folder`, a bare path, or `s3://bucket/prefix`, read strictly and shown without secrets.
//! - [`objects`]: the open store and the prefix in it.
//! - [`error`]: what can go wrong, and what passes by itself.
//! - [`faulty`]: a store that fails when it is told to, for tests of what must survive that.

mod address;
mod error;
pub mod faulty;
mod objects;
mod staged;

pub use address::{ObjectsConfig, S3Options};
pub use error::{ObjectsError, is_transient};
/// The crate whose types this one hands out.
pub use object_store;
pub use objects::{Created, Objects};
