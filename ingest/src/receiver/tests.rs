//! Whole requests, against librdkafka's mock cluster or no Kafka at all.

#![allow(clippy::unwrap_used)]

use std::io::Write;

use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use agentworks_schemas::access::Later;

use super::*;
use crate::producer::tests::fail;

struct Tokens;

impl Authenticate for Tokens {
    fn authenticate<'a>(&'a self, token: &'a str) -> Later<'a, Result<Claims, AccessError>> {
        Box::pin(std::future::ready(claims(token)))
    }
}

fn claims(token: &str) -> Result<Claims, AccessError> {
    let (role, cards) = match token {
        "writer" => (Role::Writer, None),
        "limited" => (Role::Writer, Some(vec!["card-1".to_owned()])),
        "viewer" => (Role::Viewer, None),
        "expired" => return Err(AccessError::Expired),
        "unknown" => return Err(AccessError::Unavailable),
        _ => return Err(AccessError::Invalid),
    };
    let (workspace, subject) = ("acme".into(), "test".into());
    Ok(Claims { workspace, subject, role, cards, expires: i64::MAX, ..Claims::default() })
}

fn mocked() -> Producer {
    Producer::builder("ignored").property("test.mock.num.brokers", "1").build().unwrap()
}

fn unreachable() -> Producer {
    Producer::builder("127.0.0.1:1").buffer(1024 * 1024, 2).build().unwrap()
}

async fn receiver(producer: Producer, config: ReceiverConfig) -> Server {
    serve(Receiver::new(producer, Arc::new(Tokens), config, ReceiverMetrics::new())).await
}

/// A receiver that listens.
struct Server {
    url: String,
    client: reqwest::Client,
}

async fn serve(receiver: Receiver) -> Server {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(warp::serve(receiver.routes()).incoming(listener).run());
    Server { url, client: reqwest::Client::new() }
}

impl Server {
    fn request(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.request(path).header("authorization", "Bearer writer")
    }
}

async fn send(request: reqwest::RequestBuilder) -> (u16, Value, HeaderMap) {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null), headers)
}

const LINES: &str = r#"{"cardId":"card-1","runId":"run","message":"one"}
{"cardId":"card-1","runId":"run","message":"two","level":"error","data":{"a":1}}
"#;

#[tokio::test]
async fn lines_and_arrays_are_taken_plain_and_compressed() {
    let server = receiver(mocked(), ReceiverConfig::default()).await;
    let array = format!("[{}]", LINES.trim().replace('\n', ","));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(LINES.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(array.as_bytes(), 3).unwrap();
    let requests = [
        server.post("/v1/logs").body(LINES),
        server.post("/v1/logs").body(array).header("content-type", "application/json"),
        server.post("/v1/logs").body(gzip).header("content-encoding", "gzip"),
        server.post("/v1/logs").body(zstd).header("content-encoding", "zstd"),
    ];
    for request in requests {
        let (status, body, _) = send(request).await;
        assert_eq!((status, body), (200, json!({"accepted": 2, "rejected": 0, "errors": []})));
    }
    let event = r#"{"cardId":"card-1","runId":"run","kind":"started"}"#;
    assert_eq!(send(server.post("/v1/events").body(event)).await.1["accepted"], 1);
}

#[tokio::test]
async fn a_line_that_is_refused_says_why_and_keeps_no_other_out() {
    let server = receiver(mocked(), ReceiverConfig { errors: 5, ..ReceiverConfig::default() }).await;
    let too_large = format!(r#"{{"cardId":"c","runId":"r","message":"{}"}}"#, "x".repeat(codec_limit()));
    let body = [
        r#"{"cardId":"c","runId":"r","message":"good"}"#,
        r#"{"cardId":"c","message":"no run"}"#,
        r#"{"runId":"r","message":"no card"}"#,
        "",
        r#"{"cardId":"c","runId":"r"}"#,
        "not json",
        r#"{"cardId":"c","runId":"r","message":"theirs","workspaceId":"other"}"#,
        &too_large,
        r#"{"cardId":"c","runId":"r","message":"good again"}"#,
    ];
    let (status, answer, _) = send(server.post("/v1/logs").body(body.join("\n"))).await;
    assert_eq!((status, &answer["accepted"], &answer["rejected"]), (200, &json!(2), &json!(6)));
    let errors: Vec<(u64, &str)> = answer["errors"].as_array().unwrap().iter().map(code).collect();
    assert_eq!(errors, [(2, "field"), (3, "field"), (5, "field"), (6, "json"), (7, "field")], "the first five");
    assert!(answer["errors"][1]["message"].as_str().unwrap().contains("cardId"));
}

fn code(error: &Value) -> (u64, &str) {
    (error["line"].as_u64().unwrap(), error["code"].as_str().unwrap())
}

fn codec_limit() -> usize {
    agentworks_schemas::codec::MAX_JSON
}

#[tokio::test]
async fn nothing_readable_at_all_is_a_bad_request() {
    let server = receiver(mocked(), ReceiverConfig::default()).await;
    let (status, answer, _) = send(server.post("/v1/logs").body("one\ntwo\n")).await;
    assert_eq!((status, &answer["error"]["code"], &answer["rejected"]), (400, &json!("unreadable"), &json!(2)));
    for body in ["", "[{}"] {
        let (status, answer, _) = send(server.post("/v1/logs").body(body)).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_body")));
    }
    let (status, answer, _) = send(server.post("/v1/logs").body("x").header("content-encoding", "gzip")).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_body")));
}

#[tokio::test]
async fn only_writers_come_in_and_only_to_their_cards() {
    let server = receiver(mocked(), ReceiverConfig::default()).await;
    let with = |authorization: &'static str| {
        let request = server.request("/v1/logs").body(LINES);
        if authorization.is_empty() { request } else { request.header("authorization", authorization) }
    };
    for (authorization, status, code) in [
        ("", 401, "missing_token"),
        ("Basic abc", 401, "missing_token"),
        ("Bearer nonsense", 401, "invalid_token"),
        ("Bearer expired", 401, "expired_token"),
        ("Bearer viewer", 403, "access_denied"),
    ] {
        let (found, answer, headers) = send(with(authorization)).await;
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{authorization}");
        assert!(headers.contains_key("www-authenticate"));
    }
    let two_cards = format!("{LINES}{}", r#"{"cardId":"card-2","runId":"run","message":"not mine"}"#);
    let request = server.request("/v1/logs").header("authorization", "bearer limited");
    let (status, answer, _) = send(request.body(two_cards)).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(2)));
    assert_eq!(code(&answer["errors"][0]), (3, "access_denied"));
}

#[tokio::test]
async fn what_is_too_large_or_encoded_otherwise_is_refused() {
    let config = ReceiverConfig { body: 1000, decoded: 2000, ..ReceiverConfig::default() };
    let server = receiver(mocked(), config).await;
    let (status, answer, _) = send(server.post("/v1/logs").body("x".repeat(1001))).await;
    assert_eq!((status, &answer["error"]["code"]), (413, &json!("payload_too_large")));
    let bomb = zstd::encode_all(&vec![b' '; 1 << 20][..], 3).unwrap();
    let (status, answer, _) = send(server.post("/v1/logs").body(bomb).header("content-encoding", "zstd")).await;
    assert_eq!((status, &answer["error"]["code"]), (413, &json!("payload_too_large")));
    let (status, _, headers) = send(server.post("/v1/logs").body(LINES).header("content-encoding", "br")).await;
    assert_eq!((status, headers["accept-encoding"].to_str().unwrap()), (415, "gzip, zstd"));
}

#[tokio::test]
async fn without_kafka_it_says_when_to_come_back() {
    let config = ReceiverConfig {
        room_timeout: Duration::from_millis(50),
        delivery_timeout: Duration::from_millis(50),
        ..ReceiverConfig::default()
    };
    let producer = unreachable();
    let server = receiver(producer.clone(), config).await;
    let (status, answer, headers) = send(server.post("/v1/logs").body(LINES)).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("unavailable")));
    assert!(headers.contains_key("retry-after"));
    let pending = producer.pending();
    let (status, answer, headers) = send(server.post("/v1/logs").body(LINES)).await;
    assert_eq!((status, &answer["error"]["code"]), (429, &json!("too_many_requests")));
    assert!(headers.contains_key("retry-after"));
    assert_eq!(producer.pending(), pending, "nothing of it was taken");
}

#[tokio::test]
async fn with_a_producer_that_has_failed_it_says_so_and_takes_nothing() {
    let producer = mocked();
    let server = receiver(producer.clone(), ReceiverConfig::default()).await;
    assert_eq!(send(server.post("/v1/logs").body(LINES)).await.0, 200);
    fail(&producer);
    producer.failed().await;
    for (path, lines) in [("/v1/logs", LINES), ("/v1/events", r#"{"cardId":"c","runId":"r","kind":"started"}"#)] {
        let (status, answer, headers) = send(server.post(path).body(lines)).await;
        assert_eq!((status, &answer["error"]["code"]), (503, &json!("unavailable")));
        assert!(answer["error"]["message"].as_str().unwrap().contains("has failed for good"), "{answer}");
        assert!(headers.contains_key("retry-after"));
    }
    assert_eq!(producer.pending(), 0);
}

#[tokio::test]
async fn what_is_told_of_a_body_is_no_larger_than_it() {
    let server = receiver(mocked(), ReceiverConfig::default()).await;
    // As JSON writes it in errors, each of these is six bytes.
    let long = "\u{7f}".repeat(512 * 1024 - 64);
    let line = format!("\"{long}\"\n");
    let event = format!("{{\"runId\":\"r\",\"cardId\":\"c\",\"kind\":\"{long}\"}}\n");
    for (path, lines, status, code) in
        [("/v1/logs", line.repeat(64), 400, "json"), ("/v1/events", event.repeat(64), 200, "field")]
    {
        let body = zstd::encode_all(lines.as_bytes(), 3).unwrap();
        assert!(body.len() < 16 * 1024, "{} bytes", body.len());
        let response = server.post(path).body(body).header("content-encoding", "zstd").send().await.unwrap();
        assert_eq!(response.status(), status);
        let text = response.text().await.unwrap();
        assert!(text.contains(&format!("\"code\":\"{code}\"")) && text.len() < 64 * 1024, "{} bytes", text.len());
    }
}

#[tokio::test]
async fn bodies_of_all_requests_share_the_memory() {
    let server = receiver(mocked(), ReceiverConfig { memory: 100, ..ReceiverConfig::default() }).await;
    let (status, answer, _) = send(server.post("/v1/logs").body(LINES)).await;
    assert_eq!((status, &answer["error"]["code"]), (429, &json!("too_many_requests")));
    let one = LINES.lines().next().unwrap();
    for _ in 0..3 {
        assert_eq!(send(server.post("/v1/logs").body(one)).await.0, 200, "it is given back");
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_left_to_others() {
    let server = receiver(mocked(), ReceiverConfig::default()).await;
    assert_eq!(server.client.get(format!("{}/v1/logs", server.url)).send().await.unwrap().status(), 405);
    for path in ["/v1/logs/more", "/v1/other"] {
        assert_eq!(server.post(path).send().await.unwrap().status(), 404);
    }
}

#[tokio::test]
async fn metrics_tell_what_was_taken() {
    let metrics = ReceiverMetrics::new();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let server = serve(Receiver::new(mocked(), Arc::new(Tokens), ReceiverConfig::default(), metrics)).await;
    send(server.post("/v1/logs").body(format!("{LINES}nonsense\n"))).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for expected in [
        "agentworks_receiver_requests_total{route=\"logs\",status=\"200\"} 1",
        "agentworks_receiver_accepted_total{route=\"logs\"} 2",
        "agentworks_receiver_rejected_total{route=\"logs\",code=\"json\"} 1",
        "agentworks_receiver_request_seconds_count 1",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
}
