//! A card's WebSocket.

use std::borrow::Cow;
use std::time::Duration;

use agentworks_schemas::Cursor;
use agentworks_schemas::protocol::ClientMessage;
use anyhow::Context;
use futures_util::{FutureExt, SinkExt, StreamExt};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::http::refusal;
use super::{Endpoint, Failure};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After so long a silence the gateway is asked for a sign of life, and after the same again it counts as gone.
const SILENCE: Duration = Duration::from_secs(20);

/// A frame of the gateway's. `data` stays as it was written, so that no number loses digits on its way through.
#[derive(Debug, Deserialize)]
pub(crate) struct Frame<'a> {
    /// Its kind.
    #[serde(rename = "type", borrow)]
    pub(crate) kind: Cow<'a, str>,
    /// The stream's cursor just after it.
    #[serde(default)]
    pub(crate) position: Option<Cursor>,
    /// What it says.
    #[serde(borrow, default)]
    pub(crate) data: Option<&'a RawValue>,
}

impl Frame<'_> {
    /// What it says, read as `T`.
    pub(crate) fn read<'de, T: Deserialize<'de>>(&'de self) -> anyhow::Result<T> {
        let data = self.data.map_or("null", RawValue::get);
        serde_json::from_str(data)
            .with_context(|| format!("the gateway's {:?} is not what this program expects", self.kind))
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It broke, or the gateway goes away: another may be had.
    Lost(String),
    /// The gateway asked to be left, and it was time: another can be had at once.
    Left,
    /// There is no use in trying again.
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Ended::Failed(failure)
    }
}

impl From<anyhow::Error> for Ended {
    fn from(error: anyhow::Error) -> Self {
        Ended::Failed(error.into())
    }
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Self {
        Ended::Failed(error.into())
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// When to leave.
    leave: Option<Instant>,
}

impl Stream {
    /// Opens a card's stream with these parameters.
    pub(crate) async fn open(endpoint: &Endpoint, card: &str, query: &[(&str, String)]) -> Result<Self, Ended> {
        let url = endpoint.url("ws", &["cards", card, "stream"], query);
        let mut request = url.into_client_request().context("the URL can't be a WebSocket's")?;
        request.headers_mut().insert(http::header::AUTHORIZATION, endpoint.bearer.clone());
        match timeout(CONNECT_TIMEOUT, connect_async(request)).await {
            Ok(Ok((socket, _))) => Ok(Stream { socket, leave: None }),
            Ok(Err(error)) => Err(refused(error)),
            Err(_) => Err(Ended::Lost(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
        }
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &ClientMessage) -> Result<(), Ended> {
        let text = serde_json::to_string(message).context("a message can't be written")?;
        self.socket.send(Message::text(text)).await.map_err(lost)
    }

    /// Leaves the gateway so much later; until then it goes on.
    pub(crate) fn leave_after(&mut self, wait: Duration) {
        self.leave.get_or_insert(Instant::now() + wait);
    }

    /// The next frame if it is there already.
    pub(crate) fn ready(&mut self) -> Result<Option<Utf8Bytes>, Ended> {
        self.check_leave()?;
        while let Some(message) = self.socket.next().now_or_never() {
            if let Some(text) = text_of(message)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// The text of the next frame; [`Frame`] reads it.
    pub(crate) async fn next(&mut self) -> Result<Utf8Bytes, Ended> {
        let mut asked = false;
        let mut deadline = Instant::now() + SILENCE;
        loop {
            let wake = self.leave.map_or(deadline, |leave| leave.min(deadline));
            let Ok(message) = timeout_at(wake, self.socket.next()).await else {
                self.check_leave()?;
                if asked {
                    return Err(Ended::Lost("the gateway is silent".to_owned()));
                }
                self.socket.send(Message::Ping(Default::default())).await.map_err(lost)?;
                asked = true;
                deadline = Instant::now() + SILENCE;
                continue;
            };
            if let Some(text) = text_of(message)? {
                return Ok(text);
            }
            asked = false;
            deadline = Instant::now() + SILENCE;
        }
    }

    fn check_leave(&self) -> Result<(), Ended> {
        match self.leave {
            Some(leave) if leave <= Instant::now() => Err(Ended::Left),
            _ => Ok(()),
        }
    }

    /// Says goodbye, without waiting long for an answer.
    pub(crate) async fn close(mut self) {
        let _ = timeout(Duration::from_secs(1), self.socket.close(None)).await;
    }
}

fn text_of(message: Option<tungstenite::Result<Message>>) -> Result<Option<Utf8Bytes>, Ended> {
    match message {
        Some(Ok(Message::Text(text))) => Ok(Some(text)),
        Some(Ok(Message::Close(Some(close)))) if close.code == CloseCode::Policy => {
            Err(Ended::Failed(Failure::Refused(close.reason.to_string())))
        }
        Some(Ok(Message::Close(close))) => {
            let (code, reason) =
                close.map_or((1005, String::new()), |close| (close.code.into(), close.reason.to_string()));
            let reason = if reason.is_empty() { "the gateway closed it".to_owned() } else { reason };
            match is_final(code) {
                true => Err(Ended::Failed(anyhow::anyhow!("{reason} (close code {code})").into())),
                false => Err(Ended::Lost(reason)),
            }
        }
        Some(Ok(_)) => Ok(None),
        Some(Err(error)) => Err(lost(error)),
        None => Err(Ended::Lost("the gateway closed it".to_owned())),
    }
}

/// Whether a close code says that connecting again would come to the same.
fn is_final(code: u16) -> bool {
    matches!(code, 1000 | 1002 | 1003 | 1007..=1009 | 4500..=4999)
}

fn lost(error: tungstenite::Error) -> Ended {
    Ended::Lost(match error {
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => "it was cut".to_owned(),
        error => error.to_string(),
    })
}

/// Why a handshake failed. What the gateway is only too busy for, it may grant later.
fn refused(error: tungstenite::Error) -> Ended {
    match error {
        tungstenite::Error::Http(response) => {
            let body = String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned();
            let status = response.status();
            match refusal(status, &body) {
                Failure::Other(error) if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                    Ended::Lost(error.to_string())
                }
                failure => Ended::Failed(failure),
            }
        }
        error => lost(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_frame_keeps_its_data_as_it_was_written() {
        let text = r#"{"type":"log_entry","position":"AQ","data":{"n":1.10,"é":"\u00e9"}}"#;
        let frame: Frame<'_> = serde_json::from_str(text).unwrap();
        assert_eq!((frame.kind.as_ref(), frame.position.as_ref()), ("log_entry", Some(&Cursor::new())));
        assert_eq!(frame.data.unwrap().get(), r#"{"n":1.10,"é":"\u00e9"}"#);
    }

    #[test]
    fn close_codes_say_whether_to_come_back() {
        for code in [1001, 1005, 1006, 1011, 1012, 1013, 4000, 4001, 4499] {
            assert!(!is_final(code), "{code}");
        }
        for code in [1000, 1002, 1003, 1007, 1008, 1009, 4500, 4999] {
            assert!(is_final(code), "{code}");
        }
    }

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        let answer = |status: u16| {
            let response = http::Response::builder().status(status).body(None).unwrap();
            refused(tungstenite::Error::Http(Box::new(response)))
        };
        assert!(matches!(answer(401), Ended::Failed(Failure::Refused(_))));
        assert!(matches!(answer(503), Ended::Lost(_)));
        assert!(matches!(answer(429), Ended::Lost(_)));
        assert!(matches!(answer(400), Ended::Failed(Failure::Other(_))));
    }
}
