//! A terminal: a WebSocket client of the gateway.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

use super::stack::Stack;

/// How long a message may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a terminal was told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Message(Value),
    /// The close's code and reason.
    Closed(u16, String),
    /// The connection broke.
    Gone,
}

/// An entry as it was shown, with the position just after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub position: String,
    pub entry: Value,
}

impl Shown {
    pub fn message(&self) -> &str {
        self.entry["message"].as_str().unwrap()
    }
}

/// A connected terminal.
pub struct Terminal {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The position of the last entry shown.
    pub position: Option<String>,
}

impl Terminal {
    /// Connects to a card's stream, with the token in the header; `query` begins with `?` or is empty.
    pub async fn connect(stack: &Stack, token: &str, card: &str, query: &str) -> Terminal {
        Terminal::connect_to(&stack.address, token, card, query).await
    }

    /// The same, of the gateway at `address`: `HOST:PORT`.
    pub async fn connect_to(address: &str, token: &str, card: &str, query: &str) -> Terminal {
        let url = format!("ws://{address}/v1/cards/{card}/stream{query}");
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let (socket, _) = connect_async(request).await.unwrap();
        Terminal { socket, position: None }
    }

    /// The same through a small buffer, so that a client that doesn't read is soon one that can't be written to.
    pub async fn connect_narrow(stack: &Stack, token: &str, card: &str) -> Terminal {
        let mut request = format!("ws://{}/v1/cards/{card}/stream", stack.address).into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8192).unwrap();
        let stream = socket.connect(stack.address.parse().unwrap()).await.unwrap();
        let (socket, _) = client_async(request, MaybeTlsStream::Plain(stream)).await.unwrap();
        Terminal { socket, position: None }
    }

    /// One whose connection was made elsewhere.
    pub fn of(socket: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Terminal {
        Terminal { socket, position: None }
    }

    /// The next thing that it is told.
    pub async fn told(&mut self) -> Told {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("a message in time");
            match message {
                Some(Ok(Message::Text(text))) => return Told::Message(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(Some(close)))) => {
                    return Told::Closed(close.code.into(), close.reason.to_string());
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Told::Gone,
            }
        }
    }

    /// The next message.
    pub async fn message(&mut self) -> Value {
        match self.told().await {
            Told::Message(message) => message,
            told => panic!("no message, but {told:?}"),
        }
    }

    /// The next message of a type; others are passed over.
    pub async fn message_of(&mut self, kind: &str) -> Value {
        let mut others = Vec::new();
        // Something else always comes, if only a heartbeat.
        let until = Instant::now() + PATIENCE;
        while let Ok(message) = timeout_at(until, self.message()).await {
            if message["type"] == kind {
                return message;
            }
            others.push(message);
        }
        panic!("no {kind} in time, but {others:?}");
    }

    /// The next entries, however they come, as soon as there are any; other messages are passed over.
    pub async fn entries(&mut self) -> Vec<Shown> {
        loop {
            let message = self.message().await;
            assert_ne!(message["type"], "gap", "{message}");
            let shown = shown(&message);
            if message["type"] == "logs_batch" {
                self.position = message["position"].as_str().map(str::to_owned);
            }
            if let Some(last) = shown.last() {
                self.position = Some(last.position.clone());
                return shown;
            }
        }
    }

    /// The messages of the next `count` entries, and no more.
    pub async fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < count {
            lines.extend(self.entries().await.iter().map(|shown| shown.message().to_owned()));
        }
        assert_eq!(lines.len(), count, "{lines:?}");
        lines
    }

    /// Waits for the close.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.told().await {
                Told::Closed(code, reason) => return (code, reason),
                Told::Message(_) => {}
                Told::Gone => panic!("gone without a close"),
            }
        }
    }

    /// Begins to close, and waits for the answer; its code.
    pub async fn hang_up(mut self) -> u16 {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        self.socket.close(Some(frame)).await.unwrap();
        self.closed().await.0
    }

    /// What comes next as it comes, unanswered, until the other side ends the connection.
    pub async fn unanswered(self) -> Vec<u8> {
        let (mut socket, mut bytes) = (self.socket, Vec::new());
        let MaybeTlsStream::Plain(stream) = socket.get_mut() else { panic!("no test has TLS") };
        // Cut off or ended: it is over.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an end in time");
        bytes
    }

    pub async fn send(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    pub async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Asks for a pong, so that all that was asked before has been done when this returns, and gives what came before
    /// it.
    pub async fn settle(&mut self) -> Vec<Value> {
        self.send(json!({"type": "ping", "timestamp": 42})).await;
        let mut before = Vec::new();
        loop {
            let message = self.message().await;
            if message["type"] == "pong" {
                return before;
            }
            before.push(message);
        }
    }

    pub async fn close(mut self) {
        let _ = self.socket.close(None).await;
    }
}

/// The entries in a `log_entry` or `logs_batch`; of any other message none.
pub fn shown(message: &Value) -> Vec<Shown> {
    let of = |entry: &Value, position: &Value| Shown {
        position: position.as_str().unwrap().to_owned(),
        entry: entry.clone(),
    };
    match message["type"].as_str().unwrap() {
        "log_entry" => vec![of(&message["data"], &message["position"])],
        "logs_batch" => {
            let entries = message["data"].as_array().unwrap();
            let mut shown: Vec<Shown> = entries.iter().map(|entry| of(entry, &entry["position"])).collect();
            for one in &mut shown {
                one.entry.as_object_mut().unwrap().remove("position");
            }
            if let Some(last) = shown.last_mut() {
                last.position = message["position"].as_str().unwrap().to_owned();
            }
            shown
        }
        _ => Vec::new(),
    }
}
