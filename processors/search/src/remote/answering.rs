//! The indexer's side: answering searchers of other processes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_schemas::Timestamp;
use agentworks_schemas::text::describe_at;
use bytes::{Buf, BufMut};
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::wire::{AGE, NONCE, PATH, PeerKey, Question, SIGNATURE, Side};
use crate::error::SearchError;
use crate::fresh::Fresh;

/// The largest question, in bytes: a query, and what is erased in a workspace.
const QUESTION: usize = 8 << 20;
/// The longest that a question is worked on, whatever its searcher says.
const LONGEST: Duration = Duration::from_secs(60);

/// Answers for what this process has indexed and not published yet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Answering {
    instance: Arc<str>,
    key: PeerKey,
    fresh: Arc<dyn Fresh>,
    permits: Arc<Semaphore>,
}

impl Answering {
    /// Answers by `fresh` to those who have `key`. `instance` is what this process is called in its lease.
    pub fn new(instance: &str, key: PeerKey, fresh: Arc<dyn Fresh>) -> Self {
        let permits = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        Answering { instance: instance.into(), key, fresh, permits: Arc::new(Semaphore::new(permits)) }
    }

    /// The route on which searchers ask.
    pub fn routes(&self) -> BoxedFilter<(Response,)> {
        let answering = self.clone();
        let [first, second, third] = PATH;
        let path = warp::path(first).and(warp::path(second)).and(warp::path(third)).and(warp::path::end());
        path.and(warp::post())
            .and(warp::header::<String>(NONCE))
            .and(warp::header::<String>(SIGNATURE))
            .and(warp::body::stream())
            .then(move |nonce: String, signature: String, body| {
                let answering = answering.clone();
                async move {
                    match timeout(LONGEST, whole(body)).await {
                        Ok(Some(body)) => answering.respond(&nonce, &signature, &body).await,
                        _ => StatusCode::BAD_REQUEST.into_response(),
                    }
                }
            })
            .boxed()
    }

    async fn respond(&self, nonce: &str, signature: &str, body: &[u8]) -> Response {
        let answer = match self.answer(nonce, signature, body).await {
            Ok(answer) => answer,
            Err(status) => return status.into_response(),
        };
        let signature = self.key.sign(Side::Answer, nonce, &answer);
        let mut response = Response::new(answer.into());
        match HeaderValue::from_str(&signature) {
            Ok(value) => drop(response.headers_mut().insert(SIGNATURE, value)),
            Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
        response
    }

    async fn answer(&self, nonce: &str, signature: &str, body: &[u8]) -> Result<Vec<u8>, StatusCode> {
        if !self.key.has_signed(signature, Side::Question, nonce, body) {
            warn!("somebody asks for what is indexed who hasn't the key: search.secret must be the same everywhere");
            return Err(StatusCode::UNAUTHORIZED);
        }
        let question: Question = serde_json::from_slice(body).map_err(|error| {
            warn!(error = describe_at(&error), "a searcher's question can't be read");
            StatusCode::BAD_REQUEST
        })?;
        let now = Timestamp::now();
        if now.since(question.at).max(question.at.since(now)) > AGE {
            warn!(at = %question.at, "a searcher's question is of another time: are the clocks right?");
            return Err(StatusCode::UNAUTHORIZED);
        }
        if question.instance != *self.instance {
            return Err(StatusCode::MISDIRECTED_REQUEST);
        }
        question.request.check().map_err(|_| StatusCode::UNPROCESSABLE_ENTITY)?;
        let within = Duration::from_millis(question.within).min(LONGEST);
        let deadline = Instant::now() + within;
        let search = async {
            let _permit = self.permits.acquire().await;
            self.fresh.search(Arc::new(question.request), Arc::new(question.beyond), deadline).await
        };
        match timeout(within, search).await {
            Ok(Ok(answer)) => serde_json::to_vec(&answer).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR),
            Ok(Err(SearchError::Deadline)) | Err(_) => Err(StatusCode::GATEWAY_TIMEOUT),
            Ok(Err(error)) => {
                debug!(%error, "a searcher gets no answer");
                Err(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

/// All of a body; `None` if it breaks off or is too long.
async fn whole(body: impl Stream<Item = Result<impl Buf, warp::Error>>) -> Option<Vec<u8>> {
    let (mut body, mut all) = (std::pin::pin!(body), Vec::new());
    while let Some(part) = body.next().await {
        let part = part.ok()?;
        if all.len() + part.remaining() > QUESTION {
            return None;
        }
        all.put(part);
    }
    Some(all)
}
