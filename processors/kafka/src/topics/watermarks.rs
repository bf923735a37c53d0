//! Where logs begin and end.

use std::ffi::CString;

use agentworks_schemas::TopicPartition;
use rdkafka::bindings::rd_kafka_get_watermark_offsets;
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::TIMEOUT;
use crate::error::KafkaError;
use crate::settings::KafkaSettings;

/// Where a partition's log begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that is there.
    pub low: i64,
    /// The offset after the last that is there: the next record's.
    pub high: i64,
}

/// Asks the brokers where a partition begins and ends right now. What an open transaction has written lies behind the
/// end. Blocks, for 60 seconds at most.
pub fn query_watermarks<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    settings: &KafkaSettings,
    partition: TopicPartition,
) -> Result<Watermarks, KafkaError> {
    let name = settings.topics.name(partition.topic);
    match watermarks_of(consumer, &name, partition.partition) {
        // librdkafka remembers that a topic was unknown, as it is for a moment while its leaders are elected, and says so
        // for minutes without asking anybody. What it is told anew it believes.
        Err(KafkaError::NoTopic(_)) => {
            let fault = |error| KafkaError::from_client(&error, &name);
            consumer.fetch_metadata(Some(&name), TIMEOUT).map_err(fault)?;
            watermarks_of(consumer, &name, partition.partition)
        }
        answer => answer,
    }
}

/// The same for a topic by its name on the brokers.
pub fn watermarks_of<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    name: &str,
    partition: i32,
) -> Result<Watermarks, KafkaError> {
    let fault = |error| KafkaError::from_client(&error, name);
    let (low, high) = consumer.fetch_watermarks(name, partition, TIMEOUT).map_err(fault)?;
    if low < high {
        return Ok(Watermarks { low, high });
    }
    // librdkafka asks for both at once. Where one request fails and the answer to the other lies ready beside that, it
    // forgets the fault (`rd_kafka_query_wmark_offsets_resp_cb`, 2.12), and has the log begin where it ends: all that is in
    // it would be passed over by whoever begins there. So of what looks empty each end is asked for by itself.
    let low = offset(consumer, name, partition, Offset::Beginning)?;
    let high = offset(consumer, name, partition, Offset::End)?;
    Ok(Watermarks { low, high })
}

/// Where one end of a partition is.
fn offset<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    name: &str,
    partition: i32,
    end: Offset,
) -> Result<i64, KafkaError> {
    let fault = |error| KafkaError::from_client(&error, name);
    // In this request of Kafka's, the two ends are timestamps of their own.
    let mut wanted = TopicPartitionList::with_capacity(1);
    wanted.add_partition_offset(name, partition, end).map_err(fault)?;
    let answer = consumer.offsets_for_times(wanted, TIMEOUT).map_err(fault)?;
    offset_in(&answer, name, partition)
}

/// What an answer says of a partition.
fn offset_in(answer: &TopicPartitionList, name: &str, partition: i32) -> Result<i64, KafkaError> {
    let element = answer.find_partition(name, partition);
    let element = element.ok_or_else(|| KafkaError::Unavailable(format!("{name}[{partition}]: no answer")))?;
    element.error().map_err(|error| KafkaError::from_client(&error, name))?;
    match element.offset() {
        Offset::Offset(offset) => Ok(offset),
        other => Err(KafkaError::Unavailable(format!("{name}[{partition}]: {other:?} is no offset"))),
    }
}

/// Asks the brokers where partitions end right now, each broker once for all that it leads. Blocks, for 60 seconds at most.
pub fn query_ends<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    settings: &KafkaSettings,
    partitions: &[TopicPartition],
) -> Vec<Result<i64, KafkaError>> {
    let names: Vec<_> = partitions.iter().map(|partition| settings.topics.name(partition.topic)).collect();
    let ask = || {
        let fault = |error| KafkaError::from_client(&error, "the brokers");
        let mut wanted = TopicPartitionList::with_capacity(partitions.len());
        for (partition, name) in partitions.iter().zip(&names) {
            wanted.add_partition_offset(name, partition.partition, Offset::End).map_err(fault)?;
        }
        consumer.offsets_for_times(wanted, TIMEOUT).map_err(fault)
    };
    let answer = ask();
    let end = |(partition, name): (&TopicPartition, &String)| {
        let end = match &answer {
            Ok(answer) => offset_in(answer, name, partition.partition),
            Err(error) => Err(error.clone()),
        };
        match end {
            // Maybe only remembered to be so, which this sees to.
            Err(KafkaError::NoTopic(_)) => query_watermarks(consumer, settings, *partition).map(|marks| marks.high),
            end => end,
        }
    };
    partitions.iter().zip(&names).map(end).collect()
}

/// Where a partition ends as of the last answer that this consumer had from a broker; `None` before the first. Costs
/// nothing. Open transactions and markers count.
pub fn last_known_end<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    settings: &KafkaSettings,
    partition: TopicPartition,
) -> Option<i64> {
    known_end_of(consumer, &settings.topics.name(partition.topic), partition.partition)
}

/// The same for a topic by its name on the brokers.
pub(crate) fn known_end_of<C: ConsumerContext>(consumer: &impl Consumer<C>, name: &str, partition: i32) -> Option<i64> {
    let name = CString::new(name).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client lives as long as the consumer, the name ends with NUL, and both results are our own variables.
    let answer = unsafe {
        rd_kafka_get_watermark_offsets(consumer.client().native_ptr(), name.as_ptr(), partition, &mut low, &mut high)
    };
    (answer == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use agentworks_schemas::{Topic, Topics};
    use rdkafka::consumer::BaseConsumer;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    use rdkafka::types::RDKafkaApiKey;

    use super::*;

    /// A mock, since it takes a broker that refuses one of two requests.
    #[test]
    fn a_request_that_fails_makes_no_log_look_empty() {
        let cluster = MockCluster::new(1).unwrap();
        let settings = KafkaSettings::new(cluster.bootstrap_servers(), Topics::with_prefix("marks-"));
        let partition = TopicPartition::new(Topic::AgentLogs, 0);
        let name = settings.topics.name(partition.topic);
        cluster.create_topic(&name, 1, 1).unwrap();
        let producer: BaseProducer = settings.admin().create().unwrap();
        for _ in 0..8 {
            producer.send(BaseRecord::<(), _>::to(&name).partition(0).payload("line")).unwrap();
        }
        producer.flush(TIMEOUT).unwrap();

        let consumer: BaseConsumer = settings.admin().create().unwrap();
        let (mut answers, mut faults) = (0, 0);
        for round in 0..200 {
            let ok = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
            let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
            let first = if round % 2 == 0 { [refused, ok] } else { [ok, refused] };
            cluster.request_errors(RDKafkaApiKey::ListOffsets, &first);
            match query_watermarks(&consumer, &settings, partition) {
                Ok(marks) => {
                    assert_eq!(marks, Watermarks { low: 0, high: 8 }, "in round {round}");
                    answers += 1;
                }
                Err(error) => {
                    assert!(error.is_transient(), "{error}");
                    faults += 1;
                }
            }
            cluster.clear_request_errors(RDKafkaApiKey::ListOffsets);
        }
        let elsewhere = TopicPartition::new(Topic::SystemLogs, 0);
        let ends = query_ends(&consumer, &settings, &[partition, elsewhere]);
        assert!(matches!(ends[0], Ok(8)), "{ends:?}");
        assert!(ends[1].is_err(), "{ends:?}");
        println!("{answers} answers, {faults} faults");
    }
}
