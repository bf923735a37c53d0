//! A real log that is cut back: three brokers, of which one becomes the leader that lacks records.

use std::time::Duration;

use agentworks_broker::{Broker, Config};
use agentworks_kafka::SeekPool;
use agentworks_processors::epochs::adopt::{AdoptError, Adopter, Choices};
use agentworks_processors::runtime::testing::Memory;
use agentworks_processors::runtime::{Runtime, RuntimeConfig, RuntimeHandle};
use agentworks_schemas::{Topic, Topics};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::Consumer;

use super::cut_back::{grow, kept};
use super::{LANE, Log, PARTITIONS, PATIENCE, reads, stopped};
use crate::support::records::{admin, consumer};
use crate::support::replica::Replica;
use crate::support::{Scratch, eventually, unique_prefix};

/// Topics whose leader is the first broker, which stays, but of one lane, which has the two others.
async fn create(bootstrap: &str) -> Topics {
    let topics = Topics::with_prefix(unique_prefix());
    let names: Vec<_> = Topic::ALL.iter().map(|topic| topics.name(*topic)).chain([topics.dead_letters()]).collect();
    let stays: &[i32] = &[1, 2];
    let all = vec![stays; PARTITIONS as usize];
    let mut lane = all.clone();
    lane[LANE.partition as usize] = &[3, 2];
    let made: Vec<_> = names
        .iter()
        .map(|name| {
            let replicas = if *name == topics.name(LANE.topic) { &lane } else { &all };
            NewTopic::new(name, PARTITIONS, TopicReplication::Variable(replicas))
                .set("unclean.leader.election.enable", "true")
        })
        .collect();
    // Until the brokers are known to the controller it can't be.
    eventually(PATIENCE, async || {
        let results = admin(bootstrap).create_topics(&made, &AdminOptions::new()).await.ok()?;
        let is_there = |result: &Result<_, (_, _)>| {
            result.is_ok() || matches!(result, Err((_, rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists)))
        };
        results.iter().all(is_there).then_some(())
    })
    .await;
    topics
}

/// Waits until both replicas of the lane have all of it. Returns which one leads.
async fn in_sync(log: &Log) -> i32 {
    let name = log.settings.topics.name(LANE.topic);
    eventually(PATIENCE, async || {
        let metadata = consumer(&log.settings.brokers).fetch_metadata(Some(&name), Duration::from_secs(5)).ok()?;
        let lane = metadata.topics().first()?.partitions().iter().find(|one| one.id() == LANE.partition)?;
        (lane.isr().len() == 2).then_some(lane.leader())
    })
    .await
}

/// Where the lane's log ends: behind what the one that lacked records had, and what came since.
async fn end(log: &Log) -> i64 {
    let name = log.settings.topics.name(LANE.topic);
    let (consumer, patience) = (consumer(&log.settings.brokers), Duration::from_secs(5));
    eventually(PATIENCE, async || consumer.fetch_watermarks(&name, LANE.partition, patience).ok()).await.1
}

/// Waits until the lane is read up to an offset.
async fn holds(hot: &Memory, next: i64) {
    eventually(PATIENCE, async || hot.held(LANE).filter(|held| held.1 == next)).await;
}

/// Waits until the lane has stopped, and it alone, for a reason of these words.
async fn told(runtime: &RuntimeHandle, reason: &str) {
    let lanes = eventually(PATIENCE, async || Some(stopped(runtime)).filter(|lanes| !lanes.is_empty())).await;
    assert!(lanes.len() == 1 && lanes[0].0 == LANE && lanes[0].1.contains(reason), "{lanes:?}");
}

#[tokio::test]
async fn a_leader_that_lacks_records_stops_the_lane_for_whoever_reads_it_and_whoever_comes_later() {
    let folder = Scratch::new("election");
    let cluster = folder.path().join("kafka");
    let mut config = Config::new(&cluster);
    // It decides after how long a broker that says nothing is taken for a dead one: one that is slow isn't.
    config.properties.push(("broker.session.timeout.ms".into(), "5000".into()));
    let broker = Broker::start(config).await.unwrap();
    let bootstrap = broker.bootstrap();
    // So that the groups' own topic is on the broker that stays.
    eventually(PATIENCE, async || consumer(&bootstrap).committed(Duration::from_secs(5)).ok()).await;
    let (second, third) = (Replica::start(&cluster, 2).await, Replica::start(&cluster, 3).await);
    let topics = create(&bootstrap).await;
    let log = Log::of(&bootstrap, topics);
    let hot = Memory::new("hot");
    let config = || {
        let mut config = log.config(&[&hot]);
        config.kafka.extra.push(("topic.metadata.refresh.interval.ms".into(), "1000".into()));
        RuntimeConfig { sinks: vec![hot.sink(&[Topic::AgentLogs])], ..config }
    };
    let runtime = Runtime::start(config()).unwrap();
    reads(&runtime, PARTITIONS as usize).await;
    grow(&log, 100).await;
    holds(&hot, 100).await;
    // Whichever leads, should one have been slower than that.
    let (leads, mut lacks) = if in_sync(&log).await == 3 { (third, second) } else { (second, third) };
    // It lacks what comes now.
    lacks.kill().await;
    grow(&log, 50).await;
    holds(&hot, 150).await;
    kept(&log, 150).await;
    leads.kill().await;
    lacks.start_again().await;
    grow(&log, 120).await;
    let end = end(&log).await;
    assert!(end > 150, "{end}");

    // Who reads it may see it before it has grown.
    told(&runtime, "cut back").await;
    drop(runtime);
    let runtime = Runtime::start(config()).unwrap();
    told(&runtime, "the record at 149 of agent-logs[0] is not the one that was taken").await;
    assert_eq!((hot.count(), hot.held(LANE)), (150, Some((0, 150))), "nothing of the new one is taken");

    let adopter = Adopter::over(log.store.clone(), SeekPool::new(log.settings.clone(), 1)).unwrap();
    let refused = adopter.adopt(LANE.topic, Choices::default()).await;
    assert!(matches!(&refused, Err(AdoptError::Refused(told)) if told.contains("--cut-back")), "{refused:?}");
    adopter.adopt(LANE.topic, Choices { cut_back: true, ..Choices::default() }).await.unwrap();
    holds(&hot, end).await;
    assert_eq!(hot.count() as i64, end);
    reads(&runtime, PARTITIONS as usize).await;
    assert_eq!(hot.problems(), [] as [String; 0]);
    runtime.shutdown().await;
}
