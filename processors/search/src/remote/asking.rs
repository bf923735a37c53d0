//! The searcher's side: asking an indexer of another process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_processors::indexers::Lease;
use agentworks_query::{PartialAnswer, SearchRequest};
use agentworks_schemas::{Cursor, Timestamp};
use async_trait::async_trait;
use bytes::BytesMut;
use http::StatusCode;
use parking_lot::Mutex;
use reqwest::{Client, Response};
use uuid::Uuid;

use super::wire::{NONCE, PATH, PeerKey, Question, SIGNATURE, Side};
use crate::error::SearchError;
use crate::fresh::Fresh;

/// How long an indexer has for its answer, however long the search may take: the log has what it holds.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one that hasn't answered in time is not asked again.
const SPARED: Duration = Duration::from_secs(5);
/// The largest answer that is taken, in bytes.
const ANSWER: usize = 64 << 20;

/// The indexer of another process.
#[derive(Debug)]
pub struct RemoteFresh {
    instance: String,
    address: String,
    key: PeerKey,
    client: Client,
    /// Until when it is not asked.
    spared: Mutex<Option<Instant>>,
}

impl RemoteFresh {
    /// The one that has this lease.
    pub fn new(lease: &Lease, key: PeerKey, client: Client) -> Self {
        let (instance, address) = (lease.instance.clone(), lease.address.clone());
        RemoteFresh { instance, address, key, client, spared: Mutex::default() }
    }

    /// A client for asking: it goes straight to the indexer, whatever the environment says of proxies.
    ///
    /// # Errors
    /// If there can't be one.
    pub fn client() -> Result<Client, SearchError> {
        let builder = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        builder.build().map_err(|error| SearchError::Abandoned(error.to_string()))
    }

    fn fault(&self, reason: impl Into<String>) -> SearchError {
        SearchError::Peer { name: self.name(), reason: reason.into() }
    }

    async fn ask(&self, question: &Question) -> Result<PartialAnswer, SearchError> {
        let body = serde_json::to_vec(question).map_err(|error| self.fault(error.to_string()))?;
        let nonce = Uuid::new_v4().simple().to_string();
        let signature = self.key.sign(Side::Question, &nonce, &body);
        let url = format!("http://{}/{}", self.address, PATH.join("/"));
        let request = self.client.post(url).header(NONCE, &nonce).header(SIGNATURE, signature).body(body);
        let response = request.send().await.map_err(|error| self.fault(error.without_url().to_string()))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => {
                return Err(self.fault("it has another search.secret than this process, or its clock is wrong"));
            }
            StatusCode::MISDIRECTED_REQUEST => return Err(self.fault("another process has its address now")),
            status => return Err(self.fault(format!("status {status}"))),
        }
        let signature = response.headers().get(SIGNATURE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = self.body(response).await?;
        if !signature.is_some_and(|signature| self.key.has_signed(&signature, Side::Answer, &nonce, &body)) {
            return Err(self.fault("what came isn't signed with search.secret"));
        }
        serde_json::from_slice(&body).map_err(|error| self.fault(format!("its answer can't be read: {error}")))
    }

    async fn body(&self, mut response: Response) -> Result<BytesMut, SearchError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.fault(error.without_url().to_string()))? {
            if body.len() + chunk.len() > ANSWER {
                return Err(self.fault(format!("its answer has more than {ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

#[async_trait]
impl Fresh for RemoteFresh {
    fn name(&self) -> String {
        format!("the indexer at {}", self.address)
    }

    async fn search(
        &self,
        request: Arc<SearchRequest>,
        beyond: Arc<Cursor>,
        deadline: Instant,
    ) -> Result<PartialAnswer, SearchError> {
        if self.spared.lock().is_some_and(|until| Instant::now() < until) {
            return Err(self.fault("it was too slow just now"));
        }
        // Where it doesn't answer, time must be left for reading the log.
        let within = (deadline.saturating_duration_since(Instant::now()) / 2).min(PATIENCE);
        let (instance, at) = (self.instance.clone(), Timestamp::now());
        let millis = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let (beyond, request) = ((*beyond).clone(), (*request).clone());
        let question = Question { instance, at, within: millis, beyond, request };
        match tokio::time::timeout(within, self.ask(&question)).await {
            Ok(answer) => answer,
            Err(_) => {
                *self.spared.lock() = Some(Instant::now() + SPARED);
                Err(self.fault(format!("nothing came within {within:.1?}")))
            }
        }
    }
}
