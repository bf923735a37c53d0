use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentworks_broker::{Broker, Config, State};
use agentworks_schemas::topics::partition_of;
use rdkafka::Timestamp;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::FutureRecord;
use rdkafka::{Offset, TopicPartitionList};

use crate::support::records::{
    PATIENCE, admin, consumer, consumer_at, create_topic, create_topics, next, produce, producer, read_all,
};
use crate::support::{Scratch, kafka, process, unique_prefix};

/// Keys of every length around the hash's words of four bytes, of every byte, and as cards are called.
fn keys() -> Vec<Vec<u8>> {
    let lengths = (0..64).map(|length| (0..length).map(|i| (i * 37) as u8).collect());
    let bytes = (0..=255).map(|byte| vec![byte]);
    let cards = (0..100).map(|card| format!("workspace-ä/card-{card}").into_bytes());
    lengths.chain(bytes).chain(cards).collect()
}

#[tokio::test]
async fn a_card_lies_in_the_partition_that_librdkafka_and_java_choose() {
    const PARTITIONS: i32 = 13;
    let bootstrap = kafka().await.bootstrap();
    let topics = create_topics(&bootstrap, &unique_prefix(), PARTITIONS).await;
    let topic = topics.name(agentworks_schemas::Topic::AgentLogs);
    let keys = keys();
    produce(&bootstrap, &topic, keys.iter().map(|key| (key, "."))).await;

    let records = read_all(&bootstrap, &topic).await;
    assert_eq!(records.len(), keys.len());
    for record in records {
        let key = record.key.unwrap();
        assert_eq!(record.partition, partition_of(&key, PARTITIONS), "{key:?}");
    }
}

#[tokio::test]
async fn an_assignment_at_an_offset_begins_exactly_there() {
    let bootstrap = kafka().await.bootstrap();
    let topic = format!("{}log", unique_prefix());
    create_topic(&bootstrap, &topic, 1).await;
    produce(&bootstrap, &topic, (0..1000).map(|i| ("key", i.to_string()))).await;

    tokio::task::spawn_blocking(move || {
        for offset in [0, 1, 499, 998, 999] {
            let consumer = consumer_at(&bootstrap, &topic, 0, offset);
            for expected in offset..1000 {
                let record = next(&consumer).unwrap();
                assert_eq!((record.offset, record.text()), (expected, &*expected.to_string()));
            }
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn watermarks_say_what_is_there_and_a_position_outside_is_an_error() {
    let bootstrap = kafka().await.bootstrap();
    let topic = format!("{}log", unique_prefix());
    create_topic(&bootstrap, &topic, 1).await;
    produce(&bootstrap, &topic, (0..20).map(|i| ("key", i.to_string()))).await;

    let mut until = TopicPartitionList::new();
    until.add_partition_offset(&topic, 0, Offset::Offset(5)).unwrap();
    admin(&bootstrap).delete_records(&until, &AdminOptions::new()).await.unwrap();

    tokio::task::spawn_blocking(move || {
        assert_eq!(consumer(&bootstrap).fetch_watermarks(&topic, 0, PATIENCE).unwrap(), (5, 20));
        assert_eq!(next(&consumer_at(&bootstrap, &topic, 0, 5)).unwrap().text(), "5");
        for outside in [4, 21] {
            let error = next(&consumer_at(&bootstrap, &topic, 0, outside)).unwrap_err();
            assert_eq!(error, KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset), "at {outside}");
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_brokers_clock_stamps_records_and_finds_them() {
    let bootstrap = kafka().await.bootstrap();
    let topic = format!("{}log", unique_prefix());
    create_topic(&bootstrap, &topic, 1).await;
    let producer = producer(&bootstrap, &[("enable.idempotence", "true")]);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;

    // Batches of one, each with a clock of its own that runs backwards.
    let begin = now();
    for i in 0..50 {
        let record = FutureRecord::to(&topic).key("key").payload(".").timestamp(1_000_000 - i);
        producer.send(record, PATIENCE).await.unwrap();
    }
    let end = now();

    let records = read_all(&bootstrap, &topic).await;
    let times: Vec<_> = records
        .iter()
        .map(|record| match record.timestamp {
            Timestamp::LogAppendTime(time) => time,
            other => panic!("{other:?} at {}", record.offset),
        })
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(begin <= times[0] && times[49] <= end, "{begin} {times:?} {end}");

    // By time, the first record of that time or later is found; after the last, none.
    tokio::task::spawn_blocking(move || {
        let consumer = consumer(&bootstrap);
        let find = |time| {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&topic, 0, Offset::Offset(time)).unwrap();
            consumer.offsets_for_times(list, PATIENCE).unwrap().elements()[0].offset()
        };
        for &time in &times {
            let first = times.iter().position(|&other| other >= time).unwrap();
            assert_eq!(find(time), Offset::Offset(first as i64));
        }
        assert_eq!(find(begin - 1000), Offset::Offset(0));
        assert_eq!(find(times[49] + 1), Offset::End);
    })
    .await
    .unwrap();
}

/// The chaos that the producer library is built on: acknowledged means once, and in order.
#[tokio::test]
async fn what_was_acknowledged_is_there_once_and_in_order_although_kafka_is_killed_twice() {
    const KEYS: usize = 20;
    const RECORDS: usize = 15_000;
    let scratch = Scratch::new("killed");
    let broker = Broker::start(Config::new(scratch.path())).await.unwrap();
    let bootstrap = broker.bootstrap();
    let topic = "log";
    create_topic(&bootstrap, topic, 3).await;

    let settings = [
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("compression.type", "zstd"),
        ("message.timeout.ms", "60000"),
    ];
    let producer = producer(&bootstrap, &settings);
    let mut events = broker.events();
    let mut deliveries = Vec::new();
    // 5,000 a second.
    let mut clock = tokio::time::interval(Duration::from_millis(10));
    for i in 0..RECORDS {
        if i % 50 == 0 {
            clock.tick().await;
        }
        if i == RECORDS / 3 || i == RECORDS * 2 / 3 {
            // It may still be starting, the second time; the records wait in the producer meanwhile.
            let ready = events.wait_for(|state| matches!(state, State::Ready { .. })).await.unwrap().clone();
            let State::Ready { pid } = ready else { unreachable!() };
            process::kill_9(pid);
            events.wait_for(|state| !matches!(state, State::Ready { .. })).await.unwrap();
        }
        let (key, payload) = (format!("key-{}", i % KEYS), (i / KEYS).to_string());
        let record = FutureRecord::to(topic).key(&key).payload(&payload);
        deliveries.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap().unwrap();
    }

    let mut by_key = BTreeMap::<_, Vec<usize>>::new();
    for record in read_all(&bootstrap, topic).await {
        by_key.entry(record.key.clone()).or_default().push(record.text().parse().unwrap());
    }
    assert_eq!(by_key.len(), KEYS);
    for (key, sequence) in by_key {
        assert!(sequence.into_iter().eq(0..RECORDS / KEYS), "{key:?}");
    }
    broker.stop().await;
}
