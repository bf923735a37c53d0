//! What the hot sink counts beside its blocks.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Default)]
pub(super) struct CardMetrics {
    pub(super) known: Counter,
    pub(super) new: Counter,
}

impl CardMetrics {
    /// Metrics that are shown in `registry`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = CardMetrics::default();
        registry.register("cards_known", "Records of a card that was remembered", metrics.known.clone());
        registry.register("cards_new", "Records of a card that wasn't", metrics.new.clone());
        metrics
    }
}
