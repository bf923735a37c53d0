//! What comes from our own fetcher.

use std::time::Duration;

use agentworks_fetch::records::Reader;
use agentworks_fetch::{FetchError, What};
use agentworks_kafka::KafkaError;
use agentworks_schemas::TopicPartition;
use tracing::warn;

use super::lanes::Filled;
use super::source::{Next, Source};
use super::{End, Poller, RUN};

impl Poller {
    /// Answers the group, and takes what the fetcher has, waiting for it so long.
    pub(super) fn poll_fetcher(&mut self, mut timeout: Duration) -> Result<(), End> {
        // Of records librdkafka has none: no partition is assigned to it.
        if let Some(Err(error)) = self.consumer.poll(Duration::ZERO) {
            self.fault(&error)?;
        }
        for _ in 0..RUN {
            // A batch may expand to more than there is room for.
            if self.waiting.bytes() >= self.queue {
                return Ok(());
            }
            let Source::Fetcher(fetching) = &mut self.source else { return Ok(()) };
            match fetching.next(timeout) {
                Some(Next::Rest(partition, reader)) => self.fill(partition, *reader),
                Some(Next::Event(partition, what)) => self.fetched(partition, what),
                Some(Next::Nothing) => {}
                None => return Ok(()),
            }
            timeout = Duration::ZERO;
        }
        Ok(())
    }

    fn fetched(&mut self, partition: TopicPartition, what: What) {
        match what {
            What::Records { data, aborted, from } => {
                self.metrics.fetched(data.len());
                self.fill(partition, Reader::new(data, aborted, from));
            }
            What::AtEnd { high_watermark } => self.lanes.at_end(partition, Some(high_watermark)),
            What::Astray => self.doubt(Some(partition)),
            What::Broken(error) => {
                let damaged = self.lanes.damaged(partition, &error);
                self.go_on(partition, damaged);
            }
            What::Fault(error) => {
                let fault = match &error {
                    error if error.is_unknown_topic() => {
                        KafkaError::NoTopic(self.kafka.topics.name(partition.topic)).to_string()
                    }
                    // It is stricter than OpenSSL.
                    FetchError::Tls { .. } => {
                        format!("{error}; with kafka.fetch_by = \"librdkafka\" it is OpenSSL that judges")
                    }
                    error => error.to_string(),
                };
                warn!(error = fault, %partition, "Kafka");
                self.metrics.fetch_fault();
                if !error.is_transient() {
                    self.lanes.blame(Some(partition), &fault);
                }
                self.board.set_kafka(fault);
            }
        }
    }

    fn fill(&mut self, partition: TopicPartition, mut reader: Reader) {
        let (waiting, queue) = (self.waiting.clone(), self.queue);
        let filled = self.lanes.fill(partition, &mut reader, || waiting.bytes() < queue);
        if let (Filled::Partly, Source::Fetcher(fetching)) = (&filled, &mut self.source) {
            fetching.put_back(partition, reader);
        }
        self.go_on(partition, filled);
    }

    fn go_on(&mut self, partition: TopicPartition, filled: Filled) {
        match filled {
            Filled::Yes | Filled::Partly => {}
            Filled::Again(next) => {
                warn!(%partition, next, "what was fetched is damaged, or misses something: it is fetched again");
                self.assign(partition, next);
            }
            Filled::Broken(reason) => self.stop(partition, reason),
        }
    }
}
