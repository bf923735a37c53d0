//! What the runs sink counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The sink's metrics; clones share them.
#[derive(Clone, Debug)]
pub(super) struct RunsMetrics {
    pub(super) parts: Counter,
    pub(super) marks: Counter,
    pub(super) write: Histogram,
    pub(super) parts_known: Counter,
    pub(super) parts_loaded: Counter,
}

impl Default for RunsMetrics {
    fn default() -> Self {
        RunsMetrics {
            parts: Counter::default(),
            marks: Counter::default(),
            // 0.5 ms to 16 s.
            write: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
            parts_known: Counter::default(),
            parts_loaded: Counter::default(),
        }
    }
}

impl RunsMetrics {
    /// Shows the metrics in `registry`, each as `agentworks_runs_…`.
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("agentworks_runs");
        registry.register("parts", "Parts written", self.parts.clone());
        registry.register("marks", "Marks written", self.marks.clone());
        registry.register("write_seconds", "To write some parts and what they refer to", self.write.clone());
        registry.register("parts_known", "Records of a run whose part was in memory", self.parts_known.clone());
        registry.register("parts_loaded", "Parts looked for in the store", self.parts_loaded.clone());
    }
}
