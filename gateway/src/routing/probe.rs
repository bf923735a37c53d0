//! Asking another gateway how it is.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::HeaderName;
use reqwest::Client;
use reqwest::redirect::Policy;

use super::health::Probed;
use super::peers::Peer;
use crate::server::DRAINING;

/// In answers of `/readyz`: how the gateway is called by clients, and by its peers.
pub const ADVERTISE: HeaderName = HeaderName::from_static("agentworks-gateway");

/// How long a probe may take in all.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What a probe came to, and the member's name if it told it.
pub(super) struct Answer {
    pub(super) probed: Probed,
    pub(super) name: Option<Arc<str>>,
}

/// A client for probes: it goes straight to the peer, whatever the environment says of proxies.
pub(super) fn client() -> reqwest::Result<Client> {
    Client::builder().timeout(TIMEOUT).no_proxy().redirect(Policy::none()).build()
}

/// Probes a peer.
pub(super) async fn probe(client: &Client, peer: &Peer) -> Answer {
    // Whatever is wrong, it doesn't do its work.
    ask(client, peer).await.unwrap_or(Answer { probed: Probed::Failed, name: None })
}

async fn ask(client: &Client, peer: &Peer) -> reqwest::Result<Answer> {
    let mut response = client.get(format!("http://{peer}/readyz")).send().await?;
    let name = response.headers().get(ADVERTISE).and_then(|name| name.to_str().ok()).map(Arc::from);
    let probed = match response.status() {
        StatusCode::OK => Probed::Ready,
        // It comes in one piece; no more of the answer is of use.
        StatusCode::SERVICE_UNAVAILABLE => match response.chunk().await? {
            Some(words) if words.starts_with(DRAINING.as_bytes()) => Probed::Draining,
            _ => Probed::Failed,
        },
        _ => Probed::Failed,
    };
    Ok(Answer { probed, name })
}
