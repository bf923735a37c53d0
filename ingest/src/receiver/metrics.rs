//! What the receiver counts.

use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::intake::Kind;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectLabel {
    route: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    route: &'static str,
    status: u16,
}

fn route(kind: Kind) -> &'static str {
    match kind {
        Kind::Logs => "logs",
        Kind::Events => "events",
    }
}

/// The receiver's metrics.
#[derive(Clone, Debug)]
pub struct ReceiverMetrics {
    requests: Family<StatusLabel, Counter>,
    bytes: Family<RouteLabel, Counter>,
    accepted: Family<RouteLabel, Counter>,
    rejected: Family<RejectLabel, Counter>,
    latency: Histogram,
}

impl Default for ReceiverMetrics {
    fn default() -> Self {
        ReceiverMetrics {
            requests: Family::default(),
            bytes: Family::default(),
            accepted: Family::default(),
            rejected: Family::default(),
            // 1 ms to 33 s.
            latency: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
        }
    }
}

impl ReceiverMetrics {
    /// Metrics at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows the metrics in `registry`, each as `agentworks_receiver_…`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("agentworks_receiver");
        registry.register("requests", "Requests that were answered, by route and status", self.requests.clone());
        registry.register("bytes", "Bytes of bodies, decoded", self.bytes.clone());
        registry.register("accepted", "Lines that Kafka acknowledged", self.accepted.clone());
        registry.register("rejected", "Lines that were refused for themselves, by code", self.rejected.clone());
        registry.register("request_seconds", "From the request's headers to its answer", self.latency.clone());
    }

    pub(super) fn answered(&self, kind: Kind, status: StatusCode, took: Duration) {
        self.requests.get_or_create(&StatusLabel { route: route(kind), status: status.as_u16() }).inc();
        self.latency.observe(took.as_secs_f64());
    }

    pub(super) fn received(&self, kind: Kind, bytes: usize) {
        self.bytes.get_or_create(&RouteLabel { route: route(kind) }).inc_by(bytes as u64);
    }

    pub(super) fn accepted(&self, kind: Kind) {
        self.accepted.get_or_create(&RouteLabel { route: route(kind) }).inc();
    }

    pub(super) fn rejected(&self, kind: Kind, code: &'static str) {
        self.rejected.get_or_create(&RejectLabel { route: route(kind), code }).inc();
    }
}
