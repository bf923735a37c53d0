//! Topics, and raw records in and out of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use agentworks_kafka::settings::KafkaSettings;
use agentworks_kafka::topics::{self, watermarks_of};
use agentworks_schemas::{Topic, Topics};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, Timestamp, TopicPartitionList};

use super::eventually;

/// How long anything here may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A record as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Timestamp,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// The payload, of a record that has one, as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.payload.as_deref().expect("a payload")).expect("UTF-8")
    }
}

/// A client configuration for the Kafka at `bootstrap`, with these settings of librdkafka.
pub fn client(bootstrap: &str, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config.set("reconnect.backoff.max.ms", "500");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

/// A client that makes and removes topics.
pub fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    client(bootstrap, &[]).create().expect("an admin client")
}

/// Takes all records from the topics, as retention does.
pub async fn cut(bootstrap: &str, topics: &Topics, partitions: i32) {
    let mut ends = TopicPartitionList::new();
    for (topic, partition) in Topic::ALL.into_iter().flat_map(|topic| (0..partitions).map(move |it| (topic, it))) {
        ends.add_partition_offset(&topics.name(topic), partition, Offset::End).expect("an offset");
    }
    admin(bootstrap).delete_records(&ends, &AdminOptions::new()).await.expect("the records are deleted");
}

/// Makes the three topics and the dead-letter topic, with names that begin with `prefix`.
pub async fn create_topics(bootstrap: &str, prefix: &str, partitions: i32) -> Topics {
    let names = Topics::with_prefix(prefix);
    let settings = KafkaSettings::new(bootstrap, names.clone());
    topics::create_topics(&settings, partitions, 1).await.expect("the topics are made");
    names
}

/// Makes one topic, as the broker's defaults have it.
pub async fn create_topic(bootstrap: &str, name: &str, partitions: i32) {
    let admin = admin(bootstrap);
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    eventually(PATIENCE, async || {
        let results = admin.create_topics([&topic], &AdminOptions::new()).await.expect("an answer");
        match &results[0] {
            Ok(_) => Some(()),
            // A topic of that name is still being deleted.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => None,
            Err((name, code)) => panic!("{name} can't be made: {code}"),
        }
    })
    .await;
}

/// Removes one topic.
pub async fn delete_topic(bootstrap: &str, name: &str) {
    let results = admin(bootstrap).delete_topics(&[name], &AdminOptions::new()).await.expect("an answer");
    results[0].as_ref().expect("the topic is deleted");
}

/// Deletes one of the topics and makes it again.
pub async fn make_again(settings: &KafkaSettings, topic: Topic, partitions: i32) {
    let name = settings.topics.name(topic);
    delete_topic(&settings.brokers, &name).await;
    // While it is still being deleted it counts as being there.
    eventually(PATIENCE, async || {
        topics::create_topics(settings, partitions, 1).await.ok()?;
        let infos = topics::describe_topics(settings).await.ok()?;
        let is_empty = infos.iter().any(|info| info.name == name && info.offsets == 0);
        (infos.len() == Topic::ALL.len() + 1 && is_empty).then_some(())
    })
    .await;
}

/// A producer with these settings of librdkafka.
pub fn producer(bootstrap: &str, settings: &[(&str, &str)]) -> FutureProducer {
    client(bootstrap, &[&[("linger.ms", "2")], settings].concat()).create().expect("a producer")
}

/// Produces records of key and payload, in this order; each is acknowledged when this returns.
pub async fn produce<K: AsRef<[u8]>, P: AsRef<[u8]>>(
    bootstrap: &str,
    topic: &str,
    records: impl IntoIterator<Item = (K, P)>,
) {
    let producer = producer(bootstrap, &[("enable.idempotence", "true"), ("partitioner", "murmur2_random")]);
    let deliveries: Vec<_> = records
        .into_iter()
        .map(|(key, payload)| {
            let record = FutureRecord::to(topic).key(key.as_ref()).payload(payload.as_ref());
            producer.send_result(record).map_err(|(error, _)| error).expect("room in the queue")
        })
        .collect();
    for delivery in deliveries {
        delivery.await.expect("the producer lives").map_err(|(error, _)| error).expect("it is delivered");
    }
}

/// A consumer without a group that reads what it is assigned, and takes no position but the one it is given.
pub fn consumer(bootstrap: &str) -> BaseConsumer {
    let settings = [
        ("group.id", "unused"),
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "error"),
        ("enable.partition.eof", "true"),
        ("fetch.wait.max.ms", "50"),
    ];
    client(bootstrap, &settings).create().expect("a consumer")
}

/// A consumer as [`consumer`], assigned to one partition from `offset` on.
pub fn consumer_at(bootstrap: &str, topic: &str, partition: i32, offset: i64) -> BaseConsumer {
    let consumer = consumer(bootstrap);
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
    consumer.assign(&assignment).expect("an assignment");
    consumer
}

/// The next record, or what is wrong. Blocks. The ends of partitions are skipped.
pub fn next(consumer: &BaseConsumer) -> Result<Record, KafkaError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "nothing comes");
        match consumer.poll(Duration::from_millis(100)) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Ok(message)) => return Ok(record(&message)),
            Some(Err(error)) => return Err(error),
        }
    }
}

/// All records of a topic, by partition and offset.
pub async fn read_all(bootstrap: &str, topic: &str) -> Vec<Record> {
    let (consumer, topic) = (consumer(bootstrap), topic.to_owned());
    let read = move || {
        let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE).expect("metadata");
        let mut assignment = TopicPartitionList::new();
        let mut open = BTreeSet::new();
        for partition in metadata.topics()[0].partitions() {
            let low = first_offset(&consumer, &topic, partition.id());
            assignment.add_partition_offset(&topic, partition.id(), Offset::Offset(low)).expect("an offset");
            open.insert(partition.id());
        }
        consumer.assign(&assignment).expect("an assignment");

        let mut records = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while !open.is_empty() {
            assert!(Instant::now() < deadline, "{topic} has no end after {} records", records.len());
            match consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Ok(message)) => records.push(record(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
                Some(Err(error)) => panic!("{topic}: {error}"),
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    };
    tokio::task::spawn_blocking(read).await.expect("the topic can be read")
}

/// The first offset of a partition. One that was made a moment ago may have no leader yet.
fn first_offset(consumer: &BaseConsumer, topic: &str, partition: i32) -> i64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match watermarks_of(consumer, topic, partition) {
            Ok(marks) => return marks.low,
            Err(error) if Instant::now() > deadline => panic!("watermarks: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn record(message: &impl Message) -> Record {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Record {
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp(),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        headers: headers.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect(),
    }
}
