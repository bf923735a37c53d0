//! What the gateway measures. Nothing is labelled by card or workspace: there may be any number of those.

use std::time::Duration;

use agentworks_schemas::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::socket::{CloseCode, Stamp};
use crate::tenants::Tenants;

/// The reference's buckets for delivery, in seconds.
const DELIVERY: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How a connection ended: `closed`, `gone`, `silent`, `stalled`, `fault`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
#[allow(missing_docs, reason = "labels")]
pub struct EndLabel {
    pub end: &'static str,
}

/// A close code that the gateway sent because something was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
#[allow(missing_docs, reason = "labels")]
pub struct CodeLabel {
    pub code: u16,
}

/// Why the hub let go of a connection: `overflow`, `extended`, `reset`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
#[allow(missing_docs, reason = "labels")]
pub struct ReasonLabel {
    pub reason: &'static str,
}

/// The gateway's metrics.
#[derive(Debug)]
#[allow(missing_docs, reason = "the help texts in `register` say it")]
pub struct Metrics {
    pub active_connections: Gauge,
    pub connections: Counter,
    pub connection_ends: Family<EndLabel, Counter>,
    pub connection_errors: Family<CodeLabel, Counter>,
    pub delivery_latency: Histogram,
    pub delivery_since_append: Histogram,
    pub clock_skew: Counter,
    pub frames_sent: Counter,
    pub bytes_sent: Counter,
    pub detached: Family<ReasonLabel, Counter>,
    pub hub_lanes: Gauge,
    pub hub_channels: Gauge,
    pub hub_tail_bytes: Gauge,
    pub hub_records: Counter,
    pub hub_decoded: Counter,
    pub hub_rejected: Counter,
    pub hub_duplicates: Counter,
    pub hub_resets: Counter,
    pub replays_active: Gauge,
    pub replay_completions: Counter,
    pub replay_errors: Counter,
    /// What is counted by workspace; it isn't registered anywhere.
    pub tenants: Tenants,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            active_connections: Gauge::default(),
            connections: Counter::default(),
            connection_ends: Family::default(),
            connection_errors: Family::default(),
            delivery_latency: Histogram::new(DELIVERY),
            delivery_since_append: Histogram::new(DELIVERY),
            clock_skew: Counter::default(),
            frames_sent: Counter::default(),
            bytes_sent: Counter::default(),
            detached: Family::default(),
            hub_lanes: Gauge::default(),
            hub_channels: Gauge::default(),
            hub_tail_bytes: Gauge::default(),
            hub_records: Counter::default(),
            hub_decoded: Counter::default(),
            hub_rejected: Counter::default(),
            hub_duplicates: Counter::default(),
            hub_resets: Counter::default(),
            replays_active: Gauge::default(),
            replay_completions: Counter::default(),
            replay_errors: Counter::default(),
            tenants: Tenants::default(),
        }
    }
}

impl Metrics {
    /// Shows the metrics in `registry`, under the names that dashboards know.
    pub fn register(&self, registry: &mut Registry) {
        let Metrics {
            active_connections,
            connections,
            connection_ends,
            connection_errors,
            delivery_latency,
            delivery_since_append,
            clock_skew,
            frames_sent,
            bytes_sent,
            detached,
            hub_lanes,
            hub_channels,
            hub_tail_bytes,
            hub_records,
            hub_decoded,
            hub_rejected,
            hub_duplicates,
            hub_resets,
            replays_active,
            replay_completions,
            replay_errors,
            tenants: _,
        } = self;
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("agentworks_terminal_active_connections", "Number of active WebSocket connections", active_connections);
        gauge("agentworks_hub_lanes", "Partitions that the live hub reads", hub_lanes);
        gauge("agentworks_hub_channels", "Cards that somebody watches", hub_channels);
        gauge("agentworks_hub_tail_bytes", "Memory of the tails that the live hub keeps", hub_tail_bytes);
        gauge("agentworks_replays_active", "Replays that play or are paused", replays_active);
        let mut counter = |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        counter("agentworks_terminal_connections", "WebSocket connections ever made", connections);
        counter("agentworks_terminal_frames_sent", "WebSocket frames written", frames_sent);
        counter("agentworks_terminal_bytes_sent", "Bytes written to WebSockets", bytes_sent);
        counter("agentworks_log_delivery_clock_skew", "Entries measured that are from the future", clock_skew);
        counter("agentworks_hub_records", "Records that the live hub took", hub_records);
        counter("agentworks_hub_decoded", "Those that were decoded, because somebody may watch them", hub_decoded);
        counter("agentworks_hub_rejected", "Those that could not be decoded", hub_rejected);
        counter("agentworks_hub_duplicates", "Records skipped because the hub had passed them", hub_duplicates);
        counter(
            "agentworks_hub_resets",
            "Partitions begun anew because the log no longer fits the position",
            hub_resets,
        );
        counter("agentworks_replay_completions", "Replays that came to their end", replay_completions);
        counter("agentworks_replay_errors", "Replays that a fault ended", replay_errors);
        registry.register("agentworks_terminal_ends", "Connections ended, by how", connection_ends.clone());
        registry.register(
            "agentworks_terminal_connection_errors",
            "Connections that the gateway closed because something was wrong, by close code",
            connection_errors.clone(),
        );
        registry.register(
            "agentworks_terminal_detached",
            "Connections that the hub let go of, to read on at their own pace, by reason",
            detached.clone(),
        );
        registry.register(
            "agentworks_log_delivery_latency_seconds",
            "Time from log generation to client delivery, of the oldest live entry in each write",
            delivery_latency.clone(),
        );
        registry.register(
            "agentworks_log_delivery_since_append_seconds",
            "Time from the broker's append to client delivery, of the oldest live entry in each write",
            delivery_since_append.clone(),
        );
    }

    /// Counts a write. Of the entries in it the oldest is measured, and it alone: a histogram costs more than a write of
    /// one more frame does. That one's time from its timestamp to now is the answer.
    pub(crate) fn sent(&self, frames: u64, bytes: usize, oldest: Option<Stamp>) -> Option<Duration> {
        self.frames_sent.inc_by(frames);
        self.bytes_sent.inc_by(bytes as u64);
        let Stamp { produced, appended } = oldest?;
        let now = Timestamp::now();
        if produced > now {
            self.clock_skew.inc();
        }
        let latency = now.since(produced);
        self.delivery_latency.observe(latency.as_secs_f64());
        self.delivery_since_append.observe(now.since(appended).as_secs_f64());
        Some(latency)
    }

    pub(crate) fn connection_error(&self, code: CloseCode) {
        self.connection_errors.get_or_create(&CodeLabel { code: code.number() }).inc();
    }

    pub(crate) fn detached(&self, reason: &'static str) {
        self.detached.get_or_create(&ReasonLabel { reason }).inc();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn they_are_under_the_names_that_dashboards_know() {
        let mut registry = Registry::default();
        let metrics = Metrics::default();
        metrics.register(&mut registry);
        let now = Timestamp::now();
        metrics.sent(2, 900, Some(Stamp { produced: Timestamp(now.0 + 60_000), appended: now }));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "agentworks_terminal_active_connections 0",
            "agentworks_log_delivery_latency_seconds_bucket{le=\"0.001\"} 1",
            "agentworks_log_delivery_clock_skew_total 1",
            "agentworks_terminal_frames_sent_total 2",
            "agentworks_terminal_bytes_sent_total 900",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
