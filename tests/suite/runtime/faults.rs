use agentworks_broker::{Broker, Config};
use agentworks_processors::runtime::testing::{Call, Fault, Memory};
use agentworks_schemas::dead_letter::header;

use super::{LANE, Log, PATIENCE};
use crate::support::records::{create_topic, delete_topic, produce, producer, read_all};
use crate::support::{Scratch, eventually};

#[tokio::test]
async fn garbage_goes_to_the_dead_letter_topic_and_the_lane_goes_on() {
    let mut log = Log::new().await;
    let hot = Memory::new("hot");
    let topic = log.settings.topics.name(LANE.topic);
    log.produce(100).await;
    let garbage: [&[u8]; 4] = [b"\xc3\x01\0\0\0\0\0\0\0\0", b"\0\0\0\0\x07", b"{\"cardId\":", b"\xff\xfe"];
    produce(&log.settings.brokers, &topic, garbage.iter().map(|payload| ("card-1", payload))).await;
    let runtime = log.start(&[&hot]);
    eventually(PATIENCE, async || (hot.count() == 200).then_some(())).await;
    produce(&log.settings.brokers, &topic, [("card-1", "once more")]).await;
    let letters = eventually(PATIENCE, async || {
        let letters = read_all(&log.settings.brokers, &log.settings.topics.dead_letters()).await;
        (letters.len() == 5).then_some(letters)
    })
    .await;
    let codes = letters.iter().map(|letter| {
        let (_, code) = letter.headers.iter().find(|(name, _)| name == header::EXCEPTION_CLASS).unwrap();
        String::from_utf8(code.clone()).unwrap()
    });
    let mut codes: Vec<_> = codes.collect();
    codes.sort();
    assert_eq!(codes, ["json", "unknown_fingerprint", "unknown_framing", "unknown_framing", "unknown_schema_id"]);
    for payload in garbage {
        assert!(
            letters.iter().any(|letter| letter.payload.as_deref() == Some(payload)),
            "{payload:?} is kept as it was"
        );
    }
    let all_held = || runtime.status().lanes.iter().all(|lane| lane.sinks.iter().all(|sink| sink.lag == 0));
    eventually(PATIENCE, async || all_held().then_some(())).await;
    assert!(runtime.is_ready());
    assert_eq!(hot.problems(), [] as [String; 0]);
    runtime.shutdown().await;
}

#[tokio::test]
async fn without_a_dead_letter_topic_the_runtime_waits_and_says_so() {
    let log = Log::new().await;
    let hot = Memory::new("hot");
    let (topic, letters) = (log.settings.topics.name(LANE.topic), log.settings.topics.dead_letters());
    delete_topic(&log.settings.brokers, &letters).await;
    let record = rdkafka::producer::FutureRecord::to(&topic).partition(0).key("card").payload("garbage");
    let sent = producer(&log.settings.brokers, &[]).send(record, PATIENCE).await;
    sent.map_err(|(error, _)| error).unwrap();

    let runtime = log.start(&[&hot]);
    let (name, error) = eventually(PATIENCE, async || runtime.status().retrying.into_iter().next()).await;
    assert_eq!(name, "dead letters");
    assert!(error.contains(&letters), "{error}");
    assert!(!runtime.is_ready());
    assert_eq!(hot.held(LANE), Some((0, 0)), "no position passes the record");

    create_topic(&log.settings.brokers, &letters, 1).await;
    eventually(PATIENCE, async || (hot.held(LANE) == Some((0, 1))).then_some(())).await;
    assert_eq!(read_all(&log.settings.brokers, &letters).await.len(), 1);
    runtime.shutdown().await;
}

#[tokio::test]
async fn a_store_that_fails_for_a_while_loses_and_doubles_nothing() {
    let mut log = Log::new().await;
    let (hot, runs) = (Memory::new("hot"), Memory::new("runs"));
    let runtime = log.start(&[&hot, &runs]);
    for _ in 0..3 {
        hot.fail(Call::Flush, [Fault::Unavailable, Fault::Unanswered]);
        runs.fail(Call::Take, [Fault::Unavailable]);
        log.produce(200).await;
        eventually(PATIENCE, async || (hot.faults() + runs.faults() == 0).then_some(())).await;
    }
    log.held_by(&[&hot, &runs]).await;
    eventually(PATIENCE, async || runtime.is_ready().then_some(())).await;
    runtime.shutdown().await;
}

#[tokio::test]
async fn a_broker_that_restarts_loses_and_doubles_nothing() {
    let scratch = Scratch::new("runtime-broker");
    let broker = Broker::start(Config::new(scratch.path())).await.unwrap();
    let mut log = Log::at(&broker.bootstrap()).await;
    let hot = Memory::new("hot");
    let runtime = log.start(&[&hot]);
    log.produce(500).await;
    log.held_by(&[&hot]).await;
    log.produce(500).await;
    broker.stop().await;
    // The same folder, and with it the same port.
    let broker = Broker::start(Config::new(scratch.path())).await.unwrap();
    log.produce(500).await;
    log.held_by(&[&hot]).await;
    eventually(PATIENCE, async || runtime.is_ready().then_some(())).await;
    runtime.shutdown().await;
    broker.stop().await;
}
