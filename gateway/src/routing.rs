//! Which gateway is whose home: consistent hashing over lanes.
//!
//! A gateway that serves all viewers of a lane's cards reads that lane once, and its viewers share a tail. So each lane has
//! a home among the gateways that are up, on which all of them agree without asking each other: it follows from their
//! names. It is advice, for balancers and clients: any gateway serves any card.
//!
//! - [`ring`]: from a lane to its home.
//! - [`peers`]: where the others are; [`probe`]: asking one how it is; [`health`]: what the answers come to.
//! - [`upkeep`]: the task that keeps the ring true.
//! - [`metrics`]: what is measured of it.

pub mod health;
mod metrics;
pub mod peers;
mod probe;
pub mod ring;
mod upkeep;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

pub use self::metrics::RoutingMetrics;
pub use self::peers::{NoPeer, Peer};
pub use self::probe::ADVERTISE;
pub use self::ring::Ring;
pub use self::upkeep::{Ready, Upkeep};

/// Who the gateways are.
#[derive(Clone, Debug)]
pub struct RoutingConfig {
    /// How clients reach this gateway: a URL. It is its name among the others, so no two may have the same.
    pub advertise: String,
    /// The gateways; this one may be among them.
    pub peers: Vec<Peer>,
    /// A name that has all gateways' addresses, besides.
    pub peers_dns: Option<Peer>,
    /// How often each is probed, and the name resolved.
    pub interval: Duration,
}

impl RoutingConfig {
    /// Of a gateway that is the only one.
    pub fn alone(advertise: impl Into<String>) -> Self {
        RoutingConfig {
            advertise: advertise.into(),
            peers: Vec::new(),
            peers_dns: None,
            interval: Duration::from_secs(2),
        }
    }

    fn is_alone(&self) -> bool {
        self.peers.is_empty() && self.peers_dns.is_none()
    }
}

/// Knows the lanes' homes. Clones share what they know; [`Upkeep`] keeps it true.
#[derive(Clone)]
pub struct Router(Arc<Inner>);

struct Inner {
    config: RoutingConfig,
    name: Arc<str>,
    ring: Mutex<Arc<Ring>>,
    is_leaving: AtomicBool,
}

impl Router {
    /// Until its upkeep says otherwise, this gateway is every lane's home.
    pub fn new(config: RoutingConfig) -> Self {
        let name: Arc<str> = Arc::from(config.advertise.as_str());
        let ring = Mutex::new(Arc::new(Ring::new([Arc::clone(&name)])));
        Router(Arc::new(Inner { config, name, ring, is_leaving: AtomicBool::new(false) }))
    }

    /// How this gateway is called: the URL that it is advertised with.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// The ring as it is now.
    pub fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.0.ring.lock())
    }

    /// A lane's home. With nobody left it is this gateway, for somebody has to serve.
    pub fn home(&self, lane: i32) -> Arc<str> {
        self.ring().home(lane).unwrap_or(&self.0.name).clone()
    }

    /// This gateway is about to end, and no lane's home any more.
    pub fn leave(&self) {
        self.0.is_leaving.store(true, Ordering::Relaxed);
        let mut ring = self.0.ring.lock();
        let others = ring.members().iter().filter(|member| **member != self.0.name).cloned();
        *ring = Arc::new(Ring::new(others));
    }

    fn is_leaving(&self) -> bool {
        self.0.is_leaving.load(Ordering::Relaxed)
    }

    /// Puts a ring of these members in the place of the one that is; whether it differs.
    fn put(&self, members: impl IntoIterator<Item = Arc<str>>) -> bool {
        let mut ring = self.0.ring.lock();
        // Asked under the lock, so that who leaves is not put back by one who didn't know.
        let is_leaving = self.is_leaving();
        let new = Ring::new(members.into_iter().filter(|member| !is_leaving || *member != self.0.name));
        let differs = **ring != new;
        if differs {
            *ring = Arc::new(new);
        }
        differs
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("name", &self.0.name).finish_non_exhaustive()
    }
}
