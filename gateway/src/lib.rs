//! The gateway: everything that a terminal, a script or an operator talks to.
//!
//! - [`auth`]: tokens (JWT) and what they allow.
//! - [`hub`]: the live hub: one consumer, lanes that join and leave, frames encoded once and shared.
//! - [`socket`]: a WebSocket connection: bounded outbox, frames, heartbeat.
//! - [`session`]: what one terminal is watching: the protocol.
//! - [`replay`]: the one reader with a clock.
//! - [`rest`]: cards, runs, entries, tokens' own view, over HTTP.
//! - `kept`: what was read and is kept until it is shown: so many entries, or so many bytes.
//! - [`search`]: searches, limited to what a token allows.
//! - [`documents`]: `/asyncapi.json` and `/openapi.json`.
//! - [`web`]: the terminal page.
//! - [`server`]: the accept loop that serves all of it.
//! - [`drain`]: ending so that clients go elsewhere and lose nothing.
//! - [`routing`]: which of several gateways is a card's home.
//! - [`roster`]: who is connected; [`tenants`]: what is counted by workspace.
//! - [`state`]: what the routes share.
//! - [`metrics`]: what is measured.

pub mod auth;
pub mod documents;
pub mod drain;
pub mod hub;
mod kept;
pub mod metrics;
pub mod replay;
pub mod rest;
pub mod roster;
pub mod routing;
pub mod search;
pub mod server;
pub mod session;
pub mod socket;
pub mod state;
pub mod tenants;
pub mod web;

pub use metrics::Metrics;
pub use state::{Gateway, GatewayConfig};
