//! Addresses of stores.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::{ClientCertificate, ConfigError, Consistency, CqlConfig, Replication, TlsFiles};

const SCHEME: &str = "cql://";
const DEFAULT_PORT: u16 = 9042;

/// What can be set after the question mark.
pub(super) const SETTINGS: [&str; 8] =
    ["dc", "consistency", "replication", "concurrency", "timeout", "ca", "cert", "key"];

const CONSISTENCIES: [(&str, Consistency); 9] = [
    ("any", Consistency::Any),
    ("one", Consistency::One),
    ("two", Consistency::Two),
    ("three", Consistency::Three),
    ("quorum", Consistency::Quorum),
    ("all", Consistency::All),
    ("local_quorum", Consistency::LocalQuorum),
    ("each_quorum", Consistency::EachQuorum),
    ("local_one", Consistency::LocalOne),
];

impl FromStr for CqlConfig {
    type Err = ConfigError;

    fn from_str(address: &str) -> Result<Self, ConfigError> {
        let rest = address.strip_prefix(SCHEME).ok_or(ConfigError::Form)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // The last one: a user's name may hold any character, encoded or not.
        let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
        if user.is_some_and(|user| user.contains(':')) {
            return Err(ConfigError::Password);
        }
        let (hosts, keyspace) = rest.split_once('/').ok_or(ConfigError::Form)?;
        let contact_points = hosts.split(',').map(contact_point).collect::<Result<_, _>>()?;
        if !is_keyspace(keyspace) {
            return Err(ConfigError::Keyspace(keyspace.to_owned()));
        }
        let mut config = CqlConfig::new(contact_points, keyspace);
        config.user = user.map(decoded).transpose()?;
        Settings::read(query)?.apply(&mut config)?;
        Ok(config)
    }
}

/// `host:port` of a host with or without a port; an IPv6 address is in brackets.
fn contact_point(text: &str) -> Result<String, ConfigError> {
    let wrong = || ConfigError::Host(text.to_owned());
    let (host, port) = match text.rfind(':').filter(|at| !text[*at..].contains(']')) {
        Some(at) => (&text[..at], text[at + 1..].parse().map_err(|_| wrong())?),
        None => (text, DEFAULT_PORT),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')),
    };
    if is_host && port != 0 { Ok(format!("{host}:{port}")) } else { Err(wrong()) }
}

/// Whether a keyspace can be called so without quotes.
pub(crate) fn is_keyspace(name: &str) -> bool {
    name.len() <= 48
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn decoded(text: &str) -> Result<String, ConfigError> {
    percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| ConfigError::Form)
}

/// The settings, in the order of [`SETTINGS`].
struct Settings([Option<String>; SETTINGS.len()]);

impl Settings {
    fn read(query: &str) -> Result<Self, ConfigError> {
        let mut settings = Settings(Default::default());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name == "password" {
                return Err(ConfigError::Password);
            }
            let place = SETTINGS.iter().position(|setting| *setting == name).map(|at| &mut settings.0[at]);
            match place {
                Some(place @ None) => *place = Some(value.into_owned()),
                _ => return Err(ConfigError::Setting(name.into_owned())),
            }
        }
        Ok(settings)
    }

    fn apply(self, config: &mut CqlConfig) -> Result<(), ConfigError> {
        let [dc, consistency, replication, concurrency, timeout, ca, cert, key] = self.0;
        config.datacenter = dc;
        if let Some(value) = consistency {
            let found = CONSISTENCIES.iter().find(|(name, _)| value.eq_ignore_ascii_case(name));
            config.consistency = found.ok_or_else(|| wrong("consistency", &value, "local_quorum, quorum, one …"))?.1;
        }
        if let Some(value) = replication {
            config.replication = parse_replication(&value).ok_or_else(|| {
                wrong("replication", &value, "a number of copies, or one for each data centre: dc1:3,dc2:3")
            })?;
        }
        if let Some(value) = concurrency {
            let number = value.parse().ok().filter(|number| (1..=10_000).contains(number));
            config.concurrency = number.ok_or_else(|| wrong("concurrency", &value, "1 to 10000 requests"))?;
        }
        if let Some(value) = timeout {
            config.request_timeout =
                parse_time(&value).ok_or_else(|| wrong("timeout", &value, "from 100ms to 600s: 500ms, 10s"))?;
        }
        let client = match (cert, key) {
            (Some(certificates), Some(key)) => {
                Some(ClientCertificate { certificates: certificates.into(), key: key.into() })
            }
            (Some(value), None) => return Err(wrong("cert", &value, "it needs a key, too")),
            (None, Some(value)) => return Err(wrong("key", &value, "it needs a cert, too")),
            (None, None) => None,
        };
        config.tls = match (ca, client) {
            (Some(ca), client) => Some(TlsFiles { ca: PathBuf::from(ca), client }),
            (None, Some(client)) => {
                return Err(wrong("cert", &client.certificates.to_string_lossy(), "it needs a ca, too"));
            }
            (None, None) => None,
        };
        Ok(())
    }
}

fn wrong(setting: &'static str, value: &str, wanted: &'static str) -> ConfigError {
    ConfigError::Value { setting, value: value.to_owned(), wanted }
}

fn parse_replication(text: &str) -> Option<Replication> {
    let copies = |text: &str| text.parse().ok().filter(|copies| *copies > 0);
    if let Some(copies) = copies(text) {
        return Some(Replication::EveryDatacenter(copies));
    }
    let datacenter = |part: &str| {
        let (name, number) = part.split_once(':')?;
        // It becomes part of a statement.
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'));
        is_name.then_some((name.to_owned(), copies(number)?))
    };
    text.split(',').map(datacenter).collect::<Option<_>>().map(Replication::Datacenters)
}

fn parse_time(text: &str) -> Option<Duration> {
    let time = match text.strip_suffix("ms") {
        Some(number) => Duration::from_millis(number.parse().ok()?),
        None => Duration::from_secs(text.strip_suffix('s')?.parse().ok()?),
    };
    (Duration::from_millis(100)..=Duration::from_secs(600)).contains(&time).then_some(time)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(address: &str) -> CqlConfig {
        address.parse().unwrap()
    }

    fn refused(address: &str) -> String {
        address.parse::<CqlConfig>().unwrap_err().to_string()
    }

    #[test]
    fn the_least() {
        assert_eq!(parse("cql://db/agentworks"), CqlConfig::new(vec!["db:9042".into()], "agentworks"));
    }

    #[test]
    fn the_most() {
        let config = parse(
            "cql://log%40in@a.example:1,b,[::1]:2,[fe80::1]/k_1?dc=eu-1&consistency=QUORUM&replication=eu-1:3,us:2\
             &concurrency=7&timeout=250ms&ca=/tls/ca.pem&cert=/tls/our%20cert.pem&key=key.pem",
        );
        assert_eq!(config.contact_points, ["a.example:1", "b:9042", "[::1]:2", "[fe80::1]:9042"]);
        assert_eq!(config.user.as_deref(), Some("log@in"));
        assert_eq!(config.keyspace, "k_1");
        assert_eq!(config.datacenter.as_deref(), Some("eu-1"));
        assert_eq!(config.consistency, Consistency::Quorum);
        assert_eq!(config.replication, Replication::Datacenters(vec![("eu-1".into(), 3), ("us".into(), 2)]));
        assert_eq!(config.concurrency, 7);
        assert_eq!(config.request_timeout, Duration::from_millis(250));
        let client = ClientCertificate { certificates: "/tls/our cert.pem".into(), key: "key.pem".into() };
        assert_eq!(config.tls, Some(TlsFiles { ca: "/tls/ca.pem".into(), client: Some(client) }));
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for address in ["cql://me:s3cret@db/k", "cql://me@db/k?password=s3cret", "cql://me:s3@cret@db/k"] {
            let message = refused(address);
            assert!(message.contains("AGENTWORKS_STORE_PASSWORD"), "{message}");
            assert!(!message.contains("s3"), "{message}");
        }
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let form = "a store's address has the form cql://USER@HOST:PORT,HOST/KEYSPACE?dc=NAME";
        for address in ["", "db/k", "http://db/k", "cql://db"] {
            assert_eq!(refused(address), form, "{address}");
        }
        for (address, wanted) in [
            ("cql:///k", "\"\" is not HOST or HOST:PORT"),
            ("cql://db:0/k", "\"db:0\" is not HOST or HOST:PORT"),
            ("cql://db:x/k", "\"db:x\" is not HOST or HOST:PORT"),
            ("cql://a b/k", "\"a b\" is not HOST or HOST:PORT"),
            ("cql://::1/k", "\"::1\" is not HOST or HOST:PORT"),
            ("cql://db/", "\"\" can't be the name of a keyspace"),
            ("cql://db/Upper", "\"Upper\" can't be the name of a keyspace"),
            ("cql://db/k; DROP", "\"k; DROP\" can't be the name of a keyspace"),
            ("cql://db/k?datacentre=x", "\"datacentre\" is not a setting of a store, or is given twice; there are dc,"),
            ("cql://db/k?dc=x&dc=y", "\"dc\" is not a setting of a store, or is given twice"),
            ("cql://db/k?consistency=most", "consistency=\"most\": local_quorum"),
            ("cql://db/k?replication=0", "replication=\"0\": a number of copies"),
            ("cql://db/k?replication=dc'1:3", "replication=\"dc'1:3\": a number of copies"),
            ("cql://db/k?concurrency=0", "concurrency=\"0\": 1 to 10000"),
            ("cql://db/k?timeout=5", "timeout=\"5\": from 100ms"),
            ("cql://db/k?cert=c", "cert=\"c\": it needs a key, too"),
            ("cql://db/k?cert=c&key=k", "cert=\"c\": it needs a ca, too"),
        ] {
            let message = refused(address);
            assert!(message.starts_with(wanted), "{address}: {message}");
        }
    }
}
