//! Our own fetcher, beside librdkafka on the same log.

use std::time::{Duration, Instant};

use agentworks_fetch::records::{Full, Reader, Span, headers};
use agentworks_fetch::{Event, FetchError, Fetcher, Settings, Token, What};
use agentworks_schemas::Topic;
use rdkafka::Timestamp;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureRecord, Producer};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::settings;
use crate::support::kafka;
use crate::support::records::{PATIENCE, Record, create_topic, delete_topic, make_again, produce, producer, read_all};
use crate::support::transactions::{transact, transactional};
use crate::support::unique_prefix;

/// A fetcher, and what it tells.
struct Following {
    fetcher: Fetcher,
    events: UnboundedReceiver<Event>,
}

impl Following {
    fn start(bootstrap: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(bootstrap, "test");
        settings.wait = Duration::from_millis(50);
        change(&mut settings);
        let (sender, events) = unbounded_channel();
        let fetcher = Fetcher::start(settings, move |event| drop(sender.send(event))).unwrap();
        Following { fetcher, events }
    }

    async fn next(&mut self) -> (Token, What) {
        let event = timeout(PATIENCE, self.events.recv()).await.expect("something happens").unwrap();
        (event.token, event.what)
    }

    /// Everything up to the end of a log.
    async fn rest(&mut self, wanted: Token) -> Vec<Record> {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                (token, What::Records { data, aborted, from }) => {
                    assert_eq!(token, wanted);
                    // Few at a time, so that batches are cut.
                    take(Reader::new(data, aborted, from), &mut all);
                }
                (_, What::AtEnd { .. }) => return all,
                (_, What::Fault(fault)) if fault.is_transient() => {}
                (_, other) => panic!("{other:?}"),
            }
        }
    }
}

fn take(mut reader: Reader, all: &mut Vec<Record>) {
    loop {
        let (mut buffer, mut places) = (Vec::new(), Vec::new());
        let is_left = reader.fill(&mut buffer, &mut places, Full { records: 7, bytes: 50_000 }).unwrap();
        for place in places {
            let slice = |span: Span| span.of(&buffer).to_vec();
            all.push(Record {
                partition: 0,
                offset: place.offset,
                timestamp: Timestamp::LogAppendTime(place.timestamp),
                key: place.key.map(slice),
                payload: place.value.map(slice),
                headers: headers(&slice(place.headers))
                    .map(|(name, value)| (name.into_owned(), value.unwrap_or_default().to_vec()))
                    .collect(),
            });
        }
        if !is_left {
            return;
        }
    }
}

#[tokio::test]
async fn it_fetches_what_librdkafka_delivers() {
    let bootstrap = kafka().await.bootstrap();
    let topic = format!("{}log", unique_prefix());
    create_topic(&bootstrap, &topic, 1).await;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let producer = producer(&bootstrap, &[("compression.type", codec), ("linger.ms", "50")]);
        let mut sent = Vec::new();
        for number in 0..200 {
            let text = format!("line {number} in {codec}, ").repeat(number % 40);
            let mut record = FutureRecord::to(&topic).partition(0);
            let key = format!("card-{number}");
            record = if number % 3 == 0 { record } else { record.key(&key) };
            record = if number % 11 == 0 { record } else { record.payload(&text) };
            if number % 5 == 0 {
                let header = |key, value: &'static str| Header { key, value: Some(value) };
                record = record.headers(OwnedHeaders::new().insert(header("a", "1")).insert(header("b", "")));
            }
            sent.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
        }
        // One that no piece holds.
        let long = codec.repeat(100_000);
        let record = FutureRecord::<str, _>::to(&topic).partition(0).payload(&long);
        sent.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
        for sent in sent {
            sent.await.unwrap().unwrap();
        }
    }
    let transactions = transactional(&bootstrap);
    let (of_thread, name) = (transactions.clone(), topic.clone());
    tokio::task::spawn_blocking(move || {
        for number in 0..6 {
            let lines: Vec<_> = (0..=number).map(|line| format!("{number}-{line}")).collect();
            transact(&of_thread, &name, &lines, number % 3 != 1);
        }
    })
    .await
    .unwrap();

    let mut all = read_all(&bootstrap, &topic).await;
    for record in &mut all {
        record.timestamp = Timestamp::LogAppendTime(record.timestamp.to_millis().unwrap());
    }
    assert_eq!(all.len(), 5 * 201 + 14);
    let mut following = Following::start(&bootstrap, |settings| settings.partition_bytes = 20_000);
    for from in [0, 1, 250, all[all.len() - 3].offset] {
        let token = following.fetcher.follow(&topic, 0, from);
        let fetched = following.rest(token).await;
        let expected: Vec<_> = all.iter().filter(|record| record.offset >= from).cloned().collect();
        assert_eq!(fetched, expected, "from {from}");
        // Behind the last record lies the last transaction's marker.
        assert_eq!(following.fetcher.end(token), Some(all[all.len() - 1].offset + 2));
        following.fetcher.leave(vec![token]);
    }
    transactions.begin_transaction().unwrap();
    transactions.abort_transaction(PATIENCE).unwrap();
}

#[tokio::test]
async fn it_follows_many_partitions_and_what_comes_late() {
    let settings = settings(8).await;
    let topic = settings.topics.name(Topic::AgentLogs);
    // So little is held at once that partitions take turns, and a record of one partition is larger than that.
    let mut following = Following::start(&settings.brokers, |settings| {
        (settings.partition_bytes, settings.answer_bytes, settings.held_bytes) = (1000, 5000, 10_000);
    });
    let tokens: Vec<_> = (0..8).map(|number| following.fetcher.follow(&topic, number, 0)).collect();
    let producer = producer(&settings.brokers, &[("linger.ms", "5")]);
    let long = "long ".repeat(10_000);
    let mut sent = Vec::new();
    for round in 0..300 {
        for number in 0..8 {
            let text = if number == 3 && round % 10 == 0 { &long } else { "short" };
            let record = FutureRecord::<str, _>::to(&topic).partition(number).payload(text);
            sent.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
        }
    }
    for sent in sent {
        sent.await.unwrap().unwrap();
    }
    let mut next = [0; 8];
    while next != [300; 8] {
        let (token, what) = following.next().await;
        let number = tokens.iter().position(|known| *known == token).unwrap();
        match what {
            What::Records { data, aborted, from } => {
                assert_eq!(from, next[number], "nothing is left out");
                let mut records = Vec::new();
                let mut reader = Reader::new(data, aborted, from);
                let (mut buffer, mut places) = (Vec::new(), Vec::new());
                let full = Full { records: usize::MAX, bytes: usize::MAX };
                assert!(!reader.fill(&mut buffer, &mut places, full).unwrap());
                records.extend(places.iter().map(|place| place.offset));
                assert!(records.iter().copied().eq(next[number]..reader.next()));
                next[number] = reader.next();
            }
            What::AtEnd { .. } => {}
            // A topic that was just made.
            What::Fault(fault) if fault.is_transient() => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn it_says_what_is_not_there() {
    let settings = settings(1).await;
    let bootstrap = &settings.brokers;
    let topic = settings.topics.name(Topic::AgentLogs);
    let mut following = Following::start(bootstrap, |_| {});
    let beyond = following.fetcher.follow(&topic, 0, 5);
    loop {
        match following.next().await {
            (token, What::Astray) if token == beyond => break,
            // The topic was just made.
            (_, What::Fault(fault)) if fault.is_transient() => {}
            (_, other) => panic!("{other:?}"),
        }
    }

    let late = format!("{topic}-late");
    let waiting = following.fetcher.follow(&late, 0, 0);
    let (token, what) = following.next().await;
    assert_eq!(token, waiting);
    assert!(matches!(&what, What::Fault(fault) if fault.is_unknown_topic() && !fault.is_transient()), "{what:?}");
    create_topic(bootstrap, &late, 1).await;
    produce(bootstrap, &late, [("key", "value")]).await;
    loop {
        match following.next().await {
            (_, What::Records { .. }) => break,
            // A leader is being elected, or nothing was written yet.
            (_, What::Fault(_) | What::AtEnd { .. }) => {}
            (_, other) => panic!("{other:?}"),
        }
    }
    delete_topic(bootstrap, &late).await;
    loop {
        match following.next().await {
            (_, What::Fault(FetchError::Partition { .. })) => break,
            (_, What::AtEnd { .. }) => {}
            (_, other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_topic_that_is_made_again_is_another() {
    let settings = settings(1).await;
    let topic = settings.topics.name(Topic::AgentLogs);
    produce(&settings.brokers, &topic, [("key", "value"); 3]).await;
    let mut following = Following::start(&settings.brokers, |_| {});
    let token = following.fetcher.follow(&topic, 0, 0);
    assert_eq!(following.rest(token).await.len(), 3);

    make_again(&settings, Topic::AgentLogs, 1).await;
    // It has all the offsets that the first one had, and more.
    produce(&settings.brokers, &topic, [("key", "value"); 5]).await;
    loop {
        match following.next().await {
            (_, What::Astray) => break,
            (_, What::Fault(_)) => {}
            (_, other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn brokers_that_are_not_there_are_told_of_once() {
    let refused = agentworks_broker::service::free_port().unwrap();
    let mut following = Following::start(&format!("127.0.0.1:{refused}"), |_| {});
    let token = following.fetcher.follow("any", 0, 0);
    let (told, what) = following.next().await;
    assert_eq!(told, token);
    assert!(matches!(&what, What::Fault(fault @ FetchError::Unreachable { .. }) if fault.is_transient()), "{what:?}");
    let again = timeout(Duration::from_secs(2), following.events.recv()).await;
    assert!(again.is_err(), "{again:?}");
    assert!(!following.fetcher.has_ended());
}

#[tokio::test]
async fn what_is_no_kafka_is_said_to_be_none() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 16];
            let _ = stream.read_exact(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let mut following = Following::start(&address.to_string(), |_| {});
    following.fetcher.follow("any", 0, 0);
    let (_, what) = following.next().await;
    assert!(matches!(&what, What::Fault(FetchError::Protocol { .. })), "{what:?}");
}

#[tokio::test]
async fn a_fetcher_that_is_dropped_lets_go_of_its_broker() {
    let settings = settings(1).await;
    let topic = settings.topics.name(Topic::AgentLogs);
    produce(&settings.brokers, &topic, [("key", "value")]).await;
    let mut following = Following::start(&settings.brokers, |settings| settings.wait = Duration::from_secs(5));
    let token = following.fetcher.follow(&topic, 0, 0);
    following.rest(token).await;
    let began = Instant::now();
    drop(following.fetcher);
    // The channel ends with the thread, which holds its other end.
    while timeout(PATIENCE, following.events.recv()).await.expect("it ends").is_some() {}
    assert!(began.elapsed() < Duration::from_secs(3), "it didn't wait for its broker");
}
