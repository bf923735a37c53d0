//! What the commands share that talk to a gateway: where it is, how it is asked, how lines are printed, and what an exit
//! code says.
//!
//! - [`http`]: asking its routes.
//! - [`stream`]: a card's WebSocket.
//! - [`print`]: entries on standard output, as text or JSON.
//! - [`plain`]: texts that can do nothing to a terminal.
//! - [`backoff`]: how long to wait before trying again.

pub(super) mod backoff;
pub(super) mod http;
pub(super) mod plain;
pub(super) mod print;
pub(super) mod stream;

use std::fmt;
use std::io;
use std::process::ExitCode;

use ::http::Uri;
use ::http::header::HeaderValue;
use anyhow::Context;
use clap::Args;

/// Where the gateway is, and who asks.
#[derive(Args)]
pub(crate) struct GatewayArgs {
    /// The gateway
    #[arg(long, env = "AGENTWORKS_URL", value_name = "URL", default_value = "http://127.0.0.1:7070")]
    url: String,
    /// The token; `agentworks token` mints one. Better in the environment, where `ps` doesn't show it
    #[arg(long, env = "AGENTWORKS_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl fmt::Debug for GatewayArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayArgs").field("url", &self.url).finish_non_exhaustive()
    }
}

impl GatewayArgs {
    /// Checks both.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Failure> {
        let base = self.url.trim_end_matches('/');
        let uri: Uri = base.parse().with_context(|| format!("{base:?} is not a URL"))?;
        match uri.scheme_str() {
            Some("http") if uri.host().is_some() => {}
            Some("https") => {
                return Err(anyhow::anyhow!(
                    "{base}: this program speaks plain HTTP alone; put a TLS tunnel before it"
                )
                .into());
            }
            _ => return Err(anyhow::anyhow!("{base:?} is not a URL such as http://127.0.0.1:7070").into()),
        }
        let Some(token) = self.token.as_deref().map(str::trim).filter(|token| !token.is_empty()) else {
            return Err(Failure::Refused(
                "no token: set AGENTWORKS_TOKEN or give --token; `agentworks token` mints one".to_owned(),
            ));
        };
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| Failure::Refused("the token has characters that no token has".to_owned()))?;
        bearer.set_sensitive(true);
        Ok(Endpoint { base: base.to_owned(), bearer })
    }
}

/// A gateway and the right to ask it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    base: String,
    /// The `Authorization` header. Its debug output says `Sensitive`.
    bearer: HeaderValue,
}

impl Endpoint {
    /// The URL of a route: each segment is percent-encoded.
    fn url(&self, scheme: &str, segments: &[&str], query: &[(&str, String)]) -> String {
        let rest = self.base.split_once("://").map_or(self.base.as_str(), |(_, rest)| rest);
        let mut url = format!("{scheme}://{rest}/v1");
        for segment in segments {
            url.push('/');
            url.push_str(&encode(segment));
        }
        for (index, (name, value)) in query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            url.push_str(&encode(value));
        }
        url
    }
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Why a command ends before its work is done. Each kind has its exit code, which scripts may rely on.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 3: the token isn't taken, or doesn't allow this.
    Refused(String),
    /// 4: there is no such run.
    NotFound(String),
    /// 5: nobody answers at the URL.
    Unreachable {
        /// The URL.
        url: String,
        /// What happened instead.
        reason: String,
    },
    /// 0: nobody reads standard output any more.
    OutputClosed,
    /// 1: anything else.
    Other(anyhow::Error),
}

impl Failure {
    /// Says it on standard error, in one line.
    pub(crate) fn report(self) -> ExitCode {
        if !matches!(self, Failure::OutputClosed) {
            eprintln!("error: {self}");
        }
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Failure::OutputClosed => 0,
            Failure::Other(_) => 1,
            Failure::Refused(_) => 3,
            Failure::NotFound(_) => 4,
            Failure::Unreachable { .. } => 5,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(reason) | Failure::NotFound(reason) => f.write_str(reason),
            Failure::Unreachable { url, reason } => {
                write!(f, "nobody answers at {url} ({reason}); `agentworks dev` starts a gateway, --url names another")
            }
            Failure::OutputClosed => f.write_str("nobody reads the output any more"),
            Failure::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Other(error)
    }
}

/// Of writing to standard output: all other input and output has context.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Other(anyhow::Error::new(error).context("cannot write to standard output")),
        }
    }
}

/// From now on Ctrl-C ends the process at once with code 130, also while it waits for a reader of its output.
pub(crate) fn exit_on_interrupt() {
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
}

/// The exit code of a finished command.
pub(crate) fn finish(result: Result<(), Failure>) -> ExitCode {
    result.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn args(url: &str, token: Option<&str>) -> GatewayArgs {
        GatewayArgs { url: url.to_owned(), token: token.map(str::to_owned) }
    }

    #[test]
    fn ids_are_encoded_whatever_they_are() {
        let endpoint = args("http://127.0.0.1:7070/", Some("t")).endpoint().unwrap();
        let url = endpoint.url(
            "ws",
            &["cards", "a/b é?#%", "stream"],
            &[("history", "5".to_owned()), ("x", "a&b".to_owned())],
        );
        assert_eq!(url, "ws://127.0.0.1:7070/v1/cards/a%2Fb%20%C3%A9%3F%23%25/stream?history=5&x=a%26b");
    }

    #[test]
    fn a_gateway_may_stand_under_a_path() {
        let endpoint = args("http://host/logs/", Some("t")).endpoint().unwrap();
        assert_eq!(endpoint.url("http", &["me"], &[]), "http://host/logs/v1/me");
    }

    #[test]
    fn what_is_missing_is_said_with_its_exit_code() {
        let code = |url, token| args(url, token).endpoint().err().unwrap().code();
        assert_eq!(code("http://127.0.0.1:7070", None), 3);
        assert_eq!(code("http://127.0.0.1:7070", Some("  ")), 3);
        assert_eq!(code("http://127.0.0.1:7070", Some("a\nb")), 3);
        for url in ["127.0.0.1:7070", "ftp://host", "https://host", "http://", "", "not a url"] {
            assert_eq!(code(url, Some("t")), 1, "{url}");
        }
    }

    #[test]
    fn the_token_is_in_no_debug_output() {
        let args = args("http://127.0.0.1:7070", Some("t0ps3cret"));
        let printed = format!("{args:?} {:?}", args.endpoint().unwrap());
        assert!(!printed.contains("t0ps3cret"), "{printed}");
    }

    #[test]
    fn a_closed_output_is_no_fault() {
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).code(), 0);
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)).code(), 1);
    }
}
