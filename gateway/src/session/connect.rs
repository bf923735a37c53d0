//! From a request to a session: who may connect, and to what.

use std::sync::Arc;

use agentworks_schemas::access::{AccessError, Claims};
use http::header::{HOST, ORIGIN, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use percent_encoding::percent_decode_str;
use tokio::sync::mpsc;
use tracing::debug;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use super::Session;
use super::open::Start;
use crate::Gateway;
use crate::auth::{bearer, origin_allowed};
use crate::metrics::EndLabel;
use crate::rest::ApiError;
use crate::server::Connection;
use crate::socket::upgrade::{Handshake, take_stream};
use crate::socket::{CloseCode, Outbox, SocketEnd, SocketLimits, Waiting, drive};
use crate::state::Entered;

/// The most entries that a client is shown first; who asks for more gets so many.
const MAX_HISTORY: usize = 1000;
/// How many messages of a client wait for its session before no more are read.
const INBOX: usize = 16;

/// `GET /v1/cards/{card}/stream`: a WebSocket that shows a card's entries.
///
/// - `history`: how many entries are shown first, 1000 at most.
/// - `position`: go on just after the frame that carried it, instead.
/// - `token`: where the gateway allows it; see [`crate::auth`].
///
/// A client that may not connect is answered with 401 or 403 if it asks for no WebSocket, and otherwise let in and
/// closed with 1008 at once, because a browser shows a page nothing but the close code. A page of another origin is
/// answered with 403 in any case.
pub fn routes(gateway: Gateway) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    warp::path!("v1" / "cards" / String / "stream")
        .and(warp::get())
        .and(warp::header::headers_cloned())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::ext::get::<Connection>())
        .map(move |card: String, headers: HeaderMap, query: String, upgrade, connection| {
            let request = Request { gateway: gateway.clone(), headers, query, connection };
            request.answer(&card, upgrade).unwrap_or_else(Reply::into_response)
        })
}

struct Request {
    gateway: Gateway,
    headers: HeaderMap,
    query: String,
    connection: Connection,
}

/// A client that may not have a session, and how it is told.
struct Refusal {
    code: CloseCode,
    reason: String,
    http: ApiError,
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        Refusal { code: CloseCode::Policy, reason: error.to_string(), http: error.into() }
    }
}

impl Request {
    fn answer(self, card: &str, upgrade: Option<OnUpgrade>) -> Result<Response, ApiError> {
        let card = percent_decode_str(card).decode_utf8().ok().filter(|card| !card.is_empty());
        let Some(card) = card.map(|card| card.into_owned()) else {
            return Err(ApiError::Invalid("the card in the path is not UTF-8".to_owned()));
        };
        let header = |name| self.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if !origin_allowed(header(ORIGIN), header(HOST), &self.gateway.config) {
            return Err(ApiError::Denied("pages of this origin may not connect".to_owned()));
        }
        let admitted = self.admit(&card);
        let handshake = Handshake::check(&self.headers);
        let (Ok(handshake), Some(upgrade)) = (&handshake, upgrade) else {
            if let Err(refusal) = admitted {
                return Err(refusal.http);
            }
            let mut response = ApiError::Http(StatusCode::UPGRADE_REQUIRED).into_response();
            response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
            return Ok(response);
        };
        let response = handshake.response();
        let Request { gateway, query, connection, .. } = self;
        let tasks = connection.tasks.clone();
        let start = start(&query, gateway.config.history);
        // Nothing of the request goes along: its headers are slices of the HTTP parser's whole buffer.
        let client = Client { gateway, connection, card, start, admitted };
        tasks.spawn(client.connect(upgrade));
        Ok(response)
    }

    /// Whether the client may have a session, as far as its token says.
    fn admit(&self, card: &str) -> Result<Claims, Refusal> {
        let token = bearer(&self.headers, Some(&self.query), &self.gateway.config)?;
        let claims = self.gateway.auth.authenticate(&token)?;
        if !claims.may_read(&claims.workspace, card) {
            let reason = "access denied: the token is not for this card".to_owned();
            return Err(Refusal { code: CloseCode::Policy, http: ApiError::Denied(reason.clone()), reason });
        }
        Ok(claims)
    }
}

/// A client whose request was granted.
struct Client {
    gateway: Gateway,
    connection: Connection,
    card: String,
    start: (Start, Vec<String>),
    admitted: Result<Claims, Refusal>,
}

impl Client {
    /// Runs the connection, to its end.
    async fn connect(self, upgrade: OnUpgrade) {
        let Some((stream, early)) = take_stream(upgrade).await else { return };
        let config = &self.gateway.config;
        let limits = SocketLimits {
            max_message: config.max_message,
            heartbeat: config.heartbeat,
            write_timeout: config.write_timeout,
        };
        let (metrics, remote) = (Arc::clone(&self.gateway.metrics), self.connection.remote);
        let outbox = Arc::new(Outbox::new(config.max_pending));
        let (sender, inbox) = mpsc::channel(INBOX);
        let tasks = self.connection.tasks.clone();
        let entered = self.enter(&outbox, inbox);
        metrics.connections.inc();
        metrics.active_connections.inc();
        // A task of its own, which holds nothing of what led to it.
        tasks.spawn(async move {
            let end = drive(stream, early, outbox, sender, limits, &metrics).await;
            drop(entered);
            metrics.active_connections.dec();
            metrics.connection_ends.get_or_create(&EndLabel { end: end.as_str() }).inc();
            if let SocketEnd::Fault(code) = end {
                metrics.connection_error(code);
            }
            debug!(%remote, end = end.as_str(), "a connection has ended");
        });
    }

    /// Starts the session, or closes the connection if the client may not have one.
    fn enter(self, outbox: &Arc<Outbox>, inbox: mpsc::Receiver<String>) -> Option<Entered> {
        let Client { gateway, connection, card, start, admitted } = self;
        let entered = admitted.and_then(|claims| {
            let entered = gateway.connections.enter(&claims.workspace, gateway.config.max_connections);
            let reason = "the workspace has too many connections".to_owned();
            let http = ApiError::Unavailable;
            Ok((entered.ok_or(Refusal { code: CloseCode::TryLater, reason, http })?, claims))
        });
        match entered {
            Ok((entered, claims)) => {
                let closer = CloseOnDrop(Arc::clone(outbox));
                let outbox = Arc::clone(outbox);
                let session = Session::new(gateway, claims, card, outbox, inbox, connection.shutdown, start);
                // A future holds what is moved into it twice.
                let mut session = Box::new(session);
                connection.tasks.spawn(async move {
                    let _closer = closer;
                    session.run().await;
                });
                Some(entered)
            }
            Err(refusal) => {
                gateway.metrics.connection_error(refusal.code);
                outbox.close(refusal.code, &refusal.reason, Waiting::Send);
                None
            }
        }
    }
}

/// Closes the connection whatever becomes of its session.
struct CloseOnDrop(Arc<Outbox>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close(CloseCode::Internal, "the gateway failed", Waiting::Drop);
    }
}

/// What the query says of the beginning, and what of it can't be.
fn start(query: &str, default: usize) -> (Start, Vec<String>) {
    let mut start = Start { position: None, history: default };
    let mut complaints = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "history" => match value.parse::<usize>() {
                Ok(history) => start.history = history.min(MAX_HISTORY),
                Err(_) => complaints.push(format!("history is not a number; {default} are shown")),
            },
            "position" => match value.parse() {
                Ok(position) => start.position = Some(position),
                Err(error) => complaints.push(format!("{error}; the stream begins at its end instead")),
            },
            _ => {}
        }
    }
    (start, complaints)
}

#[cfg(test)]
mod tests {
    use agentworks_schemas::Cursor;

    use super::*;

    #[test]
    fn the_query_says_where_to_begin() {
        let (begin, complaints) = start("", 100);
        assert!(begin.position.is_none() && begin.history == 100 && complaints.is_empty());
        let (begin, complaints) = start(&format!("history=7&position={}&token=x", Cursor::new()), 100);
        assert!(begin.position == Some(Cursor::new()) && begin.history == 7 && complaints.is_empty());
    }

    #[test]
    fn what_can_not_be_is_told() {
        assert_eq!(start("history=1001", 100).0.history, 1000);
        for query in ["history=-1", "history=many", "position=%21", "position="] {
            let (begin, complaints) = start(query, 100);
            assert!(begin.position.is_none() && begin.history == 100 && complaints.len() == 1, "{query}");
        }
    }
}
