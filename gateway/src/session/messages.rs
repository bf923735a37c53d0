//! What the client asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentworks_processors::reader::{LogReader, ReadError};
use agentworks_schemas::Cursor;
use agentworks_schemas::protocol::{CardInfo, ClientMessage, ErrorCode, LiveFilters, RunSummary, ServerMessage};
use tokio::time::Instant;
use tracing::warn;

use super::feed::Feed;
use super::start::Start;
use super::{Session, error_frame};
use crate::auth::Grant;
use crate::hub::{Filters, Wanted};
use crate::rest::id_fault;
use crate::socket::depth::is_deeper;
use crate::socket::{CloseCode, Frame, Verdict, Waiting};

/// How many answers may be in the making at once.
pub(super) const MAX_LOOKUPS: usize = 8;
/// What a client is told that asks more of a card than it takes.
const WAIT: &str = "too many answers of this card, or of the connection's cards together, wait to be read already";

impl Session {
    /// Does what a message asks for, or answers why not.
    pub(super) fn message(&mut self, text: &str) {
        self.presence.touch();
        match self.rate.message(Instant::now()) {
            Verdict::Take => {}
            Verdict::Ignore => return,
            Verdict::Refuse => {
                let allowed = self.gateway.config.max_messages_per_second;
                let message = format!("max_messages_per_second is {allowed}: this message was not read");
                self.replies.push_back(error_frame(ErrorCode::LimitExceeded, message, None));
                return;
            }
            Verdict::Close => return self.close(CloseCode::Policy, "too many messages", Waiting::Send),
        }
        let limit = self.gateway.config.max_depth;
        if is_deeper(text, limit) {
            let message = format!("max_depth is {limit}: the message is nested deeper, and was not read");
            self.replies.push_back(error_frame(ErrorCode::LimitExceeded, message, None));
            return;
        }
        match ClientMessage::parse(text) {
            Ok(message) => self.act(message),
            Err(data) => self.reply(&ServerMessage::Error { data }),
        }
    }

    fn act(&mut self, message: ClientMessage) {
        match message {
            ClientMessage::SubscribeCard { card_id, position, history, filters } => {
                let start = Start::new(position, history, self.gateway.config.history);
                self.subscribe(card_id, start, filters, "subscribe_card");
            }
            ClientMessage::UnsubscribeCard { card_id } => self.unsubscribe(&card_id),
            ClientMessage::Resume { positions } => self.resume(positions),
            ClientMessage::SetFilters { card_id, filters } => self.set_filters(card_id.as_deref(), filters),
            ClientMessage::SubscribeRun { run_id } => self.subscribe_run(run_id),
            ClientMessage::UnsubscribeRun { run_id } => {
                if self.runs.remove(&run_id) {
                    self.narrow();
                } else {
                    self.refuse(ErrorCode::NotFound, "the run is not subscribed to", "unsubscribe_run");
                }
            }
            ClientMessage::PauseStream {} => self.cards.pause(),
            ClientMessage::ResumeStream {} => self.cards.resume(),
            ClientMessage::ReplayRun { run_id, options } => {
                if !self.can_be("runId", &run_id, "replay_run") {
                    return;
                }
                let started = self.replays.start(run_id, self.card.clone(), options.unwrap_or_default());
                self.replies.extend(started.err());
            }
            ClientMessage::ReplayControl { action, session_id } => {
                let answer = self.replays.control(&session_id, action);
                self.replies.extend(answer.err());
            }
            ClientMessage::ReplaySeek { session_id, to } => {
                let answer = self.replays.seek(&session_id, to);
                self.replies.extend(answer.err());
            }
            ClientMessage::ReplaySpeed { session_id, speed } => {
                let answer = self.replays.set_speed(&session_id, speed);
                self.replies.extend(answer.err());
            }
            ClientMessage::ReplayJumpLive { session_id } => {
                let answer = self.replays.jump_live(&session_id);
                self.replies.extend(answer.err());
            }
            ClientMessage::RefreshToken { token } => self.refresh(token),
            ClientMessage::SearchLogs { query } => self.search(query),
            ClientMessage::GetRunSummary { run_id } => self.look_up(run_id),
            ClientMessage::Ping { timestamp } => self.reply(&ServerMessage::Pong { timestamp }),
        }
    }

    /// Watches a card; one that is watched already goes on at its new position, if there is one.
    fn subscribe(&mut self, card: String, start: Start, filters: Option<LiveFilters>, question: &str) {
        // Whether anybody ever wrote to a card is not for those to know who may not read it.
        let grant = self.bearer.grant();
        if !grant.may_read(grant.workspace(), &card) {
            let message = format!("the token is not for card {card:?}");
            return self.refuse(ErrorCode::AccessDenied, message, question);
        }
        if card.is_empty() {
            return self.refuse(ErrorCode::InvalidValue, "a card has an id", question);
        }
        if !self.can_be("cardId", &card, question) {
            return;
        }
        let filters = match filters.map(Filters::new).transpose() {
            Ok(filters) => filters,
            Err(reason) => return self.refuse(ErrorCode::InvalidValue, reason, question),
        };
        let answer = Frame::message(&ServerMessage::CardSubscribed { data: CardInfo { card_id: card.clone() } });
        let limit = self.gateway.config.max_cards;
        let are_crowded = self.cards.are_crowded();
        if let Some(feed) = self.cards.get(&card) {
            if are_crowded || feed.is_crowded() {
                return self.refuse(ErrorCode::LimitExceeded, WAIT, question);
            }
            match start.position {
                Some(_) => feed.reopen(start, Some(answer)),
                None => feed.say(answer),
            }
            if let Some(filters) = filters {
                feed.set_filters(filters);
            }
        } else if self.cards.len() >= limit {
            let message = format!("{limit} cards are watched, which is the limit: unsubscribe from one");
            self.refuse(ErrorCode::LimitExceeded, message, question);
        } else {
            let wanted = Wanted { runs: self.cards.runs.clone(), filters: filters.flatten() };
            let source = self.source(card);
            self.cards.add(Feed::new(source, start, wanted, self.cards.is_paused, [answer]));
        }
    }

    fn unsubscribe(&mut self, card: &str) {
        match self.cards.remove(card) {
            Some(feed) => self.unsubscribed(feed),
            None => self.refuse(ErrorCode::NotFound, "the card is not watched", "unsubscribe_card"),
        }
    }

    /// Says that a card is watched no longer, which was taken away.
    pub(super) fn unsubscribed(&mut self, mut feed: Feed) {
        self.replies.extend(feed.take_greeting());
        let data = CardInfo { card_id: feed.card().to_owned() };
        // From here on the hub pushes nothing of it.
        drop(feed);
        self.reply(&ServerMessage::CardUnsubscribed { data });
    }

    /// Goes on with each card at its position.
    fn resume(&mut self, positions: BTreeMap<String, Cursor>) {
        const QUESTION: &str = "resume";
        let limit = self.gateway.config.max_cards;
        let added = positions.keys().filter(|card| self.cards.get(card).is_none()).count();
        if self.cards.len() + added > limit {
            let message = format!("a connection watches {limit} cards at most: open another one for the rest");
            return self.refuse(ErrorCode::LimitExceeded, message, QUESTION);
        }
        for (card, position) in positions {
            self.subscribe(card, Start { position: Some(position), history: 0 }, None, QUESTION);
        }
    }

    fn set_filters(&mut self, card: Option<&str>, filters: Option<LiveFilters>) {
        const QUESTION: &str = "set_filters";
        let filters = match Filters::new(filters.unwrap_or_default()) {
            Ok(filters) => filters,
            Err(reason) => return self.refuse(ErrorCode::InvalidValue, reason, QUESTION),
        };
        if card.is_some_and(|card| self.cards.get(card).is_none()) {
            return self.refuse(ErrorCode::NotFound, "the card is not watched", QUESTION);
        }
        let are_crowded = self.cards.are_crowded();
        let mut feeds: Vec<_> =
            self.cards.iter_mut().filter(|feed| card.is_none_or(|card| card == feed.card())).collect();
        if are_crowded || feeds.iter().any(|feed| feed.is_crowded()) {
            return self.refuse(ErrorCode::LimitExceeded, WAIT, QUESTION);
        }
        feeds.iter_mut().for_each(|feed| feed.set_filters(filters.clone()));
    }

    fn subscribe_run(&mut self, run_id: String) {
        if !self.can_be("runId", &run_id, "subscribe_run") {
            return;
        }
        let limit = self.gateway.config.max_subscriptions;
        if self.runs.len() >= limit && !self.runs.contains(&run_id) {
            let message = format!("{limit} runs are subscribed to, which is the limit: unsubscribe from one");
            self.refuse(ErrorCode::LimitExceeded, message, "subscribe_run");
        } else if self.runs.insert(run_id) {
            self.narrow();
        }
    }

    /// Whether an id can be any entry's: what is kept of a connection is bounded. Otherwise the client is told.
    fn can_be(&mut self, name: &str, id: &str, question: &str) -> bool {
        let fault = id_fault(id);
        if let Some(fault) = &fault {
            self.refuse(ErrorCode::InvalidValue, format!("{name}: {fault}"), question);
        }
        fault.is_none()
    }

    fn narrow(&mut self) {
        self.cards.narrow((!self.runs.is_empty()).then(|| Arc::new(self.runs.clone())));
    }

    /// Answers with a run's summary, as soon as it is there.
    fn look_up(&mut self, run_id: String) {
        const QUESTION: &str = "get_run_summary";
        if !self.can_be("runId", &run_id, QUESTION) {
            return;
        }
        if self.lookups.len() >= MAX_LOOKUPS {
            let message = format!("{MAX_LOOKUPS} answers are still being made: wait for one");
            return self.refuse(ErrorCode::LimitExceeded, message, QUESTION);
        }
        let (reader, grant) = (self.gateway.reader.clone(), self.bearer.grant());
        // A run that the store doesn't know yet is looked for where its entries would be.
        let cards: Vec<String> = self.cards.ids().map(str::to_owned).collect();
        self.lookups.spawn(async move {
            match summary(&reader, &grant, &run_id, &cards).await {
                Ok(Some(data)) => Frame::message(&ServerMessage::RunSummary { data }),
                Ok(None) => error_frame(ErrorCode::NotFound, format!("there is no run {run_id:?}"), Some(QUESTION)),
                Err(error) => {
                    warn!(%error, "a run's summary can't be read");
                    let message = "the summary can't be read; try again".to_owned();
                    error_frame(ErrorCode::Internal, message, Some(QUESTION))
                }
            }
        });
    }
}

/// A run's summary. A run of a card that the token doesn't allow is as unknown as one that isn't there.
async fn summary(
    reader: &LogReader,
    grant: &Grant,
    run: &str,
    cards: &[String],
) -> Result<Option<RunSummary>, ReadError> {
    let hints = cards.iter().map(|card| Some(card.as_str())).chain(cards.is_empty().then_some(None));
    for card in hints {
        let found = reader.run_summary(grant.workspace(), run, card).await?;
        if found.is_some() {
            return Ok(found.filter(|run| grant.may_read(grant.workspace(), &run.card_id)));
        }
    }
    Ok(None)
}
