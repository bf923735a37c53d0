//! What runtimes count.

use std::collections::HashSet;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::status::{LaneState, RuntimeStatus};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupLabels {
    group: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabels {
    group: String,
    topic: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectLabels {
    group: String,
    topic: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabels {
    group: String,
    sink: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabels {
    group: String,
    sink: &'static str,
    topic: &'static str,
    partition: i32,
}

#[derive(Clone, Debug)]
struct BatchSizes;

impl MetricConstructor<Histogram> for BatchSizes {
    fn new_metric(&self) -> Histogram {
        // 256 B to 16 MiB of memory.
        Histogram::new(exponential_buckets(256.0, 4.0, 9))
    }
}

/// The metrics of the runtimes of a process; clones share them.
#[derive(Clone, Debug)]
pub struct RuntimeMetrics {
    records: Family<TopicLabels, Counter>,
    rejects: Family<RejectLabels, Counter>,
    batches: Family<GroupLabels, Histogram, BatchSizes>,
    pauses: Family<GroupLabels, Counter>,
    retries: Family<SinkLabels, Counter>,
    pending: Family<SinkLabels, Gauge>,
    ready: Family<GroupLabels, Gauge>,
    stopped: Family<GroupLabels, Gauge>,
    position: Family<LaneLabels, Gauge>,
    lag: Family<LaneLabels, Gauge>,
    lag_seconds: Family<LaneLabels, Gauge<f64, std::sync::atomic::AtomicU64>>,
}

impl Default for RuntimeMetrics {
    fn default() -> Self {
        RuntimeMetrics {
            records: Family::default(),
            rejects: Family::default(),
            batches: Family::new_with_constructor(BatchSizes),
            pauses: Family::default(),
            retries: Family::default(),
            pending: Family::default(),
            ready: Family::default(),
            stopped: Family::default(),
            position: Family::default(),
            lag: Family::default(),
            lag_seconds: Family::default(),
        }
    }
}

impl RuntimeMetrics {
    /// Shows the metrics in `registry`, each as `agentworks_…`.
    pub fn register(&self, registry: &mut Registry) {
        let consumer = registry.sub_registry_with_prefix("agentworks_consumer");
        consumer.register("records", "Records decoded", self.records.clone());
        consumer.register("rejects", "Records that can't be taken", self.rejects.clone());
        consumer.register("batch_bytes", "Memory of a decoded batch", self.batches.clone());
        consumer.register("pauses", "Times that the consumer had to wait for the sinks", self.pauses.clone());
        consumer.register("ready", "1 if the group's member does its work", self.ready.clone());
        consumer.register(
            "stopped_lanes",
            "Partitions that a fault has stopped, wholly or for a sink",
            self.stopped.clone(),
        );

        let sink = registry.sub_registry_with_prefix("agentworks_sink");
        sink.register("retries", "Calls that failed and are made again", self.retries.clone());
        sink.register("pending_bytes", "Memory of what isn't written yet", self.pending.clone());
        sink.register("position", "The first offset that the sink doesn't hold yet", self.position.clone());
        sink.register("lag_entries", "Offsets of the log that the sink doesn't hold yet", self.lag.clone());
        sink.register(
            "lag_seconds",
            "Age of the oldest record that the sink doesn't hold yet",
            self.lag_seconds.clone(),
        );
    }
}

/// The metrics as one runtime writes them.
#[derive(Clone, Debug)]
pub(super) struct GroupMetrics {
    metrics: RuntimeMetrics,
    group: String,
    /// Those shown now, so that they can be taken away with the partition.
    lanes: HashSet<LaneLabels>,
}

impl GroupMetrics {
    pub(super) fn new(metrics: RuntimeMetrics, group: &str) -> Self {
        GroupMetrics { metrics, group: group.to_owned(), lanes: HashSet::new() }
    }

    pub(super) fn batch(&self, batch: &agentworks_kafka::Batch) {
        let (group, topic) = (self.group.clone(), batch.partition.topic.as_str());
        let labels = TopicLabels { group, topic };
        self.metrics.records.get_or_create(&labels).inc_by(batch.records().len() as u64);
        let group = labels.group;
        for rejected in batch.rejects() {
            let labels = RejectLabels { group: group.clone(), topic, code: rejected.reject.code() };
            self.metrics.rejects.get_or_create(&labels).inc();
        }
        self.metrics.batches.get_or_create(&GroupLabels { group }).observe(batch.bytes() as f64);
    }

    pub(super) fn paused(&self) {
        self.metrics.pauses.get_or_create(&self.labels()).inc();
    }

    pub(super) fn retry(&self, sink: &'static str) {
        self.metrics.retries.get_or_create(&SinkLabels { group: self.group.clone(), sink }).inc();
    }

    pub(super) fn pending(&self, sink: &'static str, bytes: usize) {
        let labels = SinkLabels { group: self.group.clone(), sink };
        self.metrics.pending.get_or_create(&labels).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Shows what `status` says, and no more what was shown before.
    pub(super) fn show(&mut self, status: &RuntimeStatus) {
        let metrics = &self.metrics;
        metrics.ready.get_or_create(&self.labels()).set(i64::from(status.is_ready()));
        let mut stopped = 0;
        let mut shown = HashSet::with_capacity(self.lanes.len());
        for lane in &status.lanes {
            let whole = matches!(lane.state, LaneState::Stopped(_));
            stopped += i64::from(whole || lane.sinks.iter().any(|sink| sink.stopped.is_some()));
            for sink in &lane.sinks {
                let (topic, partition) = (lane.partition.topic.as_str(), lane.partition.partition);
                let labels = LaneLabels { group: self.group.clone(), sink: sink.sink, topic, partition };
                metrics.position.get_or_create(&labels).set(sink.high);
                metrics.lag.get_or_create(&labels).set(i64::try_from(sink.lag).unwrap_or(i64::MAX));
                metrics.lag_seconds.get_or_create(&labels).set(sink.lag_time.as_secs_f64());
                shown.insert(labels);
            }
        }
        metrics.stopped.get_or_create(&self.labels()).set(stopped);
        for gone in self.lanes.difference(&shown) {
            metrics.position.remove(gone);
            metrics.lag.remove(gone);
            metrics.lag_seconds.remove(gone);
        }
        self.lanes = shown;
    }

    fn labels(&self) -> GroupLabels {
        GroupLabels { group: self.group.clone() }
    }
}
