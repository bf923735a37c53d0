//! What the tests against real services share.
//!
//! - [`cassandra`]: one real Cassandra for all tests, and others of a test's own.
//! - [`dev`]: `agentworks dev`, as a user starts it.
//! - [`index`]: the search index of a stack.
//! - [`issuer`]: somebody who signs tokens, and publishes keys.
//! - [`jvm`]: programs that run on a JVM.
//! - [`kafka`]: one real Kafka for all tests of this binary, and others of a test's own.
//! - [`minio`]: one real MinIO for all tests, where there is one.
//! - [`records`]: topics, and raw records in and out of them, with nothing of ours in between.
//! - [`stack`]: producer, sinks, reader and gateway, composed in this process.
//! - [`terminal`]: a WebSocket client of the gateway.
//! - [`topic_id`]: which making of a topic this is.
//! - [`replica`]: brokers beside one that a test has of its own.
//! - [`role`]: one role of an installation, as a process of its own.
//! - [`process`]: whether a process runs, and killing one.
//! - [`wait`]: for something to become true.

pub mod cassandra;
pub mod dev;
pub mod index;
pub mod issuer;
pub mod jvm;
pub mod kafka;
#[allow(dead_code, reason = "only some of the binaries use it")]
pub mod minio;
pub mod process;
pub mod records;
#[allow(dead_code, reason = "only some of the binaries use it")]
pub mod replica;
pub mod role;
pub mod stack;
pub mod terminal;
pub mod topic_id;
pub mod transactions;
pub mod wait;

pub use kafka::{Scratch, kafka, unique_prefix};
pub use wait::eventually;

use std::path::Path;

/// The binary under test.
pub fn agentworks() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_agentworks"))
}
