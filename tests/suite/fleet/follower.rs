//! A client that follows a card whatever becomes of the gateways: as the protocol asks of all clients.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::terminal::shown;

/// How long it waits where a gateway doesn't let it in.
const BACKOFF: Duration = Duration::from_millis(50);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What it is told before it begins.
pub(super) struct Follower {
    pub(super) card: String,
    pub(super) token: String,
    /// Gateways, `HOST:PORT`, in the order in which they are tried.
    pub(super) gateways: Vec<String>,
    /// How many lines there will be, once that is known.
    pub(super) goal: watch::Receiver<usize>,
    /// How many lines it has seen.
    pub(super) seen: watch::Sender<usize>,
}

/// What it has been through.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// The waits of `reconnect` messages, in milliseconds.
    pub(super) asked_to_go: Vec<u64>,
    /// Codes of closes; `None` for a connection that broke.
    pub(super) ends: Vec<Option<u16>>,
}

enum Left {
    /// It has seen all.
    Done,
    /// It is to go elsewhere.
    Over,
}

impl Follower {
    /// Follows its card to the end. Every line has to come once, and in order.
    pub(super) async fn follow(mut self) -> Story {
        let (mut story, mut position, mut at) = (Story::default(), None, 0);
        loop {
            let address = self.gateways[at % self.gateways.len()].clone();
            match connect(&address, &self.card, &self.token, position.as_deref()).await {
                Some(socket) => match self.watch(socket, &mut position, &mut story).await {
                    Left::Done => return story,
                    Left::Over => {}
                },
                None => sleep(BACKOFF).await,
            }
            at += 1;
        }
    }

    async fn watch(&mut self, mut socket: Socket, position: &mut Option<String>, story: &mut Story) -> Left {
        let mut leaves_at: Option<Instant> = None;
        loop {
            if *self.seen.borrow() >= *self.goal.borrow() {
                let _ = socket.close(None).await;
                return Left::Done;
            }
            let leaving = async {
                match leaves_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let told = tokio::select! {
                told = socket.next() => told,
                changed = self.goal.changed() => {
                    changed.expect("the test goes on");
                    continue;
                }
                () = leaving => {
                    let _ = socket.close(None).await;
                    return Left::Over;
                }
            };
            match told {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if let Some(after) = self.take(&message, position) {
                        story.asked_to_go.push(after);
                        leaves_at = Some(Instant::now() + Duration::from_millis(after));
                    }
                }
                Some(Ok(Message::Close(close))) => {
                    story.ends.push(close.map(|close| close.code.into()));
                    return Left::Over;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    story.ends.push(None);
                    return Left::Over;
                }
            }
        }
    }

    /// Takes a message; how long to wait before going elsewhere, if it says so.
    fn take(&self, message: &Value, position: &mut Option<String>) -> Option<u64> {
        let card = &self.card;
        for entry in shown(message) {
            let next = *self.seen.borrow();
            assert_eq!(entry.message(), format!("line {next}"), "{card}");
            *position = Some(entry.position.clone());
            self.seen.send_replace(next + 1);
        }
        match message["type"].as_str().unwrap() {
            // On a busy machine a read may take too long: that is told, and it is tried again.
            "error" if message["data"]["code"] == "internal" => None,
            "gap" | "error" => panic!("{card}: {message}"),
            "reconnect" => message["data"]["after"].as_u64(),
            _ => None,
        }
    }
}

async fn connect(address: &str, card: &str, token: &str, position: Option<&str>) -> Option<Socket> {
    let begin = position.map_or_else(|| "history=1000".to_owned(), |position| format!("position={position}"));
    let mut request = format!("ws://{address}/v1/cards/{card}/stream?{begin}").into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    connect_async(request).await.ok().map(|(socket, _)| socket)
}
