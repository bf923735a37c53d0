//! What all routes share.

use std::sync::Arc;
use std::time::Duration;

use agentworks_processors::epochs::SinkPositions;
use agentworks_processors::reader::LogReader;
use agentworks_schemas::access::Authenticate;
use http::HeaderValue;
use warp::reply::Response;
use warp::{Filter, Rejection};

use crate::drain::{Drain, DrainConfig};
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::roster::Roster;
use crate::routing::{ADVERTISE, Router};
use crate::search::Search;
use crate::server::{Ending, Probes, ServerLimits};
use crate::{documents, rest, session, web};

/// The limits and times of a gateway.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// How many entries a connection is shown first, if it doesn't say.
    pub history: usize,
    /// The largest message that a client may send, in bytes.
    pub max_message: usize,
    /// How many messages a client may send per second, on average over ten.
    pub max_messages_per_second: u32,
    /// How much may wait for one connection before it is turned from pushed to pulled, in bytes.
    pub max_pending: usize,
    /// How many replays a connection may have at once.
    pub max_replays: usize,
    /// How many cards a connection may watch at once.
    pub max_cards: usize,
    /// How many runs a connection may be subscribed to at once.
    pub max_subscriptions: usize,
    /// How many connections a workspace may have at once.
    pub max_connections: usize,
    /// How often a connection is pinged.
    pub heartbeat: Duration,
    /// How long a client may leave what waits for it unread before it is disconnected.
    pub write_timeout: Duration,
    /// The longest that a replay waits between two entries, whatever their timestamps say.
    pub replay_idle_cap: Duration,
    /// Origins that browsers may connect from, besides the gateway's own; `*` for all.
    pub allowed_origins: Vec<String>,
    /// Whether a token is taken from the query string (`?token=`).
    pub token_in_query: bool,
    /// How deep objects and arrays may be nested in a client's message.
    pub max_depth: usize,
    /// How long nothing may be said or shown before a connection is closed; zero for ever.
    pub idle_timeout: Duration,
    /// How many connections there may be, whoever makes them.
    pub server: ServerLimits,
    /// How the gateway ends.
    pub drain: DrainConfig,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        GatewayConfig {
            history: 100,
            max_message: 64 * 1024,
            max_messages_per_second: 50,
            max_pending: 256 * 1024,
            max_replays: 4,
            max_cards: 50,
            max_subscriptions: 100,
            max_connections: 10_000,
            heartbeat: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            replay_idle_cap: Duration::from_secs(5),
            allowed_origins: Vec::new(),
            token_in_query: false,
            max_depth: 32,
            idle_timeout: Duration::from_secs(3600),
            server: ServerLimits::default(),
            drain: DrainConfig::default(),
        }
    }
}

/// What all routes share.
#[derive(Clone)]
pub struct Gateway {
    /// Limits and times.
    pub config: Arc<GatewayConfig>,
    /// Verifies tokens.
    pub auth: Arc<dyn Authenticate>,
    /// Reads history.
    pub reader: LogReader,
    /// Of the sinks that keep their positions elsewhere than in the store: for operators.
    pub positions: Vec<Arc<dyn SinkPositions>>,
    /// Live entries.
    pub hub: Hub,
    /// What is measured. The hub has the same.
    pub metrics: Arc<Metrics>,
    /// Who is connected.
    pub roster: Roster,
    /// Which gateway is a card's home.
    pub router: Router,
    /// How far it is with its end.
    pub drain: Drain,
    /// Searches the index; `None` where there is none, which clients are told.
    pub search: Option<Search>,
}

impl Gateway {
    /// All routes: the streams, REST, the probes, the documents and the terminal. [`crate::server::serve`] serves them,
    /// alone or beside others.
    pub fn routes(self, probes: Probes) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
        let stream = session::routes(self.clone()).boxed();
        let documents = documents::routes(Arc::clone(&self.config)).boxed();
        let name = HeaderValue::from_str(self.router.name()).ok();
        let named = move |mut response: Response| {
            name.clone().and_then(|name| response.headers_mut().insert(ADVERTISE, name));
            response
        };
        let (drain, ready) = (self.drain.clone(), probes.ready);
        let probes = Probes { ready: Arc::new(move || drain.check().and_then(|()| ready())), ..probes };
        let rest = rest::routes(self).boxed();
        let machine = probes.routes().map(named).or(documents).unify();
        stream.or(rest).unify().or(machine).unify().or(web::routes()).unify().boxed()
    }

    /// Has all clients go elsewhere, and returns when they have, or by the deadline; see [`crate::drain`]. `ending` is the
    /// server's that serves this gateway: it is told to take nothing new on the way, and is yet to be ended.
    pub async fn drain(&self, ending: &Ending) {
        self.drain.run(self.config.drain, &self.roster, &self.router, ending).await;
    }
}
