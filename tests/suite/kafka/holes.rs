use std::time::Duration;

use agentworks_kafka::SeekPool;
use rdkafka::producer::{BaseRecord, Producer};

use super::{LANE, entries, json, read, request, settings};
use crate::support::records::PATIENCE;
use crate::support::transactions::{transact, transactional};

#[tokio::test]
async fn markers_and_what_was_aborted_are_passed_over() {
    let settings = settings(1).await;
    let topic = settings.topics.name(LANE.topic);
    let producer = transactional(&settings.brokers);
    let (of_producer, of_topic) = (producer.clone(), topic.clone());
    let written = tokio::task::spawn_blocking(move || {
        let (producer, topic) = (of_producer, of_topic);
        // Each transaction ends with a marker, which takes an offset.
        let (mut offset, mut visible) = (0, Vec::new());
        for transaction in 0..20 {
            let commit = transaction % 3 != 1;
            let ids: Vec<_> = (0..=transaction % 4).map(|n| format!("{transaction}-{n}")).collect();
            let lines: Vec<_> = ids.iter().map(|id| json("card", id)).collect();
            transact(&producer, &topic, &lines, commit);
            for id in ids {
                if commit {
                    visible.push((offset, id));
                }
                offset += 1;
            }
            offset += 1;
        }
        (visible, offset)
    });
    let (visible, end) = written.await.unwrap();

    let pool = SeekPool::new(settings, 1);
    let marks = pool.watermarks(LANE).await.unwrap();
    assert_eq!((marks.low, marks.high), (0, end));
    for from in 0..=end {
        for to in [from, from + 1, from + 3, end - 1, end, i64::MAX] {
            let (batches, reached) =
                tokio::time::timeout(PATIENCE, read(&pool, request(from, to))).await.unwrap().unwrap();
            assert_eq!(reached, to.clamp(from, end), "{from}..{to}");
            let expected: Vec<_> = visible.iter().filter(|(offset, _)| (from..to).contains(offset)).cloned().collect();
            assert_eq!(entries(&batches), expected, "{from}..{to}");
        }
    }

    // An open transaction lies behind the end.
    producer.begin_transaction().unwrap();
    let line = json("card", "open");
    producer.send(BaseRecord::to(&topic).partition(0).key("card").payload(&line)).map_err(|(error, _)| error).unwrap();
    let producer =
        tokio::task::spawn_blocking(move || producer.flush(PATIENCE).map(|()| producer)).await.unwrap().unwrap();
    assert_eq!(pool.watermarks(LANE).await.unwrap().high, end);
    let (_, reached) = tokio::time::timeout(PATIENCE, read(&pool, request(0, end + 1))).await.unwrap().unwrap();
    assert_eq!(reached, end);
    tokio::task::spawn_blocking(move || producer.abort_transaction(Duration::from_secs(10))).await.unwrap().unwrap();
}
