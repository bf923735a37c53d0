//! What runtimes count.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

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

#[derive(Clone, Debug)]
struct FlushTimes;

impl MetricConstructor<Histogram> for FlushTimes {
    fn new_metric(&self) -> Histogram {
        // 1 ms to 16 s.
        Histogram::new(exponential_buckets(0.001, 2.0, 15))
    }
}

#[derive(Clone, Debug)]
struct FlushSizes;

impl MetricConstructor<Histogram> for FlushSizes {
    fn new_metric(&self) -> Histogram {
        // 1 to a million offsets.
        Histogram::new(exponential_buckets(1.0, 4.0, 11))
    }
}

/// The metrics of the runtimes of a process; clones share them.
///
/// Their labels are bounded: the groups and sinks of the configuration, the topics, the kinds of rejects, and for what is
/// told by partition the partitions that this process has now.
#[derive(Clone, Debug)]
pub struct RuntimeMetrics {
    records: Family<TopicLabels, Counter>,
    rejects: Family<RejectLabels, Counter>,
    batches: Family<GroupLabels, Histogram, BatchSizes>,
    pauses: Family<GroupLabels, Counter>,
    fetched: Family<GroupLabels, Counter>,
    fetch_faults: Family<GroupLabels, Counter>,
    retries: Family<SinkLabels, Counter>,
    flush_times: Family<SinkLabels, Histogram, FlushTimes>,
    flush_sizes: Family<SinkLabels, Histogram, FlushSizes>,
    stopped_sinks: Family<SinkLabels, Gauge>,
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
            fetched: Family::default(),
            fetch_faults: Family::default(),
            retries: Family::default(),
            flush_times: Family::new_with_constructor(FlushTimes),
            flush_sizes: Family::new_with_constructor(FlushSizes),
            stopped_sinks: Family::default(),
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
        let what = "Bytes of record batches that our own fetcher has fetched, as they lie in the log";
        consumer.register("fetched_bytes", what, self.fetched.clone());
        let what = "Partitions times faults that our own fetcher has met, each until something came";
        consumer.register("fetch_faults", what, self.fetch_faults.clone());
        consumer.register("ready", "1 if the group's member does its work", self.ready.clone());
        consumer.register(
            "stopped_lanes",
            "Partitions that a fault has stopped, wholly or for a sink",
            self.stopped.clone(),
        );

        let sink = registry.sub_registry_with_prefix("agentworks_sink");
        sink.register("retries", "Calls that failed and are made again", self.retries.clone());
        sink.register("flush_seconds", "Time that a flush took that moved positions", self.flush_times.clone());
        sink.register("flush_entries", "Offsets by which a flush moved positions", self.flush_sizes.clone());
        sink.register("stopped_lanes", "Partitions that the sink takes nothing more of", self.stopped_sinks.clone());
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
    sinks: Vec<&'static str>,
    /// Those shown now, so that they can be taken away with the partition.
    lanes: HashSet<LaneLabels>,
}

impl GroupMetrics {
    /// Of a group with these sinks.
    pub(super) fn new(metrics: RuntimeMetrics, group: &str, sinks: Vec<&'static str>) -> Self {
        GroupMetrics { metrics, group: group.to_owned(), sinks, lanes: HashSet::new() }
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

    /// Counts what came of a fetch, as it lies in the log.
    pub(super) fn fetched(&self, bytes: usize) {
        self.metrics.fetched.get_or_create(&self.labels()).inc_by(bytes as u64);
    }

    /// Counts a fault of a partition that was met in fetching.
    pub(super) fn fetch_fault(&self) {
        self.metrics.fetch_faults.get_or_create(&self.labels()).inc();
    }

    pub(super) fn paused(&self) {
        self.metrics.pauses.get_or_create(&self.labels()).inc();
    }

    pub(super) fn retry(&self, sink: &'static str) {
        self.metrics.retries.get_or_create(&SinkLabels { group: self.group.clone(), sink }).inc();
    }

    /// A flush that moved positions by so many offsets took so long.
    pub(super) fn flushed(&self, sink: &'static str, offsets: i64, took: Duration) {
        let labels = SinkLabels { group: self.group.clone(), sink };
        self.metrics.flush_times.get_or_create(&labels).observe(took.as_secs_f64());
        self.metrics.flush_sizes.get_or_create(&labels).observe(offsets as f64);
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
        let mut stopped_sinks: HashMap<_, i64> = self.sinks.iter().map(|sink| (*sink, 0)).collect();
        let mut shown = HashSet::with_capacity(self.lanes.len());
        for lane in &status.lanes {
            let whole = matches!(lane.state, LaneState::Stopped(_));
            stopped += i64::from(whole || lane.sinks.iter().any(|sink| sink.stopped.is_some()));
            for sink in &lane.sinks {
                *stopped_sinks.entry(sink.sink).or_default() += i64::from(sink.stopped.is_some());
                let (topic, partition) = (lane.partition.topic.as_str(), lane.partition.partition);
                let labels = LaneLabels { group: self.group.clone(), sink: sink.sink, topic, partition };
                metrics.position.get_or_create(&labels).set(sink.high);
                metrics.lag.get_or_create(&labels).set(i64::try_from(sink.lag).unwrap_or(i64::MAX));
                metrics.lag_seconds.get_or_create(&labels).set(sink.lag_time.as_secs_f64());
                shown.insert(labels);
            }
        }
        metrics.stopped.get_or_create(&self.labels()).set(stopped);
        for (sink, lanes) in stopped_sinks {
            metrics.stopped_sinks.get_or_create(&SinkLabels { group: self.group.clone(), sink }).set(lanes);
        }
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
