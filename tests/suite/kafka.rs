//! Consuming from real Kafka: reading by seeking, dead letters, topics.

mod dead_letters;
mod fetch;
mod fetch_login;
mod holes;
mod seek;
mod topics;

use std::sync::Arc;

use agentworks_kafka::{Batch, KafkaError, KafkaSettings, SeekPool, SeekRequest};
use agentworks_schemas::{Topic, TopicPartition};

use crate::support::records::create_topics;
use crate::support::{kafka, unique_prefix};

const LANE: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };

/// Topics of a test's own.
async fn settings(partitions: i32) -> KafkaSettings {
    let bootstrap = kafka().await.bootstrap();
    let topics = create_topics(&bootstrap, &unique_prefix(), partitions).await;
    KafkaSettings::new(bootstrap, topics)
}

/// An entry in JSON, as a script would write it.
fn json(card: &str, id: &str) -> String {
    format!(r#"{{"id":"{id}","runId":"run","cardId":"{card}","workspaceId":"space","message":"a line of {id}"}}"#)
}

fn request(from: i64, to: i64) -> SeekRequest {
    SeekRequest { partition: LANE, epoch: 0, from, to, key: None }
}

/// Reads a range to its end. Makes sure that the batches tile it from its start on; returns where they end.
async fn read(pool: &SeekPool, request: SeekRequest) -> Result<(Vec<Arc<Batch>>, i64), KafkaError> {
    let mut next = request.from;
    let mut batches = Vec::new();
    let mut receiver = pool.read(request);
    while let Some(batch) = receiver.recv().await {
        let batch = batch?;
        assert_eq!(batch.from, next, "batches follow one another");
        assert!(batch.to > batch.from, "and each leads on");
        next = batch.to;
        batches.push(batch);
    }
    Ok((batches, next))
}

/// The offsets and ids of the entries in batches.
fn entries(batches: &[Arc<Batch>]) -> Vec<(i64, String)> {
    let records = batches.iter().flat_map(|batch| batch.records());
    records
        .map(|record| match &record.content {
            agentworks_kafka::Content::Entry(entry) => (record.offset, entry.id.to_string()),
            agentworks_kafka::Content::Event(event) => panic!("{event:?}"),
        })
        .collect()
}
