//! Who is let in, and what is said to who isn't.

use std::path::Path;

use agentworks_store_cql::config::TlsFiles;
use agentworks_store_cql::{CqlConfig, CqlStore, Password, migrate};

use crate::support::Scratch;
use crate::support::cassandra::cassandra;

async fn refused(config: &CqlConfig) -> String {
    let error = CqlStore::connect(config).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_repeated() {
    let cassandra = cassandra().await;
    let config = CqlConfig { password: Some(Password::new("s3cret")), ..cassandra.config() };
    let message = refused(&config).await;
    assert!(message.starts_with(&format!("the store failed: cannot connect to {}", cassandra.address())), "{message}");
    assert!(message.contains("Provided username cassandra and/or password are incorrect"), "{message}");
    assert!(!message.contains("s3cret"), "{message}");
    let message = migrate(&config).await.unwrap_err().to_string();
    assert!(message.contains("password are incorrect") && !message.contains("s3cret"), "{message}");
}

#[tokio::test]
async fn a_missing_password_is_asked_for() {
    let config = CqlConfig { password: None, ..cassandra().await.config() };
    let wanted = "the store failed: user cassandra needs a password: give it in AGENTWORKS_STORE_PASSWORD or in a file";
    assert_eq!(refused(&config).await, wanted);
    let anonymous = CqlConfig { user: None, ..config };
    assert!(refused(&anonymous).await.ends_with(": it wants a user and a password"));
}

#[tokio::test]
async fn a_certificate_of_the_right_authority_is_wanted() {
    let cassandra = cassandra().await;
    let config = CqlConfig { tls: Some(cassandra.tls()), ..cassandra.config() };
    migrate(&config).await.unwrap();
    CqlStore::connect(&config).await.unwrap();

    // Another one's that looks the same.
    let folder = Scratch::new("authority");
    crate::support::cassandra::make_certificate(folder.path()).await;
    let other = |ca: &Path| CqlConfig { tls: Some(TlsFiles { ca: ca.to_owned(), client: None }), ..config.clone() };
    let message = refused(&other(&folder.path().join("certificate.pem"))).await;
    assert!(message.contains("certificate"), "{message}");
    let message = refused(&other(Path::new("/nonexistent/ca.pem"))).await;
    assert!(message.starts_with("the store failed: /nonexistent/ca.pem: "), "{message}");
}

#[tokio::test]
async fn a_data_centre_that_is_not_there_is_named() {
    let cassandra = cassandra().await;
    let config = CqlConfig { datacenter: Some("moon".into()), ..cassandra.config() };
    assert!(refused(&config).await.ends_with("no node is in data centre moon; there are datacenter1"));
    let config = CqlConfig { datacenter: Some("datacenter1".into()), ..config };
    migrate(&config).await.unwrap();
    CqlStore::connect(&config).await.unwrap();
}

#[tokio::test]
async fn nobody_there_may_pass() {
    let config = CqlConfig::new(vec!["127.0.0.1:1".into()], "k");
    let error = CqlStore::connect(&config).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}
