//! The archive beside real Kafka: kept by hand, and read where nothing else has the lines any more.

/// `agentworks archive` as operators run it.
mod command;
/// Topics that were made again, of which the archive has what lay in them before.
mod makings;
/// Readers whose log, hot and warm have nothing left.
mod readers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentworks_archive::{Archive, ArchiveConfig, ArchiveSink};
use agentworks_ingest::producer::{Producer, RunHandle};
use agentworks_kafka::{KafkaSettings, SeekPool, SeekRequest, Watermarks};
use agentworks_objects::Objects;
use agentworks_processors::hot::{HotConfig, HotSink};
use agentworks_processors::runs::{RunsConfig, RunsSink};
use agentworks_processors::sink::{Flush, Sink};
use agentworks_schemas::{Level, Source, Timestamp, Topic, TopicPartition};
use agentworks_store::{EmbeddedStore, Key, Row, Scan, Store, StoreError, Table, Write};
use async_trait::async_trait;
use prometheus_client::registry::Registry;

use crate::support::records::{create_topics, cut};
use crate::support::{Scratch, kafka, unique_prefix};

const PARTITIONS: i32 = 2;
const BEGAN: i64 = 1_764_670_530_000;

/// Topics of which an archive has everything, and the log for as long as it isn't cut.
struct Archived {
    prefix: String,
    settings: KafkaSettings,
    seek: SeekPool,
    archive: Archive,
    scratch: Scratch,
}

impl Archived {
    /// Two runs of so many lines, whose messages are numbers, beside each other on a card.
    async fn new(lines: usize) -> Self {
        let (bootstrap, prefix) = (kafka().await.bootstrap(), unique_prefix());
        let topics = create_topics(&bootstrap, &prefix, PARTITIONS).await;
        let producer = Producer::builder(&bootstrap).topics(topics.clone());
        let producer = producer.linger(Duration::from_millis(1)).build().unwrap();
        let runs = ["old", "other"].map(|name| producer.run("acme", "card", name));
        for run in &runs {
            run.started().timestamp(Timestamp(BEGAN)).send().await.unwrap().await.unwrap();
        }
        for number in 0..lines {
            for run in &runs {
                line(run, number).await;
            }
        }
        for run in &runs {
            run.completed().timestamp(Timestamp(BEGAN + 10_000)).send().await.unwrap().await.unwrap();
        }
        producer.close(Duration::from_secs(10)).await.unwrap();
        let settings = KafkaSettings::new(bootstrap, topics);
        let scratch = Scratch::new("archive");
        let objects = Objects::folder(&scratch.path().join("objects")).unwrap().child("archive");
        let archive = Archive::open(&objects).await.unwrap();
        // What the commands ask what was erased.
        drop(EmbeddedStore::open(scratch.path().join("its store")).unwrap());
        let archived = Archived { prefix, seek: SeekPool::new(settings.clone(), 2), settings, archive, scratch };
        let config = ArchiveConfig::default();
        let mut sink = ArchiveSink::new(archived.archive.clone(), config, &mut Registry::default()).unwrap();
        archived.feed(&mut sink).await;
        archived
    }

    /// Has a sink take all that there is.
    async fn feed(&self, sink: &mut dyn Sink) {
        for partition in lanes() {
            let Watermarks { low, high: to } = self.seek.watermarks(partition).await.unwrap();
            let from = sink.open(partition, 0, low).await.unwrap().high;
            let mut batches = self.seek.read(SeekRequest { partition, epoch: 0, from, to, key: None });
            while let Some(batch) = batches.recv().await {
                sink.take(&batch.unwrap()).await.unwrap();
            }
            sink.flush(Flush::Partition(partition)).await.unwrap();
        }
    }

    /// A store in which all entries are over: it knows of the runs and where cards were seen, and of nothing else.
    async fn store_of_runs(&self) -> Arc<dyn Store> {
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(self.scratch.path().join("store")).unwrap());
        self.feed(&mut RunsSink::new(store.clone(), RunsConfig::default())).await;
        let cards = Arc::new(CardsAlone(store.clone()));
        self.feed(&mut HotSink::new(cards, HotConfig::default(), &mut Registry::default()).unwrap()).await;
        store
    }

    /// Takes everything from the log.
    async fn cut(&self) {
        cut(&self.settings.brokers, &self.settings.topics, PARTITIONS).await;
    }

    /// The files of entries on the disk.
    fn files(&self) -> Vec<PathBuf> {
        let table = self.scratch.path().join("objects/archive/entries");
        let days = std::fs::read_dir(table).unwrap().map(|day| day.unwrap().path());
        let days = days.filter(|day| day.file_name().unwrap().to_str().unwrap().starts_with("date="));
        let mut files: Vec<_> =
            days.flat_map(|day| std::fs::read_dir(day).unwrap()).map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    }
}

/// What of hot's is never over.
#[derive(Debug)]
struct CardsAlone(Arc<dyn Store>);

#[async_trait]
impl Store for CardsAlone {
    async fn write(&self, mut writes: Vec<Write>) -> Result<(), StoreError> {
        writes.retain(|write| ["card_lanes", "cards"].contains(&write.table.name));
        self.0.write(writes).await
    }

    async fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Row>, StoreError> {
        self.0.get(table, key).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        self.0.scan(scan).await
    }

    async fn delete(&self, table: &'static Table, key: &Key, version: i64) -> Result<(), StoreError> {
        self.0.delete(table, key, version).await
    }
}

fn lanes() -> impl Iterator<Item = TopicPartition> {
    Topic::ALL.into_iter().flat_map(|topic| (0..PARTITIONS).map(move |number| TopicPartition::new(topic, number)))
}

async fn line(run: &RunHandle, number: usize) {
    let source = if number.is_multiple_of(3) { Source::System } else { Source::Agent };
    let line = number.to_string();
    let line = run.log(Level::ALL[number % 5], source, "test", &line).timestamp(Timestamp(BEGAN + number as i64));
    line.send().await.unwrap().await.unwrap();
}
