//! Where the other gateways are.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use tokio::net::lookup_host;

/// The address of a gateway, as its peers reach it: `HOST:PORT`, which may have `http://` before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    host: String,
    port: u16,
}

impl Peer {
    /// A name, or an IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The addresses behind the name, each a peer of its own.
    ///
    /// # Errors
    /// If the name can't be resolved.
    pub(super) async fn resolve(&self) -> std::io::Result<BTreeSet<Peer>> {
        let addresses = lookup_host((self.host.as_str(), self.port)).await?;
        Ok(addresses.map(|address| Peer { host: address.ip().to_string(), port: address.port() }).collect())
    }
}

/// What is no [`Peer`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not HOST:PORT")]
pub struct NoPeer(String);

impl FromStr for Peer {
    type Err = NoPeer;

    fn from_str(text: &str) -> Result<Self, NoPeer> {
        let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let parts = address.rsplit_once(':').and_then(|(host, port)| {
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let port = port.parse().ok().filter(|port| *port > 0)?;
            (!host.is_empty() && !host.contains(['/', '@', '[', ']', ' '])).then(|| (host.to_owned(), port))
        });
        parts.map(|(host, port)| Peer { host, port }).ok_or_else(|| NoPeer(text.to_owned()))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Peer { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("gateway-1:7070", "gateway-1:7070"),
            ("http://10.0.0.7:7070/", "10.0.0.7:7070"),
            ("[::1]:7070", "[::1]:7070"),
        ] {
            assert_eq!(text.parse::<Peer>().unwrap().to_string(), written);
        }
        for text in
            ["", "gateway", ":7070", "gateway:0", "gateway:http", "https://gateway:7070", "http://a/b:1", "u@h:1"]
        {
            assert!(text.parse::<Peer>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_stands_for_all_its_addresses() {
        let peers = "localhost:7070".parse::<Peer>().unwrap().resolve().await.unwrap();
        assert!(peers.contains(&"127.0.0.1:7070".parse().unwrap()), "{peers:?}");
        assert!("nobody.invalid:1".parse::<Peer>().unwrap().resolve().await.is_err());
    }
}
