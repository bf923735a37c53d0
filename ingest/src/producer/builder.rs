//! How a producer is set up.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use agentworks_bootstrap::create;
use agentworks_schemas::codec::MAX_RECORD;
use agentworks_schemas::{Topic, Topics};
use rdkafka::ClientConfig;
use rdkafka::producer::{Producer as _, ThreadedProducer};

use super::budget::{Budget, Cost};
use super::context::{Callbacks, Fatal, State};
use super::error::BuildError;
use super::metrics::Metrics;
use super::tickets::Tickets;
use super::{Producer, Shared};

/// How records are compressed on their way and in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the codecs' own")]
pub enum Compression {
    None,
    /// The default: a fifth of zstd's time for two thirds of its gain.
    #[default]
    Lz4,
    Zstd,
}

impl Compression {
    fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// Settings of a [`Producer`]; [`Producer::builder`] makes one with the defaults.
#[derive(Clone)]
pub struct ProducerBuilder {
    brokers: String,
    topics: Topics,
    linger: Duration,
    delivery_timeout: Duration,
    compression: Compression,
    buffer_bytes: usize,
    buffer_entries: usize,
    metrics: Metrics,
    properties: Vec<(String, String)>,
}

/// What a record has beside its value: key, headers, and what Kafka puts around it.
const RECORD_OVERHEAD: usize = 64 * 1024;

impl ProducerBuilder {
    pub(super) fn new(brokers: &str) -> Self {
        ProducerBuilder {
            brokers: brokers.into(),
            topics: Topics::default(),
            linger: Duration::from_millis(5),
            delivery_timeout: Duration::from_secs(120),
            compression: Compression::default(),
            buffer_bytes: 32 * 1024 * 1024,
            buffer_entries: 100_000,
            metrics: Metrics::default(),
            properties: Vec::new(),
        }
    }

    /// How the topics are called; without a prefix if not set.
    pub fn topics(mut self, topics: Topics) -> Self {
        self.topics = topics;
        self
    }

    /// How long an entry waits for others to be sent along with it; 5 ms if not set.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// How long is tried to deliver an entry, whatever Kafka's state; 120 s if not set, and zero means for ever.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout;
        self
    }

    /// How records are compressed.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// How much may wait for Kafka's acknowledgement, in bytes of encoded entries and in entries, before senders have to
    /// wait; 32 MiB and 100,000 if not set. The memory taken is up to about twice the bytes.
    pub fn buffer(mut self, bytes: usize, entries: usize) -> Self {
        self.buffer_bytes = bytes;
        self.buffer_entries = entries;
        self
    }

    /// The metrics to count in; of its own if not set.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// A further librdkafka setting (TLS, SASL), laid over ours.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// Makes the producer. It connects by and by: that Kafka can't be reached is no error here.
    pub fn build(self) -> Result<Producer, BuildError> {
        const LEAST: usize = MAX_RECORD;
        const MOST: usize = 1024 * 1024 * 1024;
        if !(LEAST..=MOST).contains(&self.buffer_bytes) {
            return Err(BuildError::Buffer { bytes: self.buffer_bytes, least: LEAST, most: MOST });
        }
        let entries = self.buffer_entries.clamp(1, self.buffer_bytes);
        let state = Arc::new(State {
            tickets: Arc::new(Tickets::new()),
            budget: Budget::new(self.buffer_bytes as Cost, entries as Cost),
            metrics: self.metrics.clone(),
            fatal: Fatal::default(),
            unreachable: AtomicBool::new(false),
        });
        let kafka: ThreadedProducer<Callbacks> =
            create(self.client_config(entries), |bootstrap| Callbacks { state: Arc::clone(&state), bootstrap })?;
        // From here on it is told to the callbacks.
        if let Some((_, reason)) = kafka.client().fatal_error() {
            state.fatal.note(&reason);
        }
        let topics = Topic::ALL.map(|topic| self.topics.name(topic));
        Ok(Producer { shared: Arc::new(Shared { kafka, state, topics }) })
    }

    fn client_config(&self, entries: usize) -> ClientConfig {
        // The budget is given back with a result, and librdkafka's own room only when the whole batch of results has been
        // handled: with twice the room its queue is never full before ours.
        let most_entries = (2 * entries).clamp(1, 10_000_000);
        let most_kib = (2 * self.buffer_bytes + RECORD_OVERHEAD) / 1024;
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "agentworks")
            // Implies acks=all, endless retries, and at most five requests in flight, which keep their order.
            .set("enable.idempotence", "true")
            // The Java client's placement, so that all records of a card share a lane. librdkafka asks it with the number
            // of partitions that the brokers last said, growth included: we need not know it.
            .set("partitioner", "murmur2_random")
            .set("compression.codec", self.compression.as_str())
            .set("linger.ms", self.linger.as_millis().to_string())
            .set("delivery.timeout.ms", self.delivery_timeout.as_millis().min(i32::MAX as u128).to_string())
            .set("message.max.bytes", (MAX_RECORD + RECORD_OVERHEAD).to_string())
            .set("queue.buffering.max.messages", most_entries.to_string())
            .set("queue.buffering.max.kbytes", most_kib.to_string())
            // A broker that comes back is found within a second; the default waits up to ten.
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }
}

/// Without the values of the further settings, where passwords are.
impl fmt::Debug for ProducerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: Vec<_> = self.properties.iter().map(|(name, _)| name).collect();
        f.debug_struct("ProducerBuilder")
            .field("brokers", &self.brokers)
            .field("topics", &self.topics)
            .field("linger", &self.linger)
            .field("delivery_timeout", &self.delivery_timeout)
            .field("compression", &self.compression)
            .field("buffer_bytes", &self.buffer_bytes)
            .field("buffer_entries", &self.buffer_entries)
            .field("properties", &properties)
            .finish_non_exhaustive()
    }
}
