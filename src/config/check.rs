//! What no type says: ranges, names, and what must be given together.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use agentworks_bootstrap::Refused;
use agentworks_gateway::auth::jwks::check_url;
use agentworks_gateway::auth::{Revoked, Secret};
use agentworks_gateway::routing::Peer;
use agentworks_kafka::KafkaError;
use rdkafka::consumer::BaseConsumer;
use tracing_subscriber::EnvFilter;

use super::clients::PEER_SECRET;
use super::fault::Fault;
use super::forms::{Size, Time};
use super::load::Loaded;
use super::sections::{Kafka, SINKS};

const FETCHERS: [&str; 2] = ["auto", "librdkafka"];
const PROTOCOLS: [&str; 4] = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
const FORMATS: [&str; 2] = ["text", "json"];

/// Everything that is wrong.
pub(super) fn all(loaded: &Loaded) -> Vec<Fault> {
    let mut check = Check { loaded, faults: Vec::new() };
    check.kafka();
    check.store();
    check.objects();
    check.sinks();
    check.runtime();
    check.gateway();
    check.ingest();
    check.auth();
    check.log();
    check.faults
}

struct Check<'a> {
    loaded: &'a Loaded,
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn fault(&mut self, key: &str, reason: impl Into<String>) {
        self.faults.push(self.loaded.fault(key, reason));
    }

    fn require(&mut self, holds: bool, key: &str, reason: &str) {
        if !holds {
            self.fault(key, reason);
        }
    }

    fn range<T: PartialOrd + std::fmt::Display>(&mut self, key: &str, value: T, least: T, most: T) {
        if value < least || value > most {
            self.fault(key, format!("expected {least} to {most}"));
        }
    }

    fn one_of(&mut self, key: &str, value: &str, allowed: &[&str]) {
        if !allowed.contains(&value) {
            self.fault(key, format!("expected one of {}", allowed.join(", ")));
        }
    }

    fn readable(&mut self, key: &str, file: Option<&Path>) {
        if let Some(Err(error)) = file.map(File::open) {
            self.fault(key, format!("the file can't be read: {error}"));
        }
    }

    /// A secret is given itself or in a file, not both.
    fn either(&mut self, key: &str, is_given: bool, file: Option<&Path>) {
        if is_given && file.is_some() {
            self.fault(key, format!("give either {key} or {key}_file, not both"));
        }
        self.readable(&format!("{key}_file"), file);
    }

    fn kafka(&mut self) {
        let loaded = self.loaded;
        let kafka: &Kafka = &loaded.config.kafka;
        let named = kafka.brokers.split(',').all(|broker| is_address(broker.trim()));
        self.require(named, "kafka.brokers", "expected HOST:PORT, several by commas");
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let prefix = &kafka.topic_prefix;
        let fits = prefix.chars().all(plain) && prefix.len() <= 200;
        self.require(fits, "kafka.topic_prefix", "a topic's name has ASCII letters, digits, '.', '_' and '-' only");
        self.one_of("kafka.security_protocol", &kafka.security_protocol, &PROTOCOLS);
        self.one_of("kafka.sasl_mechanism", &kafka.sasl_mechanism, &MECHANISMS);
        self.one_of("kafka.fetch_by", &kafka.fetch_by, &FETCHERS);
        self.either("kafka.sasl_password", kafka.sasl_password.is_some(), kafka.sasl_password_file.as_deref());
        self.either("kafka.key_password", kafka.key_password.is_some(), kafka.key_password_file.as_deref());
        self.readable("kafka.ca_file", kafka.ca_file.as_deref());
        self.readable("kafka.certificate_file", kafka.certificate_file.as_deref());
        self.readable("kafka.key_file", kafka.key_file.as_deref());
        if kafka.security_protocol.starts_with("sasl_") {
            let reason = "kafka.security_protocol asks for SASL, so this is needed";
            self.require(!kafka.sasl_username.is_empty(), "kafka.sasl_username", reason);
            let password = kafka.sasl_password.is_some() || kafka.sasl_password_file.is_some();
            self.require(password, "kafka.sasl_password", reason);
        }
        if self.faults.is_empty() {
            self.librdkafka();
        }
    }

    /// Whether librdkafka takes all of it, as it was built.
    fn librdkafka(&mut self) {
        let settings = match self.loaded.kafka() {
            Ok(settings) => settings,
            Err(fault) => return self.faults.push(fault),
        };
        let mut config = settings.group_consumer("check", None);
        if let Err(error) = config.create_native_config() {
            return self.refused(&error);
        }
        // What it was built without shows only in a client; this one is to connect to nobody.
        config.remove("bootstrap.servers");
        if settings.extra.iter().any(|(name, value)| name == "security.protocol" && value != "plaintext")
            && let Err(error) = config.create::<BaseConsumer>()
        {
            self.refused(&error);
        }
    }

    fn refused(&mut self, error: &rdkafka::error::KafkaError) {
        if let Some(Refused { name, reason }) = Refused::from_error(error) {
            return self.fault(&setting(&name), format!("librdkafka refuses it: {reason}"));
        }
        let (key, reason) = match error {
            rdkafka::error::KafkaError::ClientCreation(_) if !cfg!(feature = "kafka-tls") => {
                let reason = "this agentworks was built without TLS and SCRAM towards Kafka; one that was built with \
                    `--features kafka-tls` has them";
                return self.fault("kafka.security_protocol", reason);
            }
            rdkafka::error::KafkaError::ClientCreation(reason) => ("kafka.sasl_mechanism".to_owned(), reason.clone()),
            error => ("kafka.extra".to_owned(), KafkaError::from_client(error, "the settings").to_string()),
        };
        self.fault(&key, format!("librdkafka refuses it: {reason}"));
    }

    fn store(&mut self) {
        let store = &self.loaded.config.store;
        self.either("store.password", store.password.is_some(), store.password_file.as_deref());
        if let Err(fault) = self.loaded.store() {
            self.faults.push(fault);
        }
    }

    fn objects(&mut self) {
        let loaded = self.loaded;
        let (objects, search, archive) = (&loaded.config.objects, &loaded.config.search, &loaded.config.archive);
        let given = objects.secret_access_key.is_some();
        self.either("objects.secret_access_key", given, objects.secret_access_key_file.as_deref());
        match loaded.objects() {
            Err(fault) => self.faults.push(fault),
            Ok(None) if loaded.config.runtime.writes_objects() => {
                self.fault("objects.url", "runtime.sinks names search or archive, which write objects: say where");
            }
            Ok(_) => {}
        }
        self.range("search.cache", search.cache, Size(64 << 20), Size(1 << 50));
        let (least, most) = (Time::seconds(3600), Time::seconds(3650 * 86_400));
        self.range("search.retention", search.retention, least, most);
        for (workspace, retention) in &search.workspaces.0 {
            self.range(&format!("search.workspaces.{workspace}"), *retention, least, most);
        }
        self.range("search.split_age", search.split_age, Time::seconds(1), Time::seconds(3600));
        self.range("search.split_bytes", search.split_bytes, Size(1 << 20), Size(4 << 30));
        self.range("search.maintain", search.maintain, Time::seconds(1), Time::seconds(86_400));
        self.range("search.settle", search.settle, Time::seconds(1), Time::seconds(86_400));
        self.either("search.secret", search.secret.is_some(), search.secret_file.as_deref());
        let is_long = search.secret.as_ref().is_none_or(|secret| secret.expose().len() >= PEER_SECRET);
        self.require(is_long, "search.secret", &format!("it must have {PEER_SECRET} bytes at least"));
        let fits = search.advertise.as_ref().is_none_or(|address| is_address(address));
        self.require(fits, "search.advertise", "expected HOST:PORT, by which others reach this process");
        self.range("search.max_searches", search.max_searches, 1, 10_000);
        self.range("search.deadline", search.deadline, Time(Duration::from_millis(100)), Time::seconds(300));
        self.range("archive.flush_interval", archive.flush_interval, Time::seconds(1), Time::seconds(86_400));
        self.range("archive.flush_bytes", archive.flush_bytes, Size(1 << 20), Size(4 << 30));
        self.range("archive.zstd_level", archive.zstd_level, 1, 22);
        self.range("archive.maintain", archive.maintain, Time::seconds(1), Time::seconds(86_400));
        self.range("archive.grace", archive.grace, Time::seconds(3600), Time::seconds(365 * 86_400));
    }

    fn sinks(&mut self) {
        let loaded = self.loaded;
        let (hot, warm) = (&loaded.config.hot, &loaded.config.warm);
        self.range("hot.known_cards", hot.known_cards, 1, 100_000_000);
        self.range("warm.known_runs", warm.known_runs, 1, 100_000_000);
        for (tier, days, retention, workspaces) in
            [("hot", 7, hot.retention, &hot.workspaces), ("warm", 90, warm.retention, &warm.workspaces)]
        {
            let (least, most) = (Time::seconds(3600), Time::seconds(days * 86_400));
            self.range(&format!("{tier}.retention"), retention, least, most);
            for (workspace, retention) in &workspaces.0 {
                self.range(&format!("{tier}.workspaces.{workspace}"), *retention, least, most);
            }
        }
        let blocks = [
            ("hot", hot.block_bytes, hot.block_age, hot.partition_bytes, hot.zstd_level, hot.writes),
            ("warm", warm.block_bytes, warm.block_age, warm.partition_bytes, warm.zstd_level, warm.writes),
        ];
        for (tier, block_bytes, block_age, partition_bytes, zstd_level, writes) in blocks {
            self.range(&format!("{tier}.block_bytes"), block_bytes, Size(1 << 10), Size(4 << 20));
            let least = Time(Duration::from_millis(100));
            self.range(&format!("{tier}.block_age"), block_age, least, Time::seconds(3600));
            self.range(&format!("{tier}.partition_bytes"), partition_bytes, Size(1 << 20), Size(1 << 30));
            self.range(&format!("{tier}.zstd_level"), zstd_level, 1, 22);
            self.range(&format!("{tier}.writes"), writes, 1, 1024);
        }
        let runs = &loaded.config.runs;
        self.range("runs.max_age", runs.max_age, Time(Duration::from_millis(100)), Time::seconds(600));
        self.range("runs.max_age_of_status", runs.max_age_of_status, Time::seconds(0), runs.max_age);
        self.range("runs.cached_parts", runs.cached_parts, 1, 100_000_000);
    }

    fn runtime(&mut self) {
        let runtime = &self.loaded.config.runtime;
        let sinks = &runtime.sinks.0;
        let known = sinks.iter().all(|sink| SINKS.contains(&sink.as_str()));
        let once = sinks.iter().enumerate().all(|(index, sink)| !sinks[..index].contains(sink));
        if sinks.is_empty() || !known || !once {
            self.fault("runtime.sinks", format!("expected one or more of {}, each once", SINKS.join(", ")));
        }
        let named = runtime.group.as_deref() != Some("");
        self.require(named, "runtime.group", "a consumer group needs a name; leave it out for the usual one");
        let named = runtime.instance.as_deref() != Some("");
        self.require(named, "runtime.instance", "a static member needs a name; leave it out for a dynamic one");
        self.range("runtime.memory", runtime.memory, Size(8 << 20), Size(64 << 30));
        self.range("runtime.queue", runtime.queue, Size(1 << 20), Size(64 << 30));
        self.range("runtime.linger", runtime.linger, Time::seconds(0), Time::seconds(10));
        // A member that doesn't poll for a minute loses its partitions.
        self.range("runtime.drain", runtime.drain, Time::seconds(0), Time::seconds(50));
    }

    fn gateway(&mut self) {
        let gateway = &self.loaded.config.gateway;
        self.range("gateway.max_message", gateway.max_message, Size(1 << 10), Size(16 << 20));
        self.range("gateway.max_messages_per_second", gateway.max_messages_per_second, 1, 1_000_000);
        self.range("gateway.max_pending", gateway.max_pending, Size(16 << 10), Size(1 << 30));
        self.range("gateway.heartbeat", gateway.heartbeat, Time::seconds(1), Time::seconds(600));
        self.range("gateway.max_depth", gateway.max_depth, 8, 100);
        self.range("gateway.max_connections_per_address", gateway.max_connections_per_address, 1, 100_000_000);
        self.range("gateway.max_total_connections", gateway.max_total_connections, 1, 100_000_000);
        self.range("gateway.handshake_timeout", gateway.handshake_timeout, Time::seconds(1), Time::seconds(600));
        self.range("gateway.idle_timeout", gateway.idle_timeout, Time::seconds(0), Time::seconds(7 * 86_400));
        if let Err(error) = gateway.limits() {
            self.fault("gateway.trusted_proxies", error.to_string());
        }
        self.range("gateway.write_timeout", gateway.write_timeout, Time::seconds(1), Time::seconds(600));
        self.range("gateway.tail_bytes", gateway.tail_bytes, Size(1 << 20), Size(64 << 30));
        self.range("gateway.tail_age", gateway.tail_age, Time::seconds(1), Time::seconds(3600));
        self.range("gateway.tail_linger", gateway.tail_linger, Time::seconds(0), Time::seconds(3600));
        self.range("gateway.readers", gateway.readers, 1, 256);
        self.routing();
        self.range("gateway.drain_delay", gateway.drain_delay, Time::seconds(0), Time::seconds(300));
        self.range("gateway.drain_jitter", gateway.drain_jitter, Time::seconds(0), Time::seconds(300));
        let steps = Time(gateway.drain_delay.0 + gateway.drain_jitter.0);
        self.range("gateway.drain_deadline", gateway.drain_deadline, steps, Time::seconds(600));
        let origin = |origin: &String| origin == "*" || origin.starts_with("http://") || origin.starts_with("https://");
        let listed = gateway.allowed_origins.0.iter().all(origin);
        self.require(listed, "gateway.allowed_origins", "expected origins as browsers send them: https://HOST; or *");
    }

    fn routing(&mut self) {
        let gateway = &self.loaded.config.gateway;
        let peers = gateway.peers.0.iter().map(|peer| ("gateway.peers", peer));
        for (key, peer) in peers.chain(gateway.peers_dns.iter().map(|name| ("gateway.peers_dns", name))) {
            if let Err(error) = peer.parse::<Peer>() {
                self.fault(key, error.to_string());
            }
        }
        let (least, most) = (Time(Duration::from_millis(100)), Time::seconds(60));
        self.range("gateway.peers_interval", gateway.peers_interval, least, most);
        if let Some(url) = &gateway.advertise {
            let authority = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            let fits = authority.is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_graphic()));
            self.require(fits, "gateway.advertise", "expected a URL that clients reach this gateway by: https://HOST");
        }
    }

    fn ingest(&mut self) {
        let ingest = &self.loaded.config.ingest;
        self.range("ingest.body", ingest.body, Size(1 << 10), Size(1 << 30));
        self.range("ingest.decoded", ingest.decoded, ingest.body, Size(4 << 30));
        self.range("ingest.memory", ingest.memory, ingest.decoded, Size(64 << 30));
        self.range("ingest.lines", ingest.lines, 1, 10_000_000);
        self.range("ingest.body_timeout", ingest.body_timeout, Time::seconds(1), Time::seconds(3600));
        self.range("ingest.delivery_timeout", ingest.delivery_timeout, Time::seconds(1), Time::seconds(3600));
        self.range("ingest.buffer_bytes", ingest.buffer_bytes, Size(1 << 20), Size(1 << 30));
        self.range("ingest.buffer_entries", ingest.buffer_entries, 1, 10_000_000);
        self.range("ingest.linger", ingest.linger, Time::seconds(0), Time::seconds(10));
    }

    fn auth(&mut self) {
        let auth = &self.loaded.config.auth;
        self.either("auth.secret", auth.secret.is_some(), auth.secret_file.as_deref());
        if let Some(Err(error)) = auth.secret.as_ref().map(|secret| Secret::new(secret.expose(), "it")) {
            self.fault("auth.secret", error.to_string());
        }
        self.require(!auth.audience.is_empty(), "auth.audience", "tokens are for somebody");
        let named = auth.issuer.as_deref() != Some("");
        self.require(named, "auth.issuer", "an issuer has a name; leave it out for any");
        if let Some(Err(error)) = auth.jwks_url.as_ref().map(|url| check_url(url, auth.jwks_insecure)) {
            self.fault("auth.jwks_url", error.to_string());
        }
        self.readable("auth.jwks_ca_file", auth.jwks_ca_file.as_deref());
        self.range("auth.jwks_refresh", auth.jwks_refresh, Time::seconds(1), Time::seconds(86_400));
        self.range("auth.jwks_cooldown", auth.jwks_cooldown, Time::seconds(1), Time::seconds(3600));
        self.range("auth.jwks_max_age", auth.jwks_max_age, auth.jwks_refresh, Time::seconds(30 * 86_400));
        if let Err(error) = Revoked::parse(auth.revoked.0.iter().map(String::as_str)) {
            self.fault("auth.revoked", error.to_string());
        }
    }

    fn log(&mut self) {
        let loaded = self.loaded;
        let log = &loaded.config.log;
        if let Err(error) = EnvFilter::try_new(&log.filter) {
            self.fault("log.filter", format!("{error}; expected LEVEL or TARGET=LEVEL, several by commas"));
        }
        self.one_of("log.format", &log.format, &FORMATS);
        self.range("metrics.top_workspaces", loaded.config.metrics.top_workspaces, 0, 1000);
    }
}

/// Whether a text is `HOST:PORT`.
fn is_address(text: &str) -> bool {
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    parts.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// The key behind a setting of librdkafka.
fn setting(name: &str) -> String {
    let known = match name {
        "bootstrap.servers" => "kafka.brokers",
        "security.protocol" => "kafka.security_protocol",
        "sasl.mechanism" | "sasl.mechanisms" => "kafka.sasl_mechanism",
        "sasl.username" => "kafka.sasl_username",
        "ssl.ca.location" => "kafka.ca_file",
        "ssl.certificate.location" => "kafka.certificate_file",
        "ssl.key.location" => "kafka.key_file",
        other => return format!("kafka.extra.{other}"),
    };
    known.to_owned()
}
