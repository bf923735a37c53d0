//! What is measured of the routing.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What a gateway knows of the others, and of its own share.
#[derive(Clone, Debug, Default)]
pub struct RoutingMetrics {
    pub(super) members: Gauge,
    pub(super) healthy: Gauge,
    pub(super) lanes_owned: Gauge,
    pub(super) foreign_connections: Gauge,
    pub(super) changes: Counter,
    pub(super) resolve_errors: Counter,
}

impl RoutingMetrics {
    /// Shows them in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let RoutingMetrics { members, healthy, lanes_owned, foreign_connections, changes, resolve_errors } = self;
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("agentworks_routing_members", "Gateways that are known, with this one", members);
        gauge("agentworks_routing_healthy_members", "Those of them that are lanes' homes", healthy);
        gauge("agentworks_routing_lanes_owned", "Lanes whose home this gateway is", lanes_owned);
        gauge(
            "agentworks_routing_foreign_connections",
            "Connections here that were opened for a card whose home is another gateway",
            foreign_connections,
        );
        let mut counter = |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        counter("agentworks_routing_changes", "Times that a gateway joined or left the ring", changes);
        counter(
            "agentworks_routing_resolve_errors",
            "Times that the peers' name could not be resolved",
            resolve_errors,
        );
    }
}
