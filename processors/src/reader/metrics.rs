//! What the reader counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::tiers::Tier;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TierLabel {
    tier: &'static str,
}

/// The reader's metrics; clones share them.
#[derive(Clone, Debug)]
pub struct ReaderMetrics {
    entries: Family<TierLabel, Counter>,
    skipped: Family<TierLabel, Counter>,
    /// The counters of the tiers, so that the hot path looks nothing up.
    hot: TierCounters,
    warm: TierCounters,
    cold: TierCounters,
    pub(super) log: Counter,
    pub(super) gaps: Counter,
    pub(super) retries: Counter,
    seek: Histogram,
}

/// What is counted of a tier of the store.
#[derive(Clone, Debug)]
struct TierCounters {
    entries: Counter,
    skipped: Counter,
}

impl Default for ReaderMetrics {
    fn default() -> Self {
        let (entries, skipped) = (Family::<TierLabel, Counter>::default(), Family::<TierLabel, Counter>::default());
        let of = |tier| TierCounters {
            entries: entries.get_or_create_owned(&TierLabel { tier }),
            skipped: skipped.get_or_create_owned(&TierLabel { tier }),
        };
        ReaderMetrics {
            hot: of("hot"),
            warm: of("warm"),
            cold: of("cold"),
            log: entries.get_or_create_owned(&TierLabel { tier: "log" }),
            entries,
            skipped,
            gaps: Counter::default(),
            retries: Counter::default(),
            // 0.5 ms to 8 s.
            seek: Histogram::new(exponential_buckets(0.0005, 2.0, 15)),
        }
    }
}

impl ReaderMetrics {
    /// Shows the metrics in `registry`, each as `agentworks_reader_…`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("agentworks_reader");
        registry.register(
            "entries",
            "Entries given to readers of history, by the tier that held them",
            self.entries.clone(),
        );
        registry.register(
            "blocks_skipped",
            "Blocks that were not fetched, since their statistics said that nothing in them was wanted",
            self.skipped.clone(),
        );
        registry.register("gaps", "Ranges that were asked for and are held nowhere any more", self.gaps.clone());
        registry.register("retries", "Reads of a tier that failed and were tried again", self.retries.clone());
        registry.register("log_seek_seconds", "From asking the log for a range to its first batch", self.seek.clone());
    }

    fn of(&self, tier: Tier) -> &TierCounters {
        match tier {
            Tier::Hot => &self.hot,
            Tier::Warm => &self.warm,
            Tier::Cold => &self.cold,
        }
    }

    /// Counts the entries that a tier gave.
    pub(super) fn entries(&self, tier: Tier) -> &Counter {
        &self.of(tier).entries
    }

    /// Counts the blocks of a tier that were not fetched.
    pub(super) fn skipped(&self, tier: Tier) -> &Counter {
        &self.of(tier).skipped
    }

    pub(super) fn sought(&self, took: Duration) {
        self.seek.observe(took.as_secs_f64());
    }
}
