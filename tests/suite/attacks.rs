//! Attacks, one test each: SECURITY.md lists them. They are made on a gateway and a receiver that run as processes of
//! their own, shared by all tests that run at a time.
//!
//! - [`tokens`]: forged, stolen, expired, revoked; and where they may be seen.
//! - [`frames`]: what a client may send over a connection.
//! - [`connections`]: who may connect, how slowly, how often.
//! - [`data`]: what is in entries, ids and positions.

mod connections;
mod data;
mod frames;
mod tokens;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

use agentworks_gateway::auth::{Secret, mint};
use agentworks_schemas::access::{Claims, Role};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Response;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::issuer::{Publisher, Signer};
use crate::support::records::create_topics;
use crate::support::role::command;
use crate::support::{Scratch, eventually, kafka, unique_prefix};

const SECRET: &str = "a secret of the tests, long enough";
const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// How many connections an address may have, and how long the head of a request may take.
const PER_ADDRESS: usize = 5;
const HANDSHAKE: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A role, as a process. It is killed when this is dropped.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    async fn start(role: &'static str, variables: &[(&str, String)], folder: &Scratch) -> Process {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let log = File::create(folder.path().join(format!("{role}.log"))).unwrap();
        let mut command = command(&[role], &variables).into_std();
        let mut child = command.args(["--listen", "127.0.0.1:0"]).stderr(Stdio::from(log)).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).map(|_| line)
        });
        let line = timeout(PATIENCE, line).await.expect("it listens in time").unwrap().unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        let process = Process { child, url };
        let readyz = format!("{}/readyz", process.url);
        eventually(PATIENCE, async || reqwest::get(&readyz).await.ok()?.error_for_status().ok().map(drop)).await;
        process
    }

    fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        let request = reqwest::Client::new().get(format!("{}{path}", self.url)).bearer_auth(token);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.text().await.unwrap();
        (status, serde_json::from_str(&body).unwrap_or_else(|_| json!(body)))
    }

    async fn metrics(&self) -> String {
        reqwest::get(format!("{}/metrics", self.url)).await.unwrap().text().await.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is attacked.
struct Target {
    serve: Process,
    ingest: Process,
    publisher: Publisher,
    /// Whose keys are published, always.
    rsa: Signer,
    ec: Signer,
    folder: Scratch,
}

impl Target {
    /// The one that others attack too, if there is one.
    async fn get() -> Arc<Target> {
        static SHARED: Mutex<Weak<Target>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(target) = shared.upgrade() {
            return target;
        }
        let target = Arc::new(Target::start().await);
        *shared = Arc::downgrade(&target);
        target
    }

    async fn start() -> Target {
        let (prefix, brokers) = (unique_prefix(), kafka().await.bootstrap());
        create_topics(&brokers, &prefix, 2).await;
        let folder = Scratch::new("attacks");
        let (rsa, ec) = (Signer::rsa("rsa-1"), Signer::ec("ec-1"));
        let publisher = Publisher::start(&[&rsa, &ec]);
        let store = format!("embedded:{}", folder.path().join("store").display());
        let variables = [
            ("AGENTWORKS__KAFKA__BROKERS", brokers),
            ("AGENTWORKS__KAFKA__TOPIC_PREFIX", prefix),
            ("AGENTWORKS__STORE__URL", store),
            ("AGENTWORKS__AUTH__SECRET", SECRET.to_owned()),
            ("AGENTWORKS__AUTH__JWKS_URL", publisher.url()),
            ("AGENTWORKS__AUTH__JWKS_REFRESH", "2s".to_owned()),
            ("AGENTWORKS__AUTH__JWKS_COOLDOWN", "1s".to_owned()),
            ("AGENTWORKS__AUTH__REVOKED", "jti:stolen,sub:space/mallory,kid:leaked".to_owned()),
            ("AGENTWORKS__GATEWAY__TOKEN_IN_QUERY", "true".to_owned()),
            ("AGENTWORKS__GATEWAY__HANDSHAKE_TIMEOUT", format!("{}s", HANDSHAKE.as_secs())),
            ("AGENTWORKS__GATEWAY__TRUSTED_PROXIES", "127.0.0.1".to_owned()),
            ("AGENTWORKS__GATEWAY__MAX_CONNECTIONS_PER_ADDRESS", PER_ADDRESS.to_string()),
            (
                "AGENTWORKS__LOG__FILTER",
                "debug,agentworks_gateway=trace,hyper=trace,fjall=info,lsm_tree=info".to_owned(),
            ),
        ];
        let (serve, ingest) =
            (Process::start("serve", &variables, &folder).await, Process::start("ingest", &variables, &folder).await);
        Target { serve, ingest, publisher, rsa, ec, folder }
    }

    /// A token by the shared secret.
    fn token(&self, workspace: &str, role: Role) -> String {
        self.token_with(Claims { workspace: workspace.to_owned(), role, ..Claims::default() }, HOUR)
    }

    fn token_with(&self, claims: Claims, ttl: Duration) -> String {
        let subject = if claims.subject.is_empty() { "test".to_owned() } else { claims.subject.clone() };
        let secret = Secret::new(SECRET, "the tests").unwrap();
        mint(&secret, &Claims { subject, ..claims }, ttl).unwrap()
    }

    /// Writes lines of a card, and waits until they are in the log.
    async fn write(&self, workspace: &str, card: &str, run: &str, lines: impl IntoIterator<Item = Value>) {
        let mut body = String::new();
        for (sequence, line) in lines.into_iter().enumerate() {
            let mut entry =
                json!({"cardId": card, "runId": run, "sequence": sequence, "level": "info", "source": "agent"});
            match line {
                Value::Object(members) => entry.as_object_mut().unwrap().extend(members),
                message => entry["message"] = message,
            }
            body += &(entry.to_string() + "\n");
        }
        let request = reqwest::Client::new().post(format!("{}/v1/logs", self.ingest.url)).body(body);
        let answer = request.bearer_auth(self.token(workspace, Role::Writer)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    }

    /// Connects with any headers; `query` begins with `?` or is empty.
    async fn connect(&self, card: &str, query: &str, headers: &[(&'static str, &str)]) -> (Socket, Response<()>) {
        let url = format!("ws://{}/v1/cards/{card}/stream{query}", self.serve.address());
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, response) = connect_async(request).await.unwrap();
        (socket, response.map(drop))
    }

    /// Connects with a token in the header.
    async fn open(&self, card: &str, token: &str) -> Socket {
        self.connect(card, "", &[("authorization", &format!("Bearer {token}"))]).await.0
    }

    /// All that both processes have logged.
    fn logs(&self) -> String {
        let read = |role: &str| fs::read_to_string(self.folder.path().join(format!("{role}.log"))).unwrap();
        read("serve") + &read("ingest")
    }
}

/// What a connection ends with: its code and reason, after whatever else is told.
async fn closed(socket: &mut Socket) -> (u16, String) {
    let closed = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(close)))) => return (close.code.into(), close.reason.to_string()),
                Some(Ok(_)) => {}
                gone => panic!("gone without a close: {gone:?}"),
            }
        }
    };
    timeout(PATIENCE, closed).await.expect("a close in time")
}

/// The next message of a type; others are passed over.
async fn told(socket: &mut Socket, kind: &str) -> Value {
    let mut before = Vec::new();
    let told = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if message["type"] == kind {
                        return message;
                    }
                    before.push(message);
                }
                Some(Ok(Message::Close(close))) => panic!("{kind} was waited for, but {close:?} came"),
                Some(Ok(_)) => {}
                gone => panic!("{kind} was waited for, but {gone:?} came"),
            }
        }
    };
    let told = timeout(PATIENCE, told).await;
    told.unwrap_or_else(|_| panic!("{kind} was waited for, but only this came: {before:?}"))
}
