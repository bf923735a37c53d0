//! The sections, their keys and defaults. docs/configuration.md says what the keys mean; a test holds it to these structs.

mod http;
mod objects;
mod sinks;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use agentworks_gateway::auth::AUDIENCE;
use serde::{Deserialize, Serialize};

use super::forms::{Hidden, List, Named, Time};

pub(crate) use http::{Gateway, Ingest};
pub(crate) use objects::{Archive, Objects, Search};
pub(crate) use sinks::{Hot, Runs, Runtime, SINKS, Warm};

/// Everything that a role can be told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) kafka: Kafka,
    pub(crate) store: StoreSection,
    pub(crate) hot: Hot,
    pub(crate) warm: Warm,
    pub(crate) runs: Runs,
    pub(crate) objects: Objects,
    pub(crate) search: Search,
    pub(crate) archive: Archive,
    pub(crate) runtime: Runtime,
    pub(crate) gateway: Gateway,
    pub(crate) ingest: Ingest,
    pub(crate) auth: Auth,
    pub(crate) log: Log,
    pub(crate) metrics: Metrics,
}

/// Where Kafka is, and how to be let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Kafka {
    pub(crate) brokers: String,
    pub(crate) topic_prefix: String,
    /// `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.
    pub(crate) security_protocol: String,
    pub(crate) sasl_mechanism: String,
    pub(crate) sasl_username: String,
    pub(crate) sasl_password: Option<Hidden>,
    pub(crate) sasl_password_file: Option<PathBuf>,
    /// Whom to trust; the system's authorities if not given.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) certificate_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) key_password: Option<Hidden>,
    pub(crate) key_password_file: Option<PathBuf>,
    /// `auto` or `librdkafka`.
    pub(crate) fetch_by: String,
    /// Further settings of librdkafka, by its names, laid over ours.
    pub(crate) extra: Named<Hidden>,
}

impl Default for Kafka {
    fn default() -> Self {
        Kafka {
            brokers: "127.0.0.1:9092".into(),
            topic_prefix: String::new(),
            security_protocol: "plaintext".into(),
            sasl_mechanism: "PLAIN".into(),
            sasl_username: String::new(),
            sasl_password: None,
            sasl_password_file: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            key_password: None,
            key_password_file: None,
            fetch_by: "auto".into(),
            extra: Named::default(),
        }
    }
}

/// Where blocks, run summaries and positions are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StoreSection {
    /// `embedded:PATH`, for one process, or `cql://USER@HOST:PORT,HOST/KEYSPACE?…`.
    pub(crate) url: String,
    /// The password of the address's user.
    pub(crate) password: Option<Hidden>,
    pub(crate) password_file: Option<PathBuf>,
}

impl Default for StoreSection {
    fn default() -> Self {
        StoreSection { url: "embedded:data/store".into(), password: None, password_file: None }
    }
}

/// Whose tokens are taken, by `ingest` and by `serve`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Auth {
    /// What tokens are signed with, of 32 bytes at least.
    pub(crate) secret: Option<Hidden>,
    pub(crate) secret_file: Option<PathBuf>,
    pub(crate) audience: String,
    /// Who must have made a token; whoever has a key, if not given.
    pub(crate) issuer: Option<String>,
    /// Where public keys are published, that tokens may be signed with instead.
    pub(crate) jwks_url: Option<String>,
    /// Whom to trust there; the system's authorities if not given.
    pub(crate) jwks_ca_file: Option<PathBuf>,
    /// Whether the keys may come from another machine without TLS.
    pub(crate) jwks_insecure: bool,
    pub(crate) jwks_refresh: Time,
    /// How long after a fetch a token with an unknown key may cause another one.
    pub(crate) jwks_cooldown: Time,
    /// How long keys are kept while they can't be fetched.
    pub(crate) jwks_max_age: Time,
    /// Tokens that aren't taken any more: `kid:KEY`, `jti:TOKEN`, `sub:WORKSPACE/SUBJECT`.
    pub(crate) revoked: List,
}

impl Default for Auth {
    fn default() -> Self {
        Auth {
            secret: None,
            secret_file: None,
            audience: AUDIENCE.into(),
            issuer: None,
            jwks_url: None,
            jwks_ca_file: None,
            jwks_insecure: false,
            jwks_refresh: Time::seconds(300),
            jwks_cooldown: Time::seconds(10),
            jwks_max_age: Time::seconds(86_400),
            revoked: List::default(),
        }
    }
}

/// What the process says of itself, on standard error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// What is said, as `tracing` writes it: `info`, `info,agentworks_gateway=debug`.
    pub(crate) filter: String,
    /// `text` or `json`.
    pub(crate) format: String,
}

impl Default for Log {
    fn default() -> Self {
        Log { filter: "info,fjall=warn,lsm_tree=warn,delta_kernel=off,tantivy=warn".into(), format: "text".into() }
    }
}

/// What is measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Metrics {
    /// How many workspaces have a `workspace_id` of their own in metrics, those with most entries; the others share
    /// `other`.
    pub(crate) top_workspaces: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics { top_workspaces: 20 }
    }
}

/// Services are open to this machine alone until they are told otherwise.
fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
