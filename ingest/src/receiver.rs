//! The receiver: entries and run events over HTTP.
//!
//! `POST /v1/logs` takes entries and `POST /v1/events` run events, as JSON objects with the fields that clients see
//! (camelCase). Required are `cardId` and `runId`, and `message` or `kind`. The workspace is the token's; a `workspaceId`
//! that is another one is an error. `id` and `timestamp` are given where they are left out.
//!
//! ```text
//! POST /v1/logs HTTP/1.1
//! Authorization: Bearer TOKEN
//! Content-Type: application/x-ndjson
//!
//! {"cardId":"card-7","runId":"run-1","message":"Reading the ticket"}
//! {"cardId":"card-7","runId":"run-1","level":"error","message":"It is gone"}
//! ```
//!
//! **Form.** One object a line (NDJSON; empty lines are skipped), or a JSON array of them, told apart by the first byte; as
//! `application/json` also a single object over several lines. `Content-Encoding` may be `gzip` or `zstd`.
//!
//! **Answer.** `200` once Kafka has acknowledged all lines that were taken:
//! `{"accepted":1,"rejected":1,"errors":[{"line":2,"code":"field","message":"…"}]}`. A line that is refused does not keep
//! others out. `line` counts from 1, in an array the elements. `errors` holds the first [`ReceiverConfig::errors`]; the
//! counts are of all. A message has at most 1 KiB. The codes are those of
//! [`Reject::code`](agentworks_schemas::codec::Reject::code), and `access_denied` for a card that the token does not
//! cover.
//!
//! | status | code | |
//! |---|---|---|
//! | 400 | `unreadable` | no line is JSON; the form of the answer is that of 200, with `error` |
//! | 400 | `invalid_body` | empty, not a JSON array to its end, or not what its `Content-Encoding` says |
//! | 401 | `missing_token`, `invalid_token`, `expired_token`, `wrong_audience` | |
//! | 403 | `access_denied` | the token's role may not write |
//! | 408 | `request_timeout` | the body did not come in time |
//! | 413 | `payload_too_large` | the body is larger than the limit, as sent or decoded, or has too many lines |
//! | 415 | `unsupported_media_type` | another `Content-Encoding` |
//! | 429 | `too_many_requests` | Kafka does not keep up; nothing of the request was taken. `Retry-After` says when |
//! | 503 | `unavailable` | Kafka did not acknowledge everything in time. `Retry-After` says when |
//! | 503 | `unavailable` | the producer can write no more ([`Producer::failed`]), as the message says: come back when this receiver has been started again |
//!
//! **At least once.** After a `503`, or when the connection breaks before the answer, some lines may be in the log. A client
//! that sends the request again gets all of them in, some twice; lines with an `id` of the client's own can be told apart
//! then. Lines of a request are in the log in their order.

mod answer;
mod body;
mod intake;
mod lines;
mod metrics;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_schemas::access::{AccessError, Authenticate, Claims, Role};
use bytes::Buf;
use futures_util::Stream;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::sync::Semaphore;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::producer::Producer;
use answer::Refusal;
use intake::{Intake, Kind};

pub use metrics::ReceiverMetrics;

/// Limits of a receiver.
#[derive(Clone, Copy, Debug)]
pub struct ReceiverConfig {
    /// The largest body as it is sent, in bytes.
    pub body: usize,
    /// The largest body when decoded, in bytes.
    pub decoded: usize,
    /// How many lines a body may have.
    pub lines: usize,
    /// How many bytes of bodies are held at a time, over all requests; beyond, requests are told to come back.
    pub memory: usize,
    /// How many errors of lines an answer lists.
    pub errors: usize,
    /// How long the body may take to come.
    pub body_timeout: Duration,
    /// How long is waited for room in the producer's buffer before anything is taken.
    pub room_timeout: Duration,
    /// How long Kafka may take to acknowledge.
    pub delivery_timeout: Duration,
}

impl Default for ReceiverConfig {
    /// 8 MiB as sent, 32 MiB and 100,000 lines decoded, 256 MiB in all; 100 errors; 30 s for the body, 2 s for room, 30 s
    /// for Kafka.
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        ReceiverConfig {
            body: 8 * MIB,
            decoded: 32 * MIB,
            lines: 100_000,
            memory: 256 * MIB,
            errors: 100,
            body_timeout: Duration::from_secs(30),
            room_timeout: Duration::from_secs(2),
            delivery_timeout: Duration::from_secs(30),
        }
    }
}

/// Takes entries and events over HTTP.
#[derive(Clone)]
pub struct Receiver {
    shared: Arc<Shared>,
}

struct Shared {
    producer: Producer,
    auth: Arc<dyn Authenticate>,
    config: ReceiverConfig,
    metrics: ReceiverMetrics,
    /// What is left of [`ReceiverConfig::memory`].
    memory: Arc<Semaphore>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl Receiver {
    /// A receiver that writes with `producer` what bearers of tokens send that `auth` verifies.
    pub fn new(
        producer: Producer,
        auth: Arc<dyn Authenticate>,
        config: ReceiverConfig,
        metrics: ReceiverMetrics,
    ) -> Self {
        let memory = Arc::new(Semaphore::new(config.memory));
        Receiver { shared: Arc::new(Shared { producer, auth, config, metrics, memory }) }
    }

    /// The routes. They answer every request for their paths that has their method themselves; all others they reject,
    /// for other routes to take.
    pub fn routes(self) -> BoxedFilter<(Response,)> {
        let logs = self.clone().route("logs", Kind::Logs);
        logs.or(self.route("events", Kind::Events)).unify().boxed()
    }

    fn route(self, name: &'static str, kind: Kind) -> BoxedFilter<(Response,)> {
        warp::path("v1")
            .and(warp::path(name))
            .and(warp::path::end())
            .and(warp::post())
            .and(warp::header::headers_cloned())
            .and(warp::body::stream())
            .then(move |headers: HeaderMap, body| {
                let shared = Arc::clone(&self.shared);
                async move { shared.answer(kind, &headers, body).await }
            })
            .boxed()
    }
}

impl Shared {
    async fn answer(
        &self,
        kind: Kind,
        headers: &HeaderMap,
        body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    ) -> Response {
        let start = Instant::now();
        let response = self.receive(kind, headers, body).await.unwrap_or_else(Reply::into_response);
        self.metrics.answered(kind, response.status(), start.elapsed());
        response
    }

    async fn receive(
        &self,
        kind: Kind,
        headers: &HeaderMap,
        body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    ) -> Result<Response, Refusal> {
        let claims = self.claims(headers).await?;
        let body = body::read(headers, body, &self.config, &self.memory).await?;
        self.metrics.received(kind, body.len());
        let lines = lines::split(headers, &body, self.config.lines)?;
        let intake = Intake::new(kind, &claims, &self.producer, &self.config, &self.metrics);
        let accepted = intake.take(body.len(), lines).await?;
        // Here, while the body has its share of the memory: what is told of it isn't counted by itself.
        Ok(accepted.into_response())
    }

    /// Who it is, if they may write.
    async fn claims(&self, headers: &HeaderMap) -> Result<Claims, Refusal> {
        let token = || {
            let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        };
        let claims = self.auth.authenticate(token().ok_or(AccessError::Missing)?).await?;
        if claims.role < Role::Writer {
            return Err(Refusal::MayNotWrite);
        }
        Ok(claims)
    }
}
