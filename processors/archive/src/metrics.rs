//! What the sink counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The sink's metrics; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct SinkMetrics {
    pub(crate) files: Counter,
    pub(crate) rows: Counter,
    pub(crate) bytes: Counter,
    pub(crate) commits: Counter,
    pub(crate) overtaken: Counter,
    pub(crate) encode: Histogram,
    pub(crate) publish: Histogram,
}

impl SinkMetrics {
    /// Metrics that are shown in `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        // 4 ms to 60 s.
        let seconds = || Histogram::new(exponential_buckets(0.004, 2.0, 15));
        let metrics = SinkMetrics {
            files: Counter::default(),
            rows: Counter::default(),
            bytes: Counter::default(),
            commits: Counter::default(),
            overtaken: Counter::default(),
            encode: seconds(),
            publish: seconds(),
        };
        registry.register("files", "Files published", metrics.files.clone());
        registry.register("rows", "Rows in the files published", metrics.rows.clone());
        registry.register("file_bytes", "Bytes of the files published", metrics.bytes.clone());
        registry.register("commits", "Commits of files and positions", metrics.commits.clone());
        registry.register(
            "overtaken",
            "Times that a lane's position had been moved by another process, whose files are used instead",
            metrics.overtaken.clone(),
        );
        registry.register_with_unit("encode", "To encode files", Unit::Seconds, metrics.encode.clone());
        registry.register_with_unit("publish", "To upload and commit files", Unit::Seconds, metrics.publish.clone());
        metrics
    }
}
