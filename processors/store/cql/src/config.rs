//! Where the database is, and how it is used.

mod url;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use scylla::statement::Consistency;

/// The environment variable that holds the password.
pub const PASSWORD_VARIABLE: &str = "AGENTWORKS_STORE_PASSWORD";

/// Where the database is, and how it is used. Made from an address by [`str::parse`]:
///
/// ```text
/// cql://USER@HOST:PORT,HOST/KEYSPACE?dc=NAME&consistency=local_quorum&replication=3&concurrency=128&timeout=5s
///                                   &ca=FILE&cert=FILE&key=FILE
/// ```
///
/// Only one host and the keyspace are required. A password is never part of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CqlConfig {
    /// Nodes to ask for the others, each as `host:port`.
    pub contact_points: Vec<String>,
    /// The keyspace: lower-case letters, digits and underscores.
    pub keyspace: String,
    /// Whom to log in as, where the database asks for that.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Password>,
    /// The files for TLS; without them the connection is plain.
    pub tls: Option<TlsFiles>,
    /// The data centre whose nodes are used, and no other's; all nodes alike if not given.
    pub datacenter: Option<String>,
    /// How many replicas have to answer.
    pub consistency: Consistency,
    /// How many requests are under way at once, at most.
    pub concurrency: usize,
    /// For one request, with its retries.
    pub request_timeout: Duration,
    /// Where a keyspace that isn't there yet keeps its copies.
    pub replication: Replication,
}

impl CqlConfig {
    /// The defaults, for this keyspace on these nodes (`host:port`).
    pub fn new(contact_points: Vec<String>, keyspace: impl Into<String>) -> Self {
        CqlConfig {
            contact_points,
            keyspace: keyspace.into(),
            user: None,
            password: None,
            tls: None,
            datacenter: None,
            consistency: Consistency::LocalQuorum,
            concurrency: 128,
            request_timeout: Duration::from_secs(5),
            replication: Replication::EveryDatacenter(1),
        }
    }
}

/// On how many nodes each row is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// On so many in every data centre.
    EveryDatacenter(u8),
    /// On so many in each of these.
    Datacenters(Vec<(String, u8)>),
}

/// The files for TLS, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates of the authorities that the nodes' certificates are signed by. Nodes are known by their addresses.
    pub ca: PathBuf,
    /// A certificate of our own and its key, where the database asks for one.
    pub client: Option<ClientCertificate>,
}

/// A certificate of our own, with those that lead to its authority, and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificates.
    pub certificates: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// A password. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// This one.
    pub fn new(password: impl Into<String>) -> Self {
        Password(password.into())
    }

    /// The first line of a file.
    ///
    /// # Errors
    /// If the file can't be read, or its first line is empty.
    pub fn from_file(path: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Password::new(line)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "there is no password in the first line")),
        }
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What is wrong with a store's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is none of ours.
    #[error("a store's address has the form cql://USER@HOST:PORT,HOST/KEYSPACE?dc=NAME")]
    Form,
    /// It holds a password, where everybody would see it.
    #[error("a store's address holds no password: give it in {PASSWORD_VARIABLE} or in a file")]
    Password,
    /// A host or port that can't be one.
    #[error("{0:?} is not HOST or HOST:PORT")]
    Host(String),
    /// A name that no keyspace can have.
    #[error(
        "{0:?} can't be the name of a keyspace: up to 48 lower-case letters, digits and underscores, a letter first"
    )]
    Keyspace(String),
    /// A setting that there is not, or that is given twice.
    #[error("{0:?} is not a setting of a store, or is given twice; there are {settings}", settings = url::SETTINGS.join(", "))]
    Setting(String),
    /// A setting's value.
    #[error("{setting}={value:?}: {wanted}")]
    Value {
        /// The setting.
        setting: &'static str,
        /// What it was given.
        value: String,
        /// What it takes.
        wanted: &'static str,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let password = Some(Password::new("s3cret"));
        let config = CqlConfig { user: Some("me".into()), password, ..CqlConfig::new(vec!["h:9042".into()], "k") };
        let shown = format!("{config:?} {config:#?}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn a_password_is_the_first_line_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "one two \r\nthree\n").unwrap();
        assert_eq!(Password::from_file(&path).unwrap(), Password::new("one two "));
        std::fs::write(&path, "\n").unwrap();
        assert!(Password::from_file(&path).is_err());
    }
}
