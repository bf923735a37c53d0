//! Who fetches.
//!
//! Where nothing stands in the way, records are fetched by [`agentworks_fetch`], which costs a third of what they cost by
//! librdkafka. The settings are librdkafka's in both cases, by its names.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use agentworks_fetch::{ClientFiles, Login, Mechanism, Settings, Tls, TlsFiles};
use rdkafka::ClientConfig;
use tracing::warn;

use super::KafkaSettings;

/// By whom processors fetch records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FetchBy {
    /// By our own fetcher, unless there is a rack whose replicas are to be read from, a login by Kerberos or OAuth, or
    /// something about TLS that only librdkafka knows: a key with a password, certificates that aren't to be checked, or
    /// settings other than the files.
    #[default]
    Auto,
    /// By librdkafka.
    Librdkafka,
}

impl KafkaSettings {
    /// What our own fetcher is told in place of a consumer with these settings; `None` if that one is to fetch itself.
    pub fn fetcher(&self, consumer: &ClientConfig) -> Option<Settings> {
        if self.fetch_by == FetchBy::Librdkafka || set(consumer, "client.rack").is_some() {
            return None;
        }
        let protocol = consumer.get("security.protocol").unwrap_or("plaintext").to_ascii_lowercase();
        let (has_login, has_tls) = match protocol.as_str() {
            "plaintext" => (false, false),
            "sasl_plaintext" => (true, false),
            "ssl" => (false, true),
            "sasl_ssl" => (true, true),
            _ => return None,
        };
        let login = if has_login { Some(login(consumer)?) } else { None };
        let tls = if has_tls { Some(tls(consumer)?) } else { None };
        // What can't be read librdkafka refuses, and nothing is fetched.
        fn number<N: FromStr>(consumer: &ClientConfig, names: &[&str]) -> Option<N> {
            names.iter().find_map(|name| consumer.get(name)).and_then(|value| value.parse().ok())
        }
        let brokers = consumer.get("bootstrap.servers").unwrap_or(&self.brokers);
        let mut settings = Settings::new(brokers, consumer.get("client.id").unwrap_or_default());
        (settings.tls, settings.login) = (tls, login);
        if let Some(wait) = number(consumer, &["fetch.wait.max.ms"]) {
            settings.wait = Duration::from_millis(wait);
        }
        if let Some(bytes) = number(consumer, &["fetch.message.max.bytes", "max.partition.fetch.bytes"]) {
            settings.partition_bytes = bytes;
        }
        if let Some(bytes) = number(consumer, &["fetch.max.bytes"]) {
            settings.answer_bytes = bytes;
        }
        if let Some(kilobytes) = number::<usize>(consumer, &["queued.max.messages.kbytes"]) {
            settings.held_bytes = kilobytes * 1024;
        }
        Some(settings)
    }
}

/// The settings of SASL and of TLS that our own fetcher heeds.
const OF_SASL: [&str; 4] = ["sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password"];
const OF_TLS: [&str; 5] = [
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.endpoint.identification.algorithm",
];

/// What a setting is, if it was set. An empty one is none to librdkafka, either.
fn set<'a>(consumer: &'a ClientConfig, name: &str) -> Option<&'a str> {
    consumer.get(name).filter(|value| !value.is_empty())
}

/// Whether of the settings whose names begin with `prefix` only these were set.
fn are_known(consumer: &ClientConfig, prefix: &str, known: &[&str]) -> bool {
    consumer
        .config_map()
        .into_iter()
        .all(|(name, value)| !name.starts_with(prefix) || value.is_empty() || known.contains(&name))
}

/// How to log in, if that is a way that our own fetcher knows.
fn login(consumer: &ClientConfig) -> Option<Login> {
    if !are_known(consumer, "sasl.", &OF_SASL) {
        return None;
    }
    // Two names for one thing: of two that differ, nobody knows which one librdkafka takes.
    let (one, other) = (consumer.get("sasl.mechanism"), consumer.get("sasl.mechanisms"));
    if one.is_some() && other.is_some() && one != other {
        return None;
    }
    let mechanism = one.or(other).unwrap_or("GSSAPI");
    let of = |name| consumer.get(name).unwrap_or_default().to_owned();
    let (username, password) = (of("sasl.username"), of("sasl.password"));
    Some(Login { mechanism: Mechanism::by_name(mechanism)?, username, password })
}

/// How to encrypt, if that is a way that our own fetcher knows.
fn tls(consumer: &ClientConfig) -> Option<Tls> {
    let is = |name, expected: &str| set(consumer, name).is_none_or(|value| value.eq_ignore_ascii_case(expected));
    // Whoever doesn't want certificates checked has a reason for it, and our own fetcher always does.
    let is_checked =
        is("enable.ssl.certificate.verification", "true") && is("ssl.endpoint.identification.algorithm", "https");
    // Keys with a password it can't read.
    if !is_checked || set(consumer, "ssl.key.password").is_some() || !are_known(consumer, "ssl.", &OF_TLS) {
        return None;
    }
    let client = match (set(consumer, "ssl.certificate.location"), set(consumer, "ssl.key.location")) {
        (Some(certificates), Some(key)) => Some(ClientFiles { certificates: certificates.into(), key: key.into() }),
        (None, None) => None,
        _ => return None,
    };
    // librdkafka is told by `probe` to look for the system's where they usually are.
    let ca = set(consumer, "ssl.ca.location").filter(|ca| *ca != "probe").map(PathBuf::from);
    // So it takes a folder, too, of files whose names are hashes.
    if ca.as_ref().is_some_and(|ca| ca.is_dir()) {
        return None;
    }
    // What nobody can read librdkafka refuses as well. What only OpenSSL can, it goes on with.
    Tls::read(&TlsFiles { ca, client })
        .inspect_err(
            |error| warn!(%error, "fetching is left to librdkafka: our own fetcher can't use the files for TLS"),
        )
        .ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::Topics;

    use super::*;

    /// An authority of nobody's.
    const CA: &str = "-----BEGIN CERTIFICATE-----\n\
         MIIBdDCCARugAwIBAgIUGcWBj+9dfU4/BokrUi3ucosKJiowCgYIKoZIzj0EAwIw\n\
         DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMzAyMDE5MjFaGA8yMTI2MTEwNjIwMTky\n\
         MVowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABMej\n\
         ep9yq23jIjrPgvNtSmnSXEyJB4VbsdttWxLxwM7SkLKMg7vh/9gIlcjU6/HpH/O+\n\
         VaTFjD26NoHK7Vq/pBKjUzBRMB0GA1UdDgQWBBTJUJGJBhyLvPbt/ooF6qWRkdAM\n\
         0jAfBgNVHSMEGDAWgBTJUJGJBhyLvPbt/ooF6qWRkdAM0jAPBgNVHRMBAf8EBTAD\n\
         AQH/MAoGCCqGSM49BAMCA0cAMEQCICtzBJ4KXd4OSDT8FVWbRBv95K95Bbq65xzQ\n\
         NuCYSlS+AiAiaSziJX9R6uXYFjHWvZbupN1Fv+z3+yhVIBQcGt99iQ==\n\
         -----END CERTIFICATE-----\n";

    fn settings(extra: &[(&str, &str)]) -> KafkaSettings {
        let extra = extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        KafkaSettings { extra, ..KafkaSettings::new("one:1,two:2", Topics::default()) }
    }

    fn fetcher(extra: &[(&str, &str)]) -> Option<Settings> {
        let settings = settings(extra);
        settings.fetcher(&settings.group_consumer("store", None))
    }

    #[test]
    fn it_is_told_what_librdkafka_would_be() {
        let told = fetcher(&[("max.partition.fetch.bytes", "5")]).unwrap();
        assert_eq!(told.bootstrap, ["one:1", "two:2"]);
        assert_eq!(told.client_id, "agentworks-store");
        assert_eq!((told.wait, told.answer_bytes), (Duration::from_millis(100), 8 * 1024 * 1024));
        assert_eq!((told.held_bytes, told.partition_bytes), (16 * 1024 * 1024, 5));
        assert!(told.login.is_none());
        assert!(told.tls.is_none());
    }

    #[test]
    fn it_logs_in_as_librdkafka_would() {
        let of = |protocol, mechanism| {
            let sasl = [("sasl.mechanism", mechanism), ("sasl.username", "me"), ("sasl.password", "hunter2")];
            fetcher(&[&[("security.protocol", protocol)], &sasl[..]].concat())
        };
        for (name, mechanism) in [
            ("PLAIN", Mechanism::Plain),
            ("SCRAM-SHA-256", Mechanism::ScramSha256),
            ("SCRAM-SHA-512", Mechanism::ScramSha512),
        ] {
            let told = of("SASL_PLAINTEXT", name).unwrap();
            assert!(told.tls.is_none());
            let login = told.login.unwrap();
            assert_eq!((login.mechanism, login.username, login.password), (mechanism, "me".into(), "hunter2".into()));
        }
        for mechanism in ["GSSAPI", "OAUTHBEARER", ""] {
            assert!(of("sasl_plaintext", mechanism).is_none(), "{mechanism}");
        }
        let twice = [("sasl.mechanism", "PLAIN"), ("sasl.mechanisms", "SCRAM-SHA-256")];
        assert!(fetcher(&[&[("security.protocol", "sasl_plaintext")], &twice[..]].concat()).is_none());
    }

    #[test]
    fn it_believes_whom_librdkafka_would() {
        let folder = std::env::temp_dir().join(format!("agentworks-kafka-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("ca.pem");
        std::fs::write(&file, CA).unwrap();
        let ca = ("ssl.ca.location", file.to_str().unwrap());
        let told = fetcher(&[("security.protocol", "SSL"), ca]).unwrap();
        assert!(told.tls.is_some() && told.login.is_none());
        let sasl = [("sasl.mechanism", "PLAIN"), ("security.protocol", "sasl_ssl")];
        let checked = [
            ("ssl.endpoint.identification.algorithm", "https"),
            ("enable.ssl.certificate.verification", "true"),
            ("ssl.key.password", ""),
        ];
        let told = fetcher(&[&sasl[..], &checked, &[ca]].concat()).unwrap();
        assert!(told.tls.is_some() && told.login.is_some());

        for (name, value) in [
            ("ssl.endpoint.identification.algorithm", "none"),
            ("enable.ssl.certificate.verification", "false"),
            ("ssl.key.password", "hunter2"),
            ("ssl.certificate.location", ca.1),
            ("ssl.cipher.suites", "DEFAULT"),
            ("ssl.ca.location", folder.to_str().unwrap()),
            ("ssl.ca.location", "/there/is/no/such.pem"),
        ] {
            // What is set later counts.
            assert!(fetcher(&[("security.protocol", "ssl"), ca, (name, value)]).is_none(), "{name}");
        }
        // Without TLS nobody heeds them.
        assert!(fetcher(&[("ssl.key.password", "hunter2")]).is_some());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_it_does_not_know_is_left_to_librdkafka() {
        let kerberos = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.kerberos.service.name", "kafka"),
        ];
        for extra in [&[("security.protocol", "other")][..], &kerberos, &[("client.rack", "a")]] {
            assert!(fetcher(extra).is_none(), "{extra:?}");
        }
        let told = KafkaSettings { fetch_by: FetchBy::Librdkafka, ..settings(&[]) };
        assert!(told.fetcher(&told.group_consumer("store", None)).is_none());
    }
}
