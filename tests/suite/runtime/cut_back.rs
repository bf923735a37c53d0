//! Logs that are cut back, as an election does of a leader that lacks records. A topic made again behind the consumer's back
//! stands for that: nothing but the records tells.

use std::time::Duration;

use agentworks_kafka::SeekPool;
use agentworks_processors::epochs::adopt::{AdoptError, Adopter, Choices};
use agentworks_processors::runtime::testing::Memory;
use agentworks_processors::runtime::{Runtime, RuntimeConfig};
use agentworks_processors::tails::TAILS;
use agentworks_schemas::Topic;
use agentworks_store::Scan;
use rdkafka::admin::AdminOptions;
use rdkafka::producer::FutureRecord;
use rdkafka::{Offset, TopicPartitionList};

use super::{ALL, LANE, Log, PARTITIONS, PATIENCE, reads, stopped};
use crate::support::eventually;
use crate::support::records::{admin, make_again, produce, producer};

const LINE: &str = r#"{"id":"more","runId":"run","cardId":"card","workspaceId":"space","message":"text"}"#;

/// Writes so many records to one partition, each once.
pub(super) async fn grow(log: &Log, count: i64) {
    let name = log.settings.topics.name(LANE.topic);
    let producer = producer(&log.settings.brokers, &[("enable.idempotence", "true")]);
    for _ in 0..count {
        let record = FutureRecord::to(&name).partition(LANE.partition).key("card").payload(LINE);
        producer.send(record, PATIENCE).await.map_err(|(error, _)| error).unwrap();
    }
}

fn config(log: &Log, hot: &Memory) -> RuntimeConfig {
    RuntimeConfig { topic_ids: false, ..log.config(&[hot]) }
}

/// Waits until it is kept by which record the partition's log is known that ends at `next`.
pub(super) async fn kept(log: &Log, next: i64) {
    let key = [log.config(&[]).group.as_str().into(), LANE.topic.as_str().into(), 0.into()];
    eventually(PATIENCE, async || {
        let rows = log.store.scan(Scan::partition(&TAILS, vec!["tails".into()])).await.unwrap();
        let is_last = |payload: &[u8]| {
            let tail: serde_json::Value = serde_json::from_slice(payload).unwrap();
            tail["record"]["offset"] == next - 1
        };
        rows.iter().any(|row| row.clustering == key && is_last(&row.payload)).then_some(())
    })
    .await;
}

/// In one partition it grows to where it was; in the others it doesn't, which is what Kafka reports.
#[tokio::test]
async fn a_log_that_has_grown_again_since_it_was_cut_back_stops_its_partition() {
    let mut log = Log::new().await;
    let hot = Memory::new("hot");
    let mut config = log.config(&[&hot]);
    // Whatever waits for the sink is too much already, and the consumer waits.
    (config.topic_ids, config.queue) = (false, 2);
    // Else the group would see that there is no such topic for a moment.
    config.kafka.extra.push(("topic.metadata.refresh.interval.ms".into(), "600000".into()));
    let runtime = Runtime::start(config).unwrap();
    reads(&runtime, ALL).await;
    log.produce(200).await;
    log.held_by(&[&hot]).await;
    let next = hot.held(LANE).unwrap().1;
    hot.block(true);
    produce(&log.settings.brokers, &log.settings.topics.name(Topic::SystemLogs), [("card", LINE)]).await;
    eventually(PATIENCE, async || runtime.status().paused.then_some(())).await;
    // Requests to fetch that were under way before have been answered then.
    tokio::time::sleep(Duration::from_millis(500)).await;

    make_again(&log.settings, LANE.topic, PARTITIONS).await;
    grow(&log, next).await;
    hot.block(false);
    let lanes = eventually(PATIENCE, async || {
        let lanes = stopped(&runtime);
        (lanes.len() == PARTITIONS as usize).then_some(lanes)
    })
    .await;
    for (partition, reason) in lanes {
        let expected =
            if partition == LANE { "is not the one that was taken: the log was cut back" } else { "the log ends at 0" };
        assert!(partition.topic == LANE.topic && reason.contains(expected), "{partition}: {reason}");
    }
    eventually(PATIENCE, async || (hot.count() == 400 + 1).then_some(())).await;
    assert_eq!(hot.held(LANE), Some((0, next)), "nothing of the new one is taken");
    assert_eq!(hot.problems(), [] as [String; 0]);
    runtime.shutdown().await;
}

/// In one partition it grows beyond where it was while nobody reads it; in the others it doesn't, which offsets tell.
#[tokio::test]
async fn a_log_that_was_cut_back_and_has_grown_again_is_noticed_by_the_next_start() {
    for is_killed in [false, true] {
        let mut log = Log::new().await;
        let hot = Memory::new("hot");
        let runtime = Runtime::start(config(&log, &hot)).unwrap();
        reads(&runtime, ALL).await;
        log.produce(200).await;
        log.held_by(&[&hot]).await;
        let next = hot.held(LANE).unwrap().1;
        if is_killed {
            kept(&log, next).await;
            drop(runtime);
        } else {
            runtime.shutdown().await;
            kept(&log, next).await;
        }
        make_again(&log.settings, LANE.topic, PARTITIONS).await;
        grow(&log, next + 10).await;

        let runtime = Runtime::start(config(&log, &hot)).unwrap();
        let lanes = eventually(PATIENCE, async || {
            let lanes = stopped(&runtime);
            (lanes.len() == PARTITIONS as usize).then_some(lanes)
        })
        .await;
        for (partition, reason) in lanes {
            let another = format!("the record at {} of {partition} is not the one that was taken", next - 1);
            let expected = if partition == LANE { another.as_str() } else { "the log ends at 0" };
            assert!(partition.topic == LANE.topic && reason.contains(expected), "{partition}: {reason}");
            assert!(reason.contains("agentworks topics adopt agent-logs"), "{reason}");
        }
        assert_eq!((hot.count(), hot.problems()), (400, Vec::new()), "nothing of the new one is taken");

        let adopter = Adopter::over(log.store.clone(), SeekPool::new(log.settings.clone(), 1)).unwrap();
        let adopt = async |choices| adopter.adopt(LANE.topic, choices).await;
        let refused = adopt(Choices::default()).await.unwrap_err().to_string();
        assert!(refused.contains("was cut back, and has grown again") && refused.contains("--cut-back"), "{refused}");
        let choices = Choices { cut_back: true, ..Choices::default() };
        let would = adopt(Choices { dry_run: true, ..choices }).await.unwrap();
        let found: Vec<_> = would.before.cut_back.iter().map(|found| (found.partition, found.offset)).collect();
        assert_eq!((found, would.as_is), (vec![(LANE.partition, next - 1)], true));
        adopt(choices).await.unwrap();
        eventually(PATIENCE, async || (hot.count() == 400 + 10).then_some(())).await;
        assert!(matches!(adopt(choices).await, Err(AdoptError::Refused(_))), "that is said and done");
        let others = eventually(PATIENCE, async || {
            let others = stopped(&runtime);
            (others.len() == PARTITIONS as usize - 1).then_some(others)
        })
        .await;
        assert!(others.iter().all(|(partition, reason)| *partition != LANE && reason.contains("the log ends at 0")));
        runtime.shutdown().await;

        let runtime = Runtime::start(config(&log, &hot)).unwrap();
        grow(&log, 5).await;
        eventually(PATIENCE, async || (hot.count() == 400 + 15).then_some(())).await;
        assert_eq!(hot.problems(), [] as [String; 0]);
        runtime.shutdown().await;
    }
}

#[tokio::test]
async fn a_log_whose_last_record_retention_has_taken_goes_on() {
    let mut log = Log::new().await;
    let hot = Memory::new("hot");
    let runtime = Runtime::start(config(&log, &hot)).unwrap();
    log.produce(200).await;
    log.held_by(&[&hot]).await;
    let next = hot.held(LANE).unwrap().1;
    runtime.shutdown().await;
    kept(&log, next).await;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&log.settings.topics.name(LANE.topic), LANE.partition, Offset::Offset(next)).unwrap();
    admin(&log.settings.brokers).delete_records(&list, &AdminOptions::new()).await.unwrap();
    grow(&log, 5).await;
    let runtime = Runtime::start(config(&log, &hot)).unwrap();
    eventually(PATIENCE, async || (hot.count() == 400 + 5).then_some(())).await;
    reads(&runtime, ALL).await;
    assert_eq!(hot.problems(), [] as [String; 0]);
    runtime.shutdown().await;
}
