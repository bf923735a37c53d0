//! The handshake: from an HTTP request to a TCP stream of our own.

use bytes::Bytes;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
};
use http::header::{HeaderName, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use warp::reply::Response;

use crate::auth::SUBPROTOCOL;
use crate::server::Patient;

/// A request for a WebSocket can't be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// It asks for no WebSocket.
    #[error("this is a WebSocket: connect with `Upgrade: websocket`")]
    NoUpgrade,
    /// It asks for another version of the protocol.
    #[error("only version 13 of the WebSocket protocol is spoken")]
    Version,
    /// It has no key.
    #[error("the request has no Sec-WebSocket-Key")]
    Key,
}

/// A request that asks for a WebSocket, checked.
#[derive(Clone, Debug)]
pub struct Handshake {
    accept: String,
    subprotocol: bool,
}

impl Handshake {
    /// Checks the headers of a request.
    ///
    /// # Errors
    /// If it isn't a request for a WebSocket by RFC 6455.
    pub fn check(headers: &HeaderMap) -> Result<Self, HandshakeError> {
        if !has_token(headers, &CONNECTION, "upgrade") || !has_token(headers, &UPGRADE, "websocket") {
            return Err(HandshakeError::NoUpgrade);
        }
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(HandshakeError::Version);
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(HandshakeError::Key)?;
        // Only our own subprotocol is ever echoed: the other one that a client may offer holds its token.
        let subprotocol = has_token(headers, &SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
        Ok(Handshake { accept: derive_accept_key(key.as_bytes()), subprotocol })
    }

    /// The answer that grants it.
    pub fn response(&self) -> Response {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        // Base64 is visible ASCII.
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        if self.subprotocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        response
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}

/// Waits until the answer has been sent, and takes the stream: it, and what the client sent right after its request.
/// `None` if the connection broke, or is none of [`crate::server::serve`]'s.
pub async fn take_stream(upgrade: OnUpgrade) -> Option<(TcpStream, Bytes)> {
    let upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Patient<TcpStream>>>().ok()?;
    // A copy: the original is a slice of the HTTP parser's whole buffer.
    Some((parts.io.into_inner().into_inner(), Bytes::copy_from_slice(&parts.read_buf)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn request(changes: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let standard = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        for (name, value) in standard.iter().chain(changes) {
            if value.is_empty() {
                headers.remove(*name);
            } else {
                headers.insert(*name, HeaderValue::from_static(value));
            }
        }
        headers
    }

    #[test]
    fn the_rfcs_own_example() {
        let response = Handshake::check(&request(&[])).unwrap().response();
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!response.headers().contains_key(SEC_WEBSOCKET_PROTOCOL));
    }

    #[test]
    fn our_subprotocol_is_echoed_and_the_token_never() {
        let offers = request(&[("sec-websocket-protocol", "agentworks.v1, agentworks.bearer.secret")]);
        let response = Handshake::check(&offers).unwrap().response();
        assert_eq!(response.headers()[SEC_WEBSOCKET_PROTOCOL], "agentworks.v1");
        let token_alone = request(&[("sec-websocket-protocol", "agentworks.bearer.secret")]);
        let response = Handshake::check(&token_alone).unwrap().response();
        assert!(!response.headers().contains_key(SEC_WEBSOCKET_PROTOCOL));
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        let check = |name, value| Handshake::check(&request(&[(name, value)])).err();
        assert_eq!(check("connection", "close"), Some(HandshakeError::NoUpgrade));
        assert_eq!(check("upgrade", "h2c"), Some(HandshakeError::NoUpgrade));
        assert_eq!(check("upgrade", ""), Some(HandshakeError::NoUpgrade));
        assert_eq!(check("sec-websocket-version", "8"), Some(HandshakeError::Version));
        assert_eq!(check("sec-websocket-key", ""), Some(HandshakeError::Key));
    }
}
