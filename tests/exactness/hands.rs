//! Sinks whose every step a test takes itself: what a runtime does, by hand.

use std::sync::Arc;

use agentworks_kafka::{Batch, SeekPool, SeekRequest};
use agentworks_processors::sink::{Flush, Sink, SinkError};
use agentworks_schemas::{Topic, TopicPartition};
use agentworks_store::Store;

use crate::log::Log;
use crate::member::{Pace, sinks};

/// All sinks over one store, and nothing that drives them. Dropping it is a crash.
pub struct Hands {
    sinks: Vec<Box<dyn Sink>>,
}

/// What the topics hold, in batches.
pub struct Batches(Vec<Arc<Batch>>);

impl Batches {
    /// Reads all partitions.
    pub async fn read(log: &Log) -> Self {
        let seek = SeekPool::new(log.settings.clone(), 1);
        let mut batches = Vec::new();
        for partition in partitions(log) {
            let marks = seek.watermarks(partition).await.unwrap();
            let request = SeekRequest { partition, epoch: 0, from: marks.low, to: marks.high, key: None };
            let mut scan = seek.read(request);
            while let Some(batch) = scan.recv().await {
                batches.push(batch.unwrap());
            }
        }
        Batches(batches)
    }

    /// Those of every partition's first half, as far as batches go.
    pub fn first_halves(&self) -> impl Iterator<Item = &Batch> {
        self.0.iter().map(Arc::as_ref).filter(|batch| batch.to <= self.end(batch.partition) / 2)
    }

    /// All.
    pub fn all(&self) -> impl Iterator<Item = &Batch> {
        self.0.iter().map(Arc::as_ref)
    }

    fn end(&self, partition: TopicPartition) -> i64 {
        self.all().filter(|batch| batch.partition == partition).map(|batch| batch.to).max().unwrap_or_default()
    }
}

impl Hands {
    /// Opens every partition in every sink.
    pub async fn open(log: &Log, store: Arc<dyn Store>) -> Self {
        let mut sinks = sinks(&store, Pace::Lazy);
        for sink in &mut sinks {
            for partition in partitions(log) {
                sink.open(partition, 0, 0).await.unwrap();
            }
        }
        Hands { sinks }
    }

    /// Hands batches to every sink.
    pub async fn take<'a>(&mut self, batches: impl Iterator<Item = &'a Batch>) {
        for batch in batches {
            for sink in &mut self.sinks {
                sink.take(batch).await.unwrap();
            }
        }
    }

    /// Writes everything.
    pub async fn flush(&mut self, log: &Log) -> Result<(), SinkError> {
        for sink in &mut self.sinks {
            for partition in partitions(log) {
                sink.flush(Flush::Partition(partition)).await?;
            }
        }
        Ok(())
    }
}

fn partitions(log: &Log) -> impl Iterator<Item = TopicPartition> {
    let numbers = 0..log.partitions;
    Topic::ALL.into_iter().flat_map(move |topic| numbers.clone().map(move |number| TopicPartition::new(topic, number)))
}
