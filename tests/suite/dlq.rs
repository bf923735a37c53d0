//! `agentworks dlq` as users run it, on real Kafka.

use std::collections::BTreeMap;
use std::process::{Output, Stdio};

use agentworks_kafka::dead_letter::erased;
use agentworks_kafka::{DeadLetters, KafkaSettings, SeekPool, SeekRequest};
use agentworks_processors::erasure::{Erasure, Target};
use agentworks_schemas::dead_letter::header;
use agentworks_schemas::{Cursor, Topic, TopicPartition, Topics};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use serde_json::Value;
use tokio::process::Command;

use crate::support::records::{PATIENCE, Record, create_topics, producer, read_all};
use crate::support::transactions::{transact, transactional};
use crate::support::{agentworks, kafka, unique_prefix};

/// A topic with records that can't be taken, and their dead letters.
struct Rejected {
    settings: KafkaSettings,
    partitions: i32,
}

impl Rejected {
    async fn new() -> Self {
        Self::over(1).await
    }

    async fn over(partitions: i32) -> Self {
        let bootstrap = kafka().await.bootstrap();
        let topics = create_topics(&bootstrap, &unique_prefix(), partitions).await;
        Rejected { settings: KafkaSettings::new(bootstrap, topics), partitions }
    }

    fn topic(&self) -> String {
        self.settings.topics.name(Topic::AgentLogs)
    }

    async fn produce(&self, key: &str, payload: &[u8]) {
        let (name, headers) = (self.topic(), OwnedHeaders::new().insert(Header { key: "trace", value: Some("abc") }));
        let record = FutureRecord::to(&name).key(key).payload(payload).headers(headers);
        let producer = producer(&self.settings.brokers, &[]);
        producer.send(record, PATIENCE).await.map_err(|(error, _)| error).unwrap();
    }

    /// Writes dead letters of all that the topic holds from an offset on, as the runtime does.
    async fn reject(&self, from: i64) {
        let pool = SeekPool::new(self.settings.clone(), 1);
        let letters = DeadLetters::new(&self.settings).unwrap();
        for number in 0..self.partitions {
            let partition = TopicPartition::new(Topic::AgentLogs, number);
            let mut batches = pool.read(SeekRequest { partition, epoch: 0, from, to: i64::MAX, key: None });
            while let Some(batch) = batches.recv().await {
                letters.write(batch.unwrap().rejects()).await.unwrap();
            }
        }
    }

    async fn dlq(&self, args: &[&str]) -> Output {
        let mut command = Command::new(agentworks());
        command.arg("dlq").args(args).kill_on_drop(true).stdin(Stdio::null());
        command.env("AGENTWORKS_BROKERS", &self.settings.brokers);
        command.env("AGENTWORKS_TOPIC_PREFIX", self.settings.topics.prefix());
        command.output().await.unwrap()
    }

    async fn printed(&self, args: &[&str]) -> String {
        let output = self.dlq(args).await;
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `list` prints as JSON, by origin's offset.
    async fn list(&self, args: &[&str]) -> BTreeMap<i64, Value> {
        let lines = self.printed(&[&["list", "--output", "json"], args].concat()).await;
        let letters = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        letters.map(|letter| (letter["offset"].as_i64().unwrap(), letter)).collect()
    }

    /// The records of the topic that were produced again, in order.
    async fn redriven(&self) -> Vec<Record> {
        let records = read_all(&self.settings.brokers, &self.topic()).await;
        records.into_iter().filter(|record| from(record).is_some()).collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn from(record: &Record) -> Option<&str> {
    let (_, value) = record.headers.iter().find(|(name, _)| name == header::REDRIVEN_FROM)?;
    Some(std::str::from_utf8(value).unwrap())
}

/// Elsewhere retention could take the mark first.
#[tokio::test]
async fn a_mark_lies_beside_its_letter_though_neither_has_a_key() {
    let rejected = Rejected::over(3).await;
    let name = rejected.topic();
    let producer = producer(&rejected.settings.brokers, &[]);
    for number in 0..9 {
        let record = FutureRecord::<[u8], [u8]>::to(&name).partition(number % 3).payload(b"not a record");
        producer.send(record, PATIENCE).await.map_err(|(error, _)| error).unwrap();
    }
    rejected.reject(0).await;
    rejected.printed(&["redrive", "--yes"]).await;
    let header = |record: &Record, wanted: &str| {
        let (_, value) = record.headers.iter().find(|(name, _)| name == wanted)?;
        Some(String::from_utf8(value.clone()).unwrap())
    };
    let mut places: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in read_all(&rejected.settings.brokers, &rejected.settings.topics.dead_letters()).await {
        let origin = (header(&record, header::PARTITION), header(&record, header::OFFSET));
        places.entry(origin).or_default().push(record.partition);
    }
    assert_eq!(places.len(), 9);
    assert!(places.values().all(|places| places.len() == 2 && places[0] == places[1]), "{places:?}");
}

/// They take offsets at the end of the log, over which librdkafka goes without a word.
#[tokio::test]
async fn markers_of_transactions_neither_end_a_reading_nor_hold_it_up() {
    let rejected = Rejected::new().await;
    let (brokers, topic) = (rejected.settings.brokers.clone(), rejected.settings.topics.dead_letters());
    for round in 0..2 {
        rejected.produce("card", b"not a record").await;
        rejected.reject(round).await;
        let (brokers, topic) = (brokers.clone(), topic.clone());
        let aborted = move || transact(&transactional(&brokers), &topic, &["nothing".to_owned()], false);
        tokio::task::spawn_blocking(aborted).await.unwrap();
        let listed = rejected.list(&[]).await;
        assert_eq!(listed.len() as i64, round + 1, "{listed:?}");
    }
    let output = rejected.dlq(&["show", "0@1"]).await;
    assert!(!output.status.success() && said(&output).contains("0@1"), "{}", said(&output));
}

#[tokio::test]
async fn dead_letters_are_listed_shown_and_produced_again_once() {
    let log = Rejected::new().await;
    assert_eq!(log.printed(&["list"]).await, "no dead letters\n");
    log.produce("card-1", b"neither this nor that").await;
    log.produce("card-1", b"{\"cardId\":").await;
    log.produce("card-2", b"\xff\xfe\x00\x1b[31m").await;
    log.produce("card-2", "x".repeat(100_000).as_bytes()).await;
    // At least once, and so sometimes twice.
    log.reject(0).await;
    log.reject(0).await;

    let all = log.list(&[]).await;
    assert_eq!(all.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(all[&1]["code"], "json");
    assert_eq!((&all[&3]["length"], all[&3]["cut"].is_string()), (&100_000.into(), true));
    assert!(all.values().all(|letter| letter["redriven"] == false && letter["topic"] == log.topic()));
    assert_eq!(log.list(&["--card", "card-1"]).await.len(), 2);
    assert_eq!(log.list(&["--reason", "json"]).await.len(), 1);
    assert_eq!(log.list(&["--topic", "agent-logs", "--limit", "3"]).await.len(), 3);
    assert_eq!(log.list(&["--topic", "run-events"]).await.len(), 0);
    assert_eq!(log.list(&["--until", "2020-01-01T00:00:00Z"]).await.len(), 0);
    assert_eq!(log.list(&["--since", "2020-01-01T00:00:00Z"]).await.len(), 4);
    let table = log.printed(&["list"]).await;
    assert!(table.contains("POSITION") && table.contains("card-2") && table.contains("(cut)"), "{table}");

    let position = |offset: i64| all[&offset]["position"].as_str().unwrap().to_owned();
    let shown = log.printed(&["show", &position(0)]).await;
    assert!(shown.contains("neither this nor that") && shown.contains("trace = abc"), "{shown}");
    assert!(shown.contains(&format!("{}[0]/0@0", log.topic())), "{shown}");
    let shown = log.printed(&["show", &position(2)]).await;
    assert!(shown.contains("ff fe 00 1b 5b 33 31 6d") && !shown.contains('\x1b'), "{shown}");
    let shown = log.dlq(&["show", &position(2), "--raw"]).await;
    assert_eq!(shown.stdout, b"\xff\xfe\x00\x1b[31m");
    let shown: Value = serde_json::from_str(&log.printed(&["show", &position(2), "--output", "json"]).await).unwrap();
    assert_eq!((&shown["payloadHex"], &shown["headers"]["trace"]), (&"fffe001b5b33316d".into(), &"abc".into()));
    assert!(said(&log.dlq(&["show", "0@99999"]).await).contains("nothing lies at 0@99999"));
    assert!(said(&log.dlq(&["show", "here"]).await).contains("such as 3@17"));

    let dry = log.printed(&["redrive", "--card", "card-1", "--dry-run"]).await;
    assert!(dry.contains("would redrive 2"), "{dry}");
    let unasked = log.dlq(&["redrive", "--card", "card-1"]).await;
    assert!(!unasked.status.success() && said(&unasked).contains("--yes"), "{}", said(&unasked));
    assert!(log.redriven().await.is_empty());

    assert!(log.printed(&["redrive", "--card", "card-1", "--yes"]).await.contains("redrove 2"));
    let redriven = log.redriven().await;
    assert_eq!(redriven.len(), 2);
    for (offset, (record, payload)) in redriven.iter().zip(["neither this nor that", "{\"cardId\":"]).enumerate() {
        assert_eq!((record.text(), record.key.as_deref()), (payload, Some(&b"card-1"[..])));
        let names: Vec<_> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["trace", header::REDRIVEN_FROM]);
        assert_eq!(from(record).unwrap(), format!("{}[0]/0@{offset}", log.topic()));
    }
    let marked = log.list(&[]).await;
    assert_eq!(marked.len(), 4, "marks are no letters");
    assert_eq!(marked.values().filter(|letter| letter["redriven"] == true).count(), 2);

    // A second time only what is left, and what was cut is refused.
    let rest = log.dlq(&["redrive", "--yes"]).await;
    let printed = String::from_utf8_lossy(&rest.stdout).into_owned();
    assert!(!rest.status.success() && said(&rest).contains("its length was 100000"), "{}", said(&rest));
    assert!(printed.contains("2 have been redriven before") && printed.contains("redrove 1"), "{printed}");
    assert_eq!(log.redriven().await.len(), 3);
    assert!(log.printed(&["redrive", "--card", "card-1", "--yes"]).await.contains("nothing to redrive"));
    assert!(log.printed(&["redrive", &position(0), "--again", "--yes"]).await.contains("redrove 1"));
    assert_eq!(log.redriven().await.len(), 4);
}

#[tokio::test]
async fn what_is_rejected_again_is_a_new_letter_that_says_where_it_was() {
    let log = Rejected::new().await;
    log.produce("card-1", b"neither this nor that").await;
    log.reject(0).await;
    log.printed(&["redrive", "--yes"]).await;
    let [again] = &log.redriven().await[..] else { panic!("one") };
    assert_eq!(from(again), Some(&*format!("{}[0]/0@0", log.topic())));

    log.reject(1).await;
    let letters = log.list(&[]).await;
    assert_eq!(letters.len(), 2);
    assert_eq!((&letters[&0]["redriven"], &letters[&again.offset]["redriven"]), (&true.into(), &false.into()));
    log.printed(&["redrive", "--yes"]).await;
    let redriven = log.redriven().await;
    assert_eq!(redriven.len(), 2);
    assert_eq!(from(&redriven[1]), Some(&*format!("{}[0]/0@{}", log.topic(), again.offset)));
}

#[tokio::test]
async fn what_was_erased_is_left_out() {
    let log = Rejected::new().await;
    let (gone, kept) = (r#"{"workspaceId":"gone","runId":"r"}"#, r#"{"workspaceId":"kept","runId":"r"}"#);
    for payload in [gone, kept, "neither this nor that"] {
        log.produce("card-1", payload.as_bytes()).await;
    }
    log.reject(0).await;
    let all = log.list(&[]).await;
    let position = |offset: i64| all[&offset]["position"].as_str().unwrap().to_owned();
    let upto: Cursor = [(TopicPartition::new(Topic::AgentLogs, 0), 0, 3)].into_iter().collect();
    let erasure = Erasure::new("gone", Target::Workspace, upto, "tests");
    let json = serde_json::to_vec(&erasure).unwrap();
    // Whoever clears may do so more than once.
    erased::note(&log.settings, &erasure.id, &json).await.unwrap();
    erased::note(&log.settings, &erasure.id, &json).await.unwrap();
    log.produce("card-1", gone.as_bytes()).await;
    log.reject(3).await;

    let offsets = |letters: BTreeMap<i64, Value>| letters.into_keys().collect::<Vec<_>>();
    assert_eq!(offsets(log.list(&[]).await), [1, 3], "what came later is not erased");
    assert_eq!(offsets(log.list(&["--unattributed"]).await), [1, 2, 3]);
    let told = said(&log.dlq(&["list"]).await);
    assert!(told.contains("1 were erased") && told.contains("1 lie before an erasure"), "{told}");

    let shown = log.dlq(&["show", &position(0), "--raw"]).await;
    assert!(shown.stdout.is_empty() && said(&shown).contains("was erased"), "{}", said(&shown));
    let shown = log.dlq(&["show", &position(2)]).await;
    assert!(shown.stdout.is_empty() && said(&shown).contains("--unattributed"), "{}", said(&shown));
    assert!(log.printed(&["show", &position(2), "--unattributed"]).await.contains("neither this nor that"));

    let refused = log.dlq(&["redrive", &position(0), "--again", "--yes"]).await;
    assert!(!refused.status.success() && said(&refused).contains("or was erased"), "{}", said(&refused));
    let printed = log.printed(&["redrive", "--yes"]).await;
    assert!(printed.contains("1 were erased") && printed.contains("redrove 2"), "{printed}");
    let redriven = log.redriven().await;
    assert_eq!(redriven.iter().map(Record::text).collect::<Vec<_>>(), [kept, gone]);
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_named() {
    let settings = KafkaSettings::new(kafka().await.bootstrap(), Topics::with_prefix("absent."));
    let log = Rejected { settings, partitions: 1 };
    let output = log.dlq(&["list"]).await;
    assert!(!output.status.success() && said(&output).contains("absent.agent-logs.dlq"), "{}", said(&output));
}
