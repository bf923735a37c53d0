//! What Kafka's client calls back: results, errors, log lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentworks_bootstrap::Bootstrap;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use tokio::sync::watch;

use super::budget::Budget;
use super::error::DeliveryError;
use super::metrics::Metrics;
use super::tickets::Tickets;

/// What the sending side and the callbacks share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tickets: Arc<Tickets>,
    pub(super) budget: Budget,
    pub(super) metrics: Metrics,
    /// Why nothing can be sent any more.
    pub(super) fatal: Fatal,
    /// No broker could be reached, and none has acknowledged anything since.
    pub(super) unreachable: AtomicBool,
}

/// The error that ends a producer, once there is one.
#[derive(Debug, Default)]
pub(super) struct Fatal(watch::Sender<Option<Arc<str>>>);

impl Fatal {
    /// What it is.
    pub(super) fn get(&self) -> Option<Arc<str>> {
        self.0.borrow().clone()
    }

    /// Notes it, and gives the first that was noted: every later one follows from it.
    pub(super) fn note(&self, reason: &str) -> Arc<str> {
        let mut first = Arc::from(reason);
        let is_news = self.0.send_if_modified(|known| match known {
            Some(known) => {
                first = Arc::clone(known);
                false
            }
            None => {
                *known = Some(Arc::clone(&first));
                true
            }
        });
        if is_news {
            tracing::error!("the producer can write no more: {reason}");
        }
        first
    }

    /// Waits for it.
    pub(super) async fn noted(&self) -> Arc<str> {
        let noted = self.0.subscribe().wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match noted {
            Some(reason) => reason,
            // Nobody else has the other end, so this doesn't happen.
            None => std::future::pending().await,
        }
    }
}

pub(super) struct Callbacks {
    pub(super) state: Arc<State>,
    pub(super) bootstrap: Bootstrap,
}

impl ProducerContext for Callbacks {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let State { tickets, budget, metrics, fatal, unreachable } = &*self.state;
        let result = match result {
            // An offset below 0 stands for "not known".
            Ok(message) => Ok((message.partition(), Some(message.offset()).filter(|offset| *offset >= 0))),
            Err((error, _)) => Err(match delivery_error(error) {
                // A client that fails for good abandons what it has by itself.
                DeliveryError::Abandoned if fatal.get().is_some() => DeliveryError::Fatal,
                error => error,
            }),
        };
        let failure = result.as_ref().err().cloned();
        // Whoever waits for the result finds it counted, and the room given back.
        tickets.settle(ticket, result, |sent| {
            budget.give_back(sent.cost);
            metrics.left(sent);
            match &failure {
                None => metrics.delivered(sent, sent.at.elapsed()),
                Some(error) => metrics.failed(error),
            }
        });
        if failure.is_none() && unreachable.load(Ordering::Relaxed) && unreachable.swap(false, Ordering::AcqRel) {
            tracing::warn!("Kafka is reached again");
        }
    }
}

fn delivery_error(error: &KafkaError) -> DeliveryError {
    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
    DeliveryError::from(code)
}

impl ClientContext for Callbacks {
    fn stats_raw(&self, statistics: &[u8]) {
        // SAFETY: the client, whose context this is, calls it.
        unsafe { self.bootstrap.look(statistics) };
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        use RDKafkaLogLevel as Level;
        match level {
            Level::Emerg | Level::Alert | Level::Critical => tracing::error!(facility, "{message}"),
            // A broker that has just started knows no producers' ids for a moment. It is asked again until it does, and
            // entries wait meanwhile.
            Level::Warning if facility == "GETPID" => tracing::debug!(facility, "{message}"),
            // A connection that breaks is an error to librdkafka, and to us what it is there to mend.
            Level::Error | Level::Warning => tracing::warn!(facility, "{message}"),
            Level::Notice | Level::Info => tracing::info!(facility, "{message}"),
            Level::Debug => tracing::debug!(facility, "{message}"),
        }
    }

    /// Called more than once for an error.
    fn error(&self, error: KafkaError, reason: &str) {
        let State { fatal, unreachable, .. } = &*self.state;
        // SAFETY: the client, whose context this is, calls it.
        if let Some(reason) = unsafe { self.bootstrap.fatal_error() } {
            fatal.note(&reason);
            return;
        }
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                if !unreachable.swap(true, Ordering::AcqRel) {
                    tracing::warn!("Kafka can't be reached; entries wait");
                }
            }
            // Entries wait and are sent again until their time is over; who sent them is told then. What it was stands in
            // librdkafka's log.
            _ => tracing::debug!("Kafka: {reason}"),
        }
    }
}
