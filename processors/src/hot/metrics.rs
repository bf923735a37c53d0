//! What the hot sink counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The sink's metrics; clones share them.
#[derive(Clone, Debug)]
pub(super) struct HotMetrics {
    pub(super) blocks: Counter,
    pub(super) entries: Counter,
    pub(super) raw_bytes: Counter,
    pub(super) stored_bytes: Counter,
    pub(super) write: Histogram,
    pub(super) cards_known: Counter,
    pub(super) cards_new: Counter,
}

impl HotMetrics {
    /// Metrics that are shown in `registry`, each as `agentworks_hot_…`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = HotMetrics {
            blocks: Counter::default(),
            entries: Counter::default(),
            raw_bytes: Counter::default(),
            stored_bytes: Counter::default(),
            // 0.5 ms to 16 s.
            write: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
            cards_known: Counter::default(),
            cards_new: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("agentworks_hot");
        registry.register("blocks", "Blocks written", metrics.blocks.clone());
        registry.register("entries", "Entries in the blocks written", metrics.entries.clone());
        registry.register("raw_bytes", "Bytes of the blocks written, before compression", metrics.raw_bytes.clone());
        registry.register("stored_bytes", "Bytes of the blocks written, compressed", metrics.stored_bytes.clone());
        registry.register("write_seconds", "To compress and write some blocks", metrics.write.clone());
        registry.register("cards_known", "Records of a card that was remembered", metrics.cards_known.clone());
        registry.register("cards_new", "Records of a card that wasn't", metrics.cards_new.clone());
        metrics
    }
}
