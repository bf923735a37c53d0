//! What the client asks for.

use std::sync::Arc;

use agentworks_schemas::protocol::{ClientMessage, ErrorCode, ServerMessage};
use tokio::time::Instant;
use tracing::warn;

use super::open::Start;
use super::rate::Verdict;
use super::{Session, error_frame};
use crate::socket::{CloseCode, Frame, Waiting};

/// How many answers may be in the making at once.
const MAX_LOOKUPS: usize = 8;

impl Session {
    /// Does what a message asks for, or answers why not.
    pub(super) fn message(&mut self, text: &str) {
        match self.rate.message(Instant::now()) {
            Verdict::Take => {}
            Verdict::Ignore => return,
            Verdict::Refuse => {
                let allowed = self.gateway.config.max_messages_per_second;
                let message = format!("more than {allowed} messages a second; this one was not read");
                self.replies.push_back(error_frame(ErrorCode::LimitExceeded, message, None));
                return;
            }
            Verdict::Close => return self.close(CloseCode::Policy, "too many messages", Waiting::Send),
        }
        match ClientMessage::parse(text) {
            Ok(message) => self.act(message),
            Err(data) => self.reply(&ServerMessage::Error { data }),
        }
    }

    fn act(&mut self, message: ClientMessage) {
        match message {
            ClientMessage::SubscribeCard { card_id, .. } if card_id != self.card => {
                let message = format!("this connection is for card {:?}: open another one", self.card);
                self.refuse(ErrorCode::InvalidValue, message, "subscribe_card");
            }
            ClientMessage::SubscribeCard { position: Some(position), .. } => {
                self.feed.reopen(Start { position: Some(position), history: 0 });
            }
            // It is watched already.
            ClientMessage::SubscribeCard { position: None, .. } => {}
            ClientMessage::SubscribeRun { run_id } => self.subscribe_run(run_id),
            ClientMessage::UnsubscribeRun { run_id } => {
                if self.runs.remove(&run_id) {
                    self.narrow();
                } else {
                    self.refuse(ErrorCode::NotFound, "the run is not subscribed to", "unsubscribe_run");
                }
            }
            ClientMessage::PauseStream {} => self.feed.pause(),
            ClientMessage::ResumeStream {} => self.feed.resume(),
            ClientMessage::ReplayRun { run_id, options } => {
                let started = self.replays.start(run_id, self.card.clone(), options.unwrap_or_default());
                self.replies.extend(started.err());
            }
            ClientMessage::ReplayControl { action, session_id } => {
                let answer = self.replays.control(&session_id, action);
                self.replies.extend(answer.err());
            }
            ClientMessage::ReplaySeek { session_id, position } => {
                let answer = self.replays.seek(&session_id, position);
                self.replies.extend(answer.err());
            }
            ClientMessage::SearchLogs { .. } => {
                self.refuse(ErrorCode::SearchUnavailable, "this gateway has no search", "search_logs");
            }
            ClientMessage::GetRunSummary { run_id } => self.look_up(run_id),
            ClientMessage::Ping { timestamp } => self.reply(&ServerMessage::Pong { timestamp }),
        }
    }

    fn subscribe_run(&mut self, run_id: String) {
        let limit = self.gateway.config.max_subscriptions;
        if self.runs.len() >= limit && !self.runs.contains(&run_id) {
            let message = format!("{limit} runs are subscribed to, which is the limit: unsubscribe from one");
            self.refuse(ErrorCode::LimitExceeded, message, "subscribe_run");
        } else if self.runs.insert(run_id) {
            self.narrow();
        }
    }

    fn narrow(&mut self) {
        self.feed.narrow((!self.runs.is_empty()).then(|| Arc::new(self.runs.clone())));
    }

    /// Answers with a run's summary, as soon as it is there.
    fn look_up(&mut self, run_id: String) {
        const QUESTION: &str = "get_run_summary";
        if self.lookups.len() >= MAX_LOOKUPS {
            let message = format!("{MAX_LOOKUPS} answers are still being made: wait for one");
            return self.refuse(ErrorCode::LimitExceeded, message, QUESTION);
        }
        let (reader, claims, card) = (self.gateway.reader.clone(), Arc::clone(&self.claims), self.card.clone());
        self.lookups.spawn(async move {
            match reader.run_summary(&claims.workspace, &run_id, Some(&card)).await {
                // A run of a card that the token doesn't allow is as unknown as one that isn't there.
                Ok(Some(data)) if claims.may_read(&claims.workspace, &data.card_id) => {
                    Frame::message(&ServerMessage::RunSummary { data })
                }
                Ok(_) => error_frame(ErrorCode::NotFound, format!("there is no run {run_id:?}"), Some(QUESTION)),
                Err(error) => {
                    warn!(%error, "a run's summary can't be read");
                    let message = "the summary can't be read; try again".to_owned();
                    error_frame(ErrorCode::Internal, message, Some(QUESTION))
                }
            }
        });
    }
}
