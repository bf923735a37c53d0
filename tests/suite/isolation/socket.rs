//! The stream.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::principal::{Loot, Principal};
use super::{names, search};

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A connection; all that comes on it is looked at as it comes.
pub(super) struct Socket {
    principal: Arc<Principal>,
    sink: Option<SplitSink<Stream, Message>>,
    watching: JoinHandle<()>,
}

impl Socket {
    /// Opens one for a card as it stands in a path, with a query that begins with `?` or is empty. It is closed already if
    /// the gateway has refused it.
    pub(super) async fn open(
        address: &str,
        principal: &Arc<Principal>,
        loot: &Arc<Loot>,
        card: &str,
        query: &str,
    ) -> Socket {
        let url = format!("ws://{address}/v1/cards/{card}/stream{query}");
        let closed = || Socket { principal: Arc::clone(principal), sink: None, watching: tokio::spawn(async {}) };
        let Ok(mut request) = url.clone().into_client_request() else { return closed() };
        let bearer = format!("Bearer {}", principal.token);
        request.headers_mut().insert("authorization", bearer.parse().unwrap());
        let stream = match connect_async(request).await {
            Ok((stream, response)) => {
                principal.saw(&format!("{:?}", response.headers()), &[], &url);
                stream
            }
            Err(error) => {
                principal.saw(&format!("{error:?}"), &[], &url);
                return closed();
            }
        };
        let (sink, mut stream) = stream.split();
        let (watcher, loot) = (Arc::clone(principal), Arc::clone(loot));
        let watching = tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                match message {
                    Message::Text(text) => {
                        watcher.saw(&text, &[], &url);
                        loot.take(&serde_json::from_str(&text).unwrap());
                    }
                    other => watcher.saw(&format!("{other:?}"), &[], &url),
                }
            }
        });
        Socket { principal: Arc::clone(principal), sink: Some(sink), watching }
    }

    pub(super) fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sink.is_none()
    }

    /// Says something. Who can't any more is closed.
    pub(super) async fn say(&mut self, message: Value) {
        let Some(sink) = &mut self.sink else { return };
        let sending = timeout(Duration::from_secs(10), sink.send(Message::text(message.to_string())));
        if !matches!(sending.await, Ok(Ok(()))) {
            self.sink = None;
        }
    }

    /// Ends it, and fails if its bearer has seen what it must not.
    pub(super) async fn close(mut self) {
        if let Some(sink) = &mut self.sink {
            let _ = sink.close().await;
        }
        match timeout(Duration::from_secs(10), &mut self.watching).await {
            Ok(watched) => watched.unwrap(),
            Err(_) => self.watching.abort(),
        }
    }
}

/// A connection for any card, at any position.
pub(super) async fn any(address: &str, principal: &Arc<Principal>, loot: &Arc<Loot>, rng: &mut StdRng) -> Socket {
    let card = names::card(rng);
    let card = names::in_path(rng, &card);
    let query = match rng.random_range(0..5) {
        0 => format!("?position={}", loot.position(rng)),
        1 => "?history=1000".to_owned(),
        2 => format!("?history=50&levels={}", ["warn,error", "loud", ""].choose(rng).unwrap()),
        _ => String::new(),
    };
    Socket::open(address, principal, loot, &card, &query).await
}

/// Something to say, with what others have.
pub(super) fn message(principal: &Principal, principals: &[Arc<Principal>], loot: &Loot, rng: &mut StdRng) -> Value {
    let session = loot.session(rng);
    match rng.random_range(0..25) {
        0 | 1 => {
            let mut message = json!({"type": "subscribe_card", "cardId": names::card(rng)});
            match rng.random_range(0..3) {
                0 => message["position"] = loot.position(rng).into(),
                1 => message["history"] = rng.random_range(0..200).into(),
                _ => {}
            }
            message
        }
        2 => json!({"type": "unsubscribe_card", "cardId": names::card(rng)}),
        3 | 4 => {
            let cards = (0..rng.random_range(1..4)).map(|_| (names::card(rng), loot.position(rng).into()));
            json!({"type": "resume", "positions": cards.collect::<serde_json::Map<_, _>>()})
        }
        5 => {
            let text = ["canary", "7", "CANARY"].choose(rng);
            json!({"type": "set_filters", "filters": {"text": text}})
        }
        6 => json!({"type": "set_filters"}),
        7 => json!({"type": "subscribe_run", "runId": names::run(rng)}),
        8 => json!({"type": "unsubscribe_run", "runId": names::run(rng)}),
        9 => json!({"type": "pause_stream"}),
        10 => json!({"type": "resume_stream"}),
        11..=13 => {
            let (speed, both) = ([0, 1, 16].choose(rng), rng.random::<bool>());
            let options = json!({"speed": speed, "includeSystemLogs": both});
            json!({"type": "replay_run", "runId": names::run(rng), "options": options})
        }
        14 => {
            let action = ["pause", "resume", "stop"].choose(rng);
            json!({"type": "replay_control", "sessionId": session, "action": action})
        }
        15 => json!({"type": "replay_seek", "sessionId": session, "position": loot.position(rng)}),
        16 => json!({"type": "replay_seek", "sessionId": session, "fraction": rng.random::<f64>()}),
        17 => json!({"type": "replay_speed", "sessionId": session, "speed": 2}),
        18 => json!({"type": "replay_jump_live", "sessionId": session}),
        19 => {
            // Another of the same workspace has the same name, and may hand its token on.
            let others = principals.iter().filter(|other| other.workspace != principal.workspace);
            let others: Vec<_> = others.map(|other| &other.token).collect();
            json!({"type": "refresh_token", "token": others.choose(rng)})
        }
        20 => {
            let other = principals.choose(rng).unwrap();
            json!({"type": "search_logs", "query": {"workspaceId": other.workspace, "text": other.canary}})
        }
        21 => {
            let query = json!({"q": search::query(principal, rng), "limit": 20});
            json!({"type": "search_logs", "query": query})
        }
        22 | 23 => json!({"type": "get_run_summary", "runId": names::run(rng)}),
        _ => json!({"type": names::card(rng), "cardId": names::card(rng)}),
    }
}
