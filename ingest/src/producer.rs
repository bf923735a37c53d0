//! The producer: the library that programs embed to write into the log.
//!
//! ```no_run
//! # use agentworks_ingest::producer::Producer;
//! # use agentworks_schemas::{Level, Source};
//! # use std::time::Duration;
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let producer = Producer::builder("localhost:9092").build()?;
//! let run = producer.run("acme", "card-7", "run-1");
//! run.started().send().await?;
//! let delivery = run.log(Level::Info, Source::Agent, "planner", "Reading the ticket").send().await?;
//! println!("written to {:?}", delivery.await?);
//! run.completed().send().await?;
//! producer.close(Duration::from_secs(10)).await?;
//! # Ok(()) }
//! ```
//!
//! What holds:
//!
//! - **Order.** Entries of one card are in the log in the order in which they were taken, and a run's sequence numbers
//!   with them.
//! - **Once.** Whatever is retried between here and Kafka, an entry is in the log at most once; and exactly once when its
//!   [`Delivery`] says so. A program that dies may leave entries that it never knew of: towards the log it is at least once.
//! - **Bounded.** What waits for Kafka is bounded in bytes and in entries; beyond, [`Producer::send`] waits and
//!   [`Producer::try_send`] says [`SendError::Full`].
//! - **No silence.** Every entry that was taken has a result within the delivery timeout. Failures that nobody awaited are
//!   told by [`Producer::flush`] and [`Producer::close`], and all are counted in [`Metrics`].

mod budget;
mod builder;
mod context;
mod error;
mod ids;
mod metrics;
mod run;
#[cfg(test)]
pub(crate) mod tests;
mod tickets;

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_schemas::codec::{self, Framing, MAX_RECORD, Reject};
use agentworks_schemas::{LogEntry, RunEvent, Topic};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _, PurgeConfig, ThreadedProducer};

pub use builder::{Compression, ProducerBuilder};
pub use error::{BuildError, DeliveryError, SendError, Undelivered};
pub use metrics::Metrics;
pub use run::{EntryBuilder, EventBuilder, RunHandle};
pub use tickets::{Delivery, RecordMetadata};

pub(crate) use ids::Ids;

use budget::Room;
use context::{Callbacks, State};
use error::Missed;
use tickets::Sent;

/// Writes entries and run events into the log. Clones share one connection and one buffer; the last one to be dropped
/// abandons what has not been delivered, so [`Producer::close`] first.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

struct Shared {
    kafka: ThreadedProducer<Callbacks>,
    state: Arc<State>,
    /// The topics' names, in the order of [`Topic::ALL`].
    topics: [String; Topic::ALL.len()],
}

impl Producer {
    /// Settings for a producer that writes to `brokers`: `HOST:PORT`, several separated by commas.
    pub fn builder(brokers: &str) -> ProducerBuilder {
        ProducerBuilder::new(brokers)
    }

    /// A handle for writing one run's entries, which gives them their ids and sequence numbers.
    pub fn run(&self, workspace: &str, card: &str, run: &str) -> RunHandle {
        RunHandle::new(self.clone(), workspace, card, run)
    }

    /// Sends an entry as it is, to the topic of its source, as soon as there is room for it.
    ///
    /// Dropping the future before it is ready sends nothing.
    pub async fn send(&self, entry: &LogEntry<'_>) -> Result<Delivery, SendError> {
        self.send_record(&Record::Entry(entry)).await
    }

    /// Sends an entry as it is if there is room now, or says [`SendError::Full`].
    pub fn try_send(&self, entry: &LogEntry<'_>) -> Result<Delivery, SendError> {
        self.counted(self.shared.attempt(&Record::Entry(entry), None))
    }

    /// Sends a run event as it is, as soon as there is room for it.
    ///
    /// Dropping the future before it is ready sends nothing.
    pub async fn send_event(&self, event: &RunEvent<'_>) -> Result<Delivery, SendError> {
        self.send_record(&Record::Event(event)).await
    }

    /// Sends a run event as it is if there is room now, or says [`SendError::Full`].
    pub fn try_send_event(&self, event: &RunEvent<'_>) -> Result<Delivery, SendError> {
        self.counted(self.shared.attempt(&Record::Event(event), None))
    }

    /// Waits until `bytes` would find room in the buffer, or all of the buffer, if that is less. It takes no room: others may
    /// be faster.
    pub async fn has_room(&self, bytes: usize) -> Result<(), SendError> {
        let budget = &self.shared.state.budget;
        budget.take(budget.cost(bytes)).await.map(drop)
    }

    /// Waits until everything that was sent has its result.
    ///
    /// # Errors
    /// When that takes longer than `timeout` (what is left stays on its way), or when entries failed of which nobody knows
    /// yet because their [`Delivery`] was dropped.
    pub async fn flush(&self, timeout: Duration) -> Result<(), Undelivered> {
        let Shared { kafka, state, .. } = &*self.shared;
        // Wakes the threads that wait for a batch to fill; what it returns is known better below.
        let _ = kafka.flush(Duration::ZERO);
        let in_time = tokio::time::timeout(timeout, state.tickets.all_settled()).await.is_ok();
        let pending = if in_time { 0 } else { state.tickets.pending() };
        match (pending, state.tickets.take_failed_unseen()) {
            (0, 0) => Ok(()),
            (pending, failed) => Err(Undelivered { pending, failed }),
        }
    }

    /// Takes no more entries, waits for what was sent as [`Producer::flush`] does, and abandons the rest: their deliveries
    /// say [`DeliveryError::Abandoned`].
    pub async fn close(&self, timeout: Duration) -> Result<(), Undelivered> {
        let Shared { kafka, state, .. } = &*self.shared;
        state.budget.close();
        let result = self.flush(timeout).await;
        if result.is_err() {
            kafka.purge(PurgeConfig::default().queue().inflight());
            state.tickets.all_settled().await;
            // They are in the result already.
            state.tickets.take_failed_unseen();
        }
        result
    }

    /// Why this producer can write no more, if so: Kafka's client has lost what makes it idempotent. Nothing mends it but
    /// another producer.
    pub fn failure(&self) -> Option<Arc<str>> {
        self.shared.state.fatal.get()
    }

    /// Waits until this producer can write no more, and says why; see [`Producer::failure`].
    pub async fn failed(&self) -> Arc<str> {
        self.shared.state.fatal.noted().await
    }

    /// How many entries wait for their result.
    pub fn pending(&self) -> usize {
        self.shared.state.tickets.pending()
    }

    async fn send_record(&self, record: &Record<'_>) -> Result<Delivery, SendError> {
        self.attempt_until_taken(|room| self.shared.attempt(record, room)).await
    }

    /// Attempts it, and where the buffer is full again with room that was waited for.
    async fn attempt_until_taken<'a>(
        &'a self,
        mut attempt: impl FnMut(Option<Room<'a>>) -> Result<Delivery, Missed>,
    ) -> Result<Delivery, SendError> {
        let mut result = attempt(None);
        while let Err(Missed::Full(cost)) = result {
            let room = self.shared.state.budget.take(cost).await?;
            result = attempt(Some(room));
            if let Err(Missed::Full(_)) = result {
                // Kafka's client keeps an entry a moment longer than we count it.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        self.counted(result)
    }

    fn counted(&self, result: Result<Delivery, Missed>) -> Result<Delivery, SendError> {
        result.map_err(SendError::from).inspect_err(|error| self.shared.state.metrics.refused(error))
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("topics", &self.shared.topics).field("pending", &self.pending()).finish()
    }
}

/// What is sent.
enum Record<'a> {
    Entry(&'a LogEntry<'a>),
    Event(&'a RunEvent<'a>),
}

impl Record<'_> {
    fn topic(&self) -> Topic {
        match self {
            Record::Entry(entry) => Topic::of(entry.source),
            Record::Event(_) => Topic::RunEvents,
        }
    }

    fn key(&self) -> &str {
        match self {
            Record::Entry(entry) => &entry.card_id,
            Record::Event(event) => &event.card_id,
        }
    }

    fn check(&self) -> Result<(), Reject> {
        match self {
            Record::Entry(entry) => codec::check_entry(entry),
            Record::Event(event) => codec::check_event(event),
        }
    }

    /// Hands the encoded record to `take`, in a buffer that the thread keeps for the next one.
    fn encoded<T>(&self, take: impl FnOnce(&[u8]) -> T) -> T {
        /// A buffer that had to grow beyond this is not kept.
        const KEPT: usize = 64 * 1024;
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            match self {
                Record::Entry(entry) => codec::encode_entry(entry, Framing::Avro, buffer),
                Record::Event(event) => codec::encode_event(event, Framing::Avro, buffer),
            }
            let result = take(buffer);
            buffer.shrink_to(KEPT);
            result
        })
    }
}

impl Shared {
    /// Hands a record to Kafka's client; takes room for it unless it is given some.
    fn attempt<'a>(&'a self, record: &Record<'_>, room: Option<Room<'a>>) -> Result<Delivery, Missed> {
        record.check().map_err(SendError::from)?;
        record.encoded(|bytes| {
            if bytes.len() > MAX_RECORD {
                let too_large = Reject::TooLarge { length: bytes.len(), limit: MAX_RECORD };
                return Err(SendError::from(too_large).into());
            }
            let cost = self.state.budget.cost(bytes.len());
            let room = room.map_or_else(|| self.state.budget.try_take(cost), Ok)?;
            self.produce(record, bytes, room)
        })
    }

    fn produce(&self, record: &Record<'_>, bytes: &[u8], room: Room<'_>) -> Result<Delivery, Missed> {
        let State { tickets, metrics, .. } = &*self.state;
        let topic = record.topic();
        let sent = Sent { topic, cost: room.cost(), length: bytes.len() as u32, at: Instant::now() };
        let ticket = tickets.issue(sent);
        let name = &self.topics[topic as usize];
        match self.kafka.send(BaseRecord::with_opaque_to(name, ticket).key(record.key()).payload(bytes)) {
            Ok(()) => {
                room.use_up();
                metrics.sent(&sent);
                Ok(Delivery::new(Arc::clone(tickets), ticket))
            }
            Err((error, _)) => {
                tickets.revoke(ticket);
                Err(self.missed(&sent, &error))
            }
        }
    }

    fn missed(&self, sent: &Sent, error: &KafkaError) -> Missed {
        use RDKafkaErrorCode as Code;
        let error = match error.rdkafka_error_code().unwrap_or(Code::Unknown) {
            Code::QueueFull => return Missed::Full(sent.cost),
            Code::UnknownTopic | Code::UnknownTopicOrPartition => SendError::UnknownTopic(sent.topic),
            Code::Fatal => {
                let reason = self.kafka.client().fatal_error().map_or_else(String::new, |(_, reason)| reason);
                SendError::Fatal(self.state.fatal.note(&reason))
            }
            code => SendError::Kafka(code),
        };
        error.into()
    }
}
