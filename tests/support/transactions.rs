//! A producer of transactions, each of which ends with a marker that takes an offset.

use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use super::records::{PATIENCE, client};
use super::unique_prefix;

/// A producer that writes in transactions.
pub type Transactional = ThreadedProducer<DefaultProducerContext>;

/// One that has no transaction open.
pub fn transactional(bootstrap: &str) -> Transactional {
    let id = unique_prefix();
    let producer: Transactional = client(bootstrap, &[("transactional.id", &id), ("linger.ms", "0")]).create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer
}

/// Writes `lines` to partition 0 in one transaction, and commits or aborts it. Blocks.
pub fn transact(producer: &Transactional, topic: &str, lines: &[String], commit: bool) {
    producer.begin_transaction().unwrap();
    for line in lines {
        let record = BaseRecord::to(topic).partition(0).key("card").payload(line);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    if commit {
        producer.commit_transaction(PATIENCE).unwrap();
    } else {
        producer.abort_transaction(PATIENCE).unwrap();
    }
}
