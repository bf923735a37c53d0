//! Producing dead letters again.
//!
//! Each goes to its origin's topic as it was, and with it, in the same transaction, a mark to the dead-letter topic that
//! says so: either both are there or neither, whatever dies. All redrives of an installation have one transactional id,
//! so that one that begins fences those before it: what they have committed it finds among the marks, and what they had
//! not will never be there.

use std::fmt;
use std::time::Duration;

use agentworks_bootstrap::create;
use agentworks_schemas::Timestamp;
use agentworks_schemas::dead_letter::header;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use super::read::Letter;
use crate::error::KafkaError;
use crate::settings::KafkaSettings;
use crate::trace::Traced;

/// How long a transaction may take to begin or end.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Produces dead letters again. Its calls block.
pub struct Redriver {
    settings: KafkaSettings,
    producer: FutureProducer<Traced>,
}

impl Redriver {
    /// Ends whatever other redrive is under way. Marks that are read from now on are all there are.
    ///
    /// # Errors
    /// Kafka's.
    pub fn begin(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let fault = |error: ClientError| KafkaError::from_client(&error, "the redrive");
        let producer: FutureProducer<Traced> = create(settings.redrive(), Traced::new).map_err(fault)?;
        producer.init_transactions(TIMEOUT).map_err(fault)?;
        Ok(Redriver { settings: settings.clone(), producer })
    }

    /// Why a letter can't be produced again, if so.
    pub fn refusal(settings: &KafkaSettings, letter: &Letter) -> Option<String> {
        if let Some(cut) = &letter.cut {
            return Some(format!("not all of it was kept: {cut}"));
        }
        let topic = &letter.origin.topic;
        settings.topics.topic(topic).is_none().then(|| format!("{topic} is none of our topics"))
    }

    /// Produces letters again, all or none of them.
    ///
    /// # Errors
    /// If there is a letter with a [`Redriver::refusal`], if another redrive has begun, or Kafka's.
    pub fn redrive(&self, letters: &[Letter]) -> Result<(), KafkaError> {
        if let Some((letter, refusal)) = letters.iter().find_map(|l| Some((l, Self::refusal(&self.settings, l)?))) {
            return Err(KafkaError::Failed(format!("{} can't be produced again: {refusal}", letter.position)));
        }
        let fault = |error: &ClientError| KafkaError::from_client(error, "the redrive");
        self.producer.begin_transaction().map_err(|error| fault(&error))?;
        let sent = letters.iter().try_for_each(|letter| self.send(letter));
        let ended = sent.and_then(|()| self.producer.commit_transaction(TIMEOUT));
        ended.map_err(|error| {
            // If this fails too, the next redrive aborts it.
            let _ = self.producer.abort_transaction(TIMEOUT);
            fault(&error)
        })
    }

    /// Queues a letter and its mark. Whether they arrive shows when the transaction is committed.
    fn send(&self, letter: &Letter) -> Result<(), ClientError> {
        let marks = self.settings.topics.dead_letters();
        // Beside its letter, so that retention never takes the mark first.
        let beside = Some(letter.position.partition);
        for (topic, partition, payload, headers) in
            [(&letter.origin.topic, None, letter.payload.as_ref(), again(letter)), (&marks, beside, None, mark(letter))]
        {
            let mut record = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
            if let Some(partition) = partition {
                record = record.partition(partition);
            }
            if let Some(key) = &letter.key {
                record = record.key(key);
            }
            if let Some(payload) = payload {
                record = record.payload(payload);
            }
            drop(self.producer.send_result(record).map_err(|(error, _)| error)?);
        }
        Ok(())
    }
}

impl fmt::Debug for Redriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redriver").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The headers of a record that is produced again: its own, and where it lay.
fn again(letter: &Letter) -> OwnedHeaders {
    let own = letter.headers.iter().filter(|(name, _)| name != header::REDRIVEN_FROM);
    let headers =
        own.fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: value.as_deref() }));
    headers.insert(Header { key: header::REDRIVEN_FROM, value: Some(&letter.origin.to_string()) })
}

/// The headers of a mark.
fn mark(letter: &Letter) -> OwnedHeaders {
    let origin = &letter.origin;
    let headers = [
        (header::TOPIC, origin.topic.clone()),
        (header::PARTITION, origin.partition.to_string()),
        (header::OFFSET, origin.offset.to_string()),
        (header::EPOCH, origin.epoch.to_string()),
        (header::REDRIVEN_AT, Timestamp::now().millis().to_string()),
    ];
    headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }))
}
