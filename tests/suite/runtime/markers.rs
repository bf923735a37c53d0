//! Offsets that hold no record: transactions' markers, what was aborted, what was deleted.

use agentworks_processors::runtime::testing::Memory;
use agentworks_schemas::TopicPartition;
use rdkafka::admin::AdminOptions;
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::{LANE, Log, PARTITIONS, PATIENCE, reads};
use crate::support::eventually;
use crate::support::records::{PATIENCE as ANSWER, admin};
use crate::support::transactions::{Transactional, transact, transactional};

fn line(id: &str) -> String {
    format!(r#"{{"id":"{id}","runId":"run","cardId":"card","workspaceId":"space","message":"a line of {id}"}}"#)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Writes a transaction of these ids.
async fn write(producer: &Transactional, topic: &str, ids: &[&str], commit: bool) {
    let (producer, topic) = (producer.clone(), topic.to_owned());
    let lines: Vec<_> = ids.iter().map(|id| line(id)).collect();
    blocking(move || transact(&producer, &topic, &lines, commit)).await;
}

fn ids(hot: &Memory) -> Vec<(i64, String)> {
    hot.records(LANE)
}

#[tokio::test]
async fn markers_leave_no_lag_and_what_was_aborted_is_never_seen() {
    let log = Log::new().await;
    let hot = Memory::new("hot");
    let topic = log.settings.topics.name(LANE.topic);
    let bootstrap = log.settings.brokers.clone();
    let producer = blocking(move || transactional(&bootstrap)).await;

    // Some before the runtime is there, with an aborted one at the end.
    write(&producer, &topic, &["a", "b"], true).await;
    write(&producer, &topic, &["x", "y", "z"], false).await;
    let runtime = log.start(&[&hot]);
    eventually(PATIENCE, async || (hot.held(LANE) == Some((0, 7))).then_some(())).await;
    assert_eq!(ids(&hot), [(0, "a".into()), (1, "b".into())]);

    // And while it reads.
    write(&producer, &topic, &["c"], true).await;
    eventually(PATIENCE, async || (hot.held(LANE) == Some((0, 9))).then_some(())).await;
    write(&producer, &topic, &["v"], false).await;
    eventually(PATIENCE, async || (hot.held(LANE) == Some((0, 11))).then_some(())).await;
    let lane = runtime.status().lanes.into_iter().find(|lane| lane.partition == LANE).unwrap();
    assert_eq!(lane.sinks[0].lag, 0);

    // What is written but not committed is beyond the end, and no position passes it.
    let (open, to) = (producer.clone(), topic.clone());
    blocking(move || {
        open.begin_transaction().unwrap();
        for id in ["d", "e"] {
            let line = line(id);
            let record = BaseRecord::to(&to).partition(0).key("card").payload(&line);
            open.send(record).map_err(|(error, _)| error).unwrap();
        }
        open.flush(ANSWER).unwrap();
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert_eq!(hot.held(LANE), Some((0, 11)));
    blocking(move || producer.commit_transaction(ANSWER).unwrap()).await;
    eventually(PATIENCE, async || (hot.held(LANE) == Some((0, 14))).then_some(())).await;
    let all = ids(&hot);
    assert_eq!(all.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
    assert_eq!(hot.problems(), [] as [String; 0]);
    runtime.shutdown().await;

    // Retention that takes markers away takes nothing that wasn't seen.
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(14)).unwrap();
    admin(&log.settings.brokers).delete_records(&list, &AdminOptions::new()).await.unwrap();
    let runtime = log.start(&[&hot]);
    reads(&runtime, 2 * PARTITIONS as usize).await;
    runtime.shutdown().await;
}

#[tokio::test]
async fn a_log_that_does_not_begin_at_its_beginning_is_taken_from_where_it_does() {
    let mut log = Log::new().await;
    let hot = Memory::new("hot");
    log.produce(1_000).await;
    let mut list = TopicPartitionList::new();
    for number in 0..PARTITIONS {
        let name = log.settings.topics.name(LANE.topic);
        list.add_partition_offset(&name, number, Offset::Offset(10 + i64::from(number))).unwrap();
    }
    admin(&log.settings.brokers).delete_records(&list, &AdminOptions::new()).await.unwrap();
    let runtime = log.start(&[&hot]);
    log.held_by(&[&hot]).await;
    for number in 0..PARTITIONS {
        let (low, _) = hot.held(TopicPartition::new(LANE.topic, number)).unwrap();
        assert_eq!(low, 10 + i64::from(number));
    }
    runtime.shutdown().await;
}
