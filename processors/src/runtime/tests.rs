//! The runtime over librdkafka's mock cluster, with sinks that fail when told to.

#![allow(clippy::unwrap_used)]

mod cluster;
mod log;

use std::time::Duration;

use agentworks_schemas::{Topic, TopicPartition};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;

use super::testing::{Call, Fault, Memory};
use super::{LaneState, RuntimeHandle, RuntimeMetrics};
use cluster::{Cluster, until};

const LANE: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };
const OTHER: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 1 };

/// Waits until both sinks hold the whole log, and makes sure that they hold each record once.
async fn hold_all(cluster: &Cluster, memories: &[&Memory]) {
    for memory in memories {
        for (partition, ids) in cluster.log() {
            let end = i64::try_from(ids.len()).unwrap();
            until(
                || memory.held(partition).is_some_and(|(_, high)| high >= end),
                || format!("{partition}: {:?} of {end}", memory.held(partition)),
            )
            .await;
            let records: Vec<_> = memory.records(partition).into_iter().map(|(_, id)| id).collect();
            assert_eq!(records, ids, "{partition}");
        }
        assert_eq!(memory.problems(), [] as [String; 0]);
    }
}

async fn ready(runtime: &RuntimeHandle) {
    until(|| runtime.is_ready(), || format!("{:#?}", runtime.status())).await;
}

#[tokio::test]
async fn every_record_is_in_every_sink_once_across_restarts() {
    let mut cluster = Cluster::new();
    let (hot, runs) = (Memory::new("hot"), Memory::new("runs"));
    cluster.produce(LANE, 500).await;
    cluster.produce(OTHER, 30).await;
    // One that is ahead: it is handed only what it lacks.
    runs.set(LANE, 0, 0);
    for round in 0..3 {
        let runtime = cluster.start(&[&hot, &runs]);
        ready(&runtime).await;
        cluster.produce(LANE, 200 + round).await;
        hold_all(&cluster, &[&hot, &runs]).await;
        if round == 1 {
            drop(runtime);
        } else {
            runtime.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_sink_that_is_ahead_is_handed_only_what_it_lacks() {
    let mut cluster = Cluster::new();
    let (hot, runs) = (Memory::new("hot"), Memory::new("runs"));
    cluster.produce(LANE, 100).await;
    runs.set(LANE, 0, 40);
    let runtime = cluster.start(&[&hot, &runs]);
    until(|| runs.held(LANE) == Some((0, 100)), || format!("{:?}", runs.held(LANE))).await;
    assert_eq!(runs.count(), 60);
    until(|| hot.count() == 100, || hot.count().to_string()).await;
    assert_eq!(runs.problems(), [] as [String; 0]);
    runtime.shutdown().await;
}

#[tokio::test]
async fn what_happens_is_counted() {
    let mut cluster = Cluster::new();
    let hot = Memory::new("hot");
    cluster.produce(LANE, 20).await;
    cluster.garbage(LANE, "not a record").await;
    hot.fail(Call::Flush, [Fault::Unavailable]);
    let mut config = cluster.config(&[&hot]);
    config.metrics = RuntimeMetrics::default();
    let mut registry = Registry::default();
    config.metrics.register(&mut registry);
    let runtime = super::Runtime::start(config).unwrap();
    let text = || {
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    };
    let lane = r#"{group="store",sink="hot",topic="agent-logs",partition="0"}"#;
    for line in [
        format!("agentworks_sink_position{lane} 21"),
        format!("agentworks_sink_lag_entries{lane} 0"),
        format!("agentworks_sink_lag_seconds{lane} 0.0"),
        r#"agentworks_sink_retries_total{group="store",sink="hot"} 1"#.into(),
        r#"agentworks_consumer_records_total{group="store",topic="agent-logs"} 20"#.into(),
        r#"agentworks_consumer_rejects_total{group="store",topic="agent-logs",code="unknown_framing"} 1"#.into(),
        r#"agentworks_sink_stopped_lanes{group="store",sink="hot"} 0"#.into(),
        r#"agentworks_sink_flush_entries_sum{group="store",sink="hot"} 21"#.into(),
        r#"agentworks_sink_flush_seconds_count{group="store",sink="hot"} "#.into(),
        r#"agentworks_consumer_ready{group="store"} 1"#.into(),
        r#"agentworks_consumer_stopped_lanes{group="store"} 0"#.into(),
        r#"agentworks_consumer_batch_bytes_count{group="store"} "#.into(),
    ] {
        until(|| text().contains(&line), || format!("no {line} in\n{}", text())).await;
    }
    runtime.shutdown().await;
    assert!(!text().contains("agentworks_sink_position{"), "what was given up is not shown any more");
}

#[tokio::test]
async fn faults_that_pass_lose_and_double_nothing() {
    let mut cluster = Cluster::new();
    let (hot, runs) = (Memory::new("hot"), Memory::new("runs"));
    hot.fail(Call::Open, [Fault::Unavailable, Fault::Unavailable]);
    hot.fail(Call::Take, [Fault::Unavailable]);
    runs.fail(Call::Take, [Fault::Unavailable, Fault::Unavailable]);
    runs.fail(Call::Flush, [Fault::Unavailable, Fault::Unanswered, Fault::Unavailable]);
    cluster.produce(LANE, 300).await;
    cluster.produce(OTHER, 300).await;
    let runtime = cluster.start(&[&hot, &runs]);
    until(|| hot.faults() + runs.faults() == 0, || format!("{hot:?} {runs:?}")).await;
    cluster.produce(LANE, 10).await;
    hold_all(&cluster, &[&hot, &runs]).await;
    ready(&runtime).await;
    runtime.shutdown().await;
}

#[tokio::test]
async fn no_position_passes_a_reject_that_is_not_in_the_dead_letter_topic() {
    let mut cluster = Cluster::new();
    let hot = Memory::new("hot");
    cluster.produce(LANE, 3).await;
    cluster.garbage(LANE, "not a record").await;
    cluster.produce(LANE, 2).await;
    // The producer tries some of them again itself, until its delivery timeout.
    cluster.fail_produce(&[RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 12]);
    let mut config = cluster.config(&[&hot]);
    config.kafka.extra.push(("retry.backoff.ms".into(), "10".into()));
    config.kafka.extra.push(("delivery.timeout.ms".into(), "100".into()));
    let runtime = super::Runtime::start(config).unwrap();
    until(|| hot.held(LANE) == Some((0, 6)), || format!("{:?}", runtime.status())).await;
    let letters = cluster.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0], ("not a record".into(), "3".into(), "unknown_framing".into()));
    assert_eq!(hot.count(), 5);
    runtime.shutdown().await;
}

#[tokio::test]
async fn a_partition_waits_for_its_dead_letters_and_no_other_does() {
    let mut cluster = Cluster::new();
    let hot = Memory::new("hot");
    cluster.produce(LANE, 3).await;
    cluster.garbage(LANE, "not a record").await;
    cluster.produce(LANE, 2).await;
    cluster.produce(OTHER, 50).await;
    cluster.fail_produce(&[RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 10_000]);
    let mut config = cluster.config(&[&hot]);
    config.kafka.extra.push(("retry.backoff.ms".into(), "10".into()));
    config.kafka.extra.push(("delivery.timeout.ms".into(), "100".into()));
    let runtime = super::Runtime::start(config).unwrap();
    let waits = || {
        let status = runtime.status();
        let lane = status.lanes.iter().find(|lane| lane.partition == LANE);
        let is_said = |state: &LaneState| matches!(state, LaneState::Opening(Some(reason)) if reason.contains("the dead-letter topic"));
        lane.is_some_and(|lane| is_said(&lane.state)) && status.retrying.iter().any(|(what, _)| *what == "dead letters")
    };
    until(waits, || format!("{:?}", runtime.status())).await;
    assert!(!runtime.is_ready());
    until(|| hot.held(OTHER) == Some((0, 50)), || format!("{:?}", runtime.status())).await;
    assert!(hot.held(LANE).is_none_or(|(_, high)| high <= 3), "{:?}", hot.held(LANE));
    cluster.fail_produce_no_more();
    until(|| hot.held(LANE) == Some((0, 6)), || format!("{:?}", runtime.status())).await;
    assert_eq!((cluster.dead_letters().len(), hot.count()), (1, 55));
    assert_eq!(hot.problems(), [] as [String; 0]);
    ready(&runtime).await;
    runtime.shutdown().await;
}

/// What it has put aside would fill the queue, long before the producer gives up.
#[tokio::test]
async fn a_partition_whose_dead_letters_take_long_leaves_room_for_others() {
    let mut cluster = Cluster::new();
    let hot = Memory::new("hot");
    cluster.garbage(LANE, "not a record").await;
    cluster.produce(LANE, 1000).await;
    cluster.produce(OTHER, 1000).await;
    cluster.fail_produce(&[RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 10_000]);
    let mut config = cluster.config(&[&hot]);
    config.queue = 64 * 1024;
    config.kafka.extra.push(("retry.backoff.ms".into(), "10".into()));
    config.kafka.extra.push(("delivery.timeout.ms".into(), "600000".into()));
    let runtime = super::Runtime::start(config).unwrap();
    until(|| hot.held(OTHER) == Some((0, 1000)), || format!("{:?}", runtime.status())).await;
    let status = runtime.status();
    let lane = status.lanes.iter().find(|lane| lane.partition == LANE).unwrap();
    assert!(
        matches!(&lane.state, LaneState::Opening(Some(reason)) if reason.contains("are being written")),
        "{status:?}"
    );
    cluster.fail_produce_no_more();
    until(|| hot.held(LANE) == Some((0, 1001)), || format!("{:?}", runtime.status())).await;
    assert_eq!(hot.problems(), [] as [String; 0]);
    assert_eq!(cluster.dead_letters().len(), 1);
    runtime.shutdown().await;
}

/// Nothing says that the data of other partitions is damaged too.
#[tokio::test]
async fn what_fails_for_good_in_one_partition_stops_that_one() {
    for call in [Call::Open, Call::Take] {
        let mut cluster = Cluster::new();
        let (hot, runs) = (Memory::new("hot"), Memory::new("runs"));
        cluster.produce(LANE, 50).await;
        hot.fail(call, [Fault::Failed]);
        let runtime = cluster.start(&[&hot, &runs]);
        hold_all(&cluster, &[&runs]).await;
        let stopped = || {
            let lanes = runtime.status().lanes.into_iter();
            let of_hot =
                lanes.filter(|lane| lane.sinks.iter().any(|sink| sink.sink == "hot" && sink.stopped.is_some()));
            of_hot.map(|lane| lane.partition).collect::<Vec<_>>()
        };
        until(|| stopped().len() == 1, || format!("{:?}", runtime.status())).await;
        let stopped = stopped()[0];
        assert!(call == Call::Open || stopped == LANE);
        for partition in [LANE, OTHER] {
            cluster.produce(partition, 10).await;
        }
        hold_all(&cluster, &[&runs]).await;
        let other = if stopped == LANE { OTHER } else { LANE };
        let end = cluster.log()[&other].len() as i64;
        until(|| hot.held(other) == Some((0, end)), || format!("{:?}", runtime.status())).await;
        assert!(hot.held(LANE).is_none_or(|(_, high)| stopped != LANE || high == 0), "{call:?}");
        runtime.shutdown().await;
    }
}

#[tokio::test]
async fn a_sink_that_fails_for_good_stops_alone_and_visibly() {
    let mut cluster = Cluster::new();
    let (hot, runs) = (Memory::new("hot"), Memory::new("runs"));
    hot.fail(Call::Flush, [Fault::Failed]);
    cluster.produce(LANE, 50).await;
    let runtime = cluster.start(&[&hot, &runs]);
    hold_all(&cluster, &[&runs]).await;
    let is_stopped = || {
        let status = runtime.status();
        status.lanes.iter().flat_map(|lane| &lane.sinks).any(|sink| sink.sink == "hot" && sink.stopped.is_some())
    };
    until(is_stopped, || format!("{:?}", runtime.status())).await;
    assert!(!runtime.is_ready());
    cluster.produce(OTHER, 50).await;
    hold_all(&cluster, &[&runs]).await;
    assert!(hot.held(LANE).is_none_or(|(_, high)| high == 0), "a stopped sink's position stays");
    runtime.shutdown().await;
}

#[tokio::test]
async fn an_error_that_names_a_partition_stops_that_one() {
    let mut cluster = Cluster::new();
    let hot = Memory::new("hot");
    cluster.produce(LANE, 50).await;
    hot.fail(Call::Take, [Fault::Position(LANE)]);
    let runtime = cluster.start(&[&hot]);
    let stopped = || runtime.status().lanes.into_iter().find(|lane| matches!(lane.state, LaneState::Stopped(_)));
    until(|| stopped().is_some(), || format!("{:?}", runtime.status())).await;
    assert_eq!(stopped().unwrap().partition, LANE);
    cluster.produce(LANE, 10).await;
    cluster.produce(OTHER, 10).await;
    until(|| hot.held(OTHER) == Some((0, 10)), || format!("{:?}", hot.held(OTHER))).await;
    assert_eq!(hot.held(LANE), Some((0, 0)));
    assert_eq!(hot.problems(), [] as [String; 0]);
    runtime.shutdown().await;
}

#[tokio::test]
async fn a_position_that_the_log_does_not_have_stops_its_partition() {
    let mut cluster = Cluster::new();
    let hot = Memory::new("hot");
    cluster.produce(LANE, 50).await;
    cluster.produce(OTHER, 50).await;
    hot.set(LANE, 0, 1000);
    let runtime = cluster.start(&[&hot]);
    until(|| hot.held(OTHER) == Some((0, 50)), || format!("{:?}", hot.held(OTHER))).await;
    let status = runtime.status();
    let lane = status.lanes.iter().find(|lane| lane.partition == LANE).unwrap();
    let LaneState::Stopped(reason) = &lane.state else { panic!("{lane:?}") };
    assert!(reason.contains("up to 1000, but the log ends at 50"), "{reason}");
    assert!(!status.is_ready());
    assert_eq!(hot.held(LANE), Some((0, 1000)));
    runtime.shutdown().await;
}

#[tokio::test]
async fn the_consumer_waits_for_slow_sinks() {
    let mut cluster = Cluster::new();
    let hot = Memory::new("hot");
    hot.block(true);
    let mut config = cluster.config(&[&hot]);
    config.queue = 64 * 1024;
    let runtime = super::Runtime::start(config).unwrap();
    for _ in 0..10 {
        cluster.produce(LANE, 500).await;
    }
    until(|| runtime.status().paused, || format!("{:?}", runtime.status())).await;
    hot.block(false);
    hold_all(&cluster, &[&hot]).await;
    until(|| !runtime.status().paused, || format!("{:?}", runtime.status())).await;
    runtime.shutdown().await;
}

#[tokio::test]
async fn partitions_move_between_members() {
    let mut cluster = Cluster::new();
    let (hot, runs) = (Memory::new("hot"), Memory::new("runs"));
    cluster.produce(LANE, 100).await;
    cluster.produce(OTHER, 100).await;
    let first = cluster.start(&[&hot, &runs]);
    hold_all(&cluster, &[&hot, &runs]).await;

    let second = cluster.start(&[&hot, &runs]);
    let shared = || !first.status().lanes.is_empty() && !second.status().lanes.is_empty();
    until(shared, || format!("{:#?} {:#?}", first.status(), second.status())).await;
    ready(&first).await;
    ready(&second).await;
    cluster.produce(LANE, 100).await;
    cluster.produce(OTHER, 100).await;
    hold_all(&cluster, &[&hot, &runs]).await;

    first.shutdown().await;
    cluster.produce(LANE, 100).await;
    cluster.produce(OTHER, 100).await;
    hold_all(&cluster, &[&hot, &runs]).await;
    second.shutdown().await;
}

#[tokio::test]
async fn shutdown_writes_what_is_pending_and_gives_up_in_time() {
    let mut cluster = Cluster::new();
    let hot = Memory::new("hot");
    let mut config = cluster.config(&[&hot]);
    config.drain = Duration::from_millis(700);
    let runtime = super::Runtime::start(config).unwrap();
    ready(&runtime).await;
    hot.fail(Call::Flush, vec![Fault::Unavailable; 1000]);
    cluster.produce(LANE, 100).await;
    until(|| !runtime.status().retrying.is_empty(), || format!("{:?}", runtime.status())).await;
    let begun = std::time::Instant::now();
    runtime.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(hot.count(), 0);

    let hot = Memory::new("hot");
    let runtime = cluster.start(&[&hot]);
    hold_all(&cluster, &[&hot]).await;
    runtime.shutdown().await;
}
