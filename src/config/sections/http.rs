//! What answers over HTTP: `serve` and `ingest`.

use std::net::SocketAddr;
use std::time::Duration;

use agentworks_gateway::GatewayConfig;
use agentworks_gateway::hub::HubLimits;
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
    pub(crate) max_subscriptions: usize,
    pub(crate) max_connections: usize,
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
            max_subscriptions: gateway.max_subscriptions,
            max_connections: gateway.max_connections,
            heartbeat: gateway.heartbeat.into(),
            write_timeout: gateway.write_timeout.into(),
            replay_idle_cap: gateway.replay_idle_cap.into(),
            allowed_origins: List(gateway.allowed_origins),
            token_in_query: gateway.token_in_query,
            tail_bytes: Size(hub.tail_bytes),
            tail_age: hub.tail_age.into(),
            tail_linger: hub.linger.into(),
            readers: 6,
        }
    }
}

impl Gateway {
    /// The limits of connections.
    pub(crate) fn limits(&self) -> GatewayConfig {
        GatewayConfig {
            history: self.history,
            max_message: self.max_message.0,
            max_messages_per_second: self.max_messages_per_second,
            max_pending: self.max_pending.0,
            max_replays: self.max_replays,
            max_subscriptions: self.max_subscriptions,
            max_connections: self.max_connections,
            heartbeat: self.heartbeat.0,
            write_timeout: self.write_timeout.0,
            replay_idle_cap: self.replay_idle_cap.0,
            allowed_origins: self.allowed_origins.0.clone(),
            token_in_query: self.token_in_query,
        }
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
