//! Kafka in this process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentworks_kafka::{KafkaSettings, SeekPool};
use agentworks_schemas::dead_letter::header;
use agentworks_schemas::{Topic, TopicPartition, Topics};
use agentworks_store::{EmbeddedStore, Store};
use rdkafka::bindings::{rd_kafka_handle_mock_cluster, rd_kafka_mock_group_initial_rebalance_delay_ms};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tempfile::TempDir;

use crate::runtime::testing::Memory;
use crate::runtime::{Runtime, RuntimeConfig, RuntimeHandle};

/// The cluster lives in the producer's client.
pub(super) struct Cluster {
    settings: KafkaSettings,
    store: Arc<dyn Store>,
    _folder: TempDir,
    producer: FutureProducer,
    log: BTreeMap<TopicPartition, Vec<String>>,
}

impl Cluster {
    pub(super) fn new() -> Self {
        let producer: FutureProducer =
            ClientConfig::new().set("test.mock.num.brokers", "1").set("linger.ms", "0").create().unwrap();
        let settings = {
            let mock = producer.client().mock_cluster().unwrap();
            let settings = KafkaSettings::new(mock.bootstrap_servers(), Topics::default());
            for topic in Topic::ALL {
                mock.create_topic(&settings.topics.name(topic), 2, 1).unwrap();
            }
            mock.create_topic(&settings.topics.dead_letters(), 1, 1).unwrap();
            settings
        };
        // SAFETY: the client lives, and with it its cluster.
        unsafe {
            let mock = rd_kafka_handle_mock_cluster(producer.client().native_ptr());
            // Else every group takes three seconds to form.
            rd_kafka_mock_group_initial_rebalance_delay_ms(mock, 0);
        }
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::open(folder.path()).unwrap());
        Cluster { settings, store, _folder: folder, producer, log: BTreeMap::new() }
    }

    /// The ids of what was produced, by partition.
    pub(super) fn log(&self) -> BTreeMap<TopicPartition, Vec<String>> {
        self.log.clone()
    }

    pub(super) fn config(&self, memories: &[&Memory]) -> RuntimeConfig {
        let sinks = memories.iter().map(|memory| memory.sink(&Topic::LOGS)).collect();
        let mut config = RuntimeConfig::new(self.settings.clone(), "store", self.store.clone(), sinks);
        // The mock has no controller, which librdkafka would ask.
        config.topic_ids = false;
        // The mock's rebalances last a second less than a session.
        for (name, value) in
            [("fetch.wait.max.ms", "10"), ("session.timeout.ms", "2000"), ("heartbeat.interval.ms", "500")]
        {
            config.kafka.extra.push((name.into(), value.into()));
        }
        config
    }

    pub(super) fn start(&self, memories: &[&Memory]) -> RuntimeHandle {
        Runtime::start(self.config(memories)).unwrap()
    }

    /// Produces entries to a partition.
    pub(super) async fn produce(&mut self, partition: TopicPartition, count: usize) {
        for _ in 0..count {
            let ids = self.log.entry(partition).or_default();
            let id = format!("{partition}-{}", ids.len());
            let line = format!(
                r#"{{"id":"{id}","runId":"run","cardId":"card","workspaceId":"space","message":"a line of text"}}"#
            );
            ids.push(id);
            self.send(partition, &line).await;
        }
    }

    /// Produces something else.
    pub(super) async fn garbage(&self, partition: TopicPartition, payload: &str) {
        self.send(partition, payload).await;
    }

    async fn send(&self, partition: TopicPartition, payload: &str) {
        let name = self.settings.topics.name(partition.topic);
        let record = FutureRecord::to(&name).partition(partition.partition).key("card").payload(payload);
        self.producer.send_result(record).map_err(|(error, _)| error).unwrap().await.unwrap().unwrap();
    }

    /// The next requests to produce are answered with these errors.
    pub(super) fn fail_produce(&self, errors: &[RDKafkaRespErr]) {
        self.producer.client().mock_cluster().unwrap().request_errors(RDKafkaApiKey::Produce, errors);
    }

    /// From now on they are taken.
    pub(super) fn fail_produce_no_more(&self) {
        self.producer.client().mock_cluster().unwrap().clear_request_errors(RDKafkaApiKey::Produce);
    }

    /// The next requests to fetch are answered with this error.
    pub(super) fn fail_fetch(&self, error: RDKafkaRespErr, times: usize) {
        self.producer.client().mock_cluster().unwrap().request_errors(RDKafkaApiKey::Fetch, &vec![error; times]);
    }

    /// From now on they are not.
    pub(super) fn fail_fetch_no_more(&self) {
        self.producer.client().mock_cluster().unwrap().clear_request_errors(RDKafkaApiKey::Fetch);
    }

    /// Reads beside the runtimes.
    pub(super) fn seek(&self) -> SeekPool {
        SeekPool::new(self.settings.clone(), 1)
    }

    /// The payload, origin's offset and code of all dead letters.
    pub(super) fn dead_letters(&self) -> Vec<(String, String, String)> {
        let consumer: BaseConsumer = self.settings.seek_reader().create().unwrap();
        let name = self.settings.topics.dead_letters();
        let (_, end) = consumer.fetch_watermarks(&name, 0, Duration::from_secs(5)).unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&name, 0, Offset::Offset(0)).unwrap();
        consumer.assign(&list).unwrap();
        let mut letters = Vec::new();
        while letters.len() < usize::try_from(end).unwrap() {
            let Some(Ok(message)) = consumer.poll(Duration::from_secs(5)) else { continue };
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let find = |name: &str| {
                let headers = message.headers().unwrap();
                text(headers.iter().find(|header| header.key == name).unwrap().value.unwrap())
            };
            letters.push((text(message.payload().unwrap()), find(header::OFFSET), find(header::EXCEPTION_CLASS)));
        }
        letters
    }
}

/// Waits until something is so, for a minute at most.
pub(super) async fn until(is_so: impl Fn() -> bool, else_: impl Fn() -> String) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{}", else_());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
