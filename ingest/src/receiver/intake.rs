//! Taking lines in: each is checked and sent by itself, and the request is answered when all are in the log.

use agentworks_schemas::Timestamp;
use agentworks_schemas::access::Claims;
use agentworks_schemas::codec::{self, Defaults};
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::{Accepted, LineFault, Refusal};
use super::{ReceiverConfig, ReceiverMetrics};
use crate::producer::{Delivery, Ids, Producer, SendError};

/// What a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Logs,
    Events,
}

/// One request being taken in.
pub(super) struct Intake<'a> {
    kind: Kind,
    claims: &'a Claims,
    producer: &'a Producer,
    config: &'a ReceiverConfig,
    metrics: &'a ReceiverMetrics,
    ids: Ids,
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        kind: Kind,
        claims: &'a Claims,
        producer: &'a Producer,
        config: &'a ReceiverConfig,
        metrics: &'a ReceiverMetrics,
    ) -> Self {
        Intake { kind, claims, producer, config, metrics, ids: Ids::new() }
    }

    /// Takes the lines of a body of so many bytes.
    pub(super) async fn take(mut self, bytes: usize, lines: Vec<(usize, &[u8])>) -> Result<Accepted, Refusal> {
        if self.producer.failure().is_some() {
            return Err(Refusal::Failed { missing: lines.len() });
        }
        // Before anything is sent, so that a client that is told to come back doubles nothing.
        let room = timeout(self.config.room_timeout, self.producer.has_room(bytes)).await;
        if !matches!(room, Ok(Ok(()))) {
            return Err(Refusal::Busy);
        }
        let deadline = Instant::now() + self.config.delivery_timeout;
        let mut accepted = Accepted::default();
        let mut deliveries = Vec::with_capacity(lines.len());
        let mut missing = Missing::default();
        for (number, line) in lines {
            tokio::task::consume_budget().await;
            match timeout_at(deadline, self.line(line)).await {
                Ok(Ok(Ok(delivery))) => deliveries.push(delivery),
                Ok(Ok(Err(fault))) => {
                    self.metrics.rejected(self.kind, fault.code());
                    accepted.reject(number, &fault, self.config.errors);
                }
                Ok(Err(error)) => missing.add(|| error.to_string()),
                Err(_) => missing.add(not_in_time),
            }
        }
        for delivery in deliveries {
            match timeout_at(deadline, delivery).await {
                Ok(Ok(_)) => {
                    accepted.accept();
                    self.metrics.accepted(self.kind);
                }
                Ok(Err(error)) => missing.add(|| error.to_string()),
                Err(_) => missing.add(not_in_time),
            }
        }
        let Missing { count, first } = missing;
        let Some(first) = first else { return Ok(accepted) };
        tracing::warn!(lines = count, "lines of a request were not acknowledged; the first of them: {first}");
        match self.producer.failure() {
            Some(_) => Err(Refusal::Failed { missing: count }),
            None => Err(Refusal::Undelivered { missing: count }),
        }
    }

    /// Sends a line, waiting for room: the inner fault is the line's own, the outer error is not.
    async fn line(&mut self, line: &[u8]) -> Result<Result<Delivery, LineFault>, SendError> {
        let Claims { workspace, .. } = self.claims;
        let timestamp = Timestamp::now();
        let id = self.ids.next_text(timestamp);
        let defaults = Defaults { timestamp, id: &id };
        let sent = match self.kind {
            Kind::Logs => match codec::entry_from_json(line, workspace, defaults) {
                Ok(entry) if !self.claims.may_write(&entry.card_id) => return Ok(Err(denied(&entry.card_id))),
                Ok(entry) => self.producer.send(&entry).await,
                Err(reject) => return Ok(Err(reject.into())),
            },
            Kind::Events => match codec::event_from_json(line, workspace, defaults) {
                Ok(event) if !self.claims.may_write(&event.card_id) => return Ok(Err(denied(&event.card_id))),
                Ok(event) => self.producer.send_event(&event).await,
                Err(reject) => return Ok(Err(reject.into())),
            },
        };
        match sent {
            Err(SendError::Refused(reject)) => Ok(Err(reject.into())),
            result => result.map(Ok),
        }
    }
}

/// Lines that aren't known to be in the log.
#[derive(Debug, Default)]
struct Missing {
    count: usize,
    /// Why the first of them isn't.
    first: Option<String>,
}

impl Missing {
    fn add(&mut self, reason: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(reason);
    }
}

fn not_in_time() -> String {
    "Kafka did not acknowledge it in time".to_owned()
}

fn denied(card: &str) -> LineFault {
    LineFault::Denied(card.into())
}
