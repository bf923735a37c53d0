use std::time::Duration;

use agentworks_kafka::{
    KafkaError, KafkaSettings, TopicOptions, create_topics, create_topics_with, describe_topics, partition_count,
};
use agentworks_schemas::Topics;
use rdkafka::admin::{AdminOptions, NewPartitions};

use super::settings;
use crate::support::records::{PATIENCE, admin};
use crate::support::{eventually, kafka, unique_prefix};

async fn nothing() -> KafkaSettings {
    KafkaSettings::new(kafka().await.bootstrap(), Topics::with_prefix(unique_prefix()))
}

#[tokio::test]
async fn topics_are_made_once_and_as_we_need_them() {
    let settings = nothing().await;
    let retention = Some(Duration::from_secs(3600));
    let options = TopicOptions { partitions: 3, replication: 1, retention, retention_bytes: Some(1 << 30) };
    assert_eq!(create_topics_with(&settings, options).await.unwrap().len(), 4);
    assert_eq!(partition_count(&settings).await.unwrap(), 3);

    create_topics(&settings, 8, 1).await.unwrap();
    assert_eq!(partition_count(&settings).await.unwrap(), 3, "those that are there stay");

    let topics = describe_topics(&settings).await.unwrap();
    assert_eq!(topics.len(), 4);
    for topic in topics {
        assert_eq!((topic.partitions, topic.offsets), (3, 0));
        for (name, value) in [
            ("message.timestamp.type", "LogAppendTime"),
            ("max.message.bytes", "1114112"),
            ("retention.ms", "3600000"),
            ("retention.bytes", "1073741824"),
        ] {
            assert!(topic.settings.contains(&(name.into(), value.into())), "{:?}", topic.settings);
        }
    }
}

#[tokio::test]
async fn topics_that_are_missing_or_differ_are_named() {
    let missing = nothing().await;
    let error = partition_count(&missing).await.unwrap_err();
    assert!(matches!(&error, KafkaError::NoTopic(name) if name.ends_with("agent-logs")), "{error:?}");
    assert!(error.to_string().contains("agentworks topics create"), "{error}");
    assert_eq!(describe_topics(&missing).await.unwrap(), []);

    let settings = settings(2).await;
    let name = settings.topics.name(agentworks_schemas::Topic::RunEvents);
    let more = NewPartitions::new(&name, 5);
    admin(&settings.brokers).create_partitions([&more], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    // The brokers learn of it a moment later.
    let error = eventually(PATIENCE, async || partition_count(&settings).await.err()).await.to_string();
    assert!(error.contains(&format!("{name} has 5")) && error.contains("agent-logs has 2"), "{error}");

    let too_many = create_topics(&missing, 1, 7).await.unwrap_err().to_string();
    assert!(too_many.contains("7 brokers"), "{too_many}");
}
