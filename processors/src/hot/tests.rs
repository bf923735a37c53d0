#![allow(clippy::unwrap_used, reason = "tests")]

mod sinking;

use std::sync::Arc;
use std::time::Duration;

use agentworks_schemas::{Timestamp, Topic, TopicPartition};
use agentworks_store::Store;
use prometheus_client::registry::Registry;

use super::*;
use crate::blocks::tests::{AT, Log, Reader, scan, store};
use crate::blocks::{BlockReader, BlockScan, BlockStats, CHUNK_BYTES, Last, StoredEntry, Weight};
use crate::lane::{self, HOUR};
use crate::sink::{Flush, Sink};

/// Blocks that are never due, so that the tests say when they are written.
fn never() -> HotConfig {
    HotConfig { block_age: Duration::from_secs(3600), ..HotConfig::default() }
}

/// Blocks that are always due.
fn always() -> HotConfig {
    HotConfig { block_age: Duration::ZERO, ..HotConfig::default() }
}

fn sink(store: &Arc<dyn Store>, config: HotConfig) -> HotSink {
    HotSink::new(store.clone(), config, &mut Registry::default()).unwrap()
}
