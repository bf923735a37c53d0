//! The dead-letter topic.
//!
//! - here: writing to it.
//! - [`erased`]: noting there what was erased.
//! - [`read`]: what lies in it.
//! - [`redrive`]: producing records again.

pub mod erased;
pub mod read;
pub mod redrive;

use std::fmt;
use std::fmt::Write;
use std::time::Duration;

use agentworks_bootstrap::create;
use agentworks_schemas::dead_letter::{MAX_PAYLOAD, header};
use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use crate::batch::Rejected;
use crate::error::KafkaError;
use crate::settings::KafkaSettings;
use crate::trace::Traced;

/// How many records are under way at once: with [`MAX_PAYLOAD`] each, a few MiB of memory.
const IN_FLIGHT: usize = 64;

/// How long to wait for room in the producer's queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes rejected records to the dead-letter topic, at least once.
///
/// A dead letter has the record's key, payload and headers, and headers that say where it comes from and what is wrong
/// with it ([`header`]). Of a payload longer than [`MAX_PAYLOAD`] only the beginning is kept, with its length and hash
/// in headers; likewise of a key, and of the record's own headers those that a batch keeps, with the number of the others:
/// so there is no record that the dead-letter topic refuses.
pub struct DeadLetters {
    settings: KafkaSettings,
    topic: String,
    /// Replaced after an error that ends an idempotent producer.
    producer: Mutex<FutureProducer<Traced>>,
}

impl DeadLetters {
    /// A writer with a producer of its own.
    pub fn new(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let topic = settings.topics.dead_letters();
        let producer = Mutex::new(connect(settings, &topic)?);
        Ok(DeadLetters { settings: settings.clone(), topic, producer })
    }

    /// Writes the records and waits until all are acknowledged. After an error some may have been written; the call may
    /// be made again with the same records, which writes those twice.
    pub async fn write(&self, rejects: &[Rejected]) -> Result<(), KafkaError> {
        for chunk in rejects.chunks(IN_FLIGHT) {
            let producer = self.producer.lock().clone();
            let mut sends = JoinSet::new();
            for rejected in chunk {
                sends.spawn(send(producer.clone(), self.topic.clone(), self.origin(rejected), rejected.clone()));
            }
            while let Some(sent) = sends.join_next().await {
                // A send doesn't panic; if one did, its record isn't known to be written.
                let sent = sent.unwrap_or(Err(rdkafka::error::KafkaError::Canceled));
                sent.map_err(|error| self.fault(&producer, &error))?;
            }
        }
        Ok(())
    }

    /// The name of the topic that a record comes from.
    fn origin(&self, rejected: &Rejected) -> String {
        self.settings.topics.name(rejected.position.partition.topic)
    }

    fn fault(&self, producer: &FutureProducer<Traced>, error: &rdkafka::error::KafkaError) -> KafkaError {
        if producer.client().fatal_error().is_none() && error.rdkafka_error_code() != Some(RDKafkaErrorCode::Fatal) {
            return KafkaError::from_client(error, &self.topic);
        }
        match connect(&self.settings, &self.topic) {
            Ok(fresh) => {
                *self.producer.lock() = fresh;
                KafkaError::Unavailable(format!("{}: the producer was replaced after {error}", self.topic))
            }
            Err(error) => error,
        }
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").field("topic", &self.topic).finish_non_exhaustive()
    }
}

fn connect(settings: &KafkaSettings, topic: &str) -> Result<FutureProducer<Traced>, KafkaError> {
    create(settings.dead_letters(), Traced::new).map_err(|error| KafkaError::from_client(&error, topic))
}

async fn send(
    producer: FutureProducer<Traced>,
    topic: String,
    origin: String,
    rejected: Rejected,
) -> Result<(), rdkafka::error::KafkaError> {
    let mut record = FutureRecord::<[u8], [u8]>::to(&topic).headers(headers(&rejected, &origin));
    if let Some(key) = &rejected.key {
        record = record.key(cut(key));
    }
    if let Some(payload) = &rejected.payload {
        record = record.payload(cut(payload));
    }
    producer.send(record, QUEUE_TIMEOUT).await.map(|_| ()).map_err(|(error, _)| error)
}

fn cut(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(MAX_PAYLOAD)]
}

/// The record's own headers, then ours.
fn headers(rejected: &Rejected, origin: &str) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new_with_capacity(rejected.headers.len() + 9);
    for (key, value) in &rejected.headers {
        headers = headers.insert(Header { key, value: value.as_deref() });
    }

    let position = rejected.position;
    let add = |headers: OwnedHeaders, key, value: &str| headers.insert(Header { key, value: Some(value) });
    headers = add(headers, header::TOPIC, origin);
    headers = add(headers, header::PARTITION, &position.partition.partition.to_string());
    headers = add(headers, header::OFFSET, &position.offset.to_string());
    headers = add(headers, header::EXCEPTION_CLASS, rejected.reject.code());
    headers = add(headers, header::EXCEPTION_MESSAGE, &rejected.reject.to_string());
    headers = add(headers, header::EPOCH, &position.epoch.to_string());
    headers = add(headers, header::TIMESTAMP, &rejected.timestamp.millis().to_string());
    if rejected.headers_left_out > 0 {
        headers = add(headers, header::HEADERS_LEFT_OUT, &rejected.headers_left_out.to_string());
    }
    if let Some(key) = rejected.key.as_ref().filter(|key| key.len() > MAX_PAYLOAD) {
        headers = add(headers, header::KEY_LENGTH, &key.len().to_string());
    }
    match &rejected.payload {
        Some(payload) if payload.len() > MAX_PAYLOAD => {
            headers = add(headers, header::LENGTH, &payload.len().to_string());
            add(headers, header::SHA256, &hex(&Sha256::digest(payload)))
        }
        _ => headers,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::codec::Reject;
    use agentworks_schemas::{Position, Timestamp, Topic, TopicPartition};
    use rdkafka::message::Headers;

    use super::*;

    fn rejected(payload: Vec<u8>, headers: Vec<(String, Option<Vec<u8>>)>) -> Rejected {
        let partition = TopicPartition::new(Topic::AgentLogs, 3);
        Rejected {
            position: Position { partition, epoch: 2, offset: 41 },
            timestamp: Timestamp(1_700_000_000_000),
            key: Some(b"card".to_vec()),
            payload: Some(payload),
            headers,
            headers_left_out: 0,
            reject: Reject::Empty,
        }
    }

    fn find(headers: &OwnedHeaders, key: &str) -> Option<String> {
        let found = headers.iter().find(|header| header.key == key)?;
        Some(String::from_utf8(found.value?.to_vec()).unwrap())
    }

    #[test]
    fn headers_say_where_and_why() {
        let headers = headers(
            &rejected(b"?".to_vec(), vec![("x".into(), Some(b"1".to_vec())), ("y".into(), None)]),
            "test.agent-logs",
        );
        for (key, value) in [
            ("x", "1"),
            ("__connect.errors.topic", "test.agent-logs"),
            ("__connect.errors.partition", "3"),
            ("__connect.errors.offset", "41"),
            ("__connect.errors.exception.class.name", "empty"),
            ("__connect.errors.exception.message", "the record is empty"),
            ("agentworks.origin.epoch", "2"),
            ("agentworks.origin.timestamp", "1700000000000"),
        ] {
            assert_eq!(find(&headers, key).as_deref(), Some(value), "{key}");
        }
        assert!(headers.iter().any(|header| header.key == "y" && header.value.is_none()));
        assert_eq!(find(&headers, header::LENGTH), None);
    }

    #[test]
    fn a_long_payload_is_cut_and_hashed() {
        let rejected = rejected(vec![b'a'; 100_000], Vec::new());
        let headers = headers(&rejected, "agent-logs");
        assert_eq!(find(&headers, header::LENGTH).unwrap(), "100000");
        assert_eq!(
            find(&headers, header::SHA256).unwrap(),
            "6d1cf22d7cc09b085dfc25ee1a1f3ae0265804c607bc2074ad253bcc82fd81ee"
        );
        assert_eq!(cut(rejected.payload.as_ref().unwrap()).len(), MAX_PAYLOAD);
    }

    #[test]
    fn headers_that_were_left_out_are_counted() {
        let all = rejected(Vec::new(), vec![("a".into(), Some(vec![0; 60_000]))]);
        assert_eq!(find(&headers(&all, "agent-logs"), header::HEADERS_LEFT_OUT), None);
        let headers = headers(&Rejected { headers_left_out: 2, ..all }, "agent-logs");
        assert_eq!(find(&headers, header::HEADERS_LEFT_OUT).as_deref(), Some("2"));
        assert!(headers.iter().any(|header| header.key == "a"));
    }
}
