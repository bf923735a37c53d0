//! Real gateways behind real balancers, with the configurations in deploy/.

use super::balancer::{Balancer, nginx};
use super::*;
use crate::support::Scratch;

/// Clients that know nothing but the balancer's address miss nothing and see nothing twice when a gateway behind it dies.
async fn a_gateway_dies_behind(balancer: &Balancer, mut fleet: Fleet) {
    let cards: Vec<_> = (0..24).map(|n| format!("card-{n}")).collect();
    let connections = async |fleet: &Fleet| {
        let mut counts = HashMap::new();
        for (address, gateway) in &fleet.gateways {
            counts.insert(address.clone(), gateway.metric("agentworks_terminal_active_connections", "").await);
        }
        counts
    };
    let mut load = Load::through(&fleet, &cards, |_| vec![balancer.url.clone()]);
    load.goes_on(20).await;
    let before = connections(&fleet).await;
    assert_eq!(before.values().sum::<f64>(), 24.0, "{before:?}");
    let (busiest, served) = before.iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    assert!((1.0..24.0).contains(served), "they are spread: {before:?}");

    fleet.take(busiest).await.kill_9().await;
    load.goes_on(20).await;
    let after = connections(&fleet).await;
    assert_eq!(after.values().sum::<f64>(), 24.0, "{after:?}");
    for (address, count) in &after {
        assert!(*count >= before[address], "who was elsewhere stays there: {before:?} {after:?}");
    }
    let stories = load.finish().await;
    let broken = stories.iter().filter(|story| !story.ends.is_empty()).count();
    assert_eq!(broken as f64, *served, "nobody else noticed: {stories:?}");
}

fn ports(fleet: &Fleet) -> Vec<u16> {
    fleet.addresses().iter().map(|address| address.rsplit(':').next().unwrap().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_a_gateway_may_die() {
    let fleet = Fleet::start(3).await;
    let Some(balancer) = nginx(&ports(&fleet), Scratch::new("nginx")).await else { return };
    a_gateway_dies_behind(&balancer, fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_envoy_a_gateway_may_die() {
    let fleet = Fleet::start(3).await;
    let balancer = Balancer::start(&ports(&fleet)).await;
    a_gateway_dies_behind(&balancer, fleet).await;
}
