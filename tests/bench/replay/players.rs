//! Clients that replay.

use std::time::{Duration, Instant};

use agentworks_schemas::Timestamp;
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::lane::Lane;

/// A connection, and its one replay.
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: String,
}

/// What is looked at of a message.
#[derive(Deserialize)]
struct Frame {
    r#type: String,
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Data {
    session_id: String,
    replay_position: u64,
    original_timestamp: Timestamp,
    message: String,
}

impl Client {
    pub async fn connect(lane: &Lane, card: &str) -> Client {
        let url = format!("ws://{}/v1/cards/{card}/stream?history=0", lane.gateway.address());
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {}", lane.token()).parse().unwrap());
        let (socket, _) = connect_async(request).await.unwrap();
        let mut client = Client { socket, session: String::new() };
        client.until("connection_established").await;
        client
    }

    /// Starts a replay at the pace of the run. How long its first entry takes.
    pub async fn start(&mut self, run: &str) -> Duration {
        let began = Instant::now();
        self.send(json!({"type": "replay_run", "runId": run, "options": {"speed": 1}})).await;
        self.session = self.until("replay_started").await.session_id;
        assert_eq!(self.until("replay_log").await.replay_position, 0);
        began.elapsed()
    }

    /// Moves the replay. How long the entry with this ordinal takes.
    pub async fn seek(&mut self, ordinal: u64) -> Duration {
        let began = Instant::now();
        self.send(json!({"type": "replay_seek", "sessionId": self.session, "position": ordinal})).await;
        self.until("replay_seeked").await;
        assert_eq!(self.until("replay_log").await.replay_position, ordinal);
        began.elapsed()
    }

    pub async fn stop(&mut self) {
        self.control("stop").await;
        self.until("replay_completed").await;
    }

    async fn control(&mut self, action: &str) {
        self.send(json!({"type": "replay_control", "sessionId": self.session, "action": action})).await;
    }

    async fn send(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next message of a type.
    async fn until(&mut self, kind: &str) -> Data {
        loop {
            let frame = self.next().await;
            if frame.r#type == kind {
                return frame.data;
            }
            assert_ne!(frame.r#type, "error", "{}", frame.data.message);
        }
    }

    async fn next(&mut self) -> Frame {
        loop {
            if let Message::Text(text) = self.socket.next().await.expect("a connection").unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }
}

/// Many clients, each with a replay of the long run from another place.
pub struct Crowd {
    clients: Vec<Client>,
    entries: u64,
    /// By how much each entry was late, in milliseconds.
    late: Vec<f64>,
}

impl Crowd {
    pub async fn connect(lane: &Lane, count: usize) -> Crowd {
        let mut clients = Vec::new();
        while clients.len() < count {
            let some = (0..50.min(count - clients.len())).map(|_| Client::connect(lane, lane.long.card));
            clients.extend(join_all(some).await);
        }
        Crowd { clients, entries: 0, late: Vec::new() }
    }

    /// Starts all at once, each at a place of its own.
    pub async fn start(&mut self) {
        let count = self.clients.len() as f64;
        let starts = self.clients.iter_mut().enumerate().map(async |(index, client)| {
            client.start("long").await;
            let seek =
                json!({"type": "replay_seek", "sessionId": client.session, "fraction": index as f64 / count * 0.9});
            client.send(seek).await;
            client.until("replay_seeked").await;
            client.until("replay_log").await;
        });
        join_all(starts).await;
    }

    /// Reads what comes for a while, and notes how late it is: after the moment at which it would have come if its replay
    /// had been as punctual always as it was at its best.
    pub async fn watch(&mut self, time: Duration) {
        let (began, deadline) = (Instant::now(), tokio::time::Instant::now() + time);
        let watches = self.clients.drain(..).map(|mut client| {
            tokio::spawn(async move {
                let mut ahead = Vec::new();
                while let Ok(frame) = timeout_at(deadline, client.next()).await {
                    if frame.r#type == "replay_log" {
                        let time = frame.data.original_timestamp.millis() as f64;
                        ahead.push(began.elapsed().as_secs_f64() * 1000.0 - time);
                    }
                }
                (client, ahead)
            })
        });
        for watch in join_all(watches.collect::<Vec<_>>()).await {
            let (client, ahead) = watch.unwrap();
            let best = ahead.iter().copied().fold(f64::INFINITY, f64::min);
            self.clients.push(client);
            self.entries += ahead.len() as u64;
            self.late.extend(ahead.into_iter().map(|at| at - best));
        }
    }

    pub async fn pause(&mut self) {
        let pauses = self.clients.iter_mut().map(async |client| {
            client.control("pause").await;
            client.until("replay_paused").await;
        });
        join_all(pauses).await;
    }

    /// How many entries came while they were watched, and by how much they were late: the median and the 99th
    /// percentile, in milliseconds.
    pub fn seen(&mut self) -> (u64, (f64, f64)) {
        self.late.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| self.late[((self.late.len() - 1) as f64 * share) as usize];
        (self.entries, (at(0.5), at(0.99)))
    }
}
