//! What the indexer counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The indexer's metrics; clones share them.
#[derive(Clone, Debug)]
pub(super) struct IndexerMetrics {
    pub(super) docs: Counter,
    pub(super) splits: Counter,
    pub(super) bytes: Counter,
    pub(super) publish: Histogram,
    pub(super) conflicts: Gauge,
    pub(super) fenced: Counter,
    pub(super) overtaken: Counter,
    pub(super) making: Gauge,
}

impl IndexerMetrics {
    /// Metrics that are shown in `registry`, each as `agentworks_search_…`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = IndexerMetrics {
            docs: Counter::default(),
            splits: Counter::default(),
            bytes: Counter::default(),
            // 4 ms to two minutes.
            publish: Histogram::new(exponential_buckets(0.004, 2.0, 16)),
            conflicts: Gauge::default(),
            fenced: Counter::default(),
            overtaken: Counter::default(),
            making: Gauge::default(),
        };
        let search = registry.sub_registry_with_prefix("agentworks_search");
        search.register("docs", "Entries in the splits that were published", metrics.docs.clone());
        search.register("splits", "Splits that were published", metrics.splits.clone());
        search.register("split_bytes", "Bytes of the splits that were published", metrics.bytes.clone());
        search.register("publish_seconds", "To upload and publish a split", metrics.publish.clone());
        let conflicts = "Times that others were quicker to make a version of the manifest";
        search.register("manifest_conflicts", conflicts, metrics.conflicts.clone());
        search.register("fenced", "Lanes that others turned out to have", metrics.fenced.clone());
        let overtaken =
            "Times that a lane's position had been moved by another process, whose entries are used instead";
        search.register("overtaken", overtaken, metrics.overtaken.clone());
        search.register("making_bytes", "Bytes of the split in the making that are on disk", metrics.making.clone());
        metrics
    }
}
