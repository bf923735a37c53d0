//! A terminal that is cut off at random, stops reading at random, and comes back with its last position.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentworks_schemas::protocol::Gap;
use agentworks_schemas::{Cursor, Topic, TopicPartition};
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::check::{Account, GapSeen};
use super::crowd::News;
use super::{QUIET, WORKSPACE, number_of};

const CONNECT: Duration = Duration::from_secs(5);
/// A receive buffer so small that who doesn't read is noticed.
const NARROW: u32 = 8 * 1024;

/// See the module.
pub struct Client {
    account: Arc<Mutex<Account>>,
    card: String,
    /// Where to go on. At first it is before everything.
    position: String,
    random: StdRng,
}

type Socket = WebSocketStream<TcpStream>;

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    position: Option<&'a str>,
    /// Where one frame may be of another card than the next, and doesn't say so in its entries.
    #[serde(borrow, rename = "cardId")]
    card_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(borrow)]
    card_id: Cow<'a, str>,
    #[serde(borrow)]
    workspace_id: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

impl Client {
    pub fn new(card: &str, seed: u64) -> (Self, Arc<Mutex<Account>>) {
        let account = Arc::new(Mutex::new(Account { card: card.to_owned(), ..Account::default() }));
        let (position, random) = (Cursor::new().to_string(), StdRng::seed_from_u64(seed));
        (Client { account: account.clone(), card: card.to_owned(), position, random }, account)
    }

    /// Watches its card until it has been shown all that the news say there is.
    pub async fn watch(mut self, mut news: watch::Receiver<News>) {
        while !self.has_all(&news) {
            let gateways = news.borrow().gateways.clone();
            let gateway = &gateways[self.random.random_range(0..gateways.len())];
            let token = news.borrow().token.clone();
            if let Ok(Ok(socket)) = timeout(CONNECT, self.connect(gateway, &token)).await {
                self.account.lock().connections += 1;
                self.stay(socket, &mut news).await;
            }
            sleep(Duration::from_millis(self.random.random_range(10..300))).await;
        }
    }

    /// Connects, in one of the ways in which a client goes on.
    async fn connect(&mut self, gateway: &str, token: &str) -> Result<Socket, Error> {
        let (way, is_narrow) = (self.random.random_range(0..4), self.random.random_bool(0.5));
        let Client { card, position, .. } = &*self;
        let (card_of_path, query, first) = match way {
            0 => (QUIET, "history=0".to_owned(), Some(json!({"type": "resume", "positions": {card: position}}))),
            1 => {
                let first = json!({"type": "subscribe_card", "cardId": card, "position": position});
                (QUIET, "history=0".to_owned(), Some(first))
            }
            _ => (card.as_str(), format!("position={position}"), None),
        };
        let url = format!("ws://{gateway}/v1/cards/{card_of_path}/stream?{query}");
        let mut request = url.into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
        let socket = TcpSocket::new_v4()?;
        if is_narrow {
            socket.set_recv_buffer_size(NARROW)?;
        }
        let (mut socket, _) = client_async(request, socket.connect(gateway.parse().unwrap()).await?).await?;
        if let Some(first) = first {
            socket.send(Message::text(first.to_string())).await?;
        }
        Ok(socket)
    }

    /// Reads until it has all, is disconnected, or has had enough.
    async fn stay(&mut self, mut socket: Socket, news: &mut watch::Receiver<News>) {
        let mut within = |range: std::ops::Range<u64>| Duration::from_millis(self.random.random_range(range));
        let (begin, stay) = (Instant::now(), within(300..12_000));
        let (tired, rest) = (begin + within(100..12_000), within(200..3_000));
        let (mut is_rested, is_polite) = (self.random.random_bool(0.7), self.random.random_bool(0.3));
        while !self.has_all(news) {
            let message = tokio::select! {
                message = socket.next() => message,
                _ = news.changed() => continue,
                () = sleep_until(begin + stay) => {
                    if is_polite {
                        let _ = timeout(CONNECT, socket.close(None)).await;
                    }
                    return;
                }
            };
            match message {
                Some(Ok(Message::Text(text))) => self.take(&text),
                Some(Ok(Message::Close(close))) => {
                    let code = close.map_or(0, |close| close.code.into());
                    return *self.account.lock().closes.entry(code).or_default() += 1;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return *self.account.lock().closes.entry(0).or_default() += 1,
            }
            if !is_rested && Instant::now() > tired {
                is_rested = true;
                sleep(rest).await;
            }
        }
    }

    /// Takes down what it is told.
    fn take(&mut self, text: &str) {
        let mut account = self.account.lock();
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(text) else {
            return account.faults.push(format!("no message of the protocol: {text}"));
        };
        // How far the quiet card has come says nothing of this one.
        if frame.card_id.is_some_and(|card| card == QUIET) {
            return;
        }
        let data = frame.data.map_or("null", RawValue::get);
        let fault = match frame.kind {
            "log_entry" => account.entries(&self.card, &[serde_json::from_str(data).unwrap()]),
            "logs_batch" => account.entries(&self.card, &serde_json::from_str::<Vec<_>>(data).unwrap()),
            "gap" => {
                let Gap { topic, partition, from, to } = serde_json::from_str(data).unwrap();
                let topic = Topic::ALL.into_iter().find(|one| one.to_string() == topic).unwrap();
                let (after, partition) = (account.seen.len(), TopicPartition::new(topic, partition));
                account.gaps.push(GapSeen { after, partition, from, to });
                None
            }
            "lag" => {
                account.lags += 1;
                None
            }
            "error" => Some(text.to_owned()),
            _ => None,
        };
        account.faults.extend(fault);
        if let (Some(position), "log_entry" | "logs_batch") = (frame.position, frame.kind) {
            position.clone_into(&mut self.position);
        }
    }

    /// Whether it has been shown everything, or been told that it is gone, if it is said yet what that is.
    fn has_all(&self, news: &watch::Receiver<News>) -> bool {
        let news = news.borrow();
        let Some(last) = news.last.as_ref().map(|last| &last[&self.card]) else { return false };
        let position: Cursor = self.position.parse().unwrap();
        let account = self.account.lock();
        last.iter().all(|(partition, offset)| {
            let is_gone = |gap: &GapSeen| gap.partition == *partition && (gap.from..gap.to).contains(offset);
            position.get(*partition).is_some_and(|(_, next)| next > *offset) || account.gaps.iter().any(is_gone)
        })
    }
}

impl Account {
    /// Takes entries down; what is wrong with one of them.
    fn entries(&mut self, card: &str, entries: &[Entry<'_>]) -> Option<String> {
        let mut fault = None;
        for Entry { card_id, workspace_id, message } in entries {
            if *card_id != card || workspace_id != WORKSPACE {
                fault = Some(format!("an entry of card {card_id} of {workspace_id}, to a viewer of {card}"));
            }
            self.seen.push(number_of(message));
        }
        fault
    }
}

/// By card, the offset of the last entry in each partition where it has any.
pub type Last = BTreeMap<String, Vec<(TopicPartition, i64)>>;
