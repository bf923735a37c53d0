//! What answers over HTTP: `serve` and `ingest`.

use std::net::SocketAddr;
use std::time::Duration;

use agentworks_gateway::GatewayConfig;
use agentworks_gateway::drain::DrainConfig;
use agentworks_gateway::hub::HubLimits;
use agentworks_gateway::routing::{NoPeer, Peer, RoutingConfig};
use agentworks_gateway::server::{NetworkError, ServerLimits};
use agentworks_ingest::receiver::ReceiverConfig;
use serde::{Deserialize, Serialize};

use super::loopback;
use crate::config::forms::{List, Size, Time};

/// `agentworks serve`: streams, REST, the terminal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Gateway {
    pub(crate) listen: SocketAddr,
    pub(crate) history: usize,
    pub(crate) max_message: Size,
    pub(crate) max_messages_per_second: u32,
    pub(crate) max_pending: Size,
    pub(crate) max_replays: usize,
    pub(crate) max_cards: usize,
    pub(crate) max_subscriptions: usize,
    /// Of a workspace.
    pub(crate) max_connections: usize,
    pub(crate) max_connections_per_address: usize,
    pub(crate) max_total_connections: usize,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: List,
    pub(crate) max_depth: usize,
    /// How long a client may take to send a request's head.
    pub(crate) handshake_timeout: Time,
    pub(crate) idle_timeout: Time,
    pub(crate) heartbeat: Time,
    pub(crate) write_timeout: Time,
    pub(crate) replay_idle_cap: Time,
    pub(crate) allowed_origins: List,
    pub(crate) token_in_query: bool,
    /// How much memory the tails of all partitions that somebody watches may take.
    pub(crate) tail_bytes: Size,
    pub(crate) tail_age: Time,
    /// How long a partition is read on when nobody watches it any more.
    pub(crate) tail_linger: Time,
    /// How many consumers read history at once.
    pub(crate) readers: usize,
    /// How clients reach this gateway; its own address, if there are no others.
    pub(crate) advertise: Option<String>,
    pub(crate) peers: List,
    pub(crate) peers_dns: Option<String>,
    pub(crate) peers_interval: Time,
    pub(crate) drain_delay: Time,
    pub(crate) drain_jitter: Time,
    pub(crate) drain_deadline: Time,
}

impl Default for Gateway {
    fn default() -> Self {
        let gateway = GatewayConfig::default();
        let hub = HubLimits::default();
        Gateway {
            listen: loopback(7070),
            history: gateway.history,
            max_message: Size(gateway.max_message),
            max_messages_per_second: gateway.max_messages_per_second,
            max_pending: Size(gateway.max_pending),
            max_replays: gateway.max_replays,
            max_cards: gateway.max_cards,
            max_subscriptions: gateway.max_subscriptions,
            max_connections: gateway.max_connections,
            max_connections_per_address: gateway.server.max_per_address,
            max_total_connections: gateway.server.max_connections,
            trusted_proxies: List::default(),
            max_depth: gateway.max_depth,
            handshake_timeout: gateway.server.head_timeout.into(),
            idle_timeout: gateway.idle_timeout.into(),
            heartbeat: gateway.heartbeat.into(),
            write_timeout: gateway.write_timeout.into(),
            replay_idle_cap: gateway.replay_idle_cap.into(),
            allowed_origins: List(gateway.allowed_origins),
            token_in_query: gateway.token_in_query,
            tail_bytes: Size(hub.tail_bytes),
            tail_age: hub.tail_age.into(),
            tail_linger: hub.linger.into(),
            readers: 6,
            advertise: None,
            peers: List(Vec::new()),
            peers_dns: None,
            peers_interval: Time::seconds(2),
            drain_delay: gateway.drain.delay.into(),
            drain_jitter: gateway.drain.jitter.into(),
            drain_deadline: gateway.drain.deadline.into(),
        }
    }
}

impl Gateway {
    /// The limits of connections.
    ///
    /// # Errors
    /// If a proxy's address is none.
    pub(crate) fn limits(&self) -> Result<GatewayConfig, NetworkError> {
        Ok(GatewayConfig {
            history: self.history,
            max_message: self.max_message.0,
            max_messages_per_second: self.max_messages_per_second,
            max_pending: self.max_pending.0,
            max_replays: self.max_replays,
            max_cards: self.max_cards,
            max_subscriptions: self.max_subscriptions,
            max_connections: self.max_connections,
            heartbeat: self.heartbeat.0,
            write_timeout: self.write_timeout.0,
            replay_idle_cap: self.replay_idle_cap.0,
            allowed_origins: self.allowed_origins.0.clone(),
            token_in_query: self.token_in_query,
            max_depth: self.max_depth,
            idle_timeout: self.idle_timeout.0,
            server: ServerLimits {
                max_connections: self.max_total_connections,
                max_per_address: self.max_connections_per_address,
                head_timeout: self.handshake_timeout.0,
                write_timeout: self.write_timeout.0,
                trusted_proxies: self.trusted_proxies.0.iter().map(|proxy| proxy.parse()).collect::<Result<_, _>>()?,
            },
            drain: DrainConfig {
                delay: self.drain_delay.0,
                jitter: self.drain_jitter.0,
                deadline: self.drain_deadline.0,
            },
        })
    }

    /// Who the gateways are, of which this one listens at `address`.
    ///
    /// # Errors
    /// If an address of the others is none.
    pub(crate) fn routing(&self, address: SocketAddr) -> Result<RoutingConfig, NoPeer> {
        let own = || format!("http://{address}");
        Ok(RoutingConfig {
            advertise: self.advertise.clone().unwrap_or_else(own),
            peers: self.peers.0.iter().map(|peer| peer.parse()).collect::<Result<Vec<Peer>, _>>()?,
            peers_dns: self.peers_dns.as_deref().map(str::parse).transpose()?,
            interval: self.peers_interval.0,
        })
    }

    /// The limits of the live hub.
    pub(crate) fn hub(&self) -> HubLimits {
        HubLimits { tail_bytes: self.tail_bytes.0, tail_age: self.tail_age.0, linger: self.tail_linger.0 }
    }
}

/// `agentworks ingest`: the receiver, and its producer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Ingest {
    pub(crate) listen: SocketAddr,
    /// The largest body, as sent.
    pub(crate) body: Size,
    /// The largest body when decoded.
    pub(crate) decoded: Size,
    pub(crate) lines: usize,
    /// How many bytes of bodies are held at a time, over all requests.
    pub(crate) memory: Size,
    pub(crate) errors: usize,
    pub(crate) body_timeout: Time,
    pub(crate) room_timeout: Time,
    pub(crate) delivery_timeout: Time,
    /// What may wait for Kafka's acknowledgement, in bytes and in entries.
    pub(crate) buffer_bytes: Size,
    pub(crate) buffer_entries: usize,
    /// How long an entry waits for others to be sent along with it.
    pub(crate) linger: Time,
}

impl Default for Ingest {
    fn default() -> Self {
        let receiver = ReceiverConfig::default();
        Ingest {
            listen: loopback(7071),
            body: Size(receiver.body),
            decoded: Size(receiver.decoded),
            lines: receiver.lines,
            memory: Size(receiver.memory),
            errors: receiver.errors,
            body_timeout: receiver.body_timeout.into(),
            room_timeout: receiver.room_timeout.into(),
            delivery_timeout: receiver.delivery_timeout.into(),
            buffer_bytes: Size(32 << 20),
            buffer_entries: 100_000,
            linger: Time(Duration::from_millis(5)),
        }
    }
}

impl Ingest {
    /// The limits of requests.
    pub(crate) fn limits(&self) -> ReceiverConfig {
        ReceiverConfig {
            body: self.body.0,
            decoded: self.decoded.0,
            lines: self.lines,
            memory: self.memory.0,
            errors: self.errors,
            body_timeout: self.body_timeout.0,
            room_timeout: self.room_timeout.0,
            delivery_timeout: self.delivery_timeout.0,
        }
    }
}
