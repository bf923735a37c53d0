//! What taking records costs beside bare librdkafka: the same log, read by a consumer that only counts, by one that
//! builds and decodes batches as the runtime does, and by the pool that reads history.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use agentworks_fetch::records::Reader;
use agentworks_fetch::{Fetcher, What};
use agentworks_kafka::{BatchBuilder, KafkaSettings, SeekPool, SeekRequest};
use agentworks_schemas::codec::{Framing, Schemas, encode_entry};
use agentworks_schemas::{Level, LogEntry, Source, Timestamp, Topic, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::{kafka, records, unique_prefix};

const RECORDS: i64 = 500_000;
const ROUNDS: usize = 9;
const LANE: TopicPartition = TopicPartition { topic: Topic::AgentLogs, partition: 0 };

/// Measures and prints.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let settings = runtime.block_on(async {
        let broker = kafka().await;
        let topics = records::create_topics(&broker.bootstrap(), &unique_prefix(), 1).await;
        KafkaSettings::new(broker.bootstrap(), topics)
    });
    let size = produce(&settings);

    let pool = SeekPool::new(settings.clone(), 1);
    let mut rounds = Vec::new();
    // Once unmeasured, for what is slow only the first time.
    for round in 0..=ROUNDS {
        let rates = [
            consume(&settings),
            fetch_and_decode(&settings),
            consume_and_decode(&settings),
            runtime.block_on(seek(&pool)),
        ];
        if round > 0 {
            rounds.push(rates);
        }
    }
    println!("{RECORDS} entries of {size} bytes in one partition; medians of {ROUNDS} rounds\n");
    println!("| | entries/s | ÷ raw in the same round |\n|---|---|---|");
    for (index, name) in [
        "raw consume",
        "fetch and decode, as processors do",
        "consume by librdkafka and decode, as they do where it has to fetch",
        "read by seeking, decoded",
    ]
    .into_iter()
    .enumerate()
    {
        let rate = median(rounds.iter().map(|rates| rates[index]));
        let ratio = median(rounds.iter().map(|rates| rates[index] / rates[0]));
        println!("| {name} | {rate:.0} | {ratio:.2} |");
    }
}

/// Fills the log. Returns the size of a record.
fn produce(settings: &KafkaSettings) -> usize {
    let config = [("linger.ms", "20"), ("compression.type", "lz4"), ("queue.buffering.max.messages", "1000000")];
    let producer: ThreadedProducer<_> = records::client(&settings.brokers, &config).create().unwrap();
    let name = settings.topics.name(LANE.topic);
    let mut payload = Vec::new();
    for sequence in 0..RECORDS {
        let entry = entry(sequence);
        payload.clear();
        encode_entry(&entry, Framing::Avro, &mut payload);
        let record = BaseRecord::to(&name).key(entry.card_id.as_bytes()).payload(&payload);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    payload.len()
}

fn entry(sequence: i64) -> LogEntry<'static> {
    let text = "Tool call search_documents returned 14 results in 182 ms; continuing with the highest ranked one. ";
    LogEntry {
        id: format!("0197f3a2-7c1e-7b44-9d0e-{sequence:012x}").into(),
        run_id: format!("run-{}", sequence % 40).into(),
        card_id: format!("card-{}", sequence % 10).into(),
        workspace_id: "acme".into(),
        timestamp: Timestamp(1_764_670_530_123 + sequence),
        sequence,
        level: Level::ALL[sequence as usize % 4],
        source: Source::Agent,
        component: "planner".into(),
        message: text.repeat(1 + sequence as usize % 5).into(),
        data: None,
        agent_id: Some("agent-7".into()),
        provider: Some("provider".into()),
        model: Some("model-large-2".into()),
        user_id: None,
        tags: Some(vec!["tool".into(), "search".into()]),
        correlation_id: Some("6f2c1e9a-0b5d-4c1f-8f5e-0c9f5d1b2a3c".into()),
        parent_span_id: None,
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
    }
}

fn assigned(settings: &KafkaSettings) -> BaseConsumer {
    let consumer: BaseConsumer = settings.group_consumer("bench", None).create().unwrap();
    let mut list = TopicPartitionList::new();
    let name = settings.topics.name(LANE.topic);
    list.add_partition_offset(&name, LANE.partition, Offset::Offset(0)).unwrap();
    consumer.assign(&list).unwrap();
    consumer
}

/// Calls `take` for each message until that says it is done.
fn poll(consumer: &BaseConsumer, mut take: impl FnMut(&BorrowedMessage<'_>) -> bool) {
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) if take(&message) => return,
            Some(Ok(_)) | Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error)) => panic!("{error}"),
        }
    }
}

/// Entries a second since the first one came.
fn rate(begun: Option<Instant>) -> f64 {
    RECORDS as f64 / begun.unwrap().elapsed().as_secs_f64()
}

fn consume(settings: &KafkaSettings) -> f64 {
    let (consumer, mut begun, mut count, mut bytes) = (assigned(settings), None, 0, 0);
    poll(&consumer, |message| {
        begun.get_or_insert_with(Instant::now);
        count += 1;
        bytes += message.payload_len();
        count == RECORDS
    });
    assert!(bytes > 0);
    rate(begun)
}

/// As the runtime does: one thread fetches, one decompresses, one decodes.
fn fetch_and_decode(settings: &KafkaSettings) -> f64 {
    let (to_us, events) = mpsc::channel();
    let told = settings.fetcher(&settings.group_consumer("bench", None)).unwrap();
    let fetcher = Fetcher::start(told, move |event| drop(to_us.send(event))).unwrap();
    fetcher.follow(&settings.topics.name(LANE.topic), LANE.partition, 0);
    decoding(|mut collect| {
        let (mut builder, mut begun) = (BatchBuilder::new(LANE, 0, 0), None);
        while builder.next() < RECORDS {
            let What::Records { data, aborted, from } = events.recv().unwrap().what else { continue };
            begun.get_or_insert_with(Instant::now);
            let mut reader = Reader::new(data, aborted, from);
            while builder.fill(&mut reader).unwrap() {
                collect(builder.split());
            }
        }
        collect(builder);
        begun
    })
}

/// As the runtime does where librdkafka has to fetch: the thread that polls copies, another decodes.
fn consume_and_decode(settings: &KafkaSettings) -> f64 {
    decoding(|mut collect| {
        let (mut builder, mut begun) = (BatchBuilder::new(LANE, 0, 0), None);
        poll(&assigned(settings), |message| {
            begun.get_or_insert_with(Instant::now);
            builder.push(message);
            let done = builder.next() == RECORDS;
            if builder.is_full() || done {
                collect(builder.split());
            }
            done
        });
        begun
    })
}

/// Decodes all that is collected, in another thread. The work says when it began.
fn decoding(work: impl FnOnce(Box<dyn FnMut(BatchBuilder)>) -> Option<Instant>) -> f64 {
    let (to_decoder, from_consumer) = mpsc::channel::<BatchBuilder>();
    // Named for profilers.
    let decoder = thread::Builder::new().name("decode".into()).spawn(move || {
        let batches = from_consumer.into_iter().map(|builder| builder.build(Schemas::builtin()));
        batches.map(|batch| batch.records().len() as i64).sum::<i64>()
    });
    let begun = work(Box::new(move |builder| to_decoder.send(builder).unwrap()));
    assert_eq!(decoder.unwrap().join().unwrap(), RECORDS);
    rate(begun)
}

async fn seek(pool: &SeekPool) -> f64 {
    let mut batches = pool.read(SeekRequest { partition: LANE, epoch: 0, from: 0, to: RECORDS, key: None });
    let (mut begun, mut count) = (None, 0);
    while let Some(batch) = batches.recv().await {
        begun.get_or_insert_with(Instant::now);
        count += batch.unwrap().records().len() as i64;
    }
    assert_eq!(count, RECORDS);
    rate(begun)
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
