//! What is measured of tokens. Nothing of a token is in it.

use agentworks_schemas::access::AccessError;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Why a token wasn't taken: the code that its bearer is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

/// How a fetch ended: `fetched` or `failed`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// The metrics of a verifier. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct AuthMetrics {
    refusals: Family<CodeLabel, Counter>,
    fetches: Family<OutcomeLabel, Counter>,
    keys: Gauge,
    fetched: Gauge,
}

impl AuthMetrics {
    /// Shows the metrics in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let AuthMetrics { refusals, fetches, keys, fetched } = self;
        registry.register("agentworks_auth_refusals", "Tokens that were not taken, by code", refusals.clone());
        registry.register("agentworks_auth_key_fetches", "Fetches of the public keys, by outcome", fetches.clone());
        registry.register("agentworks_auth_keys", "Public keys in force", keys.clone());
        registry.register(
            "agentworks_auth_keys_fetched_timestamp_seconds",
            "When the public keys were last fetched, since the Unix epoch; 0 if never",
            fetched.clone(),
        );
    }

    pub(super) fn refused(&self, error: AccessError) {
        self.refusals.get_or_create(&CodeLabel { code: error.code() }).inc();
    }

    pub(super) fn fetched(&self, keys: usize, at_seconds: i64) {
        self.fetches.get_or_create(&OutcomeLabel { outcome: "fetched" }).inc();
        self.fetched.set(at_seconds);
        self.in_force(keys);
    }

    pub(super) fn failed(&self) {
        self.fetches.get_or_create(&OutcomeLabel { outcome: "failed" }).inc();
    }

    pub(super) fn in_force(&self, keys: usize) {
        self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }
}
