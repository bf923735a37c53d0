use std::time::Duration;

use agentworks_kafka::{KafkaError, SeekPool, SeekRequest, Watermarks};
use agentworks_schemas::TopicPartition;
use bytes::Bytes;
use rand::RngExt;
use rdkafka::admin::AdminOptions;
use rdkafka::producer::FutureRecord;
use rdkafka::{Offset, TopicPartitionList};

use super::{LANE, entries, json, read, request, settings};
use crate::support::records::{PATIENCE, admin, produce, producer, read_all};

/// The id of the entry at an offset.
fn id(offset: i64) -> String {
    format!("entry-{offset}")
}

fn log(range: std::ops::Range<i64>) -> Vec<(i64, String)> {
    range.map(|offset| (offset, id(offset))).collect()
}

#[tokio::test]
async fn any_range_is_read_exactly() {
    const END: i64 = 5_000;
    let settings = settings(1).await;
    let topic = settings.topics.name(LANE.topic);
    produce(&settings.brokers, &topic, (0..END).map(|offset| ("card", json("card", &id(offset))))).await;
    assert_eq!(read_all(&settings.brokers, &topic).await.len(), 5_000, "offsets are as the test takes them");

    // One consumer, so that each range follows on another of the same partition.
    let pool = SeekPool::new(settings, 1);
    let mut ranges = vec![(0, END), (0, 1), (END - 1, END), (0, 0), (END, END), (END, END + 10), (17, i64::MAX)];
    for _ in 0..150 {
        let from = rand::random_range(0..END);
        ranges.push((from, from + rand::rng().random_range(1..=[10, 300, 3_000][ranges.len() % 3])));
    }
    for (from, to) in ranges {
        let (batches, end) = read(&pool, request(from, to)).await.unwrap();
        assert_eq!(end, to.min(END), "{from}..{to}");
        assert_eq!(entries(&batches), log(from..to.min(END)), "{from}..{to}");
    }
}

#[tokio::test]
async fn reads_at_the_same_time_do_not_mix() {
    let settings = settings(2).await;
    let topic = settings.topics.name(LANE.topic);
    let records = (0..4_000).map(|n| (format!("card-{}", n % 50), n));
    produce(&settings.brokers, &topic, records.map(|(card, n)| (card.clone(), json(&card, &n.to_string())))).await;
    let all = read_all(&settings.brokers, &topic).await;

    let pool = SeekPool::new(settings, 3);
    let mut reads = tokio::task::JoinSet::new();
    for read_number in 0..24 {
        let partition = read_number % 2;
        let ids: Vec<_> = all.iter().filter(|record| record.partition == partition).collect();
        let ids: Vec<_> = ids.iter().map(|record| (record.offset, record.text().to_owned())).collect();
        let pool = pool.clone();
        reads.spawn(async move {
            let end = ids.len() as i64;
            let from = rand::random_range(0..end);
            let partition = TopicPartition::new(LANE.topic, partition);
            let (batches, to) = read(&pool, SeekRequest { partition, ..request(from, end) }).await.unwrap();
            assert_eq!(to, end);
            let found = entries(&batches);
            assert_eq!(found.len() as i64, end - from);
            for ((offset, id), (expected, text)) in found.iter().zip(&ids[from as usize..]) {
                assert_eq!(offset, expected);
                assert!(text.contains(&format!(r#""id":"{id}""#)), "{id} is not of {text}");
            }
        });
    }
    while let Some(read) = reads.join_next().await {
        read.unwrap();
    }
}

#[tokio::test]
async fn other_cards_are_skipped_undecoded_and_records_without_key_are_not() {
    let settings = settings(1).await;
    let topic = settings.topics.name(LANE.topic);
    let producer = producer(&settings.brokers, &[("enable.idempotence", "true")]);
    let mut sends = Vec::new();
    for offset in 0..60_000 {
        let payload = json("mine", &id(offset));
        // Other cards' records aren't even records.
        let record = match offset % 20_000 {
            7 => FutureRecord::to(&topic).key("mine").payload(payload.as_str()),
            9 => FutureRecord::<str, str>::to(&topic).payload(payload.as_str()),
            _ => FutureRecord::to(&topic).key("other").payload("garbage"),
        };
        sends.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
    }
    for send in sends {
        send.await.unwrap().map_err(|(error, _)| error).unwrap();
    }

    let pool = SeekPool::new(settings, 1);
    let key = Some(Bytes::from_static(b"mine"));
    let (batches, end) = read(&pool, SeekRequest { key, ..request(0, 60_000) }).await.unwrap();
    assert_eq!(end, 60_000);
    let expected = [7, 9, 20_007, 20_009, 40_007, 40_009].map(|offset| (offset, id(offset)));
    assert_eq!(entries(&batches), expected);
    assert!(batches.iter().all(|batch| batch.rejects().is_empty()));
    assert!(batches.len() >= 3, "it is told how far the reading has come, also when nothing was found");
}

#[tokio::test]
async fn what_the_log_does_not_hold_is_out_of_range() {
    let settings = settings(1).await;
    let topic = settings.topics.name(LANE.topic);
    produce(&settings.brokers, &topic, (0..100).map(|offset| ("card", json("card", &id(offset))))).await;
    let pool = SeekPool::new(settings.clone(), 1);
    // So that the pool knows the log's end already when its start moves.
    read(&pool, request(0, 100)).await.unwrap();

    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(40)).unwrap();
    admin(&settings.brokers).delete_records(&list, &AdminOptions::new()).await.unwrap();
    assert_eq!(pool.watermarks(LANE).await.unwrap(), Watermarks { low: 40, high: 100 });

    for (from, to) in [(0, 100), (39, 50), (101, 200)] {
        match read(&pool, request(from, to)).await {
            Err(KafkaError::OutOfRange { partition: LANE, offset, low: 40, high: 100 }) => assert_eq!(offset, from),
            other => panic!("{from}..{to}: {other:?}"),
        }
    }
    let (batches, _) = read(&pool, request(40, 100)).await.unwrap();
    assert_eq!(entries(&batches), log(40..100), "the pool works on after errors");
}

#[tokio::test]
async fn a_reader_that_stops_or_goes_holds_up_nobody() {
    let settings = settings(1).await;
    let topic = settings.topics.name(LANE.topic);
    produce(&settings.brokers, &topic, (0..20_000).map(|offset| ("card", json("card", &id(offset))))).await;
    let pool = SeekPool::new(settings, 1);

    // These take one batch each, and no more for now.
    let mut slow = Vec::new();
    for _ in 0..3 {
        let mut receiver = pool.read(request(0, 20_000));
        let first = receiver.recv().await.unwrap().unwrap();
        slow.push((receiver, vec![first]));
    }
    drop(pool.read(request(0, 20_000)));
    let quick = tokio::time::timeout(PATIENCE, read(&pool, request(19_000, 20_000)));
    assert_eq!(entries(&quick.await.unwrap().unwrap().0), log(19_000..20_000));

    for (mut receiver, mut batches) in slow {
        while let Some(batch) = tokio::time::timeout(PATIENCE, receiver.recv()).await.unwrap() {
            batches.push(batch.unwrap());
        }
        assert_eq!(entries(&batches), log(0..20_000), "a slow reader loses nothing");
    }
}

#[tokio::test]
async fn a_reader_learns_that_the_pool_has_ended() {
    let settings = settings(1).await;
    let topic = settings.topics.name(LANE.topic);
    produce(&settings.brokers, &topic, (0..20_000).map(|offset| ("card", json("card", &id(offset))))).await;
    let pool = SeekPool::new(settings, 1);
    let mut receiver = pool.read(request(0, 20_000));
    receiver.recv().await.unwrap().unwrap();
    drop(pool);
    let mut last = None;
    while let Some(batch) = tokio::time::timeout(PATIENCE, receiver.recv()).await.unwrap() {
        last = Some(batch);
    }
    assert!(matches!(last, Some(Err(KafkaError::Unavailable(_)))), "{last:?}");
}

#[tokio::test]
async fn brokers_that_are_away_are_an_error_that_may_pass() {
    let mut settings = settings(1).await;
    settings.brokers = "127.0.0.1:1".into();
    let pool = SeekPool::new(settings, 1);
    let asked = tokio::time::timeout(Duration::from_secs(60), pool.watermarks(LANE)).await.unwrap();
    assert!(asked.as_ref().is_err_and(KafkaError::is_transient), "{asked:?}");
}

#[tokio::test]
async fn who_looks_for_another_card_goes_over_what_was_passed() {
    let settings = settings(1).await;
    let topic = settings.topics.name(LANE.topic);
    let card = |offset: i64| if (30_000..30_010).contains(&offset) { "rare" } else { "common" };
    produce(&settings.brokers, &topic, (0..60_000).map(|offset| (card(offset), json(card(offset), &id(offset))))).await;
    let pool = SeekPool::new(settings, 2);
    let of = |key: &'static str| SeekRequest { key: Some(Bytes::from_static(key.as_bytes())), ..request(0, 60_000) };

    let (batches, end) = read(&pool, of("nobody")).await.unwrap();
    assert!(end == 60_000 && entries(&batches).is_empty());
    let (batches, end) = read(&pool, of("nobody else")).await.unwrap();
    assert!(end == 60_000 && entries(&batches).is_empty());
    assert_eq!(batches.len(), 1, "one answer, and nothing was read");
    let (batches, end) = read(&pool, of("rare")).await.unwrap();
    assert!(end == 60_000);
    assert_eq!(entries(&batches), log(30_000..30_010));
    assert!(batches.len() < 8, "a stretch is read: {}", batches.len());

    // What comes later is found, whoever looked before.
    produce(&pool.settings().brokers, &topic, [("nobody else", json("nobody else", &id(60_000)))]).await;
    let (batches, end) = read(&pool, SeekRequest { to: 60_001, ..of("nobody else") }).await.unwrap();
    assert_eq!((end, entries(&batches)), (60_001, log(60_000..60_001)));
    let (batches, _) = read(&pool, of("common")).await.unwrap();
    assert_eq!(entries(&batches).len(), 59_990);
}
