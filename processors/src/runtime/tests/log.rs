//! Logs that change beneath their reader, or can't be read.

use agentworks_kafka::{Fingerprint, SeekPool, SeekRequest};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use rdkafka::types::RDKafkaRespErr::{
    RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE,
    RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
};

use super::*;
use crate::runtime::driver::doubt::{Read, changed};
use crate::runtime::{LaneStatus, RuntimeConfig};

const LOOK: Duration = Duration::from_millis(100);

fn lane(runtime: &RuntimeHandle, partition: TopicPartition) -> Option<LaneStatus> {
    runtime.status().lanes.into_iter().find(|lane| lane.partition == partition)
}

fn stopped(runtime: &RuntimeHandle, partition: TopicPartition) -> Option<String> {
    match lane(runtime, partition)?.state {
        LaneState::Stopped(reason) => Some(reason),
        _ => None,
    }
}

/// Has retention take the first records of a partition: the mock keeps five MiB.
async fn expire(cluster: &Cluster, partition: TopicPartition) {
    for _ in 0..8 {
        cluster.garbage(partition, &"x".repeat(900_000)).await;
    }
}

/// The last of the records `..to`.
async fn last(seek: &SeekPool, partition: TopicPartition, to: i64) -> Option<Fingerprint> {
    let mut batches = seek.read(SeekRequest { partition, epoch: 0, from: to - 1, to, key: None });
    let batch = batches.recv().await.unwrap().unwrap();
    assert_eq!(batch.last().unwrap().offset, to - 1);
    batch.last()
}

#[tokio::test]
async fn a_log_is_known_by_the_last_record_that_came_of_it() {
    let mut cluster = Cluster::new();
    cluster.produce(LANE, 6).await;
    cluster.produce(OTHER, 6).await;
    let seek = cluster.seek();
    let partition = LANE;
    let fourth = last(&seek, partition, 4).await;
    let read = Read { partition, epoch: 0, next: 4, last: fourth };
    assert_eq!(changed(&seek, read).await.unwrap(), None);
    assert_eq!(changed(&seek, Read { last: None, ..read }).await.unwrap(), None, "nothing has come");

    let other = changed(&seek, Read { last: last(&seek, OTHER, 4).await, ..read }).await.unwrap().unwrap();
    assert!(
        other.contains("the record at 3 of agent-logs[0] is not the one") && other.contains("topics adopt"),
        "{other}"
    );
    // The markers of a transaction lay there, and are gone.
    let more = changed(&seek, Read { next: 5, ..read }).await.unwrap().unwrap();
    assert!(more.contains("the record at 3 of agent-logs[0] is not the one"), "{more}");
    let beyond = changed(&seek, Read { next: 7, ..read }).await.unwrap().unwrap();
    assert!(beyond.contains("up to 7, but the log ends at 6"), "{beyond}");

    expire(&cluster, partition).await;
    let overtaken = changed(&seek, read).await.unwrap().unwrap();
    assert!(overtaken.contains("up to 4, but the log begins at") && overtaken.contains("--skip-lost"), "{overtaken}");
    let low = seek.watermarks(partition).await.unwrap().low;
    assert!(low > 4);
    assert_eq!(changed(&seek, Read { next: low, ..read }).await.unwrap(), None, "retention has taken it");
}

#[tokio::test]
async fn a_partition_whose_log_has_not_changed_goes_on() {
    let mut cluster = Cluster::new();
    let hot = Memory::new("hot");
    cluster.produce(LANE, 20).await;
    let runtime = cluster.start(&[&hot]);
    hold_all(&cluster, &[&hot]).await;
    for _ in 0..3 {
        cluster.fail_fetch(RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE, 1);
        cluster.produce(LANE, 20).await;
        cluster.produce(OTHER, 20).await;
        hold_all(&cluster, &[&hot]).await;
    }
    ready(&runtime).await;
    runtime.shutdown().await;
}

/// Beneath the sinks, which don't take it for a while, the log is deleted as far as it was read, and further.
#[tokio::test]
async fn what_was_read_of_a_log_that_has_changed_is_taken_and_written_before_its_partition_stops() {
    let mut cluster = Cluster::new();
    let hot = Memory::new("hot");
    hot.hold_back();
    let config = cluster.config(&[&hot]);
    let mut registry = Registry::default();
    config.metrics.register(&mut registry);
    let runtime = crate::runtime::Runtime::start(config).unwrap();
    ready(&runtime).await;
    hot.fail(Call::Take, vec![Fault::Unavailable; 6]);
    cluster.produce(LANE, 50).await;
    let come = r#"agentworks_consumer_records_total{group="store",topic="agent-logs"} 50"#;
    let text = || {
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    };
    until(|| text().contains(come), text).await;
    cluster.fail_fetch(RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, 1000);
    expire(&cluster, LANE).await;
    cluster.fail_fetch_no_more();
    until(|| stopped(&runtime, LANE).is_some(), || format!("{:?}", runtime.status())).await;
    let reason = stopped(&runtime, LANE).unwrap();
    assert!(reason.contains("read agent-logs[0] up to 50, but the log begins at"), "{reason}");
    assert_eq!(hot.held(LANE), Some((0, 50)));
    let ids: Vec<_> = hot.records(LANE).into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, cluster.log()[&LANE]);
    assert_eq!(hot.problems(), [] as [String; 0]);
    assert!(lane(&runtime, OTHER).unwrap().state == LaneState::Reading);
    runtime.shutdown().await;
}

#[tokio::test]
async fn a_partition_that_may_not_be_read_lags_and_says_so_until_something_comes() {
    let mut cluster = Cluster::new();
    let hot = Memory::new("hot");
    cluster.produce(LANE, 20).await;
    let runtime = crate::runtime::Runtime::start(RuntimeConfig { look: LOOK, ..cluster.config(&[&hot]) }).unwrap();
    hold_all(&cluster, &[&hot]).await;
    ready(&runtime).await;
    cluster.fail_fetch(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 10_000);
    cluster.produce(LANE, 20).await;
    let is_said = || {
        let lane = lane(&runtime, LANE).unwrap();
        lane.problem.is_some_and(|problem| problem.to_lowercase().contains("authorization")) && lane.sinks[0].lag > 0
    };
    until(is_said, || format!("{:?}", runtime.status())).await;
    assert!(!runtime.is_ready());
    let problems = runtime.status().problems();
    assert!(problems[0].starts_with("agent-logs[0]: nothing comes of it"), "{problems:?}");
    assert_eq!(lane(&runtime, OTHER).unwrap().problem, None, "there is nothing to come");
    cluster.fail_fetch_no_more();
    hold_all(&cluster, &[&hot]).await;
    ready(&runtime).await;
    runtime.shutdown().await;
}

#[tokio::test]
async fn a_partition_that_has_stopped_lags_more_and_more() {
    let mut cluster = Cluster::new();
    let hot = Memory::new("hot");
    cluster.produce(LANE, 20).await;
    hot.fail(Call::Take, [Fault::Position(LANE)]);
    let runtime = crate::runtime::Runtime::start(RuntimeConfig { look: LOOK, ..cluster.config(&[&hot]) }).unwrap();
    until(|| stopped(&runtime, LANE).is_some(), || format!("{:?}", runtime.status())).await;
    for lag in [30, 40] {
        cluster.produce(LANE, 10).await;
        let is_shown = || lane(&runtime, LANE).is_some_and(|lane| lane.sinks[0].lag == lag);
        until(is_shown, || format!("{:?}", runtime.status())).await;
    }
    runtime.shutdown().await;
}
