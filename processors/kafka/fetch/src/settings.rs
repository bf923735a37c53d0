//! How to fetch.

use std::fmt;
use std::time::Duration;

use crate::connection::Tls;

/// Where Kafka is, and how much is asked for at once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `HOST:PORT` of brokers by which the others are found.
    pub bootstrap: Vec<String>,
    /// As whom to be listed in the brokers' logs and metrics.
    pub client_id: String,
    /// How to encrypt, if that is asked for.
    pub tls: Option<Tls>,
    /// How to log in, if that is asked for.
    pub login: Option<Login>,
    /// How long a broker waits for records before it answers that there are none.
    pub wait: Duration,
    /// The most that an answer may hold of one partition, in bytes as they lie in the log. A batch is given whole however
    /// large it is.
    pub partition_bytes: i32,
    /// The most that an answer may hold, in the same bytes.
    pub answer_bytes: i32,
    /// While so many bytes of answers are held by whoever takes them, nothing more is asked for.
    pub held_bytes: usize,
    /// How long a broker may take to be connected to, or to answer beyond `wait`, or to go on with an answer: then it is asked
    /// anew who leads.
    pub patience: Duration,
}

/// How a password is shown to be known: a mechanism of SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// By telling it (RFC 4616): whoever is on the way learns it, unless there is TLS.
    Plain,
    /// By what only who knows it can compute, and so is the broker's part (RFC 5802), with SHA-256 (RFC 7677).
    ScramSha256,
    /// The same with SHA-512.
    ScramSha512,
}

impl Mechanism {
    const ALL: [Mechanism; 3] = [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512];

    /// The one of that name, if it is known here.
    pub fn by_name(name: &str) -> Option<Self> {
        Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// Its name, as registered with IANA.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A user's name and password.
#[derive(Clone)]
pub struct Login {
    /// How the broker comes to believe it.
    pub mechanism: Mechanism,
    /// The user.
    pub username: String,
    /// Its password.
    pub password: String,
}

/// Without the password.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Login");
        shown.field("mechanism", &self.mechanism).field("username", &self.username).finish_non_exhaustive()
    }
}

impl Settings {
    /// For brokers at `bootstrap`, as librdkafka takes it: addresses separated by commas, each maybe with a protocol before
    /// it, and with port 9092 unless it says otherwise. What is asked for at once is Kafka's own default.
    pub fn new(bootstrap: &str, client_id: impl Into<String>) -> Self {
        let address = |entry: &str| {
            let address = entry.split_once("://").map_or(entry, |(_, address)| address);
            let has_port = address.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
            if has_port { address.to_owned() } else { format!("{address}:9092") }
        };
        Settings {
            bootstrap: bootstrap.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(address).collect(),
            client_id: client_id.into(),
            tls: None,
            login: None,
            wait: Duration::from_millis(500),
            partition_bytes: 1024 * 1024,
            answer_bytes: 50 * 1024 * 1024,
            held_bytes: 64 * 1024 * 1024,
            patience: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_librdkafka_takes_them() {
        let settings = Settings::new("one:9093, PLAINTEXT://two:1,three,[::1]:5,[::1]", "test");
        assert_eq!(settings.bootstrap, ["one:9093", "two:1", "three:9092", "[::1]:5", "[::1]:9092"]);
    }

    #[test]
    fn mechanisms_are_known_by_their_names() {
        assert_eq!(Mechanism::by_name("SCRAM-SHA-512"), Some(Mechanism::ScramSha512));
        assert_eq!(Mechanism::by_name("GSSAPI"), None);
    }

    #[test]
    fn a_password_is_not_shown() {
        let login = Login { mechanism: Mechanism::Plain, username: "me".into(), password: "hunter2".into() };
        let shown = format!("{login:?}");
        assert!(shown.contains("me") && !shown.contains("hunter2"), "{shown}");
    }
}
