//! A connection made as the configuration says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agentworks_store::StoreError;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::timestamp_generator::MonotonicTimestampGenerator;

use crate::config::{CqlConfig, PASSWORD_VARIABLE};
use crate::error::{self, IntoStoreError};
use crate::tls;

/// A connection that says nothing is asked whether it still lives, and given up for a new one if it doesn't answer: a
/// machine that vanished sends no farewell.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Connects. Requests go to a replica of their row, in the data centre of the configuration if it names one.
pub(crate) async fn open(config: &CqlConfig) -> Result<Session, StoreError> {
    let mut policy = DefaultPolicy::builder().token_aware(true);
    if let Some(datacenter) = &config.datacenter {
        policy = policy.prefer_datacenter(datacenter.clone()).permit_dc_failover(false);
    }
    let profile = ExecutionProfile::builder()
        .consistency(config.consistency)
        .request_timeout(Some(config.request_timeout))
        .load_balancing_policy(policy.build())
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.contact_points)
        .default_execution_profile_handle(profile.into_handle())
        // Of two writes of this process to one row, the later one wins also if they take different ways.
        .timestamp_generator(Arc::new(MonotonicTimestampGenerator::new()))
        .keyspaces_to_fetch([&config.keyspace])
        .connection_timeout(config.request_timeout)
        .keepalive_interval(KEEPALIVE)
        .keepalive_timeout(KEEPALIVE)
        .fetch_full_schema_metadata(false);
    if let Some(user) = &config.user {
        let password = config.password.as_ref().ok_or_else(|| {
            StoreError::Failed(format!("user {user} needs a password: give it in {PASSWORD_VARIABLE} or in a file"))
        })?;
        builder = builder.user(user, password.expose());
    }
    if let Some(files) = &config.tls {
        builder = builder.tls_context(Some(tls::client_config(files)?));
    }
    let session = builder.build().await.map_err(|error| {
        if error::wants_login(&error) {
            return StoreError::Failed(cannot_connect(config, "it wants a user and a password"));
        }
        match error.into_store_error() {
            StoreError::Unavailable(text) => StoreError::Unavailable(cannot_connect(config, &text)),
            StoreError::Failed(text) => StoreError::Failed(cannot_connect(config, &text)),
        }
    })?;
    check_datacenter(config, &session)?;
    Ok(session)
}

/// Without a node to go to, every request would fail, for ever.
fn check_datacenter(config: &CqlConfig, session: &Session) -> Result<(), StoreError> {
    let Some(wanted) = &config.datacenter else { return Ok(()) };
    let state = session.get_cluster_state();
    let there: BTreeSet<_> = state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    if there.contains(wanted.as_str()) {
        return Ok(());
    }
    let there = there.into_iter().collect::<Vec<_>>().join(", ");
    Err(StoreError::Failed(cannot_connect(config, &format!("no node is in data centre {wanted}; there are {there}"))))
}

fn cannot_connect(config: &CqlConfig, why: &str) -> String {
    format!("cannot connect to {}: {why}", config.contact_points.join(", "))
}
