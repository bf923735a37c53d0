//! What the producer counts.

use std::time::Duration;

use agentworks_schemas::Topic;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::error::{DeliveryError, SendError};
use super::tickets::Sent;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabel {
    topic: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// The producer's metrics. Several producers may share them, as clones.
#[derive(Clone, Debug)]
pub struct Metrics {
    entries: Family<TopicLabel, Counter>,
    bytes: Family<TopicLabel, Counter>,
    /// The counters of each topic, in the order of [`Topic::ALL`], so that the hot path looks nothing up.
    delivered: [(Counter, Counter); Topic::ALL.len()],
    errors: Family<KindLabel, Counter>,
    buffered_entries: Gauge,
    buffered_bytes: Gauge,
    latency: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let entries = Family::<TopicLabel, Counter>::default();
        let bytes = Family::<TopicLabel, Counter>::default();
        let delivered = Topic::ALL.map(|topic| {
            let label = TopicLabel { topic: topic.as_str() };
            (entries.get_or_create_owned(&label), bytes.get_or_create_owned(&label))
        });
        Metrics {
            entries,
            bytes,
            delivered,
            errors: Family::default(),
            buffered_entries: Gauge::default(),
            buffered_bytes: Gauge::default(),
            // 0.5 ms to 16 s.
            latency: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
        }
    }
}

impl Metrics {
    /// Metrics at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows the metrics in `registry`, each as `agentworks_producer_…`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("agentworks_producer");
        registry.register("entries", "Entries and run events that Kafka acknowledged", self.entries.clone());
        registry.register("bytes", "Their encoded bytes, before compression", self.bytes.clone());
        registry.register("errors", "Entries that were not taken, or not delivered, by kind", self.errors.clone());
        registry.register("buffered_entries", "Entries that wait for their result", self.buffered_entries.clone());
        registry.register("buffered_bytes", "Room of the buffer that is taken", self.buffered_bytes.clone());
        registry.register("delivery_seconds", "From send to acknowledgement", self.latency.clone());
    }

    pub(super) fn sent(&self, sent: &Sent) {
        self.buffered_entries.inc();
        self.buffered_bytes.inc_by(sent.cost.into());
    }

    /// An entry left the buffer, whatever became of it.
    pub(super) fn left(&self, sent: &Sent) {
        self.buffered_entries.dec();
        self.buffered_bytes.dec_by(sent.cost.into());
    }

    pub(super) fn delivered(&self, sent: &Sent, took: Duration) {
        let (entries, bytes) = &self.delivered[sent.topic as usize];
        entries.inc();
        bytes.inc_by(sent.length.into());
        self.latency.observe(took.as_secs_f64());
    }

    pub(super) fn refused(&self, error: &SendError) {
        self.errors.get_or_create(&KindLabel { kind: error.kind() }).inc();
    }

    pub(super) fn failed(&self, error: &DeliveryError) {
        self.errors.get_or_create(&KindLabel { kind: error.kind() }).inc();
    }
}
