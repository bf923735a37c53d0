//! The producer against librdkafka's mock cluster, whose faults can be chosen.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ffi::CString;

use agentworks_schemas::topics::partition_of;
use agentworks_schemas::{Level, Source};
use prometheus_client::registry::Registry;
use rdkafka::bindings::rd_kafka_test_fatal_error;
use rdkafka::types::RDKafkaRespErr;

use super::*;

const SECONDS: Duration = Duration::from_secs(20);

fn builder() -> ProducerBuilder {
    Producer::builder("ignored").property("test.mock.num.brokers", "1").linger(Duration::ZERO)
}

fn mock(producer: &Producer, act: impl FnOnce(&rdkafka::mocking::MockCluster<'_, Callbacks>)) {
    act(&producer.shared.kafka.client().mock_cluster().unwrap());
}

fn line<'a>(run: &'a RunHandle, message: &'a str) -> EntryBuilder<'a> {
    run.log(Level::Info, Source::Agent, "test", message)
}

#[tokio::test]
async fn each_entry_is_delivered_to_the_lane_of_its_card_in_order() {
    let producer = builder().build().unwrap();
    let runs: Vec<RunHandle> = (0..20).map(|card| producer.run("acme", &format!("card-{card}"), "run")).collect();
    let mut deliveries = Vec::new();
    for round in 0..50 {
        for run in &runs {
            deliveries.push((run.card(), line(run, &format!("line {round}")).send().await.unwrap()));
        }
    }
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    for (card, delivery) in deliveries {
        let metadata = delivery.await.unwrap();
        // A mock topic has four partitions.
        assert_eq!(metadata.partition.partition, partition_of(card.as_bytes(), 4));
        assert_eq!(metadata.partition.topic, Topic::AgentLogs);
        let offset = metadata.offset.unwrap();
        assert!(last.insert(card, offset).is_none_or(|before| before < offset));
    }
    assert!(runs.iter().all(|run| run.next_sequence() == 50));
}

#[tokio::test]
async fn the_source_chooses_the_topic() {
    let producer = builder().build().unwrap();
    let run = producer.run("acme", "card", "run");
    let system = run.log(Level::Warn, Source::System, "kernel", "out of memory").send().await.unwrap();
    let event = run.usage().cost(0.25).tokens(10, 20).send().await.unwrap();
    assert_eq!(system.await.unwrap().partition.topic, Topic::SystemLogs);
    assert_eq!(event.await.unwrap().partition.topic, Topic::RunEvents);
}

#[tokio::test]
async fn what_no_reader_would_take_is_refused_and_spends_no_sequence() {
    let producer = builder().build().unwrap();
    let run = producer.run("acme", "card", "run");
    let huge = "x".repeat(MAX_RECORD);
    let refused = line(&run, &huge).send().await;
    assert!(matches!(refused, Err(SendError::Refused(Reject::TooLarge { limit: MAX_RECORD, .. }))), "{refused:?}");
    let nameless = producer.run("acme", "", "run");
    let refused = line(&nameless, "hello").try_send();
    assert!(matches!(refused, Err(SendError::Refused(Reject::Field { field: "cardId", .. }))), "{refused:?}");
    assert_eq!((run.next_sequence(), nameless.next_sequence(), producer.pending()), (0, 0, 0));
    line(&run, &huge[..MAX_RECORD - 1024]).send().await.unwrap().await.unwrap();
}

#[tokio::test]
async fn a_full_buffer_makes_senders_wait_and_loses_nothing() {
    let producer = builder().buffer(2 * 1024 * 1024, 10).build().unwrap();
    let run = producer.run("acme", "card", "run").starting_at(100);
    mock(&producer, |mock| mock.broker_down(1).unwrap());
    let mut deliveries: Vec<Delivery> = (0..10).map(|_| line(&run, "early").try_send().unwrap()).collect();
    assert!(matches!(line(&run, "no room").try_send(), Err(SendError::Full)));

    let waiting = tokio::spawn({
        let run = run.clone();
        async move { line(&run, "late").send().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    assert_eq!(run.next_sequence(), 110, "an entry that waits has no number yet");

    mock(&producer, |mock| mock.broker_up(1).unwrap());
    deliveries.push(waiting.await.unwrap().unwrap());
    for (offset, delivery) in deliveries.into_iter().enumerate() {
        assert_eq!(delivery.await.unwrap().offset, Some(offset as i64));
    }
    assert_eq!((run.next_sequence(), producer.pending()), (111, 0));
}

#[tokio::test]
async fn a_broker_that_stays_away_fails_the_entry_in_time() {
    let producer = builder().delivery_timeout(Duration::from_millis(1500)).build().unwrap();
    let run = producer.run("acme", "card", "run");
    line(&run, "there").send().await.unwrap().await.unwrap();
    mock(&producer, |mock| mock.broker_down(1).unwrap());
    let watched = line(&run, "watched").send().await.unwrap();
    drop(line(&run, "unwatched").send().await.unwrap());
    assert_eq!(watched.await, Err(DeliveryError::TimedOut));
    assert_eq!(producer.flush(SECONDS).await, Err(Undelivered { pending: 0, failed: 1 }));
    assert_eq!(producer.flush(SECONDS).await, Ok(()), "said once");
}

/// Has a producer's client fail for good.
pub(crate) fn fail(producer: &Producer) {
    let reason = CString::new("made up").unwrap();
    // SAFETY: the client lives, and the text is copied.
    unsafe {
        let code = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        rd_kafka_test_fatal_error(producer.shared.kafka.client().native_ptr(), code, reason.as_ptr());
    }
}

#[tokio::test]
async fn a_fatal_error_is_said_to_all_that_come_later() {
    let producer = builder().build().unwrap();
    let run = producer.run("acme", "card", "run");
    line(&run, "there").send().await.unwrap().await.unwrap();
    fail(&producer);
    for _ in 0..2 {
        let refused = line(&run, "too late").send().await;
        assert!(matches!(&refused, Err(SendError::Fatal(why)) if why.contains("made up")), "{refused:?}");
    }
    assert!(producer.failure().unwrap().contains("made up"));
}

#[tokio::test]
async fn a_fatal_error_is_known_though_nobody_sends_and_what_waits_fails() {
    let producer = builder().build().unwrap();
    let run = producer.run("acme", "card", "run");
    line(&run, "there").send().await.unwrap().await.unwrap();
    mock(&producer, |mock| mock.broker_down(1).unwrap());
    let waiting = line(&run, "waits").send().await.unwrap();
    let mut failed = Box::pin(producer.failed());
    assert!(futures_util::poll!(failed.as_mut()).is_pending() && producer.failure().is_none());
    fail(&producer);
    let reason = tokio::time::timeout(SECONDS, failed).await.unwrap();
    assert!(reason.contains("made up"), "{reason}");
    // Also those who ask later, and of a clone.
    assert_eq!((producer.clone().failed().await, producer.failure()), (reason.clone(), Some(reason)));
    let failed = tokio::time::timeout(SECONDS, waiting).await.unwrap();
    assert_eq!(failed, Err(DeliveryError::Fatal));
}

#[tokio::test]
async fn the_value_of_a_setting_is_never_shown() {
    let with = |name: &str, value: &str| Producer::builder("ignored").property(name, value);
    let shown = format!("{:?}", with("sasl.password", "hunter2"));
    assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");
    for (name, value) in [
        ("sasl.pasword", "hunter2"),
        ("security.protocol", "hunter2"),
        ("linger.ms", "hunter2"),
        ("sasl.password", "hunter2\0"),
        ("transactional.id", "\0hunter2"),
    ] {
        let error = with(name, value).build().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    let error = with("sasl.pasword", "hunter2").build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "Kafka's client does not take the setting sasl.pasword: No such configuration property: \"sasl.pasword\""
    );
}

#[tokio::test]
async fn close_delivers_what_it_can() {
    let producer = builder().build().unwrap();
    let run = producer.run("acme", "card", "run");
    let deliveries: Vec<Delivery> = (0..1000).map(|_| line(&run, "bye").try_send().unwrap()).collect();
    producer.close(SECONDS).await.unwrap();
    for delivery in deliveries {
        delivery.try_take().unwrap().unwrap();
    }
    assert!(matches!(line(&run, "too late").send().await, Err(SendError::Closed)));
}

#[tokio::test]
async fn close_abandons_what_it_cannot_deliver_and_counts_it() {
    let producer = builder().build().unwrap();
    mock(&producer, |mock| mock.broker_down(1).unwrap());
    let run = producer.run("acme", "card", "run");
    let first = line(&run, "kept").try_send().unwrap();
    drop(line(&run, "dropped").try_send().unwrap());
    let result = producer.close(Duration::from_millis(50)).await;
    assert_eq!(result, Err(Undelivered { pending: 2, failed: 0 }));
    assert_eq!(first.await, Err(DeliveryError::Abandoned));
}

#[tokio::test]
async fn a_dropped_producer_settles_its_deliveries() {
    let producer = builder().build().unwrap();
    mock(&producer, |mock| mock.broker_down(1).unwrap());
    let delivery = line(&producer.run("acme", "card", "run"), "left behind").try_send().unwrap();
    drop(producer);
    assert_eq!(delivery.await, Err(DeliveryError::Abandoned));
}

#[tokio::test]
async fn metrics_tell_what_happened() {
    let metrics = Metrics::new();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let producer = builder().metrics(metrics).build().unwrap();
    let run = producer.run("acme", "card", "run");
    for _ in 0..3 {
        line(&run, "counted").send().await.unwrap().await.unwrap();
    }
    run.started().send().await.unwrap().await.unwrap();
    let _ = line(&producer.run("", "card", "run"), "refused").try_send().unwrap_err();
    producer.flush(SECONDS).await.unwrap();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for expected in [
        "agentworks_producer_entries_total{topic=\"agent-logs\"} 3",
        "agentworks_producer_entries_total{topic=\"run-events\"} 1",
        "agentworks_producer_errors_total{kind=\"refused\"} 1",
        "agentworks_producer_buffered_entries 0",
        "agentworks_producer_buffered_bytes 0",
        "agentworks_producer_delivery_seconds_count 4",
    ] {
        assert!(text.contains(expected), "{expected} is not in:\n{text}");
    }
}
