//! What a sink of blocks counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The sink's metrics; clones share them.
#[derive(Clone, Debug)]
pub(super) struct BlockMetrics {
    pub(super) blocks: Counter,
    pub(super) entries: Counter,
    pub(super) raw_bytes: Counter,
    pub(super) stored_bytes: Counter,
    pub(super) write: Histogram,
}

impl BlockMetrics {
    /// Metrics that are shown in `registry`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = BlockMetrics {
            blocks: Counter::default(),
            entries: Counter::default(),
            raw_bytes: Counter::default(),
            stored_bytes: Counter::default(),
            // 0.5 ms to 16 s.
            write: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
        };
        registry.register("blocks", "Blocks written", metrics.blocks.clone());
        registry.register("entries", "Entries in the blocks written", metrics.entries.clone());
        registry.register("raw_bytes", "Bytes of the blocks written, before compression", metrics.raw_bytes.clone());
        registry.register("stored_bytes", "Bytes of the blocks written, compressed", metrics.stored_bytes.clone());
        registry.register("write_seconds", "To compress and write some blocks", metrics.write.clone());
        metrics
    }
}
