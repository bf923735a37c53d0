use agentworks_processors::runtime::testing::Memory;
use agentworks_processors::runtime::{LaneState, Runtime, RuntimeConfig};
use agentworks_schemas::Topic;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::{LANE, Log, PARTITIONS, PATIENCE, reads};
use crate::support::eventually;
use crate::support::records::admin;

#[tokio::test]
async fn a_restart_goes_on_from_the_sinks_positions_and_not_from_commits() {
    let mut log = Log::new().await;
    let (hot, runs) = (Memory::new("hot"), Memory::new("runs"));
    log.produce(500).await;
    let runtime = log.start(&[&hot]);
    log.held_by(&[&hot]).await;
    runtime.shutdown().await;

    // What was committed, for dashboards, is what the sinks hold.
    let group = format!("{}store", log.settings.topics.prefix());
    let names = Topic::LOGS.map(|topic| log.settings.topics.name(topic));
    let all = || {
        let mut list = TopicPartitionList::new();
        for name in &names {
            list.add_partition_range(name, 0, PARTITIONS - 1);
        }
        list
    };
    let consumer: BaseConsumer = log.settings.group_consumer(&group, None).create().unwrap();
    let committed = consumer.committed_offsets(all(), PATIENCE).unwrap();
    for (topic, name) in Topic::LOGS.into_iter().zip(&names) {
        for element in committed.elements_for_topic(name) {
            let held = hot.held(agentworks_schemas::TopicPartition::new(topic, element.partition())).unwrap();
            assert_eq!(element.offset(), Offset::Offset(held.1), "{name}[{}]", element.partition());
        }
    }
    // Nobody reads it: neither a commit that is far ahead nor one that is behind changes anything.
    for offset in [0, 100_000] {
        let mut list = all();
        list.set_all_offsets(Offset::Offset(offset)).unwrap();
        consumer.commit(&list, CommitMode::Sync).unwrap();
        log.produce(100).await;
        let runtime = log.start(&[&hot]);
        log.held_by(&[&hot]).await;
        runtime.shutdown().await;
    }
    // A sink that is new begins at the start of the log; the other takes nothing twice.
    let runtime = log.start(&[&hot, &runs]);
    log.held_by(&[&hot, &runs]).await;
    runtime.shutdown().await;
}

#[tokio::test]
async fn what_was_pending_at_a_crash_is_read_again() {
    let mut log = Log::new().await;
    let (hot, runs) = (Memory::new("hot"), Memory::new("runs"));
    let start = |log: &Log| {
        // So that it has its partitions back at once.
        let instance = Some("one".into());
        Runtime::start(RuntimeConfig { instance, ..log.config(&[&hot, &runs]) }).unwrap()
    };
    for round in 0..6 {
        let runtime = start(&log);
        log.produce(300).await;
        if round % 2 == 0 {
            eventually(PATIENCE, async || (hot.count() > round * 300).then_some(())).await;
        }
        drop(runtime);
    }
    let runtime = start(&log);
    log.held_by(&[&hot, &runs]).await;
    runtime.shutdown().await;
}

#[tokio::test]
async fn a_log_that_begins_after_the_position_stops_its_partition_alone() {
    let mut log = Log::new().await;
    let hot = Memory::new("hot");
    log.produce(1_000).await;
    hot.set(LANE, 0, 5);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&log.settings.topics.name(LANE.topic), 0, Offset::Offset(20)).unwrap();
    admin(&log.settings.brokers).delete_records(&list, &AdminOptions::new()).await.unwrap();

    let runtime = log.start(&[&hot]);
    let reason = eventually(PATIENCE, async || {
        let lanes = runtime.status().lanes;
        let lane = lanes.into_iter().find(|lane| lane.partition == LANE)?;
        if let LaneState::Stopped(reason) = lane.state { Some(reason) } else { None }
    })
    .await;
    assert!(reason.contains("up to 5, but the log begins at 20"), "{reason}");
    let others = 2 * PARTITIONS as usize - 1;
    eventually(PATIENCE, async || {
        let lanes = runtime.status().lanes;
        let held = lanes.iter().filter(|lane| lane.end.is_some() && lane.sinks.iter().all(|sink| sink.lag == 0));
        (held.count() == others).then_some(())
    })
    .await;
    assert!(!runtime.is_ready());
    assert_eq!(hot.held(LANE), Some((0, 5)));
    runtime.shutdown().await;
}

#[tokio::test]
async fn partitions_that_are_added_are_read() {
    let mut log = Log::new().await;
    let hot = Memory::new("hot");
    let mut config = log.config(&[&hot]);
    config.kafka.extra.push(("topic.metadata.refresh.interval.ms".into(), "500".into()));
    let runtime = Runtime::start(config).unwrap();
    reads(&runtime, 2 * PARTITIONS as usize).await;
    for topic in Topic::LOGS {
        let name = log.settings.topics.name(topic);
        let more = rdkafka::admin::NewPartitions::new(&name, 6);
        admin(&log.settings.brokers).create_partitions([&more], &AdminOptions::new()).await.unwrap();
    }
    reads(&runtime, 12).await;
    log.produce(500).await;
    log.held_by(&[&hot]).await;
    runtime.shutdown().await;
}
