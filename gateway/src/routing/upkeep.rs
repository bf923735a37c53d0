//! Keeping the ring true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use agentworks_processors::reader::LogReader;
use futures_util::future::join_all;
use reqwest::Client;
use tokio::time::sleep;
use tracing::{info, warn};

use super::Router;
use super::health::{Health, Probed};
use super::metrics::RoutingMetrics;
use super::peers::Peer;
use super::probe::{Answer, client, probe};
use crate::roster::Roster;

/// Whether this gateway can do its work now; if not, why.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Probes the members again and again, and puts those that are up on the ring.
pub struct Upkeep {
    watch: Watch,
    reader: LogReader,
    roster: Roster,
}

impl Upkeep {
    /// Of a router; `ready` tells whether this gateway is up, `reader` how many lanes there are, `roster` who is connected.
    ///
    /// # Errors
    /// If no client for the probes can be made.
    pub fn new(
        router: Router,
        ready: Ready,
        reader: LogReader,
        roster: Roster,
        metrics: RoutingMetrics,
    ) -> reqwest::Result<Self> {
        Ok(Upkeep { watch: Watch::new(router, ready, metrics)?, reader, roster })
    }

    /// Works for as long as the process lives.
    pub async fn work(self) {
        let Upkeep { mut watch, reader, roster } = self;
        let (router, metrics) = (watch.router.clone(), watch.metrics.clone());
        loop {
            watch.look().await;
            // Without Kafka the figures stay as they are.
            if let Ok(lanes) = reader.lanes().await {
                let is_home: Vec<bool> = (0..lanes).map(|lane| router.home(lane) == *router.name()).collect();
                metrics.lanes_owned.set(is_home.iter().filter(|is_home| **is_home).count() as i64);
                metrics.foreign_connections.set(roster.foreign(&is_home) as i64);
            }
            sleep(router.0.config.interval).await;
        }
    }
}

/// The members, and what their probes have come to.
struct Watch {
    router: Router,
    client: Client,
    ready: Ready,
    own: Health,
    others: BTreeMap<Peer, Member>,
    /// Those that the name stood for when it could be resolved last.
    named: BTreeSet<Peer>,
    metrics: RoutingMetrics,
}

#[derive(Default)]
struct Member {
    /// As it calls itself, once it was reached.
    name: Option<Arc<str>>,
    health: Health,
    is_draining: bool,
}

impl Watch {
    fn new(router: Router, ready: Ready, metrics: RoutingMetrics) -> reqwest::Result<Self> {
        let (own, others) = (Health::new(), BTreeMap::new());
        Ok(Watch { router, client: client()?, ready, own, others, named: BTreeSet::new(), metrics })
    }

    /// Looks once at everybody.
    async fn look(&mut self) {
        if self.router.0.config.is_alone() {
            let own = i64::from(!self.router.is_leaving());
            self.metrics.members.set(1);
            self.metrics.healthy.set(own);
            return;
        }
        self.find().await;
        let answers = join_all(self.others.keys().map(|peer| probe(&self.client, peer))).await;
        let now = Instant::now();
        let own = if (self.ready)().is_ok() { Probed::Ready } else { Probed::Failed };
        self.own.probed(own, now);
        for (member, Answer { probed, name }) in self.others.values_mut().zip(answers) {
            member.health.probed(probed, now);
            member.is_draining = probed == Probed::Draining || member.is_draining && probed == Probed::Failed;
            member.name = name.or(member.name.take());
        }
        self.settle();
    }

    /// Finds out who the peers are.
    async fn find(&mut self) {
        let config = &self.router.0.config;
        if let Some(name) = &config.peers_dns {
            match name.resolve().await {
                Ok(peers) => self.named = peers,
                // Those that were there are probed as before.
                Err(error) => {
                    self.metrics.resolve_errors.inc();
                    warn!(%error, %name, "the gateways' name can't be resolved");
                }
            }
        }
        let peers: BTreeSet<_> = config.peers.iter().chain(&self.named).cloned().collect();
        self.others.retain(|peer, _| peers.contains(peer));
        for peer in peers {
            self.others.entry(peer).or_default();
        }
    }

    /// Puts those on the ring that are up. If nobody is, something ails all of them, as when Kafka is away: then all
    /// that don't drain are as good.
    fn settle(&self) {
        let own = self.router.name();
        // This gateway may be among its own peers, under whichever address.
        let others: Vec<_> = self.others.values().filter(|member| member.name.as_ref() != Some(own)).collect();
        let names = |wanted: &dyn Fn(&Member) -> bool| -> BTreeSet<Arc<str>> {
            others.iter().filter(|member| wanted(member)).filter_map(|member| member.name.clone()).collect()
        };
        let mut up = names(&|member| member.health.is_up());
        if self.own.is_up() {
            up.insert(own.clone());
        }
        if up.is_empty() {
            up = names(&|member| !member.is_draining);
            up.insert(own.clone());
        }
        if self.router.put(up) {
            self.metrics.changes.inc();
            info!(gateways = ?self.router.ring().members(), "the ring of gateways has changed");
        }
        self.metrics.members.set(others.len() as i64 + 1);
        self.metrics.healthy.set(self.router.ring().members().len() as i64);
    }
}

#[cfg(test)]
mod tests;
