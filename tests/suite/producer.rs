//! The producer on real Kafka: order, placement, results, and a broker that dies.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use agentworks_broker::{Broker, Config, State};
use agentworks_ingest::producer::{Compression, Delivery, DeliveryError, Producer, RunHandle, SendError};
use agentworks_schemas::codec::{MAX_RECORD, Reject};
use agentworks_schemas::text::JsonObject;
use agentworks_schemas::topics::partition_of;
use agentworks_schemas::{Level, RunEventKind, Source, Topic, TopicPartition, Topics};
use uuid::Uuid;

use crate::support::records::create_topics;
use crate::support::{Scratch, kafka, process, unique_prefix};
use crate::written::{entries, events};

const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(60);

async fn topics() -> (String, Topics) {
    let bootstrap = kafka().await.bootstrap();
    let topics = create_topics(&bootstrap, &unique_prefix(), PARTITIONS).await;
    (bootstrap, topics)
}

fn producer(bootstrap: &str, topics: &Topics) -> Producer {
    Producer::builder(bootstrap).topics(topics.clone()).build().unwrap()
}

async fn log(run: &RunHandle, source: Source, message: &str) -> Delivery {
    run.log(Level::Info, source, "test", message).send().await.unwrap()
}

#[tokio::test]
async fn entries_lie_where_their_results_say_in_the_order_of_sending() {
    let (bootstrap, topics) = topics().await;
    let producer = producer(&bootstrap, &topics);
    let runs: Vec<RunHandle> = (0..40).map(|card| producer.run("acme", &format!("card-{card}"), "run")).collect();
    let mut sent = Vec::new();
    for round in 0..50 {
        for run in &runs {
            let source = if round % 10 == 0 { Source::System } else { Source::Agent };
            sent.push((run.card(), round, log(run, source, &format!("line {round}")).await));
        }
    }
    let mut found = BTreeMap::new();
    producer.flush(PATIENCE).await.unwrap();
    for topic in Topic::LOGS {
        for written in entries(&bootstrap, &topics, topic).await {
            found.insert((TopicPartition::new(topic, written.partition), Some(written.offset)), written.entry);
        }
    }
    assert_eq!(found.len(), sent.len());
    let mut last: BTreeMap<(&str, Topic), i64> = BTreeMap::new();
    for (card, round, delivery) in sent {
        let place = delivery.await.unwrap();
        let entry = &found[&(place.partition, place.offset)];
        assert_eq!((&*entry.card_id, entry.sequence, &*entry.message), (card, round, format!("line {round}").as_str()));
        assert_eq!(place.partition.partition, partition_of(card.as_bytes(), PARTITIONS));
        let offset = place.offset.unwrap();
        assert!(last.insert((card, place.partition.topic), offset).is_none_or(|before| before < offset));
    }
    let ids: HashSet<Uuid> = found.values().map(|entry| entry.id.parse().unwrap()).collect();
    assert!(ids.len() == found.len() && ids.iter().all(|id| id.get_version_num() == 7));
}

#[tokio::test]
async fn all_fields_arrive() {
    let (bootstrap, topics) = topics().await;
    let producer = producer(&bootstrap, &topics);
    let run = producer.run("acme", "card", "run").starting_at(7);
    let entry = run
        .log(Level::Warn, Source::Provider, "completions", "höflich 🌙")
        .data(JsonObject::parse(r#"{"n":1.50}"#).unwrap())
        .agent("agent")
        .model("provider", "model")
        .user("user")
        .tags(["a", "b"])
        .correlation("correlation")
        .trace("trace", Some("span"));
    entry.send().await.unwrap().await.unwrap();
    run.usage().cost(0.5).tokens(3, 4).model("provider", "model").send().await.unwrap().await.unwrap();
    run.failed("because").exit_code(3).send().await.unwrap().await.unwrap();

    let written = entries(&bootstrap, &topics, Topic::AgentLogs).await;
    let entry = &written[0].entry;
    assert_eq!((entry.sequence, entry.level, entry.source), (7, Level::Warn, Source::Provider));
    assert_eq!((&*entry.message, entry.data.as_ref().unwrap().as_str()), ("höflich 🌙", r#"{"n":1.50}"#));
    let context = [&entry.agent_id, &entry.provider, &entry.model, &entry.user_id, &entry.correlation_id];
    assert_eq!(context.map(|text| text.as_deref().unwrap()), ["agent", "provider", "model", "user", "correlation"]);
    assert_eq!(entry.tags.as_ref().unwrap().len(), 2);
    assert_eq!((entry.trace_id.as_deref(), entry.parent_span_id.as_deref()), (Some("trace"), Some("span")));
    let events = events(&bootstrap, &topics).await;
    assert_eq!((events[0].kind, events[0].cost, events[0].output_tokens), (RunEventKind::Usage, Some(0.5), Some(4)));
    assert_eq!((events[1].exit_code, events[1].reason.as_deref()), (Some(3), Some("because")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn numbers_follow_the_log_however_many_tasks_write_a_run() {
    let (bootstrap, topics) = topics().await;
    // So small a buffer that most have to wait for room.
    let producer = Producer::builder(&bootstrap).topics(topics.clone()).buffer(MAX_RECORD, 20).build().unwrap();
    let run = producer.run("acme", "card", "run");
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let run = run.clone();
            tokio::spawn(async move {
                for index in 0..250 {
                    drop(log(&run, Source::Agent, &format!("{task}/{index}")).await);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    producer.close(PATIENCE).await.unwrap();
    let written = entries(&bootstrap, &topics, Topic::AgentLogs).await;
    assert!(written.iter().map(|one| one.entry.sequence).eq(0..2000), "the numbers are in the order of the log");
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for one in &written {
        let (task, index) = one.entry.message.split_once('/').unwrap();
        let index: i64 = index.parse().unwrap();
        assert_eq!(last.insert(task.into(), index).map_or(0, |before| before + 1), index, "in the order of each task");
    }
}

#[tokio::test]
async fn the_largest_entry_is_taken_and_one_byte_more_is_refused_before_it_is_produced() {
    let (bootstrap, topics) = topics().await;
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let builder = Producer::builder(&bootstrap).topics(topics.clone()).compression(compression);
        let producer = builder.build().unwrap();
        let run = producer.run("acme", "card", "run");
        let mut length = MAX_RECORD - 92;
        let too_large = loop {
            // Characters that don't compress to nothing.
            let message: String = (0..length).map(|at| char::from(b'a' + (at * at % 23) as u8)).collect();
            match run.log(Level::Info, Source::Agent, "test", &message).send().await {
                Ok(delivery) => delivery.await.unwrap(),
                Err(error) => break error,
            };
            length += 1;
        };
        let refused = SendError::Refused(Reject::TooLarge { length: MAX_RECORD + 1, limit: MAX_RECORD });
        assert_eq!(too_large.to_string(), refused.to_string());
    }
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_said() {
    let bootstrap = kafka().await.bootstrap();
    let builder = Producer::builder(&bootstrap).topics(Topics::with_prefix("no-such-"));
    let producer = builder.property("topic.metadata.propagation.max.ms", "500").build().unwrap();
    let run = producer.run("acme", "card", "run");
    assert_eq!(log(&run, Source::Agent, "lost").await.await, Err(DeliveryError::UnknownTopic));
    let refused = run.log(Level::Info, Source::Agent, "test", "lost too").send().await;
    assert!(matches!(refused, Err(SendError::UnknownTopic(Topic::AgentLogs))), "{refused:?}");
}

#[tokio::test]
async fn a_broker_that_is_killed_loses_doubles_and_disorders_nothing() {
    const ENTRIES: i64 = 30_000;
    let scratch = Scratch::new("producer");
    let broker = Broker::start(Config::new(scratch.path())).await.unwrap();
    let (bootstrap, mut states) = (broker.bootstrap(), broker.events());
    let topics = create_topics(&bootstrap, "", PARTITIONS).await;
    let producer = producer(&bootstrap, &topics);
    let runs: Vec<RunHandle> = (0..10).map(|card| producer.run("acme", &format!("card-{card}"), "run")).collect();
    for index in 0..ENTRIES {
        drop(log(&runs[index as usize % runs.len()], Source::Agent, "line").await);
        if index % (ENTRIES / 3) == ENTRIES / 6 {
            process::kill_9(broker.pid().unwrap());
            states.wait_for(|state| !matches!(state, State::Ready { .. })).await.unwrap();
        }
        if index % (ENTRIES / 3) == ENTRIES / 3 - 1 {
            states.wait_for(|state| matches!(state, State::Ready { .. })).await.unwrap();
        }
    }
    producer.close(PATIENCE).await.unwrap();
    let mut numbers: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for written in entries(&bootstrap, &topics, Topic::AgentLogs).await {
        numbers.entry(written.entry.card_id.to_string()).or_default().push(written.entry.sequence);
    }
    assert_eq!(numbers.len(), runs.len());
    for (card, numbers) in numbers {
        assert!(numbers.iter().copied().eq(0..ENTRIES / runs.len() as i64), "{card}: {} entries", numbers.len());
    }
    broker.stop().await;
}
