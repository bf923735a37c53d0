//! What one terminal watches: the protocol.
//!
//! - [`connect`]: from the request to a session: who may connect.
//! - [`start`]: how a stream begins, as the URL says.
//! - [`cards`]: the cards that are watched.
//! - [`open`], [`feed`]: a card's entries: history, live, and the way between them.
//! - [`lag`]: how far a stream is behind.
//! - [`messages`]: what the client asks for; [`search`]: searches.
//! - [`refresh`]: the token that the connection lives on, and newer ones.

mod cards;
mod connect;
mod feed;
mod lag;
mod messages;
mod open;
mod refresh;
mod search;
mod start;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use agentworks_schemas::Timestamp;
use agentworks_schemas::access::Claims;
use agentworks_schemas::protocol::{ConnectionInfo, ErrorCode, ErrorInfo, ServerMessage};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::cards::Cards;
use self::feed::Feed;
use self::open::{HistoryRoom, Source};
use self::refresh::{Bearer, BearerEvent};
use self::start::Beginning;
use crate::Gateway;
use crate::auth::Grant;
use crate::hub::Wanted;
use crate::replay::Replays;
use crate::roster::Presence;
use crate::socket::{CloseCode, Frame, Outbox, Rate, Waiting};

pub use self::connect::routes;

/// What every gateway can do, as clients are told.
const CAPABILITIES: [&str; 4] = ["live_logs", "replay", "filters", "multi_card"];
/// What one can that has an index.
const SEARCH: &str = "search";

/// One terminal's session.
struct Session {
    gateway: Gateway,
    /// What the newest token allows.
    bearer: Bearer,
    /// The card that the connection was opened for.
    card: String,
    /// What operators see of it.
    presence: Arc<Presence>,
    outbox: Arc<Outbox>,
    room: HistoryRoom,
    /// What the client says. It ends when the socket does.
    inbox: mpsc::Receiver<String>,
    shutdown: CancellationToken,
    cards: Cards,
    /// Answers that wait for room. While there are any, nothing more is asked.
    replies: VecDeque<Frame>,
    /// Answers that are being made.
    lookups: JoinSet<Frame>,
    /// The search among them.
    search: Option<AbortHandle>,
    replays: Replays,
    runs: HashSet<String>,
    rate: Rate,
}

/// What a session was woken by.
enum Wake {
    Shutdown,
    Bearer(BearerEvent),
    Message(Option<String>),
    Room,
    Answer(Frame),
}

impl Session {
    fn new(
        gateway: Gateway,
        claims: Claims,
        presence: Arc<Presence>,
        inbox: mpsc::Receiver<String>,
        shutdown: CancellationToken,
        beginning: Beginning,
    ) -> Self {
        let grant = Grant::new(claims);
        let (card, outbox) = (presence.card().to_owned(), Arc::clone(presence.outbox()));
        let room = HistoryRoom::default();
        let source = Source::new(&gateway, grant.clone(), &presence, &room, card.clone());
        let rate = Rate::new(gateway.config.max_messages_per_second, Instant::now());
        let replays = Replays::new(&gateway, grant.clone(), Arc::clone(&outbox));
        let bearer = Bearer::new(grant, Arc::clone(&gateway.auth));
        let capabilities = CAPABILITIES.into_iter().chain(gateway.search.is_some().then_some(SEARCH));
        let established = ServerMessage::ConnectionEstablished {
            data: ConnectionInfo {
                connection_id: presence.id().to_string(),
                card_id: card.clone(),
                capabilities: capabilities.map(str::to_owned).collect(),
                server_time: Timestamp::now(),
            },
        };
        let Beginning { start, filters, complaints } = beginning;
        let complaints = complaints.into_iter().map(|message| error_frame(ErrorCode::InvalidValue, message, None));
        let greeting = std::iter::once(Frame::message(&established)).chain(complaints);
        let wanted = Wanted { runs: None, filters };
        Session {
            gateway,
            bearer,
            card,
            presence,
            outbox,
            room,
            inbox,
            shutdown,
            cards: Cards::new(Feed::new(source, start, wanted, false, greeting)),
            replies: VecDeque::new(),
            lookups: JoinSet::new(),
            search: None,
            replays,
            runs: HashSet::new(),
            rate,
        }
    }

    /// Serves the client until the connection is over, from either side.
    async fn run(&mut self) {
        while self.flush() {
            self.presence.set_replays(self.replays.len());
            let wake = tokio::select! {
                () = self.shutdown.cancelled() => Wake::Shutdown,
                event = self.bearer.event() => Wake::Bearer(event),
                message = self.inbox.recv(), if self.replies.is_empty() && self.cards.has_greeted() => {
                    Wake::Message(message)
                }
                _ = self.outbox.room(), if !self.replies.is_empty() => Wake::Room,
                Some(answer) = self.lookups.join_next() => match answer {
                    Ok(frame) => Wake::Answer(frame),
                    Err(_) => continue,
                },
                () = self.replays.reap() => continue,
                () = self.cards.run(), if self.replies.is_empty() => continue,
            };
            match wake {
                Wake::Shutdown => self.close(CloseCode::Restart, "the gateway restarts: connect again", Waiting::Send),
                Wake::Bearer(event) => self.bearer_event(event),
                Wake::Message(Some(text)) => self.message(&text),
                Wake::Message(None) => return,
                Wake::Room => {}
                Wake::Answer(frame) => self.replies.push_back(frame),
            }
        }
    }

    /// What a stream of a card needs.
    fn source(&self, card: String) -> Source {
        Source::new(&self.gateway, self.bearer.grant(), &self.presence, &self.room, card)
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
            self.presence.tenant().connection_error();
        }
        self.outbox.close(code, reason, waiting);
    }
}

/// Tells the client of a fault.
pub(crate) fn error_frame(code: ErrorCode, message: String, in_reply_to: Option<&str>) -> Frame {
    let data = ErrorInfo { code, message, in_reply_to: in_reply_to.map(str::to_owned), at: None };
    Frame::message(&ServerMessage::Error { data })
}
