//! Noting in the dead-letter topic what was erased.
//!
//! Whoever reads dead letters reads all of the topic, and may have nothing but Kafka. So an erasure is noted where the
//! letters are, in each partition: there it lies behind the letters that it covers, and is deleted with them or later.

use agentworks_schemas::dead_letter::header;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use tokio::task::JoinSet;

use super::{QUEUE_TIMEOUT, connect};
use crate::error::KafkaError;
use crate::settings::KafkaSettings;
use crate::topics::describe_topics;

/// Notes an erasure: its id, and the JSON that readers are given back. Where there is no dead-letter topic there is nothing
/// to be done. It may be noted more than once.
///
/// # Errors
/// Kafka's; then it may be noted in some of the partitions.
pub async fn note(settings: &KafkaSettings, id: &str, json: &[u8]) -> Result<(), KafkaError> {
    let topic = settings.topics.dead_letters();
    let infos = describe_topics(settings).await?;
    let Some(info) = infos.iter().find(|info| info.name == topic) else { return Ok(()) };
    let producer = connect(settings, &topic)?;
    let mut sends = JoinSet::new();
    for partition in 0..info.partitions {
        let (producer, topic, json) = (producer.clone(), topic.clone(), json.to_vec());
        let headers = OwnedHeaders::new().insert(Header { key: header::ERASURE, value: Some(id) });
        sends.spawn(async move {
            let record = FutureRecord::<[u8], [u8]>::to(&topic).partition(partition).headers(headers).payload(&json);
            producer.send(record, QUEUE_TIMEOUT).await.map(drop).map_err(|(error, _)| error)
        });
    }
    while let Some(sent) = sends.join_next().await {
        let sent = sent.unwrap_or(Err(rdkafka::error::KafkaError::Canceled));
        sent.map_err(|error| KafkaError::from_client(&error, &topic))?;
    }
    Ok(())
}
