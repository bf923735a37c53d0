//! What one terminal watches: the protocol.
//!
//! - [`connect`]: from the request to a session: who may connect.
//! - [`open`], [`feed`]: the card's entries: history, live, and the way between them.
//! - [`batch`], [`lag`]: what is said of entries that are read.
//! - [`messages`]: what the client asks for.
//! - [`rate`]: how fast it may.

mod batch;
mod connect;
mod feed;
mod lag;
mod messages;
mod open;
mod rate;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use agentworks_schemas::Timestamp;
use agentworks_schemas::access::Claims;
use agentworks_schemas::protocol::{ConnectionInfo, ErrorCode, ErrorInfo, ServerMessage};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::feed::Feed;
use self::open::{Source, Start};
use self::rate::Rate;
use crate::Gateway;
use crate::replay::Replays;
use crate::socket::{CloseCode, Frame, Outbox, Waiting};

pub use self::connect::routes;
pub(crate) use self::open::gap_frame;

/// What this gateway can do, as clients are told.
const CAPABILITIES: [&str; 2] = ["live_logs", "replay"];

/// One terminal's session.
struct Session {
    gateway: Gateway,
    claims: Arc<Claims>,
    card: String,
    outbox: Arc<Outbox>,
    /// What the client says. It ends when the socket does.
    inbox: mpsc::Receiver<String>,
    shutdown: CancellationToken,
    feed: Feed,
    /// Answers that wait for room. While there are any, nothing more is asked.
    replies: VecDeque<Frame>,
    /// Answers that are being made.
    lookups: JoinSet<Frame>,
    replays: Replays,
    runs: HashSet<String>,
    rate: Rate,
}

/// What a session was woken by.
enum Wake {
    Shutdown,
    Expired,
    Message(Option<String>),
    Room,
    Answer(Frame),
}

impl Session {
    fn new(
        gateway: Gateway,
        claims: Claims,
        card: String,
        outbox: Arc<Outbox>,
        inbox: mpsc::Receiver<String>,
        shutdown: CancellationToken,
        (start, complaints): (Start, Vec<String>),
    ) -> Self {
        let claims = Arc::new(claims);
        let source = Source {
            reader: gateway.reader.clone(),
            hub: gateway.hub.clone(),
            claims: Arc::clone(&claims),
            card: card.clone(),
            outbox: Arc::clone(&outbox),
        };
        let rate = Rate::new(gateway.config.max_messages_per_second, Instant::now());
        let replays = Replays::new(&gateway, Arc::clone(&claims), Arc::clone(&outbox));
        let established = ServerMessage::ConnectionEstablished {
            data: ConnectionInfo {
                connection_id: format!("conn_{}", Uuid::now_v7().simple()),
                card_id: card.clone(),
                capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
                server_time: Timestamp::now(),
            },
        };
        let complaints = complaints.into_iter().map(|message| error_frame(ErrorCode::InvalidValue, message, None));
        let greeting = std::iter::once(Frame::message(&established)).chain(complaints).collect();
        Session {
            gateway,
            claims,
            card,
            outbox,
            inbox,
            shutdown,
            feed: Feed::new(source, start, greeting),
            replies: VecDeque::new(),
            lookups: JoinSet::new(),
            replays,
            runs: HashSet::new(),
            rate,
        }
    }

    /// Serves the client until the connection is over, from either side.
    async fn run(&mut self) {
        let mut expiry = std::pin::pin!(sleep_until(expires(&self.claims)));
        while self.flush() {
            let wake = tokio::select! {
                () = self.shutdown.cancelled() => Wake::Shutdown,
                () = expiry.as_mut() => Wake::Expired,
                message = self.inbox.recv(), if self.replies.is_empty() && self.feed.has_greeted() => {
                    Wake::Message(message)
                }
                _ = self.outbox.room(), if !self.replies.is_empty() => Wake::Room,
                Some(answer) = self.lookups.join_next() => match answer {
                    Ok(frame) => Wake::Answer(frame),
                    Err(_) => continue,
                },
                () = self.replays.reap() => continue,
                () = self.feed.run(), if self.replies.is_empty() => continue,
            };
            match wake {
                Wake::Shutdown => self.close(CloseCode::Restart, "the gateway restarts: connect again", Waiting::Send),
                Wake::Expired if Timestamp::now().millis() / 1000 >= self.claims.expires => {
                    self.close(CloseCode::Policy, "the token has expired", Waiting::Drop);
                }
                Wake::Expired => expiry.as_mut().reset(expires(&self.claims)),
                Wake::Message(Some(text)) => self.message(&text),
                Wake::Message(None) => return,
                Wake::Room => {}
                Wake::Answer(frame) => self.replies.push_back(frame),
            }
        }
    }

    /// Queues the answers as far as there is room; false when the connection is over.
    fn flush(&mut self) -> bool {
        while let Some(frame) = self.replies.pop_front() {
            match self.outbox.try_send(frame) {
                Ok(None) => {}
                Ok(Some(frame)) => {
                    self.replies.push_front(frame);
                    return true;
                }
                Err(_) => return false,
            }
        }
        !self.outbox.is_closed()
    }

    fn reply(&mut self, message: &ServerMessage<'_>) {
        self.replies.push_back(Frame::message(message));
    }

    fn refuse(&mut self, code: ErrorCode, message: impl Into<String>, in_reply_to: &str) {
        self.replies.push_back(error_frame(code, message.into(), Some(in_reply_to)));
    }

    fn close(&self, code: CloseCode, reason: &str, waiting: Waiting) {
        if code != CloseCode::Restart {
            self.gateway.metrics.connection_error(code);
        }
        self.outbox.close(code, reason, waiting);
    }
}

/// Tells the client of a fault.
pub(crate) fn error_frame(code: ErrorCode, message: String, in_reply_to: Option<&str>) -> Frame {
    let data = ErrorInfo { code, message, in_reply_to: in_reply_to.map(str::to_owned) };
    Frame::message(&ServerMessage::Error { data })
}

/// When a token ends, or a day from now: then it is looked at again.
fn expires(claims: &Claims) -> Instant {
    const DAY: i64 = 86_400;
    let left = (claims.expires - Timestamp::now().millis() / 1000).clamp(0, DAY);
    Instant::now() + Duration::from_secs(left.unsigned_abs())
}
