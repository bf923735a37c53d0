//! Our own fetcher at a Kafka that asks for a password, or that is reached by TLS.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentworks_broker::jars::KAFKA;
use agentworks_broker::service::free_port;
use agentworks_broker::{Broker, Config};
use agentworks_fetch::records::{Full, Reader};
use agentworks_fetch::{Event, FetchError, Fetcher, Login, Mechanism, Settings, Tls, TlsFiles, What};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use crate::support::Scratch;
use crate::support::cassandra::{KEY_PASSWORD, make_certificate};
use crate::support::jvm::java;
use crate::support::records::{PATIENCE, create_topic, produce};

const TOPIC: &str = "log";
/// So many records of so many bytes are in it: more than an answer holds, and that more than TLS encrypts at once.
const RECORDS: usize = 200;
const LENGTH: usize = 20_000;
const PASSWORD: &str = "the password";
/// What separates is part of a name.
const SCRAM_USER: &str = "me=you,us";

/// A Kafka with a listener for everybody, by which its log was written, and others.
struct Secured {
    broker: Broker,
    /// Where it asks for a password.
    password: String,
    /// Where it speaks TLS.
    tls: String,
    /// Where it does both.
    both: String,
    scratch: Scratch,
}

impl Secured {
    async fn start() -> Secured {
        let scratch = Scratch::new("fetch-login");
        make_certificate(scratch.path()).await;
        let ports: [u16; 5] = std::array::from_fn(|_| free_port().unwrap());
        let at = |name: &str, index: usize| format!("{name}://127.0.0.1:{}", ports[index]);
        let clients = [at("PLAINTEXT", 0), at("PASSWORD", 1), at("TLS", 2), at("BOTH", 3)].join(",");
        let protocols = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PASSWORD:SASL_PLAINTEXT,TLS:SSL,BOTH:SASL_SSL";
        let module = |name: &str| format!("org.apache.kafka.common.security.{name}LoginModule required");
        let (plain, scram) = (module("plain.Plain"), module("scram.Scram"));
        let properties = [
            ("listeners", format!("{clients},{}", at("CONTROLLER", 4))),
            ("advertised.listeners", clients),
            ("controller.quorum.voters", format!("1@127.0.0.1:{}", ports[4])),
            ("listener.security.protocol.map", protocols.to_owned()),
            ("listener.name.password.sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned()),
            ("listener.name.password.plain.sasl.jaas.config", format!("{plain} user_me=\"{PASSWORD}\";")),
            ("listener.name.password.scram-sha-256.sasl.jaas.config", format!("{scram};")),
            ("listener.name.password.scram-sha-512.sasl.jaas.config", format!("{scram};")),
            ("listener.name.both.sasl.enabled.mechanisms", "SCRAM-SHA-512".to_owned()),
            ("listener.name.both.scram-sha-512.sasl.jaas.config", format!("{scram};")),
            ("ssl.keystore.type", "PKCS12".to_owned()),
            ("ssl.keystore.location", scratch.path().join("keys.p12").display().to_string()),
            ("ssl.keystore.password", KEY_PASSWORD.to_owned()),
        ];
        let properties = properties.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let config = Config { port: ports[0], properties, ..Config::new(scratch.path().join("kafka")) };
        let broker = Broker::start(config).await.unwrap_or_else(|error| panic!("{error}"));
        create_topic(&broker.bootstrap(), TOPIC, 1).await;
        produce(&broker.bootstrap(), TOPIC, (0..RECORDS).map(|number| ("key", text(number)))).await;
        let address = |index: usize| format!("127.0.0.1:{}", ports[index]);
        Secured { broker, password: address(1), tls: address(2), both: address(3), scratch }
    }

    /// Has it know a password by SCRAM, with either hash.
    async fn make_scram_user(&self) {
        // One at a time: a user's credentials can't be altered twice in one request.
        for hash in ["SCRAM-SHA-256=[iterations=8192,", "SCRAM-SHA-512=["] {
            let made = java(&KAFKA, self.scratch.path())
                .await
                .args(["kafka.admin.ConfigCommand", "--bootstrap-server", &self.broker.bootstrap(), "--alter"])
                .args(["--entity-type", "users", "--entity-name", SCRAM_USER])
                .args(["--add-config", &format!("{hash}password={PASSWORD}]")])
                .output()
                .await
                .unwrap();
            let said = [made.stdout, made.stderr].concat();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&said));
        }
    }

    /// The certificate that is its own authority.
    fn certificate(&self) -> PathBuf {
        self.scratch.path().join("certificate.pem")
    }
}

/// The record of this number.
fn text(number: usize) -> String {
    let mut text = format!("record {number}");
    text.push_str(&".".repeat(LENGTH - text.len()));
    text
}

fn at(brokers: &str) -> Settings {
    let mut settings = Settings::new(brokers, "test");
    settings.wait = Duration::from_millis(50);
    settings
}

fn with_password(brokers: &str, mechanism: Mechanism, username: &str, password: &str) -> Settings {
    let login = Login { mechanism, username: username.to_owned(), password: password.to_owned() };
    Settings { login: Some(login), ..at(brokers) }
}

fn with_tls(settings: Settings, ca: &Path) -> Settings {
    let tls = Tls::read(&TlsFiles { ca: Some(ca.to_owned()), client: None }).unwrap();
    Settings { tls: Some(tls), ..settings }
}

fn follow(settings: Settings) -> (Fetcher, UnboundedReceiver<Event>) {
    let (sender, events) = unbounded_channel();
    let fetcher = Fetcher::start(settings, move |event| drop(sender.send(event))).unwrap();
    fetcher.follow(TOPIC, 0, 0);
    (fetcher, events)
}

async fn next(events: &mut UnboundedReceiver<Event>) -> What {
    timeout(PATIENCE, events.recv()).await.expect("something happens").unwrap().what
}

/// Reads all that is in the log.
async fn read(settings: Settings) {
    let (_fetcher, mut events) = follow(settings);
    let mut texts = Vec::new();
    while texts.len() < RECORDS {
        match next(&mut events).await {
            What::Records { data, aborted, from } => {
                let (mut buffer, mut places) = (Vec::new(), Vec::new());
                let full = Full { records: usize::MAX, bytes: usize::MAX };
                assert!(!Reader::new(data, aborted, from).fill(&mut buffer, &mut places, full).unwrap());
                let values = places.iter().filter_map(|place| place.value);
                texts.extend(values.map(|value| String::from_utf8(value.of(&buffer).to_vec()).unwrap()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(texts.into_iter().eq((0..RECORDS).map(text)), "as they were written");
}

/// The reason why nothing can be read.
async fn refusal(settings: Settings) -> FetchError {
    let (_fetcher, mut events) = follow(settings);
    match next(&mut events).await {
        What::Fault(fault) => fault,
        other => panic!("{other:?}"),
    }
}

/// Makes sure that a login is refused; the reason, in which the password isn't.
async fn is_not_let_in(settings: Settings) -> String {
    let password = settings.login.as_ref().unwrap().password.clone();
    let fault = refusal(settings).await;
    assert!(matches!(&fault, FetchError::Login { .. }) && !fault.is_transient(), "{fault:?}");
    let said = fault.to_string();
    assert!(!said.contains(&password), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_logs_in_where_it_is_asked_for_a_password() {
    let kafka = Secured::start().await;
    kafka.make_scram_user().await;
    for (mechanism, username) in
        [(Mechanism::Plain, "me"), (Mechanism::ScramSha256, SCRAM_USER), (Mechanism::ScramSha512, SCRAM_USER)]
    {
        let login = |username, password| with_password(&kafka.password, mechanism, username, password);
        for wrong in [login(username, "hunter2"), login("somebody", PASSWORD)] {
            let said = is_not_let_in(wrong).await;
            assert!(said.contains(&kafka.password) && said.to_lowercase().contains("invalid"), "{said}");
        }
        read(login(username, PASSWORD)).await;
    }
    let both = |mechanism, password| {
        with_tls(with_password(&kafka.both, mechanism, SCRAM_USER, password), &kafka.certificate())
    };
    is_not_let_in(both(Mechanism::ScramSha512, "hunter2")).await;
    let said = is_not_let_in(both(Mechanism::Plain, PASSWORD)).await;
    assert!(said.contains("it takes SCRAM-SHA-512"), "{said}");
    read(both(Mechanism::ScramSha512, PASSWORD)).await;
    kafka.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_believes_a_broker_by_the_authority_that_it_is_told() {
    let kafka = Secured::start().await;
    read(with_tls(at(&kafka.tls), &kafka.certificate())).await;

    // Of the same name as the right one, and with another key.
    let stranger = kafka.scratch.path().join("stranger");
    fs::create_dir(&stranger).unwrap();
    make_certificate(&stranger).await;
    // It isn't for this name, but for the address.
    let by_name = kafka.tls.replace("127.0.0.1", "localhost");
    for (brokers, ca, reason) in [
        (&kafka.tls, stranger.join("certificate.pem"), "its certificate isn't signed by the one who is trusted"),
        (&by_name, kafka.certificate(), "not valid for name \"localhost\""),
    ] {
        let fault = refusal(with_tls(at(brokers), &ca)).await;
        assert!(matches!(&fault, FetchError::Tls { .. }) && !fault.is_transient(), "{fault:?}");
        let said = fault.to_string();
        assert!(said.contains(brokers.as_str()) && said.contains(reason), "{said}");
    }
    let fault = refusal(with_tls(at(&kafka.broker.bootstrap()), &kafka.certificate())).await;
    assert!(fault.is_transient() && fault.to_string().contains("maybe it takes no TLS"), "{fault:?}");
    kafka.broker.stop().await;
}
