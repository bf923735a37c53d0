//! A Kafka that asks for a password.

use std::path::Path;

use agentworks_broker::{Broker, Config};
use futures_util::future::join_all;

use super::*;
use crate::support::dev::free_port;

/// One with another listener than everybody else's, at the address returned, that asks for a login over this protocol; with
/// further properties.
pub(super) async fn kafka_with_login(
    folder: &Path,
    protocol: &str,
    mechanism: &str,
    further: &[(&str, String)],
) -> (Broker, String) {
    let (port, login, controller) = (free_port(), free_port(), free_port());
    let at = |name: &str, port: u16| format!("{name}://127.0.0.1:{port}");
    let clients = format!("{},{}", at("PLAINTEXT", port), at("LOGIN", login));
    let own = [
        ("listeners", format!("{clients},{}", at("CONTROLLER", controller))),
        ("advertised.listeners", clients),
        ("controller.quorum.voters", format!("1@127.0.0.1:{controller}")),
        ("listener.security.protocol.map", format!("CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,LOGIN:{protocol}")),
        ("sasl.enabled.mechanisms", mechanism.to_owned()),
    ];
    let properties = own.iter().chain(further).map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let config = Config { port, properties, ..Config::new(folder) };
    let broker = Broker::start(config).await.unwrap_or_else(|error| panic!("{error}"));
    (broker, format!("127.0.0.1:{login}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_and_the_right_one_is_used_by_all_clients() {
    let scratch = Scratch::new("login");
    let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
    let users = format!("{module} required user_me=\"the password\";");
    let users = [("listener.name.login.plain.sasl.jaas.config", users)];
    let (broker, brokers) = kafka_with_login(&scratch.path().join("kafka"), "SASL_PLAINTEXT", "PLAIN", &users).await;
    create_topics(&broker.bootstrap(), "", 2).await;
    let mut installation = Installation::with(&brokers, "");
    installation.set("AGENTWORKS__KAFKA__SECURITY_PROTOCOL", "sasl_plaintext".to_owned());
    installation.set("AGENTWORKS__KAFKA__SASL_USERNAME", "me".to_owned());
    installation.set("AGENTWORKS__KAFKA__SASL_PASSWORD", "hunter2".to_owned());
    // Each has another way to the watch of Kafka, and only one of them an embedded store to itself.
    let roles = [&["ingest"][..], &["process"]];
    for log in join_all(roles.map(|role| installation.ends(role))).await {
        assert!(log.contains("doesn't let us in") && log.contains("kafka.sasl_password"), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
    }

    installation.variables.retain(|(name, _)| *name != "AGENTWORKS__KAFKA__SASL_PASSWORD");
    let password = scratch.path().join("password");
    std::fs::write(&password, "the password\n").unwrap();
    installation.set("AGENTWORKS__KAFKA__SASL_PASSWORD_FILE", password.display().to_string());
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
