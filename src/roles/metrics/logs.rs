//! Entries by level, source and workspace.

use std::collections::HashMap;
use std::sync::Arc;

use agentworks_kafka::{Batch, Content};
use agentworks_processors::lane::Held;
use agentworks_processors::sink::{Flush, Sink, SinkError};
use agentworks_schemas::{Level, Source, Topic, TopicPartition};
use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::workspaces::Workspaces;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    level: &'static str,
    source: &'static str,
    workspace_id: String,
}

/// `agentworks_logs_processed_total`. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct LogMetrics {
    entries: Family<Labels, Counter>,
    workspaces: Arc<Mutex<Workspaces>>,
}

/// Entries that have the same labels.
type Counts<'a> = HashMap<&'a str, HashMap<(Level, Source), u64>>;

impl LogMetrics {
    /// With so many workspaces that have a label of their own.
    pub(crate) fn new(top_workspaces: usize) -> Self {
        let workspaces = Arc::new(Mutex::new(Workspaces::new(top_workspaces)));
        LogMetrics { entries: Family::default(), workspaces }
    }

    /// Shows it in `registry`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("agentworks_logs_processed", "Total number of logs processed", self.entries.clone());
    }

    fn count(&self, counts: &Counts<'_>) {
        let mut workspaces = self.workspaces.lock();
        for (workspace, counts) in counts {
            let label = workspaces.observe(workspace, counts.values().sum());
            for ((level, source), entries) in counts {
                let labels = Labels { level: level.as_str(), source: source.as_str(), workspace_id: label.to_string() };
                self.entries.get_or_create(&labels).inc_by(*entries);
            }
        }
        for lost in workspaces.settle() {
            for level in Level::ALL {
                for source in Source::ALL {
                    let workspace_id = lost.to_string();
                    self.entries.remove(&Labels { level: level.as_str(), source: source.as_str(), workspace_id });
                }
            }
        }
    }
}

/// A sink that counts what it takes: each entry once, however often it is read again while the process lives.
pub(crate) struct Counted {
    sink: Box<dyn Sink>,
    metrics: LogMetrics,
    /// Per partition, the first offset that isn't counted.
    next: HashMap<TopicPartition, i64>,
}

impl Counted {
    /// Counts for `sink`, which takes all topics of logs.
    pub(crate) fn new(sink: Box<dyn Sink>, metrics: LogMetrics) -> Self {
        Counted { sink, metrics, next: HashMap::new() }
    }

    fn count(&mut self, batch: &Batch) {
        let next = self.next.entry(batch.partition).or_insert(batch.from);
        let mut counts = Counts::new();
        for record in batch.records().iter().filter(|record| record.offset >= *next) {
            if let Content::Entry(entry) = &record.content {
                *counts.entry(&*entry.workspace_id).or_default().entry((entry.level, entry.source)).or_default() += 1;
            }
        }
        *next = batch.to.max(*next);
        self.metrics.count(&counts);
    }
}

#[async_trait]
impl Sink for Counted {
    fn name(&self) -> &'static str {
        self.sink.name()
    }

    fn topics(&self) -> &'static [Topic] {
        self.sink.topics()
    }

    async fn open(&mut self, partition: TopicPartition, epoch: u32, log_start: i64) -> Result<Held, SinkError> {
        let held = self.sink.open(partition, epoch, log_start).await?;
        self.next.insert(partition, held.high);
        Ok(held)
    }

    async fn take(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.sink.take(batch).await?;
        self.count(batch);
        Ok(())
    }

    fn pending(&self) -> usize {
        self.sink.pending()
    }

    async fn flush(&mut self, what: Flush) -> Result<Vec<Held>, SinkError> {
        self.sink.flush(what).await
    }

    fn close(&mut self, partition: TopicPartition) {
        self.sink.close(partition);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn shown(metrics: &LogMetrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn a_workspace_that_is_overtaken_shares_a_label() {
        let metrics = LogMetrics::new(1);
        let counts = |workspace, entries| Counts::from([(workspace, [((Level::Warn, Source::Agent), entries)].into())]);
        metrics.count(&counts("first", 3));
        metrics.count(&counts("second", 5));
        let line = |workspace: &str, count: u64| {
            format!(
                "\nagentworks_logs_processed_total{{level=\"warn\",source=\"agent\",workspace_id=\"{workspace}\"}} {count}\n"
            )
        };
        assert!(shown(&metrics).contains(&line("first", 3)) && shown(&metrics).contains(&line("other", 5)));
        metrics.count(&counts("second", 1_000_000));
        metrics.count(&counts("second", 7));
        assert!(shown(&metrics).contains(&line("second", 7)), "{}", shown(&metrics));
        assert!(!shown(&metrics).contains("first"), "{}", shown(&metrics));
    }
}
