use agentworks_kafka::{DeadLetters, KafkaError, SeekPool};
use agentworks_schemas::dead_letter::{MAX_PAYLOAD, header};
use rdkafka::bindings::rd_kafka_header_add;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;

use super::{LANE, read, request, settings};
use crate::support::records::{Record, delete_topic, producer, read_all};

fn find<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    let (_, value) = record.headers.iter().find(|(header, _)| header == name)?;
    Some(std::str::from_utf8(value).unwrap())
}

/// Clients in other languages may write such a header; rdkafka has no way to, and panics when it reads one.
fn add_header_that_is_not_utf8(headers: &OwnedHeaders) {
    let (name, value) = (b"\xffname", b"value");
    let native = std::ptr::from_ref(headers.as_borrowed()).cast_mut().cast();
    // SAFETY: a `BorrowedHeaders` lies where librdkafka's own headers do, and these are ours alone.
    let error = unsafe {
        rd_kafka_header_add(
            native,
            name.as_ptr().cast(),
            name.len() as isize,
            value.as_ptr().cast(),
            value.len() as isize,
        )
    };
    assert_eq!(error, rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
}

#[tokio::test]
async fn a_rejected_record_is_kept_with_where_it_came_from_and_why() {
    let settings = settings(1).await;
    let topic = settings.topics.name(LANE.topic);
    let producer = producer(&settings.brokers, &[]);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "trace", value: Some("abc") })
        .insert(Header { key: "nothing", value: None::<&str> });
    add_header_that_is_not_utf8(&headers);
    let long = "x".repeat(500_000);
    let records = [
        FutureRecord::to(&topic).key("\u{0}binary").payload("garbage").headers(headers),
        FutureRecord::to(&topic).key("long").payload(&long),
    ];
    for record in records {
        producer.send(record, std::time::Duration::from_secs(10)).await.map_err(|(error, _)| error).unwrap();
    }
    // A tombstone.
    let tombstone = FutureRecord::<str, str>::to(&topic).key("gone");
    producer.send(tombstone, std::time::Duration::from_secs(10)).await.map_err(|(error, _)| error).unwrap();

    let pool = SeekPool::new(settings.clone(), 1);
    let (batches, _) = read(&pool, request(0, 3)).await.unwrap();
    let rejects: Vec<_> = batches.iter().flat_map(|batch| batch.rejects()).cloned().collect();
    let letters = DeadLetters::new(&settings).unwrap();
    letters.write(&rejects).await.unwrap();

    let mut written = read_all(&settings.brokers, &settings.topics.dead_letters()).await;
    written.sort_by_key(|record| find(record, header::OFFSET).map(str::to_owned));
    assert_eq!(written.len(), 3);
    for (offset, record) in written.iter().enumerate() {
        assert_eq!(find(record, header::TOPIC), Some(&*topic));
        assert_eq!(find(record, header::PARTITION), Some("0"));
        assert_eq!(find(record, header::OFFSET), Some(&*offset.to_string()));
        assert_eq!(find(record, header::EPOCH), Some("0"));
        assert!(find(record, header::TIMESTAMP).unwrap().parse::<i64>().unwrap() > 1_600_000_000_000);
    }
    let [garbage, long, tombstone] = &written[..] else { panic!("{written:?}") };
    assert_eq!(garbage.key.as_deref(), Some(&b"\0binary"[..]));
    assert_eq!(garbage.text(), "garbage");
    assert_eq!(find(garbage, "trace"), Some("abc"));
    assert_eq!(find(garbage, "nothing"), Some(""), "a header without value");
    assert_eq!(find(garbage, "\u{fffd}name"), Some("value"), "what isn't a name is mended");
    assert_eq!(find(garbage, header::EXCEPTION_CLASS), Some("unknown_framing"));
    assert!(find(garbage, header::EXCEPTION_MESSAGE).unwrap().contains("neither Avro"));

    assert_eq!(long.payload.as_ref().unwrap().len(), MAX_PAYLOAD);
    assert_eq!(find(long, header::LENGTH), Some("500000"));
    assert_eq!(find(long, header::SHA256).unwrap().len(), 64);

    assert_eq!((tombstone.key.as_deref(), tombstone.payload.as_ref()), (Some(&b"gone"[..]), None));
    assert_eq!(find(tombstone, header::EXCEPTION_CLASS), Some("empty"));

    delete_topic(&settings.brokers, &settings.topics.dead_letters()).await;
    let letters = DeadLetters::new(&settings).unwrap();
    let error = letters.write(&rejects).await.unwrap_err();
    assert!(matches!(&error, KafkaError::NoTopic(name) if name.ends_with("agent-logs.dlq")), "{error:?}");
}
