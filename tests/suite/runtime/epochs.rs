//! Topics made again, and records deleted before they were taken.

use std::sync::Arc;
use std::time::Duration;

use agentworks_kafka::SeekPool;
use agentworks_processors::epochs::adopt::{AdoptError, Adopter, Choices, TopicReport};
use agentworks_processors::hot::{HotConfig, HotSink};
use agentworks_processors::lane;
use agentworks_processors::runtime::testing::Memory;
use agentworks_processors::runtime::{LaneState, Runtime, RuntimeConfig, RuntimeHandle};
use agentworks_schemas::{Topic, TopicPartition};
use agentworks_store::{Intercept, Part, Store, StoreError, Write};
use async_trait::async_trait;
use prometheus_client::registry::Registry;
use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};

use super::{ALL, LANE, Log, PARTITIONS, PATIENCE, reads, stopped};
use crate::support::eventually;
use crate::support::records::{admin, delete_topic, make_again, produce};

fn config(log: &Log, memories: &[&Memory]) -> RuntimeConfig {
    let mut config = log.config(memories);
    config.kafka.extra.push(("topic.metadata.refresh.interval.ms".into(), "500".into()));
    config
}

#[tokio::test]
async fn a_topic_made_again_stops_until_it_is_adopted_and_nobody_restarts() {
    let mut log = Log::new().await;
    let hot = Memory::new("hot");
    let runtime = Runtime::start(config(&log, &[&hot])).unwrap();
    log.produce(200).await;
    log.held_by(&[&hot]).await;
    let adopter = Adopter::over(log.store.clone(), SeekPool::new(log.settings.clone(), 1)).unwrap();
    let adopt = async |choices| adopter.adopt(LANE.topic, choices).await;
    let refused = adopt(Choices::default()).await.unwrap_err();
    assert!(matches!(&refused, AdoptError::Refused(reason) if reason.contains("nothing to adopt")), "{refused}");

    make_again(&log.settings, LANE.topic, PARTITIONS).await;
    // More than there was: no offset shows it.
    let line = |n: usize| {
        let json =
            format!(r#"{{"id":"new-{n}","runId":"run","cardId":"card-{n}","workspaceId":"space","message":"text"}}"#);
        (format!("card-{n}"), json)
    };
    let name = log.settings.topics.name(LANE.topic);
    let mut restarted = None;
    for round in 0..2 {
        if round == 1 {
            // Nor does a restart get past it.
            restarted = Some(Runtime::start(config(&log, &[&hot])).unwrap());
        }
        let runtime = restarted.as_ref().unwrap_or(&runtime);
        let lanes = eventually(PATIENCE, async || {
            let lanes = stopped(runtime);
            let is_said =
                |(_, reason): &(TopicPartition, String)| reason.contains("agentworks topics adopt agent-logs");
            (!lanes.is_empty() && lanes.iter().all(is_said) && runtime.status().joined).then_some(lanes)
        })
        .await;
        assert!(lanes.iter().all(|(partition, _)| partition.topic == LANE.topic), "{lanes:?}");
        assert!(!runtime.is_ready());
        if round == 0 {
            produce(&log.settings.brokers, &name, (0..900).map(line)).await;
        }
    }
    drop(restarted);
    reads_or_stops(&runtime).await;
    assert_eq!(hot.count(), 400, "nothing of the new one has been taken");
    assert_eq!(hot.epoch(LANE), Some(0));

    let tried = adopt(Choices { dry_run: true, ..Choices::default() }).await.unwrap();
    assert!(tried.before.remade && tried.dry_run);
    assert_eq!((tried.before.epoch, tried.epoch), (0, 1));
    // Whoever has left may hand over partitions still.
    eventually(PATIENCE, async || (!stopped(&runtime).is_empty()).then_some(())).await;
    assert_eq!(adopt(Choices::default()).await.unwrap().epoch, 1);

    reads(&runtime, ALL).await;
    eventually(PATIENCE, async || (hot.count() == 400 + 900).then_some(())).await;
    log.held_by(&[&hot]).await;
    assert_eq!(hot.epoch(LANE), Some(1));
    assert_eq!(hot.epoch(TopicPartition::new(Topic::SystemLogs, 0)), Some(0));
    assert!(matches!(adopt(Choices::default()).await, Err(AdoptError::Refused(_))));
    runtime.shutdown().await;
}

#[tokio::test]
async fn what_was_taken_of_a_topic_that_is_gone_is_written_whoever_notices_first() {
    let mut log = Log::new().await;
    let archive = Memory::new("archive");
    archive.hold_back();
    // The topics' ids are looked at too seldom: the consumer finds that its offsets are not there any more.
    let runtime =
        Runtime::start(RuntimeConfig { look: Duration::from_secs(3600), ..config(&log, &[&archive]) }).unwrap();
    log.produce(200).await;
    let contents = log.contents().await;
    eventually(PATIENCE, async || (archive.taken() == 400).then_some(())).await;
    assert_eq!(archive.count(), 0, "nothing has been due");
    make_again(&log.settings, LANE.topic, PARTITIONS).await;
    eventually(PATIENCE, async || (stopped(&runtime).len() == PARTITIONS as usize).then_some(())).await;
    for (partition, lines) in contents.iter().filter(|(partition, _)| partition.topic == LANE.topic) {
        assert_eq!(archive.records(*partition).len(), lines.len(), "{partition}");
    }
    runtime.shutdown().await;
}

#[tokio::test]
async fn what_was_taken_of_a_topic_that_is_deleted_is_written() {
    let mut log = Log::new().await;
    let archive = Memory::new("archive");
    archive.hold_back();
    // The group alone notices, and calls the partitions lost.
    let runtime =
        Runtime::start(RuntimeConfig { look: Duration::from_secs(3600), ..config(&log, &[&archive]) }).unwrap();
    log.produce(200).await;
    eventually(PATIENCE, async || (archive.taken() == 400).then_some(())).await;
    assert_eq!(archive.count(), 0, "nothing has been due");
    delete_topic(&log.settings.brokers, &log.settings.topics.name(LANE.topic)).await;
    eventually(PATIENCE, async || (archive.count() == 200).then_some(())).await;
    assert!(stopped(&runtime).is_empty());
    runtime.shutdown().await;
    assert_eq!((archive.count(), archive.problems()), (400, Vec::new()));
}

/// Waits until a runtime has all partitions, in whatever state.
async fn reads_or_stops(runtime: &RuntimeHandle) {
    let is_settled = |lane: &agentworks_processors::runtime::LaneStatus| !matches!(lane.state, LaneState::Opening(_));
    eventually(PATIENCE, async || {
        let lanes = runtime.status().lanes;
        (lanes.len() == ALL && lanes.iter().all(is_settled)).then_some(())
    })
    .await;
}

/// A store that takes no epochs.
#[derive(Debug)]
struct Dies {
    behind: Arc<dyn Store>,
}

#[async_trait]
impl Intercept for Dies {
    fn behind(&self) -> &Arc<dyn Store> {
        &self.behind
    }

    async fn intercept(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        match writes.iter().any(|write| write.key.partition == [Part::from("topics")]) {
            true => Err(StoreError::Unavailable("as told".into())),
            false => self.behind.write(writes).await,
        }
    }
}

#[tokio::test]
async fn what_was_deleted_untaken_is_given_up_only_on_request() {
    let mut log = Log::new().await;
    log.produce(400).await;
    let sink = || {
        let hot = HotConfig { block_age: Duration::from_millis(300), ..HotConfig::default() };
        Box::new(HotSink::new(log.store.clone(), hot, &mut Registry::default()).unwrap())
    };
    let start = || {
        let config = log.config(&[]);
        Runtime::start(RuntimeConfig { sinks: vec![sink()], ..config }).unwrap()
    };
    let store = log.store.clone();
    let held = async |partition| lane::load(&*store, "hot", partition).await.unwrap();
    let end = |partition| {
        let seek = SeekPool::new(log.settings.clone(), 1);
        async move { seek.watermarks(partition).await.unwrap().high }
    };
    let runtime = start();
    let first = end(LANE).await;
    eventually(PATIENCE, async || held(LANE).await.filter(|held| held.high == first)).await;
    runtime.shutdown().await;

    // While nobody was there, more came, and retention took some of it.
    let settings = log.settings.clone();
    let lines = (0..400).map(|n| {
        let json =
            format!(r#"{{"id":"{n}","runId":"run","cardId":"card-{n}","workspaceId":"space","message":"text"}}"#);
        (format!("card-{n}"), json)
    });
    produce(&settings.brokers, &settings.topics.name(LANE.topic), lines).await;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&settings.topics.name(LANE.topic), 0, Offset::Offset(first + 7)).unwrap();
    admin(&settings.brokers).delete_records(&list, &AdminOptions::new()).await.unwrap();

    let runtime = start();
    let (lane, reason) = eventually(PATIENCE, async || stopped(&runtime).into_iter().next()).await;
    assert_eq!(lane, LANE);
    assert!(reason.contains("the log begins at"), "{reason}");
    let adopter = Adopter::over(Arc::clone(&log.store), SeekPool::new(settings.clone(), 1)).unwrap();
    let refused = adopter.adopt(LANE.topic, Choices::default()).await.unwrap_err().to_string();
    assert!(refused.contains("7 offsets") && refused.contains("--skip-lost"), "{refused}");
    let tried =
        adopter.adopt(LANE.topic, Choices { skip_lost: true, dry_run: true, ..Choices::default() }).await.unwrap();
    assert_eq!(tried.skipped, 7);
    let lost: Vec<_> = tried.before.lanes.iter().filter(|lane| lane.lost > 0).collect();
    assert_eq!((lost.len(), lost[0].partition, lost[0].sink.as_str()), (1, 0, "hot"));
    assert_eq!(held(LANE).await.unwrap().high, first);

    // Whoever does it dies when positions have been moved, and nobody has been told.
    let dies = Arc::new(Dies { behind: Arc::clone(&log.store) });
    let dying = Adopter::over(dies, SeekPool::new(settings.clone(), 1)).unwrap();
    let choices = Choices { skip_lost: true, ..Choices::default() };
    assert!(dying.adopt(LANE.topic, choices).await.unwrap_err().to_string().contains("as told"));
    assert_eq!(held(LANE).await.unwrap().high, first + 7);
    let refused = adopter.adopt(LANE.topic, Choices::default()).await.unwrap_err().to_string();
    assert!(refused.contains("begun and not finished"), "{refused}");
    let unfinished = adopter.reports().await.unwrap().into_iter().filter(|report| report.unfinished);
    assert_eq!(unfinished.map(|report| report.topic).collect::<Vec<_>>(), [LANE.topic.as_str()]);

    adopter.adopt(LANE.topic, choices).await.unwrap();
    assert!(!adopter.reports().await.unwrap().iter().any(TopicReport::is_stopped));
    let last = end(LANE).await;
    let held = eventually(PATIENCE, async || held(LANE).await.filter(|held| held.high == last)).await;
    assert_eq!((held.epoch, held.low), (0, first + 7), "what was before the hole is not relied on");
    eventually(PATIENCE, async || runtime.is_ready().then_some(())).await;
    runtime.shutdown().await;
}
