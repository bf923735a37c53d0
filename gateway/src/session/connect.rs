//! From a request to a session: who may connect, and to what.

use std::sync::Arc;

use agentworks_schemas::access::{AccessError, Claims};
use http::header::{HOST, ORIGIN, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use hyper::upgrade::OnUpgrade;
use percent_encoding::percent_decode_str;
use tokio::sync::mpsc;
use tracing::debug;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use super::Session;
use super::start::Beginning;
use crate::Gateway;
use crate::auth::{bearer, origin_allowed};
use crate::metrics::EndLabel;
use crate::rest::{ApiError, id_fault, method};
use crate::roster::Registered;
use crate::server::{Connection, Full};
use crate::socket::upgrade::{Handshake, take_stream};
use crate::socket::{CloseCode, Meters, Outbox, SocketLimits, Waiting, drive};

/// How many messages of a client wait for its session before no more are read.
const INBOX: usize = 16;

/// `GET /v1/cards/{card}/stream`: a WebSocket that shows a card's entries.
///
/// - `history`: how many entries are shown first, 1000 at most.
/// - `position`: go on just after the frame that carried it, instead.
/// - `levels`, `sources`, `components`: lists, separated by commas, and `text`: show only entries that pass.
/// - `token`: where the gateway allows it; see [`crate::auth`].
///
/// A client that may not connect is answered with 401 or 403 if it asks for no WebSocket, and otherwise let in and
/// closed with 1008 at once, because a browser shows a page nothing but the close code. A page of another origin is
/// answered with 403 in any case.
pub fn routes(gateway: Gateway) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    warp::path!("v1" / "cards" / String / "stream")
        .and(method(Method::GET, "GET"))
        .and(warp::header::headers_cloned())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::ext::get::<Connection>())
        .then(move |card: String, headers: HeaderMap, query: String, upgrade, connection| {
            let request = Request { gateway: gateway.clone(), headers, query, connection };
            async move { request.answer(&card, upgrade).await.unwrap_or_else(Reply::into_response) }
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
        let code = if error == AccessError::Unavailable { CloseCode::TryLater } else { CloseCode::Policy };
        Refusal { code, reason: error.to_string(), http: error.into() }
    }
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        Refusal { code: CloseCode::TryLater, reason: full.to_string(), http: ApiError::Unavailable }
    }
}

impl Request {
    async fn answer(self, card: &str, upgrade: Option<OnUpgrade>) -> Result<Response, ApiError> {
        let card = percent_decode_str(card).decode_utf8().ok().filter(|card| !card.is_empty());
        let Some(card) = card.map(|card| card.into_owned()) else {
            return Err(ApiError::Invalid("the card in the path is not UTF-8".to_owned()));
        };
        if let Some(fault) = id_fault(&card) {
            return Err(ApiError::Invalid(format!("the card in the path: {fault}")));
        }
        let header = |name| self.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if !origin_allowed(header(ORIGIN), header(HOST), &self.gateway.config) {
            return Err(ApiError::Denied("pages of this origin may not connect".to_owned()));
        }
        // It came in over a connection that was there already.
        if self.gateway.drain.is_closing() {
            return Err(ApiError::Unavailable);
        }
        let admitted = self.admit(&card).await;
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
        let beginning = Beginning::of(&query, gateway.config.history);
        // Nothing of the request goes along: its headers are slices of the HTTP parser's whole buffer.
        let client = Client { gateway, connection, card, beginning, admitted };
        tasks.spawn(client.connect(upgrade));
        Ok(response)
    }

    /// Whether the client may have a session, as far as its token says.
    async fn admit(&self, card: &str) -> Result<Claims, Refusal> {
        let token = bearer(&self.headers, Some(&self.query), &self.gateway.config)?;
        let claims = self.gateway.auth.authenticate(&token).await?;
        self.connection.slot.claim(&self.headers)?;
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
    beginning: Beginning,
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
            frames_per_second: config.max_messages_per_second,
            idle_timeout: config.idle_timeout,
        };
        // Until the connection ends.
        let slot = Arc::clone(&self.connection.slot);
        let (metrics, remote) = (Arc::clone(&self.gateway.metrics), self.connection.remote);
        let outbox = Arc::new(Outbox::new(config.max_pending).on(self.gateway.hub.shard()));
        let (sender, inbox) = mpsc::channel(INBOX);
        let tasks = self.connection.tasks.clone();
        let registered = self.enter(&outbox, inbox);
        metrics.connections.inc();
        metrics.active_connections.inc();
        // A task of its own, which holds nothing of what led to it.
        tasks.spawn(async move {
            let tenant = registered.as_ref().map(|registered| Arc::clone(registered.presence().tenant()));
            let meters = Meters { metrics: Arc::clone(&metrics), tenant: tenant.clone() };
            let end = drive(stream, early, outbox, sender, limits, meters).await;
            drop((registered, slot));
            metrics.active_connections.dec();
            metrics.connection_ends.get_or_create(&EndLabel { end: end.as_str() }).inc();
            if let Some(code) = end.code() {
                metrics.connection_error(code);
                tenant.inspect(|tenant| tenant.connection_error());
            }
            debug!(%remote, end = end.as_str(), "a connection has ended");
        });
    }

    /// Starts the session, or closes the connection if the client may not have one.
    fn enter(self, outbox: &Arc<Outbox>, inbox: mpsc::Receiver<String>) -> Option<Registered> {
        let Client { gateway, connection, card, beginning, admitted } = self;
        let limit = gateway.config.max_connections;
        let registered = admitted.and_then(|claims| {
            let (outbox, tenant) = (Arc::clone(outbox), gateway.metrics.tenants.of(&claims.workspace));
            let registered = gateway.roster.register(&claims, limit, &card, connection.remote, outbox, tenant);
            let reason = format!("max_connections of a workspace is {limit}");
            let http = ApiError::Unavailable;
            Ok((registered.ok_or(Refusal { code: CloseCode::TryLater, reason, http })?, claims))
        });
        match registered {
            Ok((registered, claims)) => {
                let closer = CloseOnDrop(Arc::clone(outbox));
                let presence = Arc::clone(registered.presence());
                let session = Session::new(gateway, claims, presence, inbox, connection.shutdown, beginning);
                // A future holds what is moved into it twice.
                let mut session = Box::new(session);
                connection.tasks.spawn(async move {
                    let _closer = closer;
                    session.run().await;
                });
                Some(registered)
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
