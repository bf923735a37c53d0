//! A Kafka that is reached by TLS, and asks for a password by SCRAM: `make kafka-tls`.

use std::path::Path;

use agentworks_broker::Broker;
use agentworks_broker::jars::{self, Jars};
use agentworks_broker::java::Java;

use super::login::kafka_with_login;
use super::*;
use crate::support::cassandra::{KEY_PASSWORD, make_certificate};

/// One that lets `me` in at another port than everybody else.
async fn kafka_with_tls(folder: &Path) -> (Broker, String) {
    let module = "org.apache.kafka.common.security.scram.ScramLoginModule";
    let keys = [
        ("listener.name.login.scram-sha-512.sasl.jaas.config", format!("{module} required;")),
        ("ssl.keystore.type", "PKCS12".to_owned()),
        ("ssl.keystore.location", folder.join("keys.p12").display().to_string()),
        ("ssl.keystore.password", KEY_PASSWORD.to_owned()),
    ];
    let (broker, login) = kafka_with_login(&folder.join("kafka"), "SASL_SSL", "SCRAM-SHA-512", &keys).await;

    let (java, jars) = (Java::find().unwrap(), Jars::find_or_fetch(&jars::default_cache(), &jars::KAFKA).unwrap());
    let made = tokio::process::Command::new(java.program())
        .arg("-cp")
        .arg(jars.class_path())
        .args(["kafka.admin.ConfigCommand", "--bootstrap-server", &broker.bootstrap(), "--alter"])
        .args(["--entity-type", "users", "--entity-name", "me"])
        .args(["--add-config", "SCRAM-SHA-512=[password=the password]"])
        .output()
        .await
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    (broker, login)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scram_over_tls_lets_in_who_knows_the_password_and_trusts_the_certificate() {
    let scratch = Scratch::new("tls");
    make_certificate(scratch.path()).await;
    let (broker, brokers) = kafka_with_tls(scratch.path()).await;
    create_topics(&broker.bootstrap(), "", 2).await;
    let mut installation = Installation::with(&brokers, "");
    installation.set("AGENTWORKS__KAFKA__SECURITY_PROTOCOL", "sasl_ssl".to_owned());
    installation.set("AGENTWORKS__KAFKA__SASL_MECHANISM", "SCRAM-SHA-512".to_owned());
    installation.set("AGENTWORKS__KAFKA__SASL_USERNAME", "me".to_owned());
    installation.set("AGENTWORKS__KAFKA__SASL_PASSWORD", "hunter2".to_owned());
    // Nobody vouches for the certificate, which may be put right on either side.
    installation.start(&["ingest"]).await.waits_for("certificate verify failed").await;

    let certificate = scratch.path().join("certificate.pem").display().to_string();
    installation.set("AGENTWORKS__KAFKA__CA_FILE", certificate);
    let log = installation.ends(&["ingest"]).await;
    assert!(log.contains("doesn't let us in") && !log.contains("hunter2"), "{log}");

    installation.set("AGENTWORKS__KAFKA__SASL_PASSWORD", "the password".to_owned());
    let (ingest, process) = (installation.start(&["ingest"]).await, installation.start(&["process"]).await);
    ingest.is_ready().await;
    process.is_ready().await;
    let answer = ingest.post("/v1/logs", &token(), lines("card", 0..5)).await;
    assert_eq!(answer["accepted"], 5, "{answer}");
    let taken = async || (process.metric("agentworks_logs_processed_total", "").await == 5.0).then_some(());
    eventually(PATIENCE, taken).await;
    drop((ingest, process));
    broker.stop().await;
}
