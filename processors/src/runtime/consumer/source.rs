//! Where records come from.
//!
//! The group says which partitions are this member's, in either case by librdkafka. Their records come from our own fetcher,
//! or by librdkafka too where the fetcher can't: see [`FetchBy`](agentworks_kafka::FetchBy).

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver};

use agentworks_fetch::records::Reader;
use agentworks_fetch::{Event, Fetcher, Token};
use agentworks_kafka::topics::last_known_end;
use agentworks_kafka::{KafkaError, KafkaSettings};
use agentworks_schemas::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use tracing::debug;

use crate::runtime::group::{self, GroupContext};

/// What is fetched, and by whom.
#[derive(Debug)]
pub(super) enum Source {
    /// By the consumer itself.
    Consumer,
    /// By our own fetcher.
    Fetcher(Box<Fetching>),
}

/// What our own fetcher follows.
#[derive(Debug)]
pub(super) struct Fetching {
    fetcher: Fetcher,
    pub(super) events: Receiver<Event>,
    tokens: HashMap<TopicPartition, Token>,
    partitions: HashMap<Token, TopicPartition>,
    /// What there was no room for.
    rest: Option<(Token, Reader)>,
}

impl Source {
    /// For a member of this group.
    pub(super) fn new(kafka: &KafkaSettings, group: &str) -> Result<Self, KafkaError> {
        let Some(settings) = kafka.fetcher(&kafka.group_consumer(group, None)) else { return Ok(Source::Consumer) };
        let (sender, events) = mpsc::channel();
        // Once the consumer's thread has ended, nobody wants to know.
        let deliver = move |event| drop(sender.send(event));
        let fetcher = Fetcher::start(settings, deliver);
        let fetcher = fetcher.map_err(|error| KafkaError::Failed(format!("there is no thread to fetch: {error}")))?;
        let (tokens, partitions) = (HashMap::new(), HashMap::new());
        Ok(Source::Fetcher(Box::new(Fetching { fetcher, events, tokens, partitions, rest: None })))
    }

    /// Reads a partition from an offset on.
    pub(super) fn follow(
        &mut self,
        consumer: &BaseConsumer<GroupContext>,
        kafka: &KafkaSettings,
        partition: TopicPartition,
        from: i64,
    ) -> KafkaResult<()> {
        match self {
            Source::Consumer => group::assign(consumer, &kafka.topics, partition, from),
            Source::Fetcher(fetching) => {
                fetching.leave(&[partition]);
                fetching.follow(&kafka.topics.name(partition.topic), partition, from);
                Ok(())
            }
        }
    }

    /// Reads partitions no longer.
    pub(super) fn leave(
        &mut self,
        consumer: &BaseConsumer<GroupContext>,
        kafka: &KafkaSettings,
        partitions: &[TopicPartition],
    ) {
        match self {
            Source::Consumer => group::unassign(consumer, &kafka.topics, partitions),
            Source::Fetcher(fetching) => fetching.leave(partitions),
        }
    }

    /// Where a partition ends as of the last answer from a broker.
    pub(super) fn end(
        &self,
        consumer: &BaseConsumer<GroupContext>,
        kafka: &KafkaSettings,
        partition: TopicPartition,
    ) -> Option<i64> {
        match self {
            Source::Consumer => last_known_end(consumer, kafka, partition),
            Source::Fetcher(fetching) => fetching.fetcher.end(*fetching.tokens.get(&partition)?),
        }
    }

    /// Has nothing more fetched for partitions, or goes on. Our own fetcher stops when nothing is taken from it.
    pub(super) fn set_paused(
        &self,
        consumer: &BaseConsumer<GroupContext>,
        kafka: &KafkaSettings,
        reading: impl Iterator<Item = TopicPartition>,
        paused: bool,
    ) -> KafkaResult<()> {
        let Source::Consumer = self else { return Ok(()) };
        let reading = group::list(&kafka.topics, reading);
        if paused { consumer.pause(&reading) } else { consumer.resume(&reading) }
    }

    /// Whether nothing will ever come any more.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self, Source::Fetcher(fetching) if fetching.fetcher.has_ended())
    }
}

impl Fetching {
    fn follow(&mut self, topic: &str, partition: TopicPartition, from: i64) {
        let token = self.fetcher.follow(topic, partition.partition, from);
        debug!(%partition, from, token, "following");
        self.tokens.insert(partition, token);
        self.partitions.insert(token, partition);
    }

    fn leave(&mut self, partitions: &[TopicPartition]) {
        let tokens: Vec<_> = partitions.iter().filter_map(|partition| self.tokens.remove(partition)).collect();
        for token in &tokens {
            self.partitions.remove(token);
        }
        if !tokens.is_empty() {
            self.fetcher.leave(tokens);
        }
    }

    /// The partition that an event is of, if it is still followed so.
    pub(super) fn partition(&self, token: Token) -> Option<TopicPartition> {
        self.partitions.get(&token).copied()
    }

    /// Keeps what there is no room for, to be taken before anything else.
    pub(super) fn put_back(&mut self, partition: TopicPartition, rest: Reader) {
        self.rest = self.tokens.get(&partition).map(|token| (*token, rest));
    }

    /// What was put back, if its partition is still followed so.
    pub(super) fn take_rest(&mut self) -> Option<(TopicPartition, Reader)> {
        let (token, rest) = self.rest.take()?;
        Some((self.partition(token)?, rest))
    }
}
