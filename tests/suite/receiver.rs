//! `POST /v1/logs` and `/v1/events` on real Kafka: what was answered with 200 is in the log.

use std::io::Write;
use std::sync::Arc;

use agentworks_ingest::producer::Producer;
use agentworks_ingest::receiver::{Receiver, ReceiverConfig, ReceiverMetrics};
use agentworks_schemas::access::{AccessError, Authenticate, Claims, Later, Role};
use agentworks_schemas::{Level, RunEventKind, Topic, Topics};
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::support::records::create_topics;
use crate::support::{kafka, unique_prefix};
use crate::written::{entries, events};

/// Whoever has a token may write to `acme`.
struct Anyone;

impl Authenticate for Anyone {
    fn authenticate<'a>(&'a self, _: &'a str) -> Later<'a, Result<Claims, AccessError>> {
        let (workspace, subject) = ("acme".into(), "test".into());
        let claims = Claims { workspace, subject, role: Role::Writer, expires: i64::MAX, ..Claims::default() };
        Box::pin(std::future::ready(Ok(claims)))
    }
}

struct Server {
    url: String,
    bootstrap: String,
    topics: Topics,
    client: reqwest::Client,
}

impl Server {
    async fn start() -> Self {
        let bootstrap = kafka().await.bootstrap();
        let topics = create_topics(&bootstrap, &unique_prefix(), 3).await;
        let producer = Producer::builder(&bootstrap).topics(topics.clone()).build().unwrap();
        let receiver = Receiver::new(producer, Arc::new(Anyone), ReceiverConfig::default(), ReceiverMetrics::new());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(warp::serve(receiver.routes()).incoming(listener).run());
        Server { url, bootstrap, topics, client: reqwest::Client::new() }
    }

    async fn post(&self, path: &str, encoding: Option<&str>, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let mut request = self.client.post(format!("{}{path}", self.url)).bearer_auth("token").body(body);
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

fn lines(count: usize) -> String {
    let line =
        |number| json!({"cardId": "card", "runId": "run", "message": format!("line {number}"), "sequence": number});
    (0..count).map(|number| line(number).to_string() + "\n").collect()
}

#[tokio::test]
async fn what_is_answered_is_in_the_log_whatever_its_form() {
    let server = Server::start().await;
    let array = format!("[{}]", lines(1000).trim_end().replace('\n', ","));
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(lines(1000).as_bytes()).unwrap();
    let bodies = [
        (None, lines(1000).into_bytes()),
        (Some("gzip"), gzip.finish().unwrap()),
        (Some("zstd"), zstd::encode_all(array.as_bytes(), 3).unwrap()),
    ];
    for (round, (encoding, body)) in bodies.into_iter().enumerate() {
        let (status, answer) = server.post("/v1/logs", encoding, body).await;
        assert_eq!((status, &answer["accepted"]), (200, &json!(1000)), "{answer}");
        let written = entries(&server.bootstrap, &server.topics, Topic::AgentLogs).await;
        assert_eq!(written.len(), (round + 1) * 1000, "all of it is there as soon as it is answered");
        assert!(written[round * 1000..].iter().map(|one| one.entry.sequence).eq(0..1000), "in order");
    }
}

#[tokio::test]
async fn good_lines_come_in_among_bad_ones_and_get_what_they_left_out() {
    let server = Server::start().await;
    let body = r#"{"cardId":"card","runId":"run","message":"good","level":"error","source":"system"}
{"cardId":"card","message":"no run"}
{"cardId":"card","runId":"run","message":"theirs","workspaceId":"other"}
garbage
{"cardId":"card","runId":"run","message":"also good","id":"mine","timestamp":"2025-12-02T10:15:30.123Z"}"#;
    let (status, answer) = server.post("/v1/logs", None, body).await;
    assert_eq!((status, &answer["accepted"], &answer["rejected"]), (200, &json!(2), &json!(3)));
    let lines: Vec<u64> =
        answer["errors"].as_array().unwrap().iter().map(|error| error["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [2, 3, 4]);
    let system = entries(&server.bootstrap, &server.topics, Topic::SystemLogs).await;
    assert_eq!((&*system[0].entry.message, system[0].entry.level), ("good", Level::Error));
    assert_eq!((&*system[0].entry.workspace_id, system[0].entry.id.len()), ("acme", 36));
    let agent = entries(&server.bootstrap, &server.topics, Topic::AgentLogs).await;
    assert_eq!((&*agent[0].entry.message, &*agent[0].entry.id), ("also good", "mine"));
    assert_eq!(agent[0].entry.timestamp.to_string(), "2025-12-02T10:15:30.123Z");

    let body = r#"[{"cardId":"card","runId":"run","kind":"started"},{"cardId":"card","runId":"run","kind":"paused"},
        {"cardId":"card","runId":"run","kind":"usage","cost":0.25,"inputTokens":10}]"#;
    let (status, answer) = server.post("/v1/events", None, body).await;
    assert_eq!((status, &answer["accepted"], &answer["errors"][0]["line"]), (200, &json!(2), &json!(2)));
    let events = events(&server.bootstrap, &server.topics).await;
    assert_eq!((events[0].kind, events[1].kind), (RunEventKind::Started, RunEventKind::Usage));
    assert_eq!((events[1].cost, events[1].input_tokens), (Some(0.25), Some(10)));
}
