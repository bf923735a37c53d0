//! Reading a range of a partition by seeking to an offset.
//!
//! A consumer costs threads and connections, so history is read by a few that are kept: a read borrows one, assigns its
//! partition at its offset, and gives it back when it has what it wanted, or when its reader falls behind or others wait.

pub(crate) mod end;
mod passed;
mod queue;
mod read;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;

use agentworks_schemas::TopicPartition;
use bytes::Bytes;
use rdkafka::ClientConfig;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::batch::Batch;
use crate::error::KafkaError;
use crate::settings::KafkaSettings;
use crate::topics::Watermarks;
use passed::Passed;
use queue::{Job, Queue};
use read::Read;
use worker::Worker;

/// How many batches lie ready for a reader that is slower than the log.
const READY: usize = 16;

/// A range of so many offsets is a short one.
const SHORT: i64 = 1_024;

/// What to read.
#[derive(Clone, Debug)]
pub struct SeekRequest {
    /// Where.
    pub partition: TopicPartition,
    /// Which making of the topic the caller means.
    pub epoch: u32,
    /// The first offset wanted.
    pub from: i64,
    /// The offset after the last one wanted. Reading ends there, or where nothing more lies below it.
    pub to: i64,
    /// If set, records with another key are skipped undecoded; those without a key are returned.
    pub key: Option<Bytes>,
}

/// What a kind of consumer is told.
type Consumer = fn(&KafkaSettings) -> ClientConfig;

/// A few consumers that read history. Cheap to clone; the consumers end with the last clone.
#[derive(Clone, Debug)]
pub struct SeekPool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: KafkaSettings,
    /// How many consumers there are for long reads, and for short ones.
    sizes: (usize, usize),
    reads: Arc<Queue>,
    /// Short reads have consumers of their own, which fetch less, and don't wait behind long ones.
    pages: Arc<Queue>,
    /// So have questions, which are shorter still.
    questions: Arc<Queue>,
    passed: Arc<Passed>,
}

impl SeekPool {
    /// A pool of at most `size` consumers that read, one half of them long ranges and the other short ones, but one of
    /// each at least; and one that asks. They are made when first needed.
    pub fn new(settings: KafkaSettings, size: usize) -> Self {
        let sizes = ((size / 2).max(1), size.div_ceil(2).max(1));
        let (reads, pages, questions) = (Arc::default(), Arc::default(), Arc::default());
        SeekPool { inner: Arc::new(Inner { settings, sizes, reads, pages, questions, passed: Arc::default() }) }
    }

    /// Reads a range. Batches come in order and tile `from..to` exactly, so that one without records still says how far
    /// the reading has come; dropping the receiver ends it. A read from below the log's start is
    /// [`KafkaError::OutOfRange`], as is one from beyond its end.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn read(&self, request: SeekRequest) -> mpsc::Receiver<Result<Arc<Batch>, KafkaError>> {
        let (sender, receiver) = mpsc::channel(READY);
        let Inner { sizes, reads, pages, .. } = &*self.inner;
        let (queue, size, consumer) = if request.to.saturating_sub(request.from) <= SHORT {
            (pages, sizes.1, KafkaSettings::page_reader as Consumer)
        } else {
            (reads, sizes.0, KafkaSettings::seek_reader as Consumer)
        };
        let read = Read::new(request, &self.inner.passed, sender, Handle::current());
        self.submit(queue, size, consumer, Job::Read(Box::new(read)));
        receiver
    }

    /// Where partitions begin and end right now.
    pub async fn watermarks(&self, partition: TopicPartition) -> Result<Watermarks, KafkaError> {
        let (answer, answered) = oneshot::channel();
        self.submit(&self.inner.questions, 1, KafkaSettings::seek_reader, Job::Watermarks(partition, vec![answer]));
        answered.await.unwrap_or_else(|_| Err(KafkaError::Unavailable("the consumer has ended".into())))
    }

    /// Where partitions end right now: one question for all of them, and for all who ask at the same time.
    pub async fn ends(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> BTreeMap<TopicPartition, Result<i64, KafkaError>> {
        let partitions: BTreeSet<_> = partitions.into_iter().collect();
        let (answer, answered) = oneshot::channel();
        let job = Job::Ends(partitions.clone(), vec![answer]);
        self.submit(&self.inner.questions, 1, KafkaSettings::seek_reader, job);
        let mut ends = answered.await.unwrap_or_default();
        let ended = || Err(KafkaError::Unavailable("the consumer has ended".into()));
        partitions.into_iter().map(|partition| (partition, ends.remove(&partition).unwrap_or_else(ended))).collect()
    }

    /// How the pool reaches the brokers.
    pub fn settings(&self) -> &KafkaSettings {
        &self.inner.settings
    }

    fn submit(&self, queue: &Arc<Queue>, size: usize, consumer: Consumer, job: Job) {
        if !queue.push(job, size) {
            return;
        }
        let (settings, theirs, passed) = (self.inner.settings.clone(), queue.clone(), Arc::clone(&self.inner.passed));
        let run = move || Worker::run(consumer(&settings), settings, theirs, passed);
        let spawned = thread::Builder::new().name("kafka-seek".into()).spawn(run);
        if let Err(error) = spawned {
            queue.worker_failed(&KafkaError::Failed(format!("no thread for a consumer: {error}")));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.reads.close();
        self.pages.close();
        self.questions.close();
    }
}
