//! Requests whose answers are checked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::checker::Checker;
use crate::support::eventually;

const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Http {
    url: String,
    client: reqwest::Client,
    checker: Arc<Mutex<Checker>>,
}

impl Http {
    pub(super) fn new(url: &str, checker: &Arc<Mutex<Checker>>) -> Http {
        Http { url: url.to_owned(), client: reqwest::Client::new(), checker: Arc::clone(checker) }
    }

    /// The answer to a request, checked: its status, and its JSON if it is any.
    pub(super) async fn send(
        &self,
        method: Method,
        route: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (u16, Value) {
        let mut request = self.client.request(method.clone(), format!("{}{route}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        let text = answer.text().await.unwrap();
        let path = route.split('?').next().unwrap();
        let checked = self.checker.lock().unwrap().answer(method.as_str(), path, status, kind.as_deref(), &text);
        checked.unwrap_or_else(|error| panic!("{error}"));
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    pub(super) async fn get(&self, route: &str, token: &str) -> (u16, Value) {
        self.send(Method::GET, route, Some(token), &[], Vec::new()).await
    }

    pub(super) async fn post(&self, route: &str, token: &str, body: impl Into<Vec<u8>>) -> (u16, Value) {
        self.send(Method::POST, route, Some(token), &[], body.into()).await
    }

    /// What is answered well.
    pub(super) async fn good(&self, route: &str, token: &str) -> Value {
        let (status, body) = self.get(route, token).await;
        assert_eq!(status, 200, "{route} {body}");
        body
    }

    /// What is answered as soon as it is as it should be: the store is a little behind the log.
    pub(super) async fn until(&self, route: &str, token: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let wanted = async || Some(self.good(route, token).await).filter(|body| is_wanted(body));
        eventually(PATIENCE, wanted).await
    }

    /// What is refused with this status and code.
    pub(super) async fn is_refused(&self, route: &str, token: &str, status: u16, code: &str) {
        let (found, body) = self.get(route, token).await;
        assert_eq!((found, body["error"]["code"].as_str()), (status, Some(code)), "{route} {body}");
    }
}
