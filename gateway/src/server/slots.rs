//! How many connections there are, in all and from each address.
//!
//! A connection counts from when it is accepted, before anything of it is read, until it ends, as a WebSocket too. Whom it
//! counts for is its peer; where that is a proxy that is trusted, the client that the proxy names.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::network::Network;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// What a server takes.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// How many connections it may have at once.
    pub max_connections: usize,
    /// How many of them from one address; of IPv6, from one network of 64 bits.
    pub max_per_address: usize,
    /// How long a client may take to send a request's head, and how long a connection may wait for its next request.
    pub head_timeout: Duration,
    /// For how long a client may take nothing at all of an answer that waits for it, before its connection is cut off. Who
    /// has taken a connection over, as a WebSocket, decides by itself.
    pub write_timeout: Duration,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
}

impl Default for ServerLimits {
    /// 100,000 connections, 20,000 of them from one address, 30 s for a head and for taking something, and no proxies.
    fn default() -> Self {
        ServerLimits {
            max_connections: 100_000,
            max_per_address: 20_000,
            head_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            trusted_proxies: Vec::new(),
        }
    }
}

/// There are too many connections already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// In all.
    #[error("max_total_connections is {0}")]
    Total(usize),
    /// From this address.
    #[error("max_connections_per_address is {0}")]
    Address(usize),
}

impl Full {
    fn limit(self) -> &'static str {
        match self {
            Full::Total(_) => "total",
            Full::Address(_) => "address",
        }
    }
}

/// Which limit a connection was refused by: `total` or `address`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: &'static str,
}

/// The connections of a server. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Slots(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    limits: ServerLimits,
    counts: Mutex<Counts>,
    open: Gauge,
    refused: Family<LimitLabel, Counter>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Slots {
    /// With these limits.
    pub fn new(limits: ServerLimits) -> Self {
        Slots(Arc::new(Shared { limits, ..Shared::default() }))
    }

    /// Shows what is measured.
    pub fn register(&self, registry: &mut Registry) {
        let Shared { open, refused, .. } = &*self.0;
        registry.register("agentworks_http_connections", "Connections that are open", open.clone());
        registry.register(
            "agentworks_http_connections_refused",
            "Connections that were refused because there were too many, by limit",
            refused.clone(),
        );
    }

    pub(super) fn limits(&self) -> &ServerLimits {
        &self.0.limits
    }

    /// Counts a connection that was accepted.
    pub(super) fn take(&self, peer: IpAddr) -> Result<Slot, Full> {
        let Shared { limits, counts, .. } = &*self.0;
        let (is_proxy, address) = (self.trusts(peer), counted(peer));
        {
            let mut counts = counts.lock();
            let result = if counts.total >= limits.max_connections {
                Err(Full::Total(limits.max_connections))
            } else if is_proxy {
                Ok(())
            } else {
                counts.enter(address, limits.max_per_address)
            };
            result.inspect_err(|full| self.refused(*full))?;
            counts.total += 1;
        }
        self.0.open.inc();
        Ok(Slot { slots: self.clone(), peer, address: Mutex::new((!is_proxy).then_some(address)) })
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.limits.trusted_proxies.iter().any(|network| network.holds(address))
    }

    fn refused(&self, full: Full) {
        self.0.refused.get_or_create(&LimitLabel { limit: full.limit() }).inc();
    }
}

impl Counts {
    fn enter(&mut self, address: IpAddr, limit: usize) -> Result<(), Full> {
        if self.by_address.get(&address).copied().unwrap_or(0) >= limit {
            return Err(Full::Address(limit));
        }
        *self.by_address.entry(address).or_default() += 1;
        Ok(())
    }

    fn leave(&mut self, address: IpAddr) {
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// A connection that is counted, until this is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Slots,
    peer: IpAddr,
    /// What it counts for; nothing yet, if a proxy made it.
    address: Mutex<Option<IpAddr>>,
}

impl Slot {
    /// Counts the connection for the client that it is made for, if a proxy has made it, and says who that is. For a
    /// request that keeps the connection to itself.
    ///
    /// # Errors
    /// If there are too many of that client's already.
    pub fn claim(&self, headers: &HeaderMap) -> Result<IpAddr, Full> {
        let mut address = self.address.lock();
        if address.is_some() || !self.slots.trusts(self.peer) {
            return Ok(self.peer);
        }
        let Some(client) = self.forwarded_for(headers) else { return Ok(self.peer) };
        let Shared { limits, counts, .. } = &*self.slots.0;
        let entered = counts.lock().enter(counted(client), limits.max_per_address);
        entered.inspect_err(|full| self.slots.refused(*full))?;
        *address = Some(counted(client));
        Ok(client)
    }

    /// The client, as the proxies say: each appends whom it was asked by, so that what is left of the last one that isn't
    /// one of ours was written by a stranger, and doesn't count.
    fn forwarded_for(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let values: Vec<&str> =
            headers.get_all(FORWARDED_FOR).into_iter().filter_map(|value| value.to_str().ok()).collect();
        let mut client = None;
        for hop in values.join(",").rsplit(',') {
            client = Some(hop.trim().parse().ok()?);
            if client.is_some_and(|hop| !self.slots.trusts(hop)) {
                break;
            }
        }
        client
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Shared { counts, open, .. } = &*self.slots.0;
        let mut counts = counts.lock();
        counts.total -= 1;
        if let Some(address) = self.address.lock().take() {
            counts.leave(address);
        }
        drop(counts);
        open.dec();
    }
}

/// What an address counts as: one who has an IPv6 address has at least a network of 64 bits.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    fn slots(max_connections: usize, max_per_address: usize, proxies: &[&str]) -> Slots {
        let trusted_proxies = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
        Slots::new(ServerLimits { max_connections, max_per_address, trusted_proxies, ..ServerLimits::default() })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn forwarded(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn there_are_so_many_in_all_and_so_many_from_one_address() {
        let slots = slots(3, 2, &[]);
        let first = slots.take(ip("10.0.0.1")).unwrap();
        let second = slots.take(ip("::ffff:10.0.0.1")).unwrap();
        assert_eq!(slots.take(ip("10.0.0.1")).unwrap_err(), Full::Address(2));
        let third = slots.take(ip("10.0.0.2")).unwrap();
        assert_eq!(slots.take(ip("10.0.0.3")).unwrap_err(), Full::Total(3));
        drop(first);
        let fourth = slots.take(ip("10.0.0.1")).unwrap();
        drop((second, third, fourth));
        assert!(slots.0.counts.lock().by_address.is_empty() && slots.0.counts.lock().total == 0);
        assert_eq!(slots.0.open.get(), 0);
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let slots = slots(9, 1, &[]);
        let _one = slots.take(ip("2001:db8:0:1::1")).unwrap();
        assert_eq!(slots.take(ip("2001:db8:0:1:ffff::2")).unwrap_err(), Full::Address(1));
        slots.take(ip("2001:db8:0:2::1")).unwrap();
    }

    #[test]
    fn a_trusted_proxy_says_whom_it_asks_for() {
        let slots = slots(9, 1, &["10.0.0.0/8"]);
        let claim = |values: &[&str]| slots.take(ip("10.0.0.1")).unwrap().claim(&forwarded(values));
        assert_eq!(claim(&["192.0.2.7"]), Ok(ip("192.0.2.7")));
        assert_eq!(
            claim(&["203.0.113.1, 192.0.2.7, 10.1.1.1"]),
            Ok(ip("192.0.2.7")),
            "what a stranger says is nothing"
        );
        assert_eq!(claim(&["203.0.113.1", "192.0.2.7"]), Ok(ip("192.0.2.7")));
        assert_eq!(claim(&["10.1.1.1"]), Ok(ip("10.1.1.1")));
        for nothing in [&[][..], &["unknown"], &["192.0.2.7, "]] {
            assert_eq!(claim(nothing), Ok(ip("10.0.0.1")), "{nothing:?}");
        }
        let kept = slots.take(ip("10.0.0.1")).unwrap();
        kept.claim(&forwarded(&["192.0.2.7"])).unwrap();
        assert_eq!(claim(&["192.0.2.7"]), Err(Full::Address(1)));
        drop(kept);
        assert_eq!(claim(&["192.0.2.7"]), Ok(ip("192.0.2.7")));
    }

    #[test]
    fn anybody_else_says_what_they_like() {
        let slots = slots(9, 1, &["10.0.0.0/8"]);
        let stranger = slots.take(ip("192.0.2.9")).unwrap();
        assert_eq!(stranger.claim(&forwarded(&["203.0.113.1"])), Ok(ip("192.0.2.9")));
        assert_eq!(slots.take(ip("192.0.2.9")).unwrap_err(), Full::Address(1));
    }
}
