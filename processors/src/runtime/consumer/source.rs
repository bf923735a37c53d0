//! Where records come from.
//!
//! The group says which partitions are this member's, in either case by librdkafka. Their records come from our own fetcher,
//! or by librdkafka too where the fetcher can't: see [`FetchBy`](agentworks_kafka::FetchBy).

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use agentworks_fetch::records::Reader;
use agentworks_fetch::{Event, Fetcher, Token, What};
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
    events: Receiver<Event>,
    tokens: HashMap<TopicPartition, Token>,
    partitions: HashMap<Token, TopicPartition>,
    /// What there was no room for.
    rest: Option<(Token, Box<Reader>)>,
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

    fn partition(&self, token: Token) -> Option<TopicPartition> {
        self.partitions.get(&token).copied()
    }

    /// What comes next, waiting for it so long: what was put back before anything else, for whatever is fetched of the same
    /// partition lies behind it. What is of a partition that isn't followed so any more is passed over.
    pub(super) fn next(&mut self, timeout: Duration) -> Option<Next> {
        if let Some((token, rest)) = self.rest.take()
            && let Some(partition) = self.partition(token)
        {
            return Some(Next::Rest(partition, rest));
        }
        // It ends with the fetcher's thread, which `round` notices.
        let Event { token, what } = self.events.recv_timeout(timeout).ok()?;
        Some(self.partition(token).map_or(Next::Nothing, |partition| Next::Event(partition, what)))
    }

    /// Keeps what there is no room for.
    pub(super) fn put_back(&mut self, partition: TopicPartition, rest: Reader) {
        self.rest = self.tokens.get(&partition).map(|token| (*token, Box::new(rest)));
    }
}

/// What is to be taken from the fetcher.
#[derive(Debug)]
pub(super) enum Next {
    /// What was put back of a partition.
    Rest(TopicPartition, Box<Reader>),
    /// What has happened to one.
    Event(TopicPartition, What),
    /// Nothing that anybody wants.
    Nothing,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::{Topic, Topics};
    use bytes::Bytes;

    use super::*;

    /// Room may come back at any moment, and so before anybody has looked at what was put back.
    #[test]
    fn what_was_put_back_comes_before_what_was_fetched_behind_it() {
        let kafka = KafkaSettings::new("127.0.0.1:1", Topics::default());
        let mut fetcher = Source::new(&kafka, "tests").unwrap();
        let Source::Fetcher(fetching) = &mut fetcher else { panic!("it is the default") };
        let (sender, events) = mpsc::channel();
        fetching.events = events;
        let partition = TopicPartition::new(Topic::AgentLogs, 0);
        fetching.follow("agent-logs", partition, 0);
        let token = fetching.tokens[&partition];
        let send = |token, from| {
            let what = What::Records { data: Bytes::new(), from, aborted: Vec::new() };
            sender.send(Event { token, what }).unwrap();
        };
        send(token, 7);
        send(token + 1, 8);
        fetching.put_back(partition, Reader::new(Bytes::new(), Vec::new(), 3));
        let mut next = || fetching.next(Duration::ZERO);
        assert!(matches!(next(), Some(Next::Rest(_, rest)) if rest.next() == 3));
        assert!(matches!(next(), Some(Next::Event(_, What::Records { from: 7, .. }))));
        assert!(matches!(next(), Some(Next::Nothing)));
        assert!(next().is_none());
        // Followed anew, it comes from elsewhere.
        fetching.put_back(partition, Reader::new(Bytes::new(), Vec::new(), 3));
        fetching.leave(&[partition]);
        fetching.follow("agent-logs", partition, 0);
        assert!(fetching.next(Duration::ZERO).is_none());
    }
}
