//! Asking a gateway's routes.

use std::error::Error;
use std::time::Duration;

use anyhow::Context;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Endpoint, Failure};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A fault as a gateway tells it.
#[derive(Debug, Deserialize)]
struct Told {
    error: Fault,
}

#[derive(Debug, Deserialize)]
struct Fault {
    message: String,
}

/// Reads a route: `["cards", card, "entries"]`, with its parameters.
pub(crate) async fn get<T: DeserializeOwned>(
    endpoint: &Endpoint,
    segments: &[&str],
    query: &[(&str, String)],
) -> Result<T, Failure> {
    ask(Method::GET, endpoint, segments, query, None).await
}

/// Has a route do something.
pub(crate) async fn post<T: DeserializeOwned>(
    endpoint: &Endpoint,
    segments: &[&str],
    query: &[(&str, String)],
) -> Result<T, Failure> {
    ask(Method::POST, endpoint, segments, query, None).await
}

/// Has a route do what a body says.
pub(crate) async fn post_json<T: DeserializeOwned>(
    endpoint: &Endpoint,
    segments: &[&str],
    body: &impl Serialize,
) -> Result<T, Failure> {
    let body = serde_json::to_string(body).context("the question can't be written")?;
    ask(Method::POST, endpoint, segments, &[], Some(body)).await
}

async fn ask<T: DeserializeOwned>(
    method: Method,
    endpoint: &Endpoint,
    segments: &[&str],
    query: &[(&str, String)],
    body: Option<String>,
) -> Result<T, Failure> {
    let client =
        reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().context("cannot make an HTTP client")?;
    let url = endpoint.url("http", segments, query);
    let mut request = client.request(method, url).header(reqwest::header::AUTHORIZATION, endpoint.bearer.clone());
    if let Some(body) = body {
        request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
    }
    let response = request.send().await.map_err(|error| unreachable(endpoint, &error))?;
    let status = response.status();
    let body = response.text().await.map_err(|error| unreachable(endpoint, &error))?;
    if !status.is_success() {
        return Err(refusal(status, &body));
    }
    serde_json::from_str(&body).context("the gateway's answer is not what this program expects").map_err(Failure::from)
}

/// What an answer other than success means.
pub(super) fn refusal(status: StatusCode, body: &str) -> Failure {
    let told = serde_json::from_str::<Told>(body).map(|told| told.error.message);
    let message = told.unwrap_or_else(|_| format!("the gateway answered {status}"));
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Refused(message),
        StatusCode::NOT_FOUND => Failure::NotFound(message),
        _ => Failure::Other(anyhow::anyhow!(message)),
    }
}

/// The innermost reason, which is the one that helps: `Connection refused`.
fn unreachable(endpoint: &Endpoint, error: &reqwest::Error) -> Failure {
    let mut reason: &dyn Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    Failure::Unreachable { url: endpoint.base.clone(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_it_means() {
        let body = r#"{"error":{"code":"expired_token","message":"the token has expired"}}"#;
        let expired = refusal(StatusCode::UNAUTHORIZED, body);
        assert!(matches!(&expired, Failure::Refused(message) if message == "the token has expired"), "{expired:?}");
        assert!(matches!(refusal(StatusCode::FORBIDDEN, body), Failure::Refused(_)));
        assert!(matches!(refusal(StatusCode::NOT_FOUND, body), Failure::NotFound(_)));
        let strange = refusal(StatusCode::BAD_GATEWAY, "<html>");
        assert_eq!(strange.to_string(), "the gateway answered 502 Bad Gateway");
    }
}
